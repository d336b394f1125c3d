//! Questions about keyrings: one member asks every other, and each answers for itself.
//!
//! ```text
//! question  = sealed 0 target:identity id:u64 op   op is list, install, use or remove
//! answer    = sealed 1 id:u64 node:u64 fault? keys, the primary first
//! ```
//!
//! Both are datagrams that only exist sealed: who does not have a key of the pool can neither ask
//! nor answer. A question names its receiver with its generation, so that a copy of it does nothing
//! after a restart, and does nothing elsewhere; the window keeps copies out before.

use serde::{Deserialize, Serialize};

use super::{Key, KeyError, Place, RingError, Sealer};
use crate::gossip::identity::Identity;

/// Most keys that an answer holds; a ring need not be larger.
pub const KEYS_MAX: usize = 16;

/// Bytes of a key as it travels; one more than the longest, so that a longer one is told as wrong.
const KEY_BYTES_MAX: usize = 33;

/// A key as it travels, not yet known to be one.
pub type KeyBytes = heapless::Vec<u8, KEY_BYTES_MAX>;

/// What is to be done with a ring.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Nothing, but to tell its keys.
    List,
    /// A key is added, to open with.
    Install(KeyBytes),
    /// A key becomes the one that seals.
    Use(KeyBytes),
    /// A key is taken out.
    Remove(KeyBytes),
}

impl Op {
    /// Cuts a key to what travels; what is cut was too long for a key and stays so.
    pub fn key(bytes: &[u8]) -> KeyBytes {
        bytes.iter().copied().take(KEY_BYTES_MAX).collect()
    }
}

/// Why a member did not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fault {
    /// [`KeyError`].
    Size,
    /// [`RingError::Absent`].
    Absent,
    /// [`RingError::Primary`].
    Primary,
    /// [`RingError::Full`].
    Full,
    /// The ring changed, but could not be kept on disk.
    Storage,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Size => KeyError.fmt(f),
            Self::Absent => RingError::Absent.fmt(f),
            Self::Primary => RingError::Primary.fmt(f),
            Self::Full => RingError::Full.fmt(f),
            Self::Storage => f.write_str("Failed to write keyring file"),
        }
    }
}

impl From<RingError> for Fault {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Absent => Self::Absent,
            RingError::Primary => Self::Primary,
            RingError::Full => Self::Full,
        }
    }
}

/// What a member answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    pub id: u64,
    /// Who answers: its node key.
    pub node: u64,
    /// Why it was not done.
    pub fault: Option<Fault>,
    /// The keys of its ring afterwards, the primary first.
    pub keys: heapless::Vec<KeyBytes, KEYS_MAX>,
}

/// A question or an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack for one datagram")]
pub enum Message {
    /// Asks one member.
    Ask {
        /// Whom, generation included.
        target: Identity,
        /// Which question; the same one may be sent again.
        id: u64,
        /// What to do.
        op: Op,
    },
    /// Answers.
    Answer(Answer),
}

impl Message {
    /// Parses an opened datagram, or nothing if it is neither.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl<const KEYS: usize, const SENDERS: usize> Sealer<KEYS, SENDERS> {
    /// Does to the ring what is asked, and tells whether that changed it.
    ///
    /// # Errors
    ///
    /// [`Fault`]; the ring is as it was.
    pub fn obey(&mut self, op: &Op) -> Result<bool, Fault> {
        let key = |bytes: &KeyBytes| Key::new(bytes).map_err(|KeyError| Fault::Size);
        let before = (*self.ring.primary(), self.ring.keys().len());
        match op {
            Op::List => {}
            Op::Install(bytes) => self.ring.install(key(bytes)?)?,
            Op::Use(bytes) => self.ring.promote(&key(bytes).map_err(|_| Fault::Absent)?)?,
            Op::Remove(bytes) => {
                // What is no key is in no ring: there is nothing to remove.
                if let Ok(key) = key(bytes) {
                    self.ring.remove(&key)?;
                }
            }
        }
        Ok(before != (*self.ring.primary(), self.ring.keys().len()))
    }

    /// Tells the keys as they travel, the primary first.
    pub fn list(&self) -> heapless::Vec<KeyBytes, KEYS_MAX> {
        self.ring.keys().take(KEYS_MAX).map(|key| Op::key(key.as_bytes())).collect()
    }

    /// Emits a question or an answer, sealed; answers its length, nothing without room or nonce.
    pub fn seal_query(&mut self, message: &Message, out: &mut [u8]) -> Option<usize> {
        let len = postcard::to_slice(message, out).ok()?.len();
        self.seal(out, len, Place::Query).map(|_| len + super::SEAL_BYTES)
    }
}
