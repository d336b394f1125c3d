//! Rows that servers store, commands that change them, queries that ask for them.
//!
//! ```text
//! request    Request { options, Body } -> Answer { meta, Reply } | Error   one path for all edges
//! command    everything that enters the raft log, nested per subject, append-only
//! node service check kv session query coordinate
//!                                     rows, and per subject: Op (write) · Query (read) · Reply
//! autopilot                           how the leader looks after the servers
//! catalog health status operator txn  subjects that read or write rows of others
//! snapshot                            the state as a whole
//! bytes      values and frames in one piece
//! ```
//!
//! All of these travel in postcard, which is positional: fields and variants are only ever
//! appended under a new version byte, and `skip_serializing_if`, `flatten` and `untagged` are
//! forbidden here.
//! Consul's JSON forms live at the edge, in `agent-linux/src/http`.

pub mod autopilot;
mod bytes;
pub mod catalog;
pub mod check;
pub mod command;
pub mod coordinate;
pub mod health;
pub mod kv;
pub mod node;
pub mod operator;
pub mod query;
pub mod request;
pub mod service;
pub mod session;
pub mod snapshot;
pub mod status;
pub mod txn;

use alloc::collections::BTreeMap;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A raft log index. Answers never carry 0: clients would poll in a busy loop.
pub type Index = u64;

/// Names to values, in name order so that every replica iterates alike.
pub type Map = BTreeMap<String, String>;

/// When a row was made and last changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Index of the entry that made the row.
    pub create: Index,
    /// Index of the entry that last changed it.
    pub modify: Index,
}
