//! Prepared queries: questions about a service that are kept by the servers and asked by name.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/query>.

use super::health::Instance;
use super::request::{Consistency, Meta};
use super::{Map, Stamp};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A prepared query's row.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PreparedQuery {
    /// UUID, settled by the server that proposes the creation.
    pub id: String,
    /// What it is asked by, unique without case; a template's is a prefix. May be empty.
    pub name: String,
    /// The session that it ends with, or empty.
    pub session: String,
    /// The token that it is run with, or empty for the asker's.
    pub token: String,
    /// How the rest depends on the name that is asked for.
    pub template: Template,
    /// What it finds.
    pub service: Target,
    /// Lifetime of its records in DNS, a Go duration as it was given, or empty.
    pub dns_ttl: String,
    /// When the row was made and changed.
    pub stamp: Stamp,
}

impl PreparedQuery {
    /// Tells whether it answers to every name that starts with its own.
    pub fn is_template(&self) -> bool {
        !self.template.kind.is_empty()
    }
}

/// How a prepared query depends on the name that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Template {
    /// `name_prefix_match`, or empty for none.
    pub kind: String,
    /// A pattern whose groups the texts can use, or empty.
    pub regexp: String,
    /// Whether tags that come out empty are left out.
    pub remove_empty_tags: bool,
}

/// What a prepared query finds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    /// The service's name.
    pub service: String,
    /// Where else to look if nothing is found.
    pub failover: Failover,
    /// Whether instances with a warning are left out.
    pub only_passing: bool,
    /// Checks that do not count.
    pub ignore_check_ids: Vec<String>,
    /// The node to sort by distance from, `_agent` for the asker's, or empty.
    pub near: String,
    /// Tags that an instance must have, or with `!` must not have, compared without case.
    pub tags: Vec<String>,
    /// What a node's metadata must hold.
    pub node_meta: Map,
    /// What an instance's metadata must hold.
    pub service_meta: Map,
    /// Whether to find the proxies and native instances that speak for the service.
    pub connect: bool,
}

/// Where else a prepared query looks if nothing is found. Used once there are other datacentres.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Failover {
    /// How many of the nearest datacentres; not negative.
    pub nearest: i64,
    /// These, in order.
    pub datacenters: Vec<String>,
}

/// A change of prepared queries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Makes one; its id is already chosen.
    Create(Box<PreparedQuery>),
    /// Replaces one.
    Update(Box<PreparedQuery>),
    /// Removes one by its id.
    Delete(String),
}

/// A read of prepared queries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// All of them.
    List,
    /// One by its id.
    Get(String),
    /// What the one of an id or a name finds.
    Execute(Execute),
    /// The one that answers to an id or a name, as it would be run.
    Explain(String),
}

/// How a prepared query is run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Execute {
    /// Its id or a name that it answers to.
    pub name: String,
    /// Most instances to answer, 0 for all.
    pub limit: u32,
    /// Name of the node whose agent was asked: what `_agent` means.
    pub agent: String,
    /// Whether to find those that speak for the service, whatever the query says.
    pub connect: bool,
    /// IP address of who asked the agent, or empty: whose node `_ip` means.
    pub asker: String,
}

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The id of one just made.
    Created(String),
    /// Prepared queries in id order.
    Queries(Vec<Arc<PreparedQuery>>),
    /// What one found.
    Found(Box<Found>),
    /// One as it would be run.
    Explained(Box<PreparedQuery>, Freshness),
}

/// What a prepared query found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// The service's name.
    pub service: String,
    /// Instances, nearest first if there was something to be near to, else shuffled.
    pub instances: Vec<Instance>,
    /// Lifetime of the records in DNS, a Go duration, or empty.
    pub dns_ttl: String,
    /// The datacentre that they are in.
    pub datacenter: String,
    /// How many other datacentres were asked.
    pub failovers: u32,
    /// How fresh it is.
    pub freshness: Freshness,
}

/// How fresh an answer is that says so in its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Freshness {
    /// How fresh.
    pub meta: Meta,
    /// How fresh it had to be.
    pub consistency: Consistency,
}
