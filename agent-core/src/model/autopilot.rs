//! How the leader looks after the servers, and how they do.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/operator/autopilot>.

use super::{Index, Stamp};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// How the leader looks after the servers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// Whether failed servers leave the raft configuration once another takes their place.
    pub cleanup_dead_servers: bool,
    /// Nanoseconds without contact after which a server is not healthy.
    pub last_contact_ns: u64,
    /// Entries that a healthy server lags behind at most.
    pub max_trailing_logs: u64,
    /// Voters that a cleanup leaves at least, 0 for no floor.
    pub min_quorum: u64,
    /// Nanoseconds that a server must be healthy before it votes.
    pub stabilization_ns: u64,
    /// Kept for Consul Enterprise's clients; without effect.
    pub redundancy_zone_tag: String,
    /// The same.
    pub disable_upgrade_migration: bool,
    /// The same.
    pub upgrade_version_tag: String,
    /// When it was made and changed.
    pub stamp: Stamp,
}

/// A change of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Sets it unless there is one.
    Begin(Configuration),
    /// Sets it.
    Set(Configuration),
    /// Sets it if it was last changed at this index.
    Cas(Configuration, Index),
}

/// How the servers do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Health {
    /// Whether all of them are healthy.
    pub healthy: bool,
    /// Healthy voters that may fail before there is no quorum.
    pub failure_tolerance: u64,
    /// Each of them.
    pub servers: Vec<ServerHealth>,
}

/// How a server does.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServerHealth {
    /// Node UUID.
    pub id: String,
    /// Node name.
    pub name: String,
    /// `ip:port` for RPC.
    pub address: String,
    /// What gossip says: `alive`, `leaving`, `left`, `failed`, or `none`.
    pub serf_status: String,
    /// The version that it tells.
    pub version: String,
    /// Whether it leads.
    pub leader: bool,
    /// Milliseconds without contact, beyond the pause between two heartbeats; `None` for never.
    pub last_contact_ms: Option<u64>,
    /// Term of its last entry, as far as the leader knows.
    pub last_term: u64,
    /// Index of its last entry, as far as the leader knows.
    pub last_index: Index,
    /// Whether it is alive, in contact and not far behind.
    pub healthy: bool,
    /// Whether it votes.
    pub voter: bool,
    /// Since when that is so, in seconds since 1970.
    pub stable_since: u64,
}
