//! Sealed gossip: a keyring and AES-GCM in place, without an allocator.
//!
//! ```text
//! sealed    = kind:u8 key:4 nonce:12 ciphertext tag:16
//! nonce     = run:8 counter:4             nonce.rs: never twice under one key
//! key       = first bytes of a block      key.rs: which key of the ring, no guess for every key
//! seen      = window of counters per run  replay.rs: a datagram is opened once
//! query     = questions about keyrings    query.rs
//! frame     = sealed bodies of push/pull  frame.rs (alloc)
//! ```
//!
//! Kind and key are authenticated with the ciphertext, and so is where the bytes belong: a
//! datagram never opens as a frame, a reply only behind the hello that it answers.
//!
//! # What a replay can do
//!
//! A datagram of one of the last `SENDERS` runs heard is opened once; a copy is dropped and
//! counted. A copy of an older run, or one sent again after this process restarted, opens, and then
//! meets SWIM's order: claims of an incarnation or generation that is known change nothing, an
//! answer counts only for the probe that runs. What is left to such a copy is to name a member that
//! was forgotten long ago: it is probed, does not answer, and fails. A frame that opens an exchange
//! can be sent again and costs one answer that its sender cannot read; the other frames cannot.
//!
//! Sources: NIST SP 800-38D section 8.2.1 for nonces made of a fixed field and a counter; RFC 4303
//! section 3.4.3 for the window.

use core::fmt;

pub use key::{Key, KeyError, Keyring, RingError};
pub use nonce::Nonces;
use nonce::{NONCE_BYTES, Nonce};
use replay::Seen;

use crate::wire::packet::{PACKET_BYTES_MAX, VERSION};

#[cfg(feature = "alloc")]
pub mod frame;
mod key;
mod nonce;
pub mod query;
mod replay;

/// First byte of sealed gossip; no [packet version](VERSION) may ever be this one.
pub const SEALED: u8 = 0x81;

/// First byte of a sealed question about keyrings, and of its answer.
const QUERY: u8 = 0x83;

const _: () = assert!(SEALED != VERSION && QUERY != VERSION && SEALED != QUERY);

/// Bytes before the ciphertext: kind, key, nonce.
pub const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// Bytes after it: the tag, whole.
pub const TAG_BYTES: usize = 16;

/// Bytes by which sealing makes a message longer.
pub const SEAL_BYTES: usize = HEAD_BYTES + TAG_BYTES;

/// Largest datagram on the wire in bytes; what buffers of drivers hold.
pub const DATAGRAM_BYTES_MAX: usize = PACKET_BYTES_MAX + SEAL_BYTES;

// Ethernet's 1500 bytes, less IPv6 and UDP: a larger datagram would travel in fragments.
const _: () = assert!(DATAGRAM_BYTES_MAX <= 1500 - 40 - 8);

const KEY_ID_BYTES: usize = 4;

/// Why bytes were dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// They are not sealed, and the pool is.
    Plaintext,
    /// They are sealed with a key that the ring does not hold.
    UnknownKey,
    /// They do not open with the key that they name: forged, damaged, or meant for elsewhere.
    Forged,
    /// They were opened before.
    Replayed,
    /// They are too short or too long, or neither sealed nor gossip.
    Malformed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "encryption is configured but remote state is not encrypted",
            Self::UnknownKey => "no installed keys could decrypt the message",
            Self::Forged => "the message was not made with the key that it names",
            Self::Replayed => "the message was received before",
            Self::Malformed => "no gossip",
        })
    }
}

impl core::error::Error for Refused {}

/// How often bytes were dropped, by [`Refused`], since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drops {
    /// [`Refused::Plaintext`].
    pub plaintext: u32,
    /// [`Refused::UnknownKey`].
    pub unknown_key: u32,
    /// [`Refused::Forged`].
    pub forged: u32,
    /// [`Refused::Replayed`].
    pub replayed: u32,
    /// [`Refused::Malformed`].
    pub malformed: u32,
}

