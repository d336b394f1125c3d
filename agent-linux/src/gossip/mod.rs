//! Gossip: the driver round [`agent_core::gossip::Pool`], and the agent's view of the members.
//!
//! ```text
//! Gossip      the handle: start, join, leave, members, subscribe
//! engine      a full member, or a leaf
//! partial     the leaf: how it gets in, and back
//! alarm       the driver's timer
//! driver      one task: datagrams in, due times, datagrams and events out
//! stream      push/pull over TCP, both sides, with limits of time and size
//! keyring     sealing, the keyring's file, questions about keys to the whole pool
//! snapshot    the last known members, for coming back after a restart
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

pub use agent_core::gossip::coordinate::Coordinate;
pub use agent_core::gossip::seal::query::Op as KeyOp;
pub use agent_core::gossip::seal::{Drops, Strictness};
pub use agent_core::gossip::{Config, Kind, Meta, Role, UserEvent};
pub use agent_core::wire::event::TooBig;
pub use keyring::{Keys, Report as KeyReport, key};

use driver::{Changed, Inner};

mod alarm;
mod driver;
mod engine;
mod keyring;
mod partial;
mod snapshot;
mod stream;

/// What a pool is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, UDP and TCP; port 0 takes any port that is free for both.
    pub bind: SocketAddr,
    /// What the others are told; port 0 stands for the bound port.
    pub advertise: SocketAddr,
    /// What we tell about ourselves. A leaf's engine is that of a leaf.
    pub meta: Meta,
    /// Timing and limits.
    pub config: Config,
    /// The file of the last known members; nothing is kept without it.
    pub snapshot_path: Option<PathBuf>,
    /// Whether to come back to the pool even after a graceful leave.
    pub rejoin_after_leave: bool,
    /// The keys of a sealed pool.
    pub keys: Option<Keys>,
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
    /// How often we had to look for our place from the start.
    pub place_resets: u64,
    /// Changes of membership seen so far; stands for Serf's Lamport clock of members.
    pub member_time: u64,
    /// Lamport time of the latest user event.
    pub event_time: u64,
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
    /// What a sealed pool dropped; nothing for a plain one.
    pub drops: Option<Drops>,
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

    /// Tells the members, ourselves first, the failed and the left included. A leaf tells itself.
    pub fn members(&self) -> Arc<Vec<Member>> {
        self.inner.members()
    }

    /// Tells where servers take RPC, if this is a leaf: it does not see who the servers are.
    pub fn servers(&self) -> Option<Vec<SocketAddr>> {
        self.inner.drive_leaf(|leaf| leaf.servers().collect())
    }

    /// Tells the members that are servers, in whatever state; a leaf knows of none.
    pub fn server_members(&self) -> Vec<Member> {
        self.inner.servers()
    }

    /// Counts the members, as [`members`](Self::members) lists them.
    pub fn count(&self) -> usize {
        self.inner.count()
    }

    /// Watches a number that rises with every change of membership or metadata.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// Watches a number that rises with every change of [`server_members`](Self::server_members),
    /// or of [`servers`](Self::servers).
    pub fn subscribe_servers(&self) -> watch::Receiver<u64> {
        self.inner.servers_version.subscribe()
    }

    /// Exchanges state with each address; answers how many took us in, and why the others did not.
    pub async fn join(&self, addresses: &[SocketAddr]) -> (usize, Vec<(SocketAddr, String)>) {
        if self.inner.is_leaf() {
            return partial::join(&self.inner, addresses).await;
        }
        stream::join(&self.inner, addresses).await
    }

    /// Leaves the pool gracefully; returns when the word has spread, or after some 3 s.
    pub async fn leave(&self) {
        self.inner.leave().await;
    }

    /// Makes a failed member a left one, everywhere; `prune` erases it from the lists too. Nothing
    /// happens to ourselves: who lives is no failed member.
    ///
    /// # Errors
    ///
    /// Consul's words for a name that no member has, or that a leaf cannot do it.
    pub fn force_leave(&self, name: &str, prune: bool) -> Result<(), String> {
        self.inner
            .drive(|pool, now| match pool.meta().name == name {
                true => Ok(()),
                false => pool.force_leave(now, name, prune),
            })
            .map_err(|partial| format!("force-leave: {partial}"))?
            .map_err(|_| format!("agent: No node found with name '{name}'"))
    }

    /// Publishes new metadata; a change that is not fit to be sent is logged and dropped.
    pub fn update_meta(&self, change: impl FnOnce(&mut Meta)) {
        let updated = self.inner.drive(|pool, now| pool.update_meta(now, change));
        match updated {
            Ok(Ok(())) => self.inner.changed(Changed::Servers),
            Ok(Err(error)) => tracing::warn!(%error, "metadata not published"),
            Err(partial) => tracing::warn!("metadata not published: {partial}"),
        }
    }

    /// Fires a user event to the whole pool, ourselves included.
    ///
    /// # Errors
    ///
    /// That it is too long, or that a leaf cannot do it; then nothing was sent.
    pub fn fire(&self, event: UserEvent) -> Result<u64, String> {
        self.inner
            .drive(|pool, now| pool.fire(now, event))
            .map_err(|partial| format!("user event: {partial}"))?
            .map_err(|error| error.to_string())
    }

    /// Subscribes to the user events that the pool hears from now on; the first who does so misses
    /// none from the start. Who does not keep up loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<UserEvent> {
        self.inner.events()
    }

    /// Asks every living member about its keys, or to change them; takes some seconds if one does
    /// not answer.
    pub async fn keyring(&self, op: KeyOp) -> KeyReport {
        keyring::ask(&self.inner, op).await
    }

    /// Tells where this agent is, as far as probes have told; a leaf measures nothing.
    pub fn place(&self) -> Option<Coordinate> {
        self.inner.drive(|pool, _| *pool.place()).ok()
    }

    /// Tells the names and places of the living members of a WAN pool, ourselves first.
    pub fn places(&self) -> Vec<(String, Coordinate)> {
        let places = self
            .inner
            .drive(|pool, _| pool.places().map(|(name, place)| (name.into(), *place)).collect());
        places.unwrap_or_default()
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
