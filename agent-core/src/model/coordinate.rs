//! Network coordinates: where nodes say that they are.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/architecture/coordinates>.

pub use crate::gossip::coordinate::Coordinate;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Where a node is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// The node's name.
    pub node: String,
    /// The network segment that it is measured in, empty for the whole pool.
    pub segment: String,
    /// The place.
    pub place: Coordinate,
}

/// A change of places.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Places of many nodes at once; those of nodes that are not registered are passed over.
    Set(Vec<Row>),
}

/// A read of places.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Of all nodes.
    Nodes,
    /// Of one node.
    Node(String),
    /// Of the servers in the pool that spans datacentres: any server answers.
    Datacenters,
    /// Notes where a node is, to be written together with others: for the leader.
    Update(Row),
}

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Places in order of node name.
    Rows(Vec<Arc<Row>>),
    /// Places of servers, by datacentre.
    Datacenters(Vec<Datacenter>),
    /// It will be written soon.
    Noted,
}

/// Where the servers of a datacentre are, in the pool that spans datacentres.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Datacenter {
    /// The datacentre's name.
    pub name: String,
    /// Its servers.
    pub rows: Vec<Row>,
}
