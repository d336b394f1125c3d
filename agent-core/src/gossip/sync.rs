//! Push/pull: two members exchange what they know over a stream, so that everybody knows everybody.
//!
//! ```text
//! asker    -> Hello  who I am; a digest of all I know, or a summary of it if that is much
//! answerer -> Reply  a refusal, or which parts of the summary differ from what I know
//! asker    -> Hello  if they do: a digest of those parts
//! answerer -> Reply  what the asker lacks and what I want
//! asker    -> Rest   what was wanted
//! frame     = version:u8 kind:u8 length:u32 postcard[length]
//!           | sealed:u8 kind:u8 length:u32 (postcard, sealed)[length]
//!           | barred:u8 why:u8 0:u32    in place of a reply, plain: the asker's key is no good
//! ```
//!
//! All three also tell of user events, unless the asker joins: what is past does not concern it.
//!
//! A digest is some 20 bytes a member, an entry some 100, a summary 5 bytes for 32 members; in a
//! pool at rest only summaries travel.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::config;
use super::event::{EVENTS_MAX, Heard, Key};
use super::identity::Identity;
use super::meta::META_BYTES_MAX;
use super::news::{Departure, Stamp};
use super::roster::MEMBERS_MAX;
use super::seal::{Refused, SEAL_BYTES, SEALED};
use super::summary::{Buckets, Summary};
use crate::wire::event::EVENT_BYTES_MAX;
use crate::wire::packet::State;

/// The exchange's version, first byte of every frame.
pub const VERSION: u8 = 1;

/// Bytes of a frame before its body.
pub const HEAD_BYTES: usize = 6;

/// First byte of an answer to an exchange that cannot be opened.
const BARRED: u8 = 0x82;

/// Largest body of a frame in bytes, unsealed; a longer one is refused before it is read.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Largest body of a hello in bytes: it comes from anybody, and holds a digest at most.
pub const HELLO_BYTES_MAX: usize = 1 << 20;

/// Most entries in one frame; the rest is asked for in the next exchange, at once.
pub const ENTRIES_MAX: usize = 4096;

/// Largest encoded digest item and entry (varints at their longest), in bytes.
const DIGEST_BYTES_MAX: usize = 10 + 5 + 3 + 1 + 7 + 10;
const ENTRY_BYTES_MAX: usize = 16 + 3 + 5 + 10 + 3 + 1 + 7 + 10 + 3 + META_BYTES_MAX;

/// Largest list of events and of their keys, in bytes.
const EVENTS_BYTES_MAX: usize = EVENTS_MAX * (EVENT_BYTES_MAX + 3 + 10 + 16) + 32;

const _: () =
    assert!(DIGEST_BYTES_MAX * (MEMBERS_MAX + 1) + EVENTS_BYTES_MAX + 4096 < HELLO_BYTES_MAX);
const _: () = assert!(
    ENTRY_BYTES_MAX * (ENTRIES_MAX + 1) + 10 * (MEMBERS_MAX + 1) + EVENTS_BYTES_MAX + 4096
        < BODY_BYTES_MAX
);

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
    /// The other side cannot read us, or we are not to read each other. Not authenticated: anybody
    /// on the way can say so, and can as well cut the stream.
    Barred(Bar),
}

/// Why an exchange was not even opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bar {
    /// What came was not sealed, and the other side's pool is.
    Plaintext,
    /// It was sealed with a key that the other side does not have.
    UnknownKey,
    /// It did not open.
    Forged,
    /// It was sealed, and the other side has no keys.
    NoKeys,
}

impl Bar {
    /// Emits the frame that says so.
    pub const fn emit(self) -> [u8; HEAD_BYTES] {
        let why = match self {
            Self::Plaintext => 1,
            Self::UnknownKey => 2,
            Self::Forged => 3,
            Self::NoKeys => 4,
        };
        [BARRED, why, 0, 0, 0, 0]
    }

    const fn parse(why: u8) -> Option<Self> {
        match why {
            1 => Some(Self::Plaintext),
            2 => Some(Self::UnknownKey),
            3 => Some(Self::Forged),
            4 => Some(Self::NoKeys),
            _ => None,
        }
    }
}

