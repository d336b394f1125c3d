//! Gossip: the driver round [`agent_core::gossip::Pool`], and the agent's view of the members.
//!
//! ```text
//! Gossip      the handle: start, join, leave, members, subscribe
//! driver      one task: datagrams in, due times, datagrams and events out
//! stream      push/pull over TCP, both sides, with limits of time and size
//! snapshot    the last known members, for coming back after a restart
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

pub use agent_core::gossip::{Config, Kind, Meta, Role};

use driver::Inner;

mod driver;
mod snapshot;
mod stream;

/// What a pool is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, UDP and TCP; port 0 takes any port that is free for both.
    pub bind: SocketAddr,
    /// What the others are told; port 0 stands for the bound port.
    pub advertise: SocketAddr,
    /// What we tell about ourselves.
    pub meta: Meta,
    /// Timing and limits.
    pub config: Config,
    /// The file of the last known members; nothing is kept without it.
    pub snapshot_path: Option<PathBuf>,
    /// Whether to come back to the pool even after a graceful leave.
    pub rejoin_after_leave: bool,
}

/// How a member is shown; the numbers are Consul's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberStatus {
    /// Answers.
    Alive = 1,
    /// Said that it leaves, and still answers.
    Leaving = 2,
    /// Left, or was made to leave.
    Left = 3,
    /// Stopped answering.
    Failed = 4,
}

impl MemberStatus {
    /// Tells the status in the words of `members`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

/// One member of the pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The node's name, unique in the pool.
    pub name: String,
    /// Its gossip address.
    pub addr: SocketAddr,
    /// How it does.
    pub status: MemberStatus,
    /// What it tells about itself.
    pub meta: Meta,
}

/// Counters of the pool, for `info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Members shown, ourselves included.
    pub members: usize,
    /// Of these, failed.
    pub failed: usize,
    /// Of these, left.
    pub left: usize,
    /// Lifeguard's score, 0 when healthy.
    pub health_score: u8,
    /// Changes of membership seen so far; stands for Serf's Lamport clock of members.
    pub member_time: u64,
    /// Updates that still spread from here.
    pub intent_queue: usize,
    /// Pieces of news that still spread from here.
    pub event_queue: usize,
    /// Datagrams received, sent, and not understood.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that were no gossip.
    pub malformed: u64,
    /// Datagrams and members that were not let in.
    pub refused: u64,
}

/// A handle on a running pool. Cheap to clone; the pool runs until [`Gossip::shutdown`].
#[derive(Clone)]
pub struct Gossip {
    inner: Arc<Inner>,
}

impl Gossip {
    /// Binds both sockets, starts the tasks and, if a snapshot says so, goes back to the pool.
    ///
    /// # Errors
    ///
    /// What binding says, or `InvalidInput` if the metadata is not fit to be sent.
    pub async fn start(options: Options) -> io::Result<Self> {
        Ok(Self { inner: driver::start(options).await? })
    }

    /// Tells the bound address, with its port.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr
    }

    /// Tells the members, ourselves first, the failed and the left included.
    pub fn members(&self) -> Arc<Vec<Member>> {
        self.inner.members()
    }

    /// Watches a number that rises with every change of membership or metadata.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// Exchanges state with each address; answers how many took us in, and why the others did not.
    pub async fn join(&self, addresses: &[SocketAddr]) -> (usize, Vec<(SocketAddr, String)>) {
        stream::join(&self.inner, addresses).await
    }

    /// Leaves the pool gracefully; returns when the word has spread, or after some 3 s.
    pub async fn leave(&self) {
        self.inner.leave().await;
    }

    /// Makes a failed member a left one, everywhere; `prune` erases it from the lists too.
    ///
    /// # Errors
    ///
    /// Consul's words for a name that no member has.
    pub fn force_leave(&self, name: &str, prune: bool) -> Result<(), String> {
        self.inner
            .drive(|pool, now| pool.force_leave(now, name, prune))
            .map_err(|_| format!("agent: No node found with name '{name}'"))
    }

    /// Publishes new metadata; a change that is not fit to be sent is logged and dropped.
    pub fn update_meta(&self, change: impl FnOnce(&mut Meta)) {
        let updated = self.inner.drive(|pool, now| pool.update_meta(now, change));
        match updated {
            Ok(()) => self.inner.changed(),
            Err(error) => tracing::warn!(%error, "metadata not published"),
        }
    }

    /// Tells the counters.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// Stops the tasks and closes the sockets, without a word to the others.
    pub async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}
