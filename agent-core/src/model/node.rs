//! A machine in the catalog.

use super::{Map, Stamp};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A row of the catalog's nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Node {
    /// UUID of the agent, empty for an external node that gave none.
    pub id: String,
    /// Unique name, compared without case by Consul's users but stored as given.
    pub name: String,
    /// IP address or host name.
    pub address: String,
    /// The datacentre that owns the row.
    pub datacenter: String,
    /// Further addresses: `lan`, `wan`, `lan_ipv4` ...
    pub tagged_addresses: Map,
    /// Free key/value pairs, at most 64.
    pub meta: Map,
    /// When the row was made and changed.
    pub stamp: Stamp,
}