impl From<Refused> for Bar {
    fn from(why: Refused) -> Self {
        match why {
            Refused::Plaintext => Self::Plaintext,
            Refused::UnknownKey => Self::UnknownKey,
            Refused::Forged | Refused::Replayed | Refused::Malformed => Self::Forged,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => {
                "remote state is encrypted and encryption is not configured here (see 'encrypt')"
            }
            Self::UnknownKey => {
                "the remote agent does not have this agent's gossip encryption key (see 'encrypt')"
            }
            Self::Forged => "the remote agent could not decrypt what this agent sent",
            Self::NoKeys => "encryption is configured but remote state is not encrypted",
        })
    }
}

/// What follows the head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body {
    /// Bytes to read.
    pub len: usize,
    /// Whether they are sealed.
    pub sealed: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "unknown gossip stream version {version}"),
            Self::Kind(kind) => write!(f, "unexpected gossip frame {kind}"),
            Self::TooBig(len) => write!(f, "gossip frame of {len} bytes is too big"),
            Self::Malformed => f.write_str("malformed gossip frame"),
            Self::Refused(why) => f.write_str(why),
            Self::Barred(why) => why.fmt(f),
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
    pub(super) const fn kind(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Reply => 2,
            Self::Rest => 3,
        }
    }

    /// Checks a frame's head; answers what to read next.
    ///
    /// # Errors
    ///
    /// [`Error::Version`], [`Error::Kind`], [`Error::TooBig`] or [`Error::Barred`].
    pub fn check(self, head: [u8; HEAD_BYTES]) -> Result<Body, Error> {
        let [version, kind, len @ ..] = head;
        let sealed = match version {
            VERSION => false,
            SEALED => true,
            BARRED => return Err(Bar::parse(kind).map_or(Error::Malformed, Error::Barred)),
            _ => return Err(Error::Version(version)),
        };
        if kind != self.kind() {
            return Err(Error::Kind(kind));
        }
        let len = u32::from_be_bytes(len);
        let most = match self {
            Self::Hello => HELLO_BYTES_MAX,
            Self::Reply | Self::Rest => BODY_BYTES_MAX,
        };
        let most = if sealed { most + SEAL_BYTES } else { most };
        match usize::try_from(len) {
            Ok(len) if len <= most => Ok(Body { len, sealed }),
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

/// What the asker does after a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Sends this hello, and reads another reply.
    Hello(Vec<u8>),
    /// Sends this last frame.
    Rest(Vec<u8>),
}

/// Why an exchange is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Purpose {
    /// To become a member: conflicts are refused in words.
    Join,
    /// To repair what gossip missed.
    Repair,
    /// To become a member again, and to hear the events of meanwhile.
    Return,
}

impl Known {
    /// Tells whether its bounds are kept.
    pub(super) fn sound(&self) -> bool {
        match self {
            Self::All(digests) => digests.len() <= MEMBERS_MAX,
            Self::Summary(summary) => summary.sound(),
            Self::Part(buckets, digests) => digests.len() <= MEMBERS_MAX + 1 && buckets.sound(),
        }
    }
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
    pub known: Known,
    pub heard: Heard,
}

/// What the asker knows of others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Known {
    /// Everybody.
    All(Vec<Digest>),
    /// The marks of everybody, the asker included.
    Summary(Summary),
    /// Those in some buckets, the asker included.
    Part(Buckets, Vec<Digest>),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Refused(String),
    /// Another hello is due, with these.
    Differs(Buckets),
    Accepted {
        sender: Entry,
        entries: Vec<Entry>,
        wants: Vec<u64>,
        more: bool,
        past: Past,
    },
}

/// What an answerer tells of user events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Past {
    /// To who joins: everything up to this time is past.
    Over(u64),
    /// To who was away: its clock, what the asker lacks, and what it lacks itself.
    Open { clock: u64, events: Vec<Vec<u8>>, wants: Vec<Key> },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Rest {
    pub entries: Vec<Entry>,
    /// The asker's clock of events.
    pub clock: u64,
    /// Encoded events.
    pub events: Vec<Vec<u8>>,
}
