//! Consensus among the servers: the only place that names openraft.
//!
//! ```text
//! Raft          the handle: propose, read, members, stats; answers calls of peers
//! start         opens what is on disk; sets it aside if it is damaged
//! recover       another configuration from an operator's peers.json
//! answer stats  calls of peers · `info`
//! propose       group commit: commands proposed together share one entry
//! parcel        answers for many, one wake-up a thread
//! confirm       reads after a quorum has confirmed the leader, many by one round
//! member        bootstrap, add (learner first), remove
//! leadership    who leads, by promises and not by memory; snapshots by volume
//! compact       snapshots at looks now and then
//! succession    a leader whose process is gone
//! network       calls to peers over rpc's raft channel; keeps the leader's lease
//! apply         StateMachine as openraft sees it: an index for every command
//! machine       the store as StateMachine
//! storage       the log as openraft sees it: tail in memory
//! log           the log on disk: entries in segments, what is small in sled
//! snapshot      snapshot files
//! disk          small durable files, free space
//! timing entry  timings by multiplier · types that openraft is told
//! ```
//!
//! # Identity
//!
//! The raft id is a random number kept beside the log, twice. It is bound to the log: if the log is
//! lost, wiped or damaged, the server comes back under a *new* id, as a learner that must be added
//! again, because a voter that forgot its entries or its vote could give a second, contradicting
//! promise. A damaged directory is renamed to `raft.damaged-<seconds>` and reported, never deleted.
//!
//! # When the disk fails
//!
//! With less than [`disk::FREE_BYTES_MIN`] free, commands are refused before they enter the log and
//! entries of a leader are refused too; both resume by themselves once there is room. If a write
//! fails nevertheless, the raft node stops for good (until a restart): nothing it has not on disk
//! is acknowledged, and the other servers elect another leader.

mod answer;
mod apply;
mod compact;
mod confirm;
mod disk;
mod entry;
mod leadership;
mod log;
mod machine;
mod member;
mod network;
mod parcel;
mod propose;
mod recover;
mod snapshot;
mod start;
mod stats;
mod storage;
mod succession;
#[cfg(test)]
mod suite;
mod timing;

pub use timing::MULTIPLIER_MAX;

use crate::metrics::{self, Stopwatch};
use agent_core::model::Index;
use agent_core::model::request::{self, Kind, Reply};
use apply::Machine;
use confirm::Confirmer;
use disk::Space;
use entry::{LogId, Types};
use leadership::{Contact, Judge, Metrics};
use network::{Network, Receiving};
use openraft::ServerState;
use propose::Proposer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Log;
use timing::Timing;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Bytes of a command at most: what shares its entry needs room besides.
const COMMAND_BYTES_MAX: usize = log::ENTRY_BYTES_MAX - 1024 * 1024;

/// What the log is applied to. Calls come one at a time, in log order.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies one command. The answer goes to whoever proposed it here.
    ///
    /// # Errors
    ///
    /// A refusal of the command (a failed lock, say) is an answer like any other. An entry that
    /// cannot be understood must be [`Kind::Failed`]: the node then stops rather than skip it.
    fn apply(&self, index: Index, entry: &[u8]) -> Result<Reply, request::Error>;

    /// Takes the state as it is, in O(1); the closure writes it out later, on another thread.
    fn freeze(&self) -> Freeze;

    /// Replaces the whole state with what a frozen state wrote, and wakes every watch.
    ///
    /// # Errors
    ///
    /// Those of `from`, or `InvalidData`; the node then stops.
    fn restore(&self, from: &mut dyn io::Read) -> io::Result<()>;
}

/// Reads a segment of the log from memory as a start does; tells how many entries are in it if it
/// is sound. For the fuzzer.
pub fn check_segment(bytes: &[u8]) -> Option<u64> {
    log::check(bytes)
}

/// A frozen state, to be written once.
pub type Freeze = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// A server of the raft configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Server {
    /// Raft id: random, new whenever the data directory is new.
    pub id: u64,
    /// Node UUID.
    pub node_id: String,
    /// Node name.
    pub name: String,
    /// Where it takes RPC.
    pub address: SocketAddr,
}

/// How to run a raft node.
#[derive(Clone, Debug)]
pub struct Options {
    /// The agent's data directory; raft keeps `<data_dir>/raft`. `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Multiplies every timing; 1 to [`MULTIPLIER_MAX`], default 1.
    pub raft_multiplier: u32,
    /// When the log is compacted.
    pub compaction: Compaction,
    /// The address that connections to peers come from, `None` for the system's choice.
    pub source: Option<IpAddr>,
}

