//! SWIM membership: who is in the pool, who left, who failed.
//!
//! ```text
//! identity        address, generation, node key: all that rides in every datagram
//! news            broadcasts behind the updates: metadata, departures, questions
//! config          settings: unit, bounds, default
//! leaf            member of constant size for small devices
//! meta            name, role, ports and tags of a member
//! pool   (alloc)  full member: foca behind the five calls, and the stream calls of push/pull
//! roster (alloc)  our table of members: statuses, names, what is already known
//! coordinate      a place in a space in which distance is round-trip time
//! vivaldi (alloc) finds ours from probes that were answered
//! seal            keyring and AES-GCM round datagrams and streams, called by the drivers
//! event  (alloc)  user events: Lamport time, what was heard, in which order it is told
//! sync   (alloc)  the frames of push/pull · summary: what both know, compared by buckets
//! awareness suspicion    Lifeguard: our own health, and how long a suspect may take
//! outbox timer codec     bounded news queue, timers, foca's codec
//! ```
//!
//! Sources: Das, Gupta, Motivala, "SWIM" (2002); "Lifeguard" (2017); Consul's Serf for statuses.

#[cfg(feature = "alloc")]
use alloc::string::String;
use core::net::SocketAddr;

pub mod awareness;
#[cfg(feature = "alloc")]
mod codec;
pub mod config;
pub mod coordinate;
#[cfg(feature = "alloc")]
mod event;
pub mod identity;
pub mod leaf;
pub mod meta;
pub mod news;
#[cfg(feature = "alloc")]
mod outbox;
#[cfg(feature = "alloc")]
pub mod pool;
#[cfg(feature = "alloc")]
mod roster;
pub mod seal;
#[cfg(feature = "alloc")]
mod summary;
#[cfg(feature = "alloc")]
mod suspicion;
#[cfg(feature = "alloc")]
pub mod sync;
#[cfg(feature = "alloc")]
mod timer;
#[cfg(feature = "alloc")]
pub mod vivaldi;

pub use config::{Config, Kind};
#[cfg(feature = "alloc")]
pub use event::{EVENTS_MAX, UserEvent};
pub use leaf::Leaf;
#[cfg(feature = "alloc")]
pub use meta::Meta;
pub use meta::{Card, Role};
#[cfg(feature = "alloc")]
pub use pool::Pool;
#[cfg(feature = "alloc")]
pub use roster::MEMBERS_MAX;

/// One datagram to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// To whom.
    pub to: SocketAddr,
    /// How many bytes of the lent buffer to send.
    pub len: usize,
}

/// How a member is shown. A suspect is shown alive, as Consul does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Answers.
    Alive,
    /// Said that it leaves, and still answers.
    Leaving,
    /// Left, or was made to leave.
    Left,
    /// Stopped answering.
    Failed,
}

/// Why `poll_timeout` wants to be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A probe is to start, or to be helped by others.
    Probe,
    /// A suspect's time to refute ends.
    Suspicion,
    /// A round of gossip.
    Gossip,
    /// An exchange of full state.
    Sync,
    /// An attempt at a failed member.
    Reconnect,
    /// Old members are to be forgotten.
    Reap,
    /// Missing metadata is to be asked for.
    Ask,
    /// The next step of leaving.
    Leave,
    /// An event waited long enough for those before it.
    Event,
}

/// What happened to a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is in the pool, for the first time or again.
    Joined,
    /// Its metadata changed.
    Updated,
    /// It announced that it leaves.
    Leaving,
    /// It left.
    Left,
    /// It failed.
    Failed,
    /// It was forgotten.
    Reaped,
}

/// Why somebody was not let in.
#[cfg(feature = "alloc")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The datagram is of another pool.
    Pool,
    /// The stream is of another pool or datacentre, or the member conflicts with a live one.
    Member(String),
    /// The table of members is full.
    Full,
}

#[cfg(feature = "alloc")]
impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Pool => f.write_str("datagram of another gossip pool or datacenter"),
            Self::Member(why) => f.write_str(why),
            Self::Full => f.write_str("the table of members is full"),
        }
    }
}

/// What the application should know.
#[cfg(feature = "alloc")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A member changed.
    Member {
        /// Its name.
        name: String,
        /// Its address.
        address: SocketAddr,
        /// Server or client.
        role: Role,
        /// What changed.
        change: Change,
    },
    /// Two live nodes claim one name or node ID; the claimant is not shown.
    Conflict {
        /// The name.
        name: String,
        /// Who keeps the name; nothing if it is ourselves.
        holder: Option<SocketAddr>,
        /// Who is ignored.
        claimant: SocketAddr,
    },
    /// Somebody was not let in. Told at most once in ten seconds.
    Refused {
        /// Who.
        from: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// The driver is to exchange full state with this member, by stream.
    SyncDue {
        /// With whom.
        peer: SocketAddr,
    },
    /// We took a new generation: the others had given us up. To be kept on disk where there is one.
    Renewed {
        /// The new generation.
        generation: u32,
    },
    /// Somebody fired a user event; told once; see `event` for the order.
    User(UserEvent),
    /// A graceful leave is done; the pool is silent from now on.
    LeaveDone,
}