impl Drops {
    /// Counts one.
    const fn count(&mut self, why: Refused) {
        let counter = match why {
            Refused::Plaintext => &mut self.plaintext,
            Refused::UnknownKey => &mut self.unknown_key,
            Refused::Forged => &mut self.forged,
            Refused::Replayed => &mut self.replayed,
            Refused::Malformed => &mut self.malformed,
        };
        *counter = counter.saturating_add(1);
    }

    /// Tells how many there were of all kinds.
    pub const fn total(&self) -> u64 {
        let Self { plaintext, unknown_key, forged, replayed, malformed } = *self;
        plaintext as u64 + unknown_key as u64 + forged as u64 + replayed as u64 + malformed as u64
    }
}

/// How strict a member is while a pool turns from plain to sealed. Consul's
/// `encrypt_verify_incoming` and `encrypt_verify_outgoing`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strictness {
    /// Whether plain bytes are dropped.
    pub verify_incoming: bool,
    /// Whether everything is sent sealed.
    pub verify_outgoing: bool,
}

impl Strictness {
    /// Nothing plain, neither way: the default.
    pub const FULL: Self = Self { verify_incoming: true, verify_outgoing: true };
}

/// Where sealed bytes belong; authenticated with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Datagram,
    Query,
    /// A frame of push/pull: which, and the nonce of the frame before it.
    #[cfg_attr(not(feature = "alloc"), expect(dead_code, reason = "streams need an allocator"))]
    Frame {
        kind: u8,
        after: Option<Nonce>,
    },
}

impl Place {
    const fn kind(self) -> u8 {
        match self {
            Self::Datagram | Self::Frame { .. } => SEALED,
            Self::Query => QUERY,
        }
    }
}

