//! Consensus among the servers: the only place that names openraft.
mod machine;

use agent_core::model::Index;
use agent_core::model::request::{self, Kind, Reply};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What the log is applied to. Calls come one at a time, in log order.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies one command. The answer goes to whoever proposed it here.
    ///
    /// # Errors
    ///
    /// A refusal of the command (a failed lock, say) is an answer like any other. An entry that cannot
    /// be understood must be [`Kind::Failed`]: the node then stops rather than skip it.
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
    /// This node's UUID.
    pub node_id: String,
    /// This node's name.
    pub name: String,
    /// Where this server takes RPC.
    pub address: SocketAddr,
    /// Multiplies every timing; 1 to 10, default 1.
    pub raft_multiplier: u32,
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
    /// The raft node has stopped, with the reason if there is one.
    Stopped(String),
}

/// A handle on this server's raft node.
#[derive(Clone)]
pub struct Raft(Arc<watch::Receiver<Leadership>>);

impl Raft {
    /// Opens the log and starts the node.
    pub async fn open(_options: Options, _machine: Arc<dyn StateMachine>) -> Result<Self, Error> {
        Err(Error::Stopped(String::new()))
    }
    /// Tells this server's raft id.
    pub fn id(&self) -> u64 {
        0
    }
    /// Starts a cluster of these servers.
    pub async fn bootstrap(&self, _servers: Vec<Server>) -> Result<(), Error> {
        Err(Error::NotLeader)
    }
    /// Proposes a command and waits until it is applied here.
    pub async fn propose(
        &self,
        _command: Vec<u8>,
    ) -> Result<Result<Reply, request::Error>, request::Error> {
        Err(request::Error::new(Kind::NoLeader))
    }
    /// Makes sure that a read which follows sees every write acknowledged before.
    pub async fn read_index(&self) -> Result<(), request::Error> {
        Err(request::Error::new(Kind::NoLeader))
    }
    /// The same by the leader's lease.
    pub async fn lease(&self) -> Result<(), request::Error> {
        Err(request::Error::new(Kind::NoLeader))
    }
    /// Tells the leader.
    pub fn leader(&self) -> Option<Server> {
        None
    }
    /// Tells whether this server leads.
    pub fn is_leader(&self) -> bool {
        self.0.borrow().is_self
    }
    /// Tells how long ago the leader was heard of; zero on the leader.
    pub fn last_contact(&self) -> Option<Duration> {
        None
    }
    /// Follows who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        (*self.0).clone()
    }
    /// Tells the latest configuration, its index, and who votes.
    pub fn configuration(&self) -> (Index, Vec<(Server, bool)>) {
        (0, Vec::new())
    }
    /// Tells the index of the last entry in the log.
    pub fn last_log_index(&self) -> Index {
        0
    }
    /// Tells the index of the last change that was applied.
    pub fn applied_index(&self) -> Index {
        0
    }
    /// Tells the term.
    pub fn term(&self) -> u64 {
        0
    }
    /// Adds a server or corrects its address.
    pub async fn add_server(&self, _server: Server) -> Result<(), Error> {
        Err(Error::NotLeader)
    }
    /// Removes a server.
    pub async fn remove_server(&self, _id: u64) -> Result<(), Error> {
        Err(Error::NotLeader)
    }
    /// Answers a call of a raft peer.
    pub async fn handle(&self, _call: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    /// Tells the `raft` section of `info`.
    pub fn stats(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    /// Stops the node and closes its files.
    pub async fn shutdown(&self) {}
}
