//! `/v1/internal/ui/`: what Consul's own page asks, everything at once.

use super::ask::read;
use super::options::read_options;
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call};
use super::view::check::{CheckView, DefinitionView};
use super::view::service::ServiceView;
use super::view::{Each, Nothing, filled, listed};
use agent_core::model::Map;
use agent_core::model::check::{Check, Status};
use agent_core::model::health::{Instance, NodeDump, Query, Reply as HealthReply};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use agent_core::model::service::{Kind, Service};
use hyper::StatusCode;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const NODES: Act = read(parse_nodes, render_nodes, Freshness::Told);
pub(super) const NODE: Act = read(parse_node, render_node, Freshness::Present);
pub(super) const SERVICES: Act = read(parse_services, render_services, Freshness::Told);
pub(super) const GATEWAY: Act = read(parse_gateway, render_gateway, Freshness::Told);

/// Key of a service's metadata that names the system it comes from.
const EXTERNAL_SOURCE: &str = "external-source";

/// Makes a request of a query; nothing is sorted by distance here.
fn request(call: &Call<'_>, query: Query) -> Result<Request, Refusal> {
    let mut options = read_options(call)?;
    options.near.clear();
    Ok(Request { options, body: Body::Query(AnyQuery::Health(query)) })
}

fn parse_nodes(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    request(call, Query::Nodes)
}

fn parse_node(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let name = call.required("Missing node name")?;
    request(call, Query::Dump(name))
}

fn parse_services(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    request(call, Query::Instances)
}

/// Reads a read of the services bound to a gateway: none before there are configuration entries.
fn parse_gateway(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let name = call.required("Missing gateway name")?;
    request(call, Query::Ingress(name))
}

/// A list of services as it is shown.
type Services<'a> = Each<'a, Arc<Service>, fn(&'a Arc<Service>) -> ServiceView<'a>>;

/// A list of checks as it is shown.
type Checks<'a> = Each<'a, Arc<Check>, fn(&'a Arc<Check>) -> CheckView<'a, DefinitionView<'a>>>;

/// A node with everything on it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DumpView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    tagged_addresses: Option<&'a Map>,
    meta: Option<&'a Map>,
    services: Services<'a>,
    checks: Checks<'a>,
}

impl<'a> From<&'a NodeDump> for DumpView<'a> {
    fn from(dump: &'a NodeDump) -> Self {
        let node = &*dump.node;
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            tagged_addresses: filled(&node.tagged_addresses),
            meta: filled(&node.meta),
            services: Each::of(&dump.services, |service| ServiceView::of_query(service)),
            checks: Each::of(&dump.checks, |check| CheckView::of_query(check)),
        }
    }
}

fn render_nodes(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(HealthReply::Nodes(nodes)) = reply else { return Page::unexpected() };
    Page::json(call, &Each::of(&nodes, DumpView::from))
}

fn render_node(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(HealthReply::Nodes(nodes)) = reply else { return Page::unexpected() };
    match nodes.first() {
        Some(node) => Page::json(call, &DumpView::from(node)),
        None => Page::empty(StatusCode::NOT_FOUND),
    }
}

/// A service over all its instances.
#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    name: &'a str,
    #[serde(serialize_with = "tags_or_null")]
    tags: BTreeSet<&'a str>,
    nodes: Vec<&'a str>,
    instance_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proxy_for: Vec<&'a str>,
    checks_passing: usize,
    checks_warning: usize,
    checks_critical: usize,
    #[serde(serialize_with = "sources_or_null")]
    external_sources: Vec<&'a str>,
    gateway_config: Nothing,
}

/// Writes tags, `null` for none.
fn tags_or_null<S: serde::Serializer>(tags: &BTreeSet<&str>, to: S) -> Result<S::Ok, S::Error> {
    (!tags.is_empty()).then_some(tags).serialize(to)
}

/// Writes sources, `null` for none.
fn sources_or_null<S: serde::Serializer>(sources: &[&str], to: S) -> Result<S::Ok, S::Error> {
    listed(sources).serialize(to)
}

impl<'a> Summary<'a> {
    /// Counts an instance in.
    fn add(&mut self, instance: &'a Instance) {
        let service = &*instance.service;
        self.kind = service.kind.as_str();
        self.name = &service.name;
        self.tags.extend(service.tags.iter().map(String::as_str));
        self.nodes.push(&instance.node.name);
        self.instance_count += 1;
        if service.kind == Kind::ConnectProxy
            && let Some(proxy) = &service.proxy
        {
            once(&mut self.proxy_for, &proxy.destination_service_name);
        }
        if let Some(source) = service.meta.get(EXTERNAL_SOURCE) {
            once(&mut self.external_sources, source);
        }
        for check in &instance.checks {
            match check.status {
                Status::Passing => self.checks_passing += 1,
                Status::Warning => self.checks_warning += 1,
                Status::Critical => self.checks_critical += 1,
            }
        }
    }
}

/// Adds a text that is not empty and not there yet.
fn once<'a>(list: &mut Vec<&'a str>, text: &'a str) {
    if !text.is_empty() && !list.contains(&text) {
        list.push(text);
    }
}

fn render_services(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(HealthReply::Instances(instances)) = reply else { return Page::unexpected() };
    let mut summaries: BTreeMap<&str, Summary<'_>> = BTreeMap::new();
    for instance in &instances {
        summaries.entry(&instance.service.name).or_default().add(instance);
    }
    let summaries: Vec<_> = summaries.into_values().collect();
    Page::json(call, &summaries)
}

fn render_gateway(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(HealthReply::Instances(_)) = reply else { return Page::unexpected() };
    Page::json(call, &[(); 0])
}
