//! How consensus and the pool stand, as clients and other servers may ask.

use super::Index;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A question about consensus.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// The leader's RPC address.
    Leader,
    /// The servers' RPC addresses.
    Peers,
    /// How far this very server's log goes; answered by whoever is asked, never forwarded.
    Log,
    /// Who is in the LAN pool, as the asked server sees it; for agents that see a part of it.
    Members,
}

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// `ip:port`, or empty without a leader.
    Leader(String),
    /// `ip:port` of each server, in order.
    Peers(Vec<String>),
    /// The last log index and how many voters the server knows; both 0 for an empty log.
    Log {
        /// Index of the last entry.
        last: Index,
        /// Number of voters in the latest configuration.
        voters: u32,
    },
    /// The members, the failed and the left included.
    Members(Vec<Member>),
}

/// A member of the LAN pool as Serf shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The node's name.
    pub name: String,
    /// Its gossip address, `ip:port`.
    pub address: String,
    /// What it tells about itself.
    pub tags: BTreeMap<String, String>,
    /// Serf's number: 1 alive, 2 leaving, 3 left, 4 failed.
    pub status: u8,
}
