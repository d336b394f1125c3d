//! The catalog: what is registered, and reads of nodes and services.

use super::Map;
use super::check::Check;
use super::node::Node;
use super::service::Service;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Registers a node and, with it, a service instance and checks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Register {
    /// The node; its stamp is ignored.
    pub node: Node,
    /// Whether to leave an existing node's row as it is.
    pub skip_node_update: bool,
    /// An instance on that node.
    pub service: Option<Service>,
    /// Checks on that node; the store fills in service names and tags.
    pub checks: Vec<Check>,
}

/// Removes a check, a service instance with its checks, or a whole node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Deregister {
    /// The node's name.
    pub node: String,
    /// The instance to remove; empty for none.
    pub service_id: String,
    /// The check to remove; empty for none. Both empty: the node.
    pub check_id: String,
}

/// A read of the catalog.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Known datacentres.
    Datacenters,
    /// All nodes with at least this metadata.
    Nodes {
        /// What a node's metadata must hold.
        node_meta: Map,
    },
    /// All services' names with the union of their tags.
    Services {
        /// What a node's metadata must hold.
        node_meta: Map,
    },
    /// The instances of a service.
    Service {
        /// The service's name.
        name: String,
        /// Tags that an instance must have, all of them, compared without case.
        tags: Vec<String>,
        /// What a node's metadata must hold.
        node_meta: Map,
        /// Whether to find the proxies and native instances that speak for the service.
        connect: bool,
    },
    /// A node and its instances.
    Node(String),
    /// The nodes and instances that use an address (for DNS PTR).
    Address(String),
    /// Services bound to a gateway: none before there are configuration entries.
    GatewayServices(String),
}

/// What a read of the catalog found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Names of datacentres, nearest first.
    Datacenters(Vec<String>),
    /// Nodes in name order.
    Nodes(Vec<Arc<Node>>),
    /// Service names with their tags, both in order.
    Services(Vec<(String, Vec<String>)>),
    /// Instances with their nodes, in order of node name and instance id.
    Instances(Vec<Instance>),
    /// A node and its instances in id order.
    Node(Option<NodeServices>),
}

/// A service instance and the node it is on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// The node.
    pub node: Arc<Node>,
    /// The instance.
    pub service: Arc<Service>,
}

/// A node and all its instances.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeServices {
    /// The node.
    pub node: Arc<Node>,
    /// Its instances in id order.
    pub services: Vec<Arc<Service>>,
}
