//! A service instance on a node.

use super::{Map, Stamp};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A row of the catalog's services: one instance on one node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Service {
    /// Unique on its node.
    pub id: String,
    /// The service's name.
    pub name: String,
    /// Typical service, proxy or gateway.
    pub kind: Kind,
    /// Tags in the order given.
    pub tags: Vec<String>,
    /// Own address, empty for the node's.
    pub address: String,
    /// Further addresses with ports.
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Free key/value pairs, at most 64.
    pub meta: Map,
    /// TCP or UDP port, 0 for none.
    pub port: u16,
    /// DNS SRV weights.
    pub weights: Weights,
    /// Whether catalog writes may change the tags against the agent's word.
    pub enable_tag_override: bool,
    /// What a proxy stands for, for the proxy kinds.
    pub proxy: Option<Box<Proxy>>,
    /// Whether the service speaks the mesh's TLS itself.
    pub connect_native: bool,
    /// When the row was made and changed.
    pub stamp: Stamp,
}

/// What a service instance is to the mesh.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum Kind {
    /// An ordinary service.
    #[default]
    Typical,
    /// A sidecar proxy.
    ConnectProxy,
    /// A gateway between datacentres.
    MeshGateway,
    /// A gateway from the mesh to services outside it.
    TerminatingGateway,
    /// A gateway into the mesh.
    IngressGateway,
}

impl Kind {
    /// Every kind with Consul's text for it.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::Typical, ""),
        (Self::ConnectProxy, "connect-proxy"),
        (Self::MeshGateway, "mesh-gateway"),
        (Self::TerminatingGateway, "terminating-gateway"),
        (Self::IngressGateway, "ingress-gateway"),
    ];

    /// Tells Consul's text for the kind.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Finds the kind that Consul's text names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
    }
}

/// An address that a service is also known by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceAddress {
    /// IP address or host name.
    pub address: String,
    /// TCP or UDP port.
    pub port: u16,
}

/// DNS SRV weights by health.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Weights {
    /// Weight while passing.
    pub passing: u16,
    /// Weight while warning.
    pub warning: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// What a proxy stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Proxy {
    /// Name of the service behind the proxy.
    pub destination_service_name: String,
    /// Instance behind the proxy, if it is for one only.
    pub destination_service_id: String,
    /// Where that instance listens.
    pub local_service_address: String,
    /// The port of that instance.
    pub local_service_port: u16,
    /// Opaque settings of the proxy, JSON text or empty.
    pub config: String,
    /// Upstreams, JSON text or empty.
    pub upstreams: String,
}