impl Default for Options {
    fn default() -> Self {
        let compaction = Compaction::default();
        Self { data_dir: None, raft_multiplier: 1, compaction, source: None }
    }
}

/// When the log is compacted.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    /// Entries after which a snapshot is taken, default 16,384 as Consul's.
    pub every: u64,
    /// Time between two looks whether it is due; by default there is one with each entry.
    pub look: Option<Duration>,
    /// Entries kept for peers that lag a little, default 10,240 as Consul's.
    pub keep: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { every: 16_384, look: None, keep: 10_240 }
    }
}

/// How far a server has come, as the leader knows.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The server.
    pub server: Server,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Term and index of its last entry.
    pub last: (u64, Index),
    /// Time without an answer beyond the pause between two heartbeats; `None` for never.
    pub silence: Option<Duration>,
}

/// Who leads, as far as this server knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leadership {
    /// Raft id of the leader.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// Whether this server leads and a quorum has confirmed it lately.
    pub is_self: bool,
    /// Whether, besides, the first entry of its term has been applied here.
    pub established: bool,
}

/// Why raft could not do what was asked.
#[derive(Debug)]
pub enum Error {
    /// The disk or its contents.
    Disk(String),
    /// The log is not empty.
    Initialized,
    /// This server does not lead, or lost its quorum.
    NotLeader,
    /// The change would leave no quorum.
    Quorum,
    /// The server did not catch up in time, or the change was not confirmed in time.
    Timeout,
    /// The change of servers was refused.
    Change(String),
    /// The raft node has stopped, with the reason.
    Stopped(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(text) => write!(f, "raft log: {text}"),
            Self::Initialized => f.write_str("the raft log is not empty"),
            Self::NotLeader => f.write_str("this server is not the leader"),
            Self::Quorum => f.write_str("the servers that remain would be no quorum"),
            Self::Timeout => f.write_str("timed out waiting for the servers"),
            Self::Change(text) => write!(f, "change of servers refused: {text}"),
            Self::Stopped(text) => write!(f, "raft has stopped: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// A handle on this server's raft node.
#[derive(Clone)]
pub struct Raft {
    node: Arc<Node>,
}

struct Node {
    id: u64,
    raft: openraft::Raft<Types>,
    log: Log,
    machine: Machine,
    network: Network,
    proposer: Proposer,
    confirmer: Confirmer,
    judge: Judge,
    contact: Contact,
    leadership: watch::Receiver<Leadership>,
    timing: Timing,
    space: Option<Space>,
    /// One change of servers at a time.
    changing: tokio::sync::Mutex<()>,
    receiving: tokio::sync::Mutex<Receiving>,
    watcher: AbortHandle,
    compacter: Option<AbortHandle>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.watcher.abort();
        if let Some(compacter) = &self.compacter {
            compacter.abort();
        }
    }
}

impl Raft {
    /// Tells this server's raft id.
    pub fn id(&self) -> u64 {
        self.node.id
    }

    fn metrics(&self) -> Metrics {
        self.node.raft.metrics().borrow().clone()
    }

    /// Proposes a command and waits until it is applied here; the inner result is the state
    /// machine's.
    ///
    /// # Errors
    ///
    /// [`Kind::NoLeader`] and [`Kind::Failed`]: the command was not accepted. [`Kind::Unknown`]: it
    /// was, but leadership, the quorum or the node was lost before it was applied here.
    pub async fn propose(
        &self,
        command: Vec<u8>,
    ) -> Result<Result<Reply, request::Error>, request::Error> {
        if command.len() > COMMAND_BYTES_MAX {
            let (long, most) = (command.len(), COMMAND_BYTES_MAX);
            let text = format!("a change of {long} bytes is more than the {most} of the raft log");
            return Err(request::Error::with(Kind::Failed, text));
        }
        if let Some(space) = &self.node.space {
            space.check().map_err(|text| request::Error::with(Kind::Failed, text))?;
        }
        if let Err(fatal) = &self.node.raft.metrics().borrow().running_state {
            return Err(request::Error::with(Kind::Failed, fatal.to_string()));
        }
        if !self.is_leader() {
            return Err(request::Error::new(Kind::NoLeader));
        }
        metrics::RAFT_APPLY.count();
        self.node.proposer.propose(command.into()).await
    }

    /// Makes sure that a read which follows sees every write acknowledged before: asks a quorum,
    /// and waits until the state machine has caught up.
    ///
    /// # Errors
    ///
    /// [`Kind::NoLeader`] if this server does not lead or finds no quorum in time.
    pub async fn read_index(&self) -> Result<(), request::Error> {
        let watch = Stopwatch::start();
        metrics::RAFT_VERIFY_LEADER.count();
        let checked = self.node.confirmer.confirm().await;
        watch.stop(&metrics::RPC_CONSISTENT_READ);
        checked
    }

    /// The same by the leader's lease, which costs no message; when it has just run out (a stalled
    /// process, say), a quorum is asked.
    ///
    /// # Errors
    ///
    /// [`Kind::NotReady`] if this leader is new and not yet sure to see every acknowledged write;
    /// [`Kind::NoLeader`] if it does not lead.
    pub async fn lease(&self) -> Result<(), request::Error> {
        {
            let metrics = self.node.judge.raft.metrics();
            let metrics = metrics.borrow();
            if metrics.state != ServerState::Leader || metrics.running_state.is_err() {
                return Err(request::Error::new(Kind::NoLeader));
            }
            if !leadership::applied_own_entry(&metrics) {
                return Err(request::Error::new(Kind::NotReady));
            }
            if self.node.judge.has_lease(&metrics) {
                return Ok(());
            }
        }
        // Boxed: seldom needed, and the state of every read that waits would have room for it.
        Box::pin(self.read_index()).await
    }

    /// Tells the leader, if there is one that counts.
    pub fn leader(&self) -> Option<Server> {
        let leader = self.node.leadership.borrow().leader?;
        let metrics = self.node.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_node(&leader).cloned()
    }

    /// Tells whether there is a leader that counts.
    pub fn knows_leader(&self) -> bool {
        self.node.leadership.borrow().leader.is_some()
    }

    /// Tells whether this server leads and a quorum has confirmed it lately.
    pub fn is_leader(&self) -> bool {
        self.node.leadership.borrow().is_self
    }

    /// Tells how long ago the leader was heard of; zero on the leader, `None` if never.
    pub fn last_contact(&self) -> Option<Duration> {
        if self.is_leader() { Some(Duration::ZERO) } else { self.node.contact.elapsed() }
    }

    /// Follows who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.node.leadership.clone()
    }

    /// Tells the latest configuration: its index, and each server and whether it votes.
    pub fn configuration(&self) -> (Index, Vec<(Server, bool)>) {
        let metrics = self.metrics();
        let members = metrics.membership_config.membership();
        let voters: Vec<u64> = members.voter_ids().collect();
        let servers =
            members.nodes().map(|(id, server)| (server.clone(), voters.contains(id))).collect();
        (log_index(metrics.membership_config.log_id().as_ref()), servers)
    }

    /// Tells the index of the last entry in the log, counted from 1; 0 for an empty log.
    pub fn last_log_index(&self) -> Index {
        log_index(self.node.log.last().as_ref())
    }

    /// Tells the index of the last change that was applied; at least that of the entry it came
    /// with.
    pub fn applied_index(&self) -> Index {
        self.node.machine.index()
    }

    /// Tells the term.
    pub fn term(&self) -> u64 {
        self.node.raft.metrics().borrow().current_term
    }

    /// Prefers these addresses over those of the configuration: gossip hears of a new address
    /// before the log does, and after all servers moved there would be no leader to write it.
    pub fn set_addresses(&self, addresses: impl IntoIterator<Item = (u64, SocketAddr)>) {
        self.node.network.set_addresses(addresses.into_iter().collect());
    }

    /// Stops the node and closes its files. Other handles then answer that it has stopped.
    pub async fn shutdown(&self) {
        if let Err(error) = self.node.raft.shutdown().await {
            tracing::warn!("raft did not stop cleanly: {error}");
        }
        let log = self.node.log.clone();
        if tokio::task::spawn_blocking(move || log.close()).await.is_err() {
            tracing::warn!("raft log was not closed cleanly");
        }
    }
}

/// Tells an index as everyone outside sees it: openraft's first entry has 0, ours has 1.
fn log_index(id: Option<&LogId>) -> Index {
    id.map_or(0, |id| id.index + 1)
}