/// What a datagram was, once opened.
#[derive(PartialEq, Eq, Debug)]
pub enum Opened<'a> {
    /// A packet, for the gossip engine.
    Gossip(&'a mut [u8]),
    /// A question about the keyring or an answer, for [`query::Message::parse`].
    Query(&'a [u8]),
}

/// Bytes of associated data: kind, key, place, frame, and the nonce before.
const BOUND_BYTES: usize = 1 + KEY_ID_BYTES + 2 + 1 + NONCE_BYTES;

impl Place {
    /// Tells what is authenticated beside the ciphertext and its nonce.
    fn bind(self, id: [u8; KEY_ID_BYTES]) -> [u8; BOUND_BYTES] {
        let mut bound = [0; BOUND_BYTES];
        bound[0] = self.kind();
        bound[1..=KEY_ID_BYTES].copy_from_slice(&id);
        if let Self::Frame { kind, after } = self {
            let place = &mut bound[1 + KEY_ID_BYTES..];
            (place[0], place[1]) = (1, kind);
            if let Some(nonce) = after {
                place[2] = 1;
                place[3..].copy_from_slice(&nonce);
            }
        }
        bound
    }
}

/// Seals what is sent and opens what comes, with up to `KEYS` keys, remembering up to `SENDERS`
/// runs of others against replay.
///
/// Its size is some 40 bytes a key and 24 a sender. 4 and 16 do for a board.
pub struct Sealer<const KEYS: usize, const SENDERS: usize> {
    ring: Keyring<KEYS>,
    nonces: Nonces,
    seen: Seen<SENDERS>,
    strictness: Strictness,
    drops: Drops,
}

impl<const KEYS: usize, const SENDERS: usize> Sealer<KEYS, SENDERS> {
    /// Starts with a ring of keys and a source of nonces.
    pub const fn new(ring: Keyring<KEYS>, nonces: Nonces, strictness: Strictness) -> Self {
        Self { ring, nonces, seen: Seen::new(), strictness, drops: Drops::ZERO }
    }

    /// Lends the ring.
    pub const fn ring(&self) -> &Keyring<KEYS> {
        &self.ring
    }

    /// Lends the ring, to change it: the next message is sealed with the primary key of then.
    pub const fn ring_mut(&mut self) -> &mut Keyring<KEYS> {
        &mut self.ring
    }

    /// Tells what was dropped so far.
    pub const fn drops(&self) -> Drops {
        self.drops
    }

    /// Seals the datagram in the first `len` bytes of `buffer`, in place; answers its new length.
    ///
    /// Nothing if there is no room for [`SEAL_BYTES`] more, or no nonce left
    /// (2^32 datagrams times 2^32 runs).
    pub fn seal_datagram(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        if !self.strictness.verify_outgoing {
            return (len <= buffer.len()).then_some(len);
        }
        self.seal(buffer, len, Place::Datagram).map(|_| len + SEAL_BYTES)
    }

    /// Opens a datagram in place.
    ///
    /// # Errors
    ///
    /// [`Refused`], counted; the bytes are then of no use.
    pub fn open_datagram<'a>(&mut self, bytes: &'a mut [u8]) -> Result<Opened<'a>, Refused> {
        self.open_any(bytes).inspect_err(|why| self.drops.count(*why))
    }

    fn open_any<'a>(&mut self, bytes: &'a mut [u8]) -> Result<Opened<'a>, Refused> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Refused::Malformed);
        }
        let place = match bytes.first() {
            Some(&SEALED) => Place::Datagram,
            Some(&QUERY) => Place::Query,
            Some(&VERSION) if self.strictness.verify_incoming => return Err(Refused::Plaintext),
            Some(&VERSION) => return Ok(Opened::Gossip(bytes)),
            Some(_) | None => return Err(Refused::Malformed),
        };
        let (nonce, plain) = self.open(bytes, place)?;
        if !self.seen.admit(&nonce) {
            return Err(Refused::Replayed);
        }
        Ok(if place == Place::Query { Opened::Query(plain) } else { Opened::Gossip(plain) })
    }

    /// Seals `buffer[..len]` in place; answers the nonce.
    fn seal(&mut self, buffer: &mut [u8], len: usize, place: Place) -> Option<Nonce> {
        let sealed = buffer.get_mut(..len.checked_add(SEAL_BYTES)?)?;
        let nonce = self.nonces.take()?;
        let key = self.ring.primary();
        sealed.copy_within(..len, HEAD_BYTES);
        let (head, rest) = sealed.split_at_mut(HEAD_BYTES);
        head[0] = place.kind();
        head[1..=KEY_ID_BYTES].copy_from_slice(&key.id());
        head[1 + KEY_ID_BYTES..].copy_from_slice(&nonce);
        let (body, tag) = rest.split_at_mut(len);
        tag.copy_from_slice(&key.encrypt(&nonce, &place.bind(key.id()), body)?);
        Some(nonce)
    }

    /// Opens sealed bytes in place.
    fn open<'a>(
        &self,
        bytes: &'a mut [u8],
        place: Place,
    ) -> Result<(Nonce, &'a mut [u8]), Refused> {
        let Some(len) = bytes.len().checked_sub(SEAL_BYTES) else {
            return Err(Refused::Malformed);
        };
        let (head, rest) = bytes.split_at_mut(HEAD_BYTES);
        let (body, tag) = rest.split_at_mut(len);
        let (id, nonce) = head[1..].split_at(KEY_ID_BYTES);
        let id: [u8; KEY_ID_BYTES] = id.try_into().map_err(|_| Refused::Malformed)?;
        let nonce: Nonce = nonce.try_into().map_err(|_| Refused::Malformed)?;
        let tag: &[u8; TAG_BYTES] = (&*tag).try_into().map_err(|_| Refused::Malformed)?;
        let key = self.ring.by_id(id).ok_or(Refused::UnknownKey)?;
        if !key.decrypt(&nonce, &place.bind(id), body, tag) {
            return Err(Refused::Forged);
        }
        Ok((nonce, body))
    }
}

impl Drops {
    const ZERO: Self = Self { plaintext: 0, unknown_key: 0, forged: 0, replayed: 0, malformed: 0 };
}

#[cfg(test)]
mod tests;
