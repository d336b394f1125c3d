//! `catalog`: datacentres, nodes and services.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::client::{Keep, Request, escape, get};
use super::column::{LIST_GAP, PAIR_GAP, layout, row};
use super::flag::{Flag, Given, pairs, switch, text, texts};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Help of the family.
pub(super) const HELP: &str = "Usage: reeve catalog <subcommand> [options] [args]

  Shows the catalog: what the servers know of all nodes, as opposed to what one
  agent knows of itself.

  List all datacenters:

      $ reeve catalog datacenters

  List all nodes:

      $ reeve catalog nodes

  List all services:

      $ reeve catalog services
";

/// Lists datacentres.
pub(super) struct Datacenters;
/// Lists nodes.
pub(super) struct Nodes;
/// Lists services.
pub(super) struct Services;

const NAMESPACE: Flag = texts("namespace", "(Enterprise-only) Namespace to ask.");
const NODE_META: Flag =
    pairs("node-meta", "Keeps nodes that have this key=value only. May be repeated.");

const DATACENTERS: Spec = Spec {
    path: "catalog datacenters",
    summary: "Lists all known datacenters",
    help: " [options]

  Lists all known datacenters, the nearest first.

      $ reeve catalog datacenters
",
    api: Api::Servers,
    flags: &[],
};

const NODES_FLAGS: &[Flag] = &[
    switch("detailed", "Shows whole IDs, tagged addresses and metadata."),
    text("filter", "Keeps nodes that match this expression only."),
    text("near", "Sorts by round-trip time from this node; `_agent` is the agent's own."),
    NODE_META,
    text("service", "Keeps nodes that have this service only."),
];

const NODES: Spec = Spec {
    path: "catalog nodes",
    summary: "Lists all nodes in the given datacenter",
    help: " [options]

  Lists the nodes of a datacenter, by default the agent's.

  Nodes that run a service:

      $ reeve catalog nodes -service=web

  Nodes with some metadata:

      $ reeve catalog nodes -node-meta=\"foo=bar\"
",
    api: Api::Servers,
    flags: NODES_FLAGS,
};

const SERVICES_FLAGS: &[Flag] = &[
    NAMESPACE,
    text("node", "Lists the services of this node, by ID or name."),
    NODE_META,
    switch("tags", "Shows the tags of each service."),
];

const SERVICES: Spec = Spec {
    path: "catalog services",
    summary: "Lists all registered services in a datacenter",
    help: " [options]

  Lists the services of a datacenter, by default the agent's.

      $ reeve catalog services -tags
",
    api: Api::Servers,
    flags: SERVICES_FLAGS,
};

/// A node; what `catalog/service` says of one is spelled alike.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID", default)]
    id: String,
    node: String,
    address: String,
    #[serde(default)]
    datacenter: String,
    #[serde(default)]
    tagged_addresses: Option<BTreeMap<String, String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    node_meta: Option<BTreeMap<String, String>>,
}

/// What a node's services are shown by.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeServices {
    #[serde(default)]
    services: BTreeMap<String, NodeService>,
}

/// One service of a node.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeService {
    service: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Verb for Datacenters {
    fn spec(&self) -> &'static Spec {
        &DATACENTERS
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        call.no_args()?;
        let found: Vec<String> = call
            .client()?
            .json(get("/v1/catalog/datacenters"))
            .map_err(|error| failure(format!("Error listing datacenters: {error}")))?;
        found.iter().try_for_each(|name| call.say(name))
    }
}

/// Adds the parameters that `-node-meta` asks for.
fn with_node_meta<'a>(mut request: Request<'a>, given: &Given) -> Request<'a> {
    for pair in given.texts("node-meta") {
        request = request.with("node-meta", pair.replacen('=', ":", 1));
    }
    request
}

impl Verb for Nodes {
    fn spec(&self) -> &'static Spec {
        &NODES
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        call.no_args()?;
        let given = &call.given;
        let path = match given.text("service").filter(|name| !name.is_empty()) {
            Some(name) => format!("/v1/catalog/service/{}", escape(name, Keep::Nothing)),
            None => "/v1/catalog/nodes".to_owned(),
        };
        let mut request = with_node_meta(get(path), given);
        for name in ["near", "filter"] {
            if let Some(text) = given.text(name) {
                request = request.with(name, text);
            }
        }
        let mut nodes: Vec<Node> = call
            .client()?
            .json(request)
            .map_err(|error| failure(format!("Error listing nodes: {error}")))?;
        let mut seen = std::collections::BTreeSet::new();
        nodes.retain(|node| seen.insert(node.node.clone()));
        if nodes.is_empty() {
            call.complain("No nodes match the given query - try expanding your search.");
            return Ok(());
        }
        let mut rows = Vec::new();
        if call.given.on("detailed") {
            rows.push(row(["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]));
            rows.extend(nodes.iter().map(|node| {
                let meta = joined(node.meta.as_ref().or(node.node_meta.as_ref()));
                let tagged = joined(node.tagged_addresses.as_ref());
                row([&node.node, &node.id, &node.address, &node.datacenter, &tagged, &meta])
            }));
        } else {
            rows.push(row(["Node", "ID", "Address", "DC"]));
            rows.extend(nodes.iter().map(|node| {
                let id = node.id.split('-').next().unwrap_or_default();
                row([&node.node, id, &node.address, &node.datacenter])
            }));
        }
        call.say(layout(&rows, LIST_GAP))
    }
}

/// Writes pairs in one line.
fn joined(map: Option<&BTreeMap<String, String>>) -> String {
    let pair = |(name, value): (&String, &String)| format!("{name}={value}");
    map.map(|map| map.iter().map(pair).collect::<Vec<_>>().join(", ")).unwrap_or_default()
}

impl Verb for Services {
    fn spec(&self) -> &'static Spec {
        &SERVICES
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        call.no_args()?;
        let fault = |error| failure(format!("Error listing services: {error}"));
        let client = call.client()?;
        let found: BTreeMap<String, Vec<String>> = match call.given.text("node") {
            Some(node) => {
                let path = format!("/v1/catalog/node/{}", escape(node, Keep::Nothing));
                let value: Value = client.json(get(path)).map_err(fault)?;
                let of = serde_json::from_value::<Option<NodeServices>>(value)
                    .map_err(|error| failure(format!("Error listing services: {error}")))?;
                by_name(of.map(|of| of.services).unwrap_or_default())
            }
            None => {
                let request = with_node_meta(get("/v1/catalog/services"), &call.given);
                let found: BTreeMap<String, Option<Vec<String>>> =
                    client.json(request).map_err(fault)?;
                found.into_iter().map(|(name, tags)| (name, tags.unwrap_or_default())).collect()
            }
        };
        if found.is_empty() {
            call.complain("No services match the given query - try expanding your search.");
            return Ok(());
        }
        if !call.given.on("tags") {
            return found.keys().try_for_each(|name| call.say(name));
        }
        let rows: Vec<Vec<String>> = found
            .into_iter()
            .map(|(name, mut tags)| {
                tags.sort();
                row([&name, &tags.join(",")])
            })
            .collect();
        call.say(layout(&rows, PAIR_GAP).trim_end())
    }
}

/// Joins the tags of services of one name.
fn by_name(services: BTreeMap<String, NodeService>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for service in services.into_values() {
        let tags = found.entry(service.service).or_default();
        for tag in service.tags.unwrap_or_default() {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    found
}
