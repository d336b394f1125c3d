//! What a device and a server say to each other on a [`Channel::Device`] connection.
//!
//! ```text
//! frame    kind Request from the device: an Ask; kind Reply from the server: its Tell
//! Ask      Hello, then Service and Check in any number, then Settled; later Check and Remove;
//!          Get, Put, Find and Leader at any time after Hello
//! Tell     Welcome, Done, Refused, Missing, Value, Instances, Leader
//! ```
//!
//! The device has one request in flight. Between `Hello` and `Settled` it tells everything that it
//! has; the server writes what differs from the catalog, and at `Settled` removes what the node has
//! besides. A device repeats this from time to time, on the same connection or a new one
//! (anti-entropy). Layout: postcard, variants and fields are only ever appended.
//!
//! [`Channel::Device`]: super::frame::Channel::Device

use super::memory::Memory;
use crate::health::Status;
use serde::{Deserialize, Serialize};

/// The version of these messages, told in `Hello` and `Welcome`.
pub const VERSION: u8 = 1;

/// Longest message of a device in bytes: a check with its output, or a value of 1 KiB with its key.
pub const ASK_BYTES_MAX: u32 = 2048;

/// Shortest reply buffer that a server accepts to fill, in bytes: room for a refusal.
pub const TELL_BYTES_MIN: u16 = 128;

/// Longest text of a refusal in bytes; servers cut longer ones, so that they fit
/// [`TELL_BYTES_MIN`].
pub const REFUSAL_BYTES_MAX: usize = 120;

const _: () = assert!(REFUSAL_BYTES_MAX + 4 <= TELL_BYTES_MIN as usize);

/// What a device says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "M::Text: Serialize, M::Bytes: Serialize, M::List<M::Text>: Serialize, \
                 M::List<(M::Text, M::Text)>: Serialize",
    deserialize = "M::Text: Deserialize<'de>, M::Bytes: Deserialize<'de>, \
                   M::List<M::Text>: Deserialize<'de>, \
                   M::List<(M::Text, M::Text)>: Deserialize<'de>"
))]
pub enum Ask<M: Memory> {
    /// Names the device; begins to tell everything that it has.
    Hello {
        /// [`VERSION`].
        version: u8,
        /// Longest reply body that the device can take, in bytes.
        reply_bytes_max: u16,
        /// The datacentre that the device is configured for.
        datacenter: M::Text,
        /// The node's name.
        node: M::Text,
        /// The node's ID, a UUID.
        node_id: [u8; 16],
        /// The node's IP address as text.
        address: M::Text,
        /// The ACL token's secret, or empty.
        token: M::Text,
        /// The node's metadata.
        meta: M::List<(M::Text, M::Text)>,
    },
    /// Registers a service instance.
    Service {
        /// Unique on the node.
        id: M::Text,
        /// The service's name.
        name: M::Text,
        /// Its tags.
        tags: M::List<M::Text>,
        /// Its own address, empty for the node's.
        address: M::Text,
        /// Its port, 0 for none.
        port: u16,
        /// Its metadata.
        meta: M::List<(M::Text, M::Text)>,
    },
    /// Registers a check, or tells its new status.
    Check {
        /// Unique on the node.
        id: M::Text,
        /// A name for people.
        name: M::Text,
        /// The instance it is about, or empty for the node.
        service_id: M::Text,
        /// `ttl`, `tcp` ... as the device says.
        kind: M::Text,
        /// Notes for people.
        notes: M::Text,
        /// How it stands.
        status: Status,
        /// What the last run said, bounded by the device.
        output: M::Text,
    },
    /// Everything was told since `Hello`: what the node has besides is to go.
    Settled,
    /// Removes a service instance with its checks, or a check; the other one is empty.
    Remove {
        /// The instance.
        service: M::Text,
        /// The check.
        check: M::Text,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: M::Text,
    },
    /// Stores a value.
    Put {
        /// The key.
        key: M::Text,
        /// The value.
        value: M::Bytes,
        /// The client's own 64 bits.
        flags: u64,
    },
    /// Looks instances of a service up.
    Find {
        /// The service's name.
        service: M::Text,
        /// A tag that they must have, or empty.
        tag: M::Text,
        /// Whether only those without a warning or critical check are wanted.
        passing: bool,
        /// How many at most.
        most: u8,
    },
    /// Asks for the leader's address.
    Leader,
}

/// What a server answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "M::Text: Serialize, M::Bytes: Serialize, M::List<Instance<M>>: Serialize",
    deserialize = "M::Text: Deserialize<'de>, M::Bytes: Deserialize<'de>, \
                   M::List<Instance<M>>: Deserialize<'de>"
))]
pub enum Tell<M: Memory> {
    /// Takes the device in.
    Welcome {
        /// [`VERSION`].
        version: u8,
        /// Time until the device is to tell everything again, in seconds, before jitter.
        sync_secs: u16,
        /// The server's datacentre.
        datacenter: M::Text,
    },
    /// It was done.
    Done,
    /// It was not done.
    Refused {
        /// What somebody may decide by.
        reason: Refusal,
        /// For people.
        text: M::Text,
    },
    /// There is no such key.
    Missing,
    /// What a key holds.
    Value {
        /// The value.
        value: M::Bytes,
        /// The client's own 64 bits.
        flags: u64,
        /// When it was last written.
        index: u64,
    },
    /// Instances of a service, passing ones first.
    Instances {
        /// As many as were asked for and fit.
        list: M::List<Instance<M>>,
        /// How many there are.
        total: u16,
    },
    /// The leader's `ip:port`, or empty without a leader.
    Leader {
        /// The address.
        address: M::Text,
    },
}

/// An instance of a service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "M::Text: Serialize", deserialize = "M::Text: Deserialize<'de>"))]
pub struct Instance<M: Memory> {
    /// The node's name.
    pub node: M::Text,
    /// The instance's ID.
    pub id: M::Text,
    /// Where to reach it: its own address, else the node's.
    pub address: M::Text,
    /// Its port.
    pub port: u16,
    /// The worst of its checks and its node's.
    pub status: Status,
}

/// Why something was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The server does not speak this version.
    Version,
    /// The device is configured for another datacentre.
    Datacenter,
    /// The node's name belongs to another live node.
    Name,
    /// The request itself is wrong.
    Invalid,
    /// The answer does not fit the device's buffer.
    TooLong,
    /// The token does not allow it.
    Denied,
    /// There is no leader, or no time: another attempt may help.
    Unavailable,
}

impl Refusal {
    /// Tells what it means, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "unknown version",
            Self::Datacenter => "wrong datacenter",
            Self::Name => "duplicate node name",
            Self::Invalid => "invalid request",
            Self::TooLong => "answer too long",
            Self::Denied => "permission denied",
            Self::Unavailable => "servers unavailable",
        }
    }
}

/// Bytes were not a message of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

impl core::fmt::Display for Damaged {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("damaged or foreign message")
    }
}

impl core::error::Error for Damaged {}

/// Emits a message into `out`; answers its length, or nothing if it does not fit.
pub fn emit<T: Serialize>(message: &T, out: &mut [u8]) -> Option<usize> {
    postcard::to_slice(message, out).ok().map(|bytes| bytes.len())
}

/// Parses a whole message; text and bytes may borrow from `bytes`.
///
/// # Errors
///
/// [`Damaged`], also for bytes behind the message.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Damaged> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(Damaged),
    }
}

#[cfg(test)]
mod tests;
