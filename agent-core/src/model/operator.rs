//! What operators ask of consensus.

use super::{Index, autopilot};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A question of an operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// The servers of the raft configuration.
    RaftConfiguration,
    /// Removes a server from the raft configuration: served by the leader only.
    RemovePeer(Peer),
    /// How the leader looks after the servers.
    Autopilot,
    /// How the servers do: answered by the leader only.
    Health,
}

/// How an operator names a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Peer {
    /// By `ip:port`.
    Address(String),
    /// By node UUID.
    Id(String),
}

/// What an operator is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The raft configuration.
    RaftConfiguration {
        /// The servers in address order.
        servers: Vec<Server>,
        /// The index at which the configuration was set.
        index: Index,
    },
    /// A server was removed.
    Removed,
    /// How the leader looks after the servers.
    Autopilot(autopilot::Configuration),
    /// How the servers do.
    Health(autopilot::Health),
}

/// A server of the raft configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Server {
    /// Node UUID.
    pub id: String,
    /// Node name, or `(unknown)`.
    pub node: String,
    /// `ip:port` for RPC.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes.
    pub voter: bool,
}
