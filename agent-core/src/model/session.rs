//! Sessions: what locks are held by, and what ends them.

use super::Stamp;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A session's row.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Session {
    /// UUID, settled by the server that proposes the creation.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// The node it lives and dies with.
    pub node: String,
    /// Nanoseconds for which its locks stay free after it was invalidated, at most 60 s.
    pub lock_delay_ns: u64,
    /// What becomes of its keys.
    pub behavior: Behavior,
    /// Nanoseconds without renewal after which it ends (at the latest after twice that);
    /// 0 for never.
    pub ttl_ns: u64,
    /// The text that gave the TTL, shown again as it was.
    pub ttl: String,
    /// Node-level checks that end it when critical.
    pub node_checks: Vec<String>,
    /// Service checks that end it when critical.
    pub service_checks: Vec<String>,
    /// Further checks that end it when critical, given in the form before 1.7.
    pub checks: Vec<String>,
    /// When the row was made and changed.
    pub stamp: Stamp,
}

impl Session {
    /// All checks that end it when critical.
    pub fn all_checks(&self) -> impl Iterator<Item = &String> {
        self.node_checks.iter().chain(&self.service_checks).chain(&self.checks)
    }
}

/// What becomes of a session's keys when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Behavior {
    /// They are unlocked.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A change of sessions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Makes a session; its id is already chosen.
    Create(Session),
    /// Ends a session by its id.
    Destroy(String),
}

/// A read of sessions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// One session by id.
    Info(String),
    /// The sessions of a node.
    Node(String),
    /// All sessions.
    List,
    /// One session by id, its TTL started anew: served by the leader only.
    Renew(String),
}

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The id of a session just made.
    Created(String),
    /// Sessions in id order.
    Sessions(Vec<Arc<Session>>),
}
