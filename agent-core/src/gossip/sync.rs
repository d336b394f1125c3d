//! Push/pull: two members exchange what they know over a stream, so that everybody knows everybody.
//!
//! ```text
//! asker    -> Hello  who I am, a digest of all I know
//! answerer -> Reply  a refusal, or what the asker lacks and what I want
//! asker    -> Rest   what was wanted
//! frame     = version:u8 kind:u8 length:u32 postcard[length]
//! ```
//!
//! A digest is some 30 bytes a member, an entry some 200; in a pool at rest only digests travel.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::config;
use super::identity::Identity;
use super::meta::META_BYTES_MAX;
use super::news::{Departure, Stamp};
use super::roster::MEMBERS_MAX;
use crate::wire::packet::State;

/// The exchange's version, first byte of every frame.
pub const VERSION: u8 = 1;

/// Bytes of a frame before its body.
pub const HEAD_BYTES: usize = 6;

/// Largest body of a frame in bytes; a longer one is refused before it is read.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Largest body of a hello in bytes: it comes from anybody, and holds a digest at most.
pub const HELLO_BYTES_MAX: usize = 1 << 20;

/// Most entries in one frame; the rest is asked for in the next exchange, at once.
pub const ENTRIES_MAX: usize = 4096;

/// Largest encoded digest item and entry (varints at their longest), in bytes.
const DIGEST_BYTES_MAX: usize = 10 + 5 + 3 + 1 + 7 + 10;
const ENTRY_BYTES_MAX: usize = 16 + 3 + 5 + 10 + 3 + 1 + 7 + 10 + 3 + META_BYTES_MAX;

const _: () = assert!(DIGEST_BYTES_MAX * (MEMBERS_MAX + 1) + 4096 < HELLO_BYTES_MAX);
const _: () =
    assert!(ENTRY_BYTES_MAX * (ENTRIES_MAX + 1) + 10 * (MEMBERS_MAX + 1) + 4096 < BODY_BYTES_MAX);

/// Why an exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The first byte names an exchange that is not spoken here.
    Version(u8),
    /// Another frame was due.
    Kind(u8),
    /// The frame is longer than [`BODY_BYTES_MAX`], or than [`HELLO_BYTES_MAX`].
    TooBig(u32),
    /// The body is not what the frame says.
    Malformed,
    /// The other side will not have us, and says why.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "unknown gossip stream version {version}"),
            Self::Kind(kind) => write!(f, "unexpected gossip frame {kind}"),
            Self::TooBig(len) => write!(f, "gossip frame of {len} bytes is too big"),
            Self::Malformed => f.write_str("malformed gossip frame"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for Error {}

/// Which frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Opens an exchange.
    Hello,
    /// Answers it.
    Reply,
    /// Ends it.
    Rest,
}

impl Frame {
    const fn kind(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Reply => 2,
            Self::Rest => 3,
        }
    }

    /// Checks a frame's head; answers the length of the body to read.
    ///
    /// # Errors
    ///
    /// [`Error::Version`], [`Error::Kind`] or [`Error::TooBig`].
    pub fn check(self, head: [u8; HEAD_BYTES]) -> Result<usize, Error> {
        let [version, kind, len @ ..] = head;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        if kind != self.kind() {
            return Err(Error::Kind(kind));
        }
        let len = u32::from_be_bytes(len);
        let most = match self {
            Self::Hello => HELLO_BYTES_MAX,
            Self::Reply | Self::Rest => BODY_BYTES_MAX,
        };
        match usize::try_from(len) {
            Ok(bytes) if bytes <= most => Ok(bytes),
            Ok(_) | Err(_) => Err(Error::TooBig(len)),
        }
    }

    /// Emits a whole frame.
    pub(super) fn emit(self, body: &impl Serialize) -> Vec<u8> {
        let head = alloc::vec![VERSION, self.kind(), 0, 0, 0, 0];
        let mut bytes = postcard::to_extend(body, head).expect("plain data always encodes");
        let len = u32::try_from(bytes.len() - HEAD_BYTES).expect("entries are bounded");
        bytes[2..HEAD_BYTES].copy_from_slice(&len.to_be_bytes());
        bytes
    }
}

/// Parses a frame's body.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    postcard::from_bytes(body).map_err(|_| Error::Malformed)
}

/// Why an exchange is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Purpose {
    /// To become a member: conflicts are refused in words.
    Join,
    /// To repair what gossip missed.
    Repair,
}

/// Which pool, in a form that old and new agents agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Scope {
    Lan,
    Wan,
}

impl From<config::Kind> for Scope {
    fn from(kind: config::Kind) -> Self {
        match kind {
            config::Kind::Lan => Self::Lan,
            config::Kind::Wan => Self::Wan,
        }
    }
}

/// All that is known of a member, but for its address and metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Digest {
    pub node: u64,
    pub generation: u32,
    pub incarnation: u16,
    pub state: State,
    pub departure: Option<Departure>,
    pub stamp: Stamp,
}

/// All that is known of a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub identity: Identity,
    pub incarnation: u16,
    pub state: State,
    pub departure: Option<Departure>,
    pub stamp: Stamp,
    /// The encoded metadata, empty if it is not known.
    pub meta: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub scope: Scope,
    pub datacenter: String,
    pub purpose: Purpose,
    pub sender: Entry,
    pub digest: Vec<Digest>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Refused(String),
    Accepted { sender: Entry, entries: Vec<Entry>, wants: Vec<u64>, more: bool },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Rest {
    pub entries: Vec<Entry>,
}
