//! What the application and the driver of a client are told.

use super::SERVICES_MAX;
use crate::wire::memory::Lent;
use crate::wire::message::{Refusal, Tell};
use core::net::SocketAddr;

/// Why a client could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// More services than [`SERVICES_MAX`].
    Services,
    /// More checks than `CHECKS`.
    Checks,
    /// The node's own description does not fit the buffer, or a list of it is too long.
    Node,
    /// The service at this place does not fit the buffer, or a list of it is too long.
    Service(usize),
    /// The check at this place does not fit the buffer with a full output.
    Check(usize),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Services => write!(f, "more than {SERVICES_MAX} services"),
            Self::Checks => f.write_str("too many checks"),
            Self::Node => f.write_str("the node's description is too long"),
            Self::Service(at) => write!(f, "the description of service {at} is too long"),
            Self::Check(at) => write!(f, "the description of check {at} is too long"),
        }
    }
}

impl core::error::Error for Error {}

/// A look-up is waiting already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Busy {
    /// One look-up at a time: wait for its event.
    Waiting,
    /// It does not fit the buffer, and never will.
    TooLong,
}

/// Why a server was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// No connection came up.
    Unreachable,
    /// The connection ended.
    Closed,
    /// It did not answer in time.
    Silent,
    /// It sent what no server of ours would.
    Nonsense,
    /// It refused the device, or had no leader; an [`Event::Refused`] tells more.
    Refused,
}

impl Why {
    /// Tells what happened, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Closed => "connection closed",
            Self::Silent => "no answer",
            Self::Nonsense => "speaks nonsense: not a server of this protocol",
            Self::Refused => "refused",
        }
    }
}

/// What was asked of a server, as far as it matters to the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// The device itself.
    Node,
    /// The service at this place of the profile.
    Service(usize),
    /// The check at this place of the profile.
    Check(usize),
    /// What the application looked up or stored.
    Lookup,
}

/// What the application should know.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "half a KiB on the stack at most; nothing to box in")]
pub enum Event<'e> {
    /// No server is known; gossip or the configuration must name one.
    NoServer,
    /// A server has taken the device in.
    Connected {
        /// Which.
        server: SocketAddr,
    },
    /// The catalog holds all that the device has. Told once a connection.
    Registered,
    /// A server was left; another attempt follows.
    Lost {
        /// Which.
        server: SocketAddr,
        /// Why.
        why: Why,
    },
    /// A server refused something.
    Refused {
        /// What.
        item: Item,
        /// Why, to decide by.
        reason: Refusal,
        /// Why, for people.
        text: &'e str,
    },
    /// The answer to a look-up.
    Answer(Tell<Lent<'e>>),
    /// A look-up got no answer; a value may have been stored or not.
    Unanswered,
}

/// Why [`Client::poll_timeout`](super::Client::poll_timeout) named its instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The next attempt at a server.
    Retry,
    /// A connection or an answer is late.
    Silence,
    /// Something is to be said: a sync, a ping.
    Turn,
}

/// The connection that the driver is to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Differs from link to link: another number means another connection, even to one server.
    pub number: u32,
    /// To whom.
    pub server: SocketAddr,
}

/// Which instances are looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<'a> {
    /// The service's name.
    pub service: &'a str,
    /// A tag that they must have, or empty.
    pub tag: &'a str,
    /// Whether only those without a warning or critical check are wanted.
    pub passing: bool,
    /// How many at most; a board takes [`LIST_MAX`](crate::wire::memory::LIST_MAX).
    pub most: u8,
}
