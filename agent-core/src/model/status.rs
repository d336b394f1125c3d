//! How consensus stands, as clients and other servers may ask.

use super::Index;
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
}
