//! Health: reads of checks, and of instances with the checks that count for them.

use super::Map;
use super::check::{Check, Status};
use super::node::Node;
use super::service::Service;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A read of health.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// The checks of a node.
    Node(String),
    /// The checks of a service's instances.
    Checks {
        /// The service's name.
        service: String,
        /// What a node's metadata must hold.
        node_meta: Map,
    },
    /// The checks in a state, or all of them.
    State {
        /// The state, `None` for any.
        status: Option<Status>,
        /// What a node's metadata must hold.
        node_meta: Map,
    },
    /// The instances of a service with their nodes and checks.
    Service(ServiceQuery),
    /// The instances of the gateways that let traffic in to a service: none before there are
    /// configuration entries.
    Ingress(String),
    /// Every node with all its instances and checks.
    Nodes,
    /// The same of one node, under this very name.
    Dump(String),
    /// The instances of all services with their nodes and checks.
    Instances,
}

/// Which instances of a service are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceQuery {
    /// The service's name.
    pub name: String,
    /// Tags that an instance must have, all of them, compared without case.
    pub tags: Vec<String>,
    /// What a node's metadata must hold.
    pub node_meta: Map,
    /// Leave out instances with a check worse than this.
    pub worst: Option<Status>,
    /// Whether to find the proxies and native instances that speak for the service.
    pub connect: bool,
}

/// What a read of health found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Checks in order of node name and check id.
    Checks(Vec<Arc<Check>>),
    /// Instances in order of node name and instance id.
    Instances(Vec<Instance>),
    /// Nodes in name order.
    Nodes(Vec<NodeDump>),
}

/// A service instance, its node, and the checks of both.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// The node.
    pub node: Arc<Node>,
    /// The instance.
    pub service: Arc<Service>,
    /// The node's own checks, then the instance's, each in id order.
    pub checks: Vec<Arc<Check>>,
}

/// A node with everything on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeDump {
    /// The node.
    pub node: Arc<Node>,
    /// Its instances in id order.
    pub services: Vec<Arc<Service>>,
    /// Its checks, those of its instances too, in id order.
    pub checks: Vec<Arc<Check>>,
}
