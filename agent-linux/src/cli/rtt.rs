//! `rtt`: estimates the round-trip time between two nodes.

use super::client::get;
use super::flag::{Flag, switch};
use super::{Api, Call, Failure, Spec, Verb, failure};
use agent_core::gossip::coordinate::{Coordinate, DIMENSIONS};
use serde::Deserialize;

/// Estimates a round-trip time.
pub(super) struct Rtt;

const FLAGS: &[Flag] = &[switch("wan", "Uses WAN coordinates instead of LAN coordinates.")];

const SPEC: Spec = Spec {
    path: "rtt",
    summary: "Estimates network round trip time between nodes",
    help: " [options] node1 [node2]

  Estimates the round trip time between two nodes from their network
  coordinates. Without a second node it is to the agent's own.

  Nodes are named as \"reeve members\" shows them. With -wan, where only servers
  are, the datacenter follows after a period.

      $ reeve rtt agent128 agent131
      $ reeve rtt -wan agent128.dc1 server1.dc2
",
    api: Api::Agent,
    flags: FLAGS,
};

/// A place as the API shows it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Place {
    vec: [f64; DIMENSIONS],
    error: f64,
    adjustment: f64,
    height: f64,
}

impl From<&Place> for Coordinate {
    fn from(place: &Place) -> Self {
        let Place { vec, error, adjustment, height } = *place;
        Self { vec, error, adjustment, height }
    }
}

/// A node's place.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: String,
    segment: String,
    coord: Place,
}

/// The servers of a datacentre.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Area {
    datacenter: String,
    coordinates: Vec<Entry>,
}

/// The part of `agent/self` that says who the agent is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Own {
    config: OwnConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OwnConfig {
    node_name: String,
    datacenter: String,
}

impl Verb for Rtt {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let mut nodes = call.args.to_vec();
        if !(1..=2).contains(&nodes.len()) {
            let help = call.help.trim_end();
            return Err(failure(format!("One or two node names must be specified\n\n{help}")));
        }
        let wan = call.given.on("wan");
        if nodes.len() == 1 {
            let own: Own = call
                .client()?
                .json(get("/v1/agent/self"))
                .map_err(|error| failure(format!("Unable to look up agent info: {error}")))?;
            let OwnConfig { node_name, datacenter } = own.config;
            nodes.push(if wan { format!("{node_name}.{datacenter}") } else { node_name });
        }
        let (source, places) = match wan {
            true => ("WAN", wan_places(call, &nodes)?),
            false => ("LAN", lan_places(call, &nodes)?),
        };
        let mut found = Vec::new();
        for (node, place) in nodes.iter().zip(places) {
            let missing = || failure(format!("Could not find a coordinate for node {node:?}"));
            found.push(place.ok_or_else(missing)?);
        }
        let millis = found[0].distance(&found[1]) * 1000.0;
        let (a, b) = (&nodes[0], &nodes[1]);
        call.say(format!("Estimated {a} <-> {b} rtt: {millis:.3} ms (using {source} coordinates)"))
    }
}

/// Why the places are not known.
fn unread(error: impl std::fmt::Display) -> Failure {
    failure(format!("Error getting coordinates: {error}"))
}

/// Finds places among all nodes of the datacentre.
fn lan_places(call: &mut Call<'_>, nodes: &[String]) -> Result<Vec<Option<Coordinate>>, Failure> {
    let entries: Vec<Entry> = call.client()?.json(get("/v1/coordinate/nodes")).map_err(unread)?;
    let find = |node: &String| {
        let mut entries = entries.iter().filter(|entry| entry.segment.is_empty());
        let found = entries.find(|entry| entry.node == *node);
        found.map(|entry| Coordinate::from(&entry.coord))
    };
    Ok(nodes.iter().map(find).collect())
}

/// Finds places among the servers of all datacentres.
fn wan_places(call: &mut Call<'_>, nodes: &[String]) -> Result<Vec<Option<Coordinate>>, Failure> {
    let mut wanted = Vec::new();
    for node in nodes {
        let parts: Vec<&str> = node.split('.').collect();
        let [name, datacenter] = parts.as_slice() else {
            return Err(failure(
                "Node names must be specified as <node name>.<datacenter> with -wan",
            ));
        };
        wanted.push((*name, *datacenter));
    }
    let areas: Vec<Area> =
        call.client()?.json(get("/v1/coordinate/datacenters")).map_err(unread)?;
    let find = |(name, datacenter): &(&str, &str)| {
        let area = areas.iter().find(|area| area.datacenter == *datacenter)?;
        let found = area.coordinates.iter().find(|entry| entry.node == *name);
        found.map(|entry| Coordinate::from(&entry.coord))
    };
    Ok(wanted.iter().map(find).collect())
}
