//! What openraft is told about our types, and the log entry.

use super::Server;
use super::snapshot;
use agent_core::model::request::{self, Reply};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

openraft::declare_raft_types!(
    /// The types of our raft.
    pub(super) Types:
        D = Batch,
        R = Answers,
        NodeId = u64,
        Node = Server,
        Entry = openraft::Entry<Types>,
        SnapshotData = snapshot::Data,
        Responder = openraft::impls::OneshotResponder<Types>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(super) type Entry = openraft::Entry<Types>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, Server>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, Server>;
pub(super) type Snapshot = openraft::Snapshot<Types>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type StorageIoError = openraft::StorageIOError<u64>;

/// The commands of one log entry: those that were proposed while the entry before it was written.
///
/// openraft writes one entry at a time and waits for the disk each time, so the group commit
/// happens here: one entry, one write, many commands. Each command still has an index of its own,
/// see [`apply`](super::apply).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) commands: Vec<Bytes>,
    /// Set on the proposing server once the entry is in its log: from then on it may be committed.
    #[serde(skip)]
    pub(super) logged: Option<Arc<AtomicBool>>,
}

impl Batch {
    pub(super) fn mark_logged(&self) {
        if let Some(logged) = &self.logged {
            logged.store(true, Ordering::Release);
        }
    }
}

/// What the state machine answered to each command of an entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Answers(pub(super) Vec<Result<Reply, request::Error>>);

/// openraft asks for a default node where a membership lists an id without one; ours never does.
impl Default for Server {
    fn default() -> Self {
        Self {
            id: 0,
            node_id: String::new(),
            name: String::new(),
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        }
    }
}
