//! The gossip datagram: check -> parse -> emit, bounded, without an allocator.
//!
//! ```text
//! datagram  = version:u8 kind:u8 pool:u32 source:identity incarnation:u16 target:identity
//!             [probe:u8]               kinds 0-5
//!             [third:identity]         kinds 2-5
//!             [count:u16 update*count] kinds 0-5, 7, 8
//!             [(len:u16 bytes[len])*]  broadcasts, kinds 0-5, 7-9; len > 0
//! update    = identity incarnation:u16 state:u8
//! identity  = 4 ip:4 | 6 ip:16, then port:u16 generation:u32 node:u64
//! ```
//!
//! Integers are big-endian. The order of header, updates and broadcasts is the one that foca reads
//! and writes, so a full member and a leaf meet on these bytes and on nothing else.

use core::fmt;

use crate::gossip::identity::{IDENTITY_BYTES_MAX, Identity};

/// The layout's version, first byte of every datagram.
pub const VERSION: u8 = 1;

/// Largest datagram in bytes: an Ethernet frame minus IPv6, UDP and room for a seal.
pub const PACKET_BYTES_MAX: usize = 1400;

/// Largest header in bytes: three IPv6 identities.
pub const HEADER_BYTES_MAX: usize = 1 + 1 + 4 + 2 + 1 + 3 * IDENTITY_BYTES_MAX;

/// Largest update in bytes.
pub const UPDATE_BYTES_MAX: usize = IDENTITY_BYTES_MAX + 2 + 1;

const _: () = assert!(HEADER_BYTES_MAX + 2 + UPDATE_BYTES_MAX < PACKET_BYTES_MAX);

/// Why bytes were not a datagram of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The datagram is longer than [`PACKET_BYTES_MAX`].
    TooBig,
    /// The datagram ends inside a field.
    Truncated,
    /// The first byte names a layout that is not spoken here.
    Version(u8),
    /// A field holds a value that the layout does not know.
    Malformed,
    /// The buffer to emit into is too short.
    NoRoom,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooBig => f.write_str("datagram too big"),
            Self::Truncated => f.write_str("datagram ends early"),
            Self::Version(version) => write!(f, "unknown gossip version {version}"),
            Self::Malformed => f.write_str("malformed datagram"),
            Self::NoRoom => f.write_str("no room to emit"),
        }
    }
}

impl core::error::Error for Error {}

/// How a member is seen. The order is the one in which claims of one incarnation beat each other.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
pub enum State {
    /// Answers its probes.
    Alive,
    /// Missed a probe and may still refute.
    Suspect,
    /// Gone; final for this generation.
    Down,
}

/// A claim about one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Update {
    /// Whom the claim is about.
    pub identity: Identity,
    /// The member's own counter of refutations, within one generation.
    pub incarnation: u16,
    /// What is claimed.
    pub state: State,
}

/// What a datagram asks or answers (SWIM, Das et al. 2002, sections 3.1 and 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// Asks for an `Ack` with the same number.
    Ping(u8),
    /// Answers a `Ping`.
    Ack(u8),
    /// Asks the receiver to ping `target` for the sender.
    PingReq {
        /// Who did not answer the sender.
        target: Identity,
        /// The probe's number.
        probe: u8,
    },
    /// Pings on behalf of `origin`.
    IndirectPing {
        /// Who started the probe.
        origin: Identity,
        /// The probe's number.
        probe: u8,
    },
    /// Answers an `IndirectPing`; to be passed on to `target`.
    IndirectAck {
        /// Who started the probe.
        target: Identity,
        /// The probe's number.
        probe: u8,
    },
    /// Tells the prober that `origin` answered.
    ForwardedAck {
        /// Who was probed.
        origin: Identity,
        /// The probe's number.
        probe: u8,
    },
    /// Asks for a `Feed`; carries nothing else.
    Announce,
    /// Answers an `Announce` with members.
    Feed,
    /// Spreads updates and broadcasts.
    Gossip,
    /// Spreads broadcasts only.
    Broadcast,
    /// Tells the receiver that it is held to be down.
    TurnUndead,
}

impl Message {
    /// Tells the kind byte.
    const fn kind(&self) -> u8 {
        match self {
            Self::Ping(_) => 0,
            Self::Ack(_) => 1,
            Self::PingReq { .. } => 2,
            Self::IndirectPing { .. } => 3,
            Self::IndirectAck { .. } => 4,
            Self::ForwardedAck { .. } => 5,
            Self::Announce => 6,
            Self::Feed => 7,
            Self::Gossip => 8,
            Self::Broadcast => 9,
            Self::TurnUndead => 10,
        }
    }

    /// Tells whom the message is about, beside the two that exchange it.
    #[cfg(feature = "alloc")]
    pub(crate) const fn third(&self) -> Option<&Identity> {
        self.details().1
    }

    /// Tells the probe number and the third identity, where the kind has them.
    const fn details(&self) -> (Option<u8>, Option<&Identity>) {
        match self {
            Self::Ping(probe) | Self::Ack(probe) => (Some(*probe), None),
            Self::PingReq { target: third, probe }
            | Self::IndirectPing { origin: third, probe }
            | Self::IndirectAck { target: third, probe }
            | Self::ForwardedAck { origin: third, probe } => (Some(*probe), Some(third)),
            Self::Announce | Self::Feed | Self::Gossip | Self::Broadcast | Self::TurnUndead => {
                (None, None)
            }
        }
    }

    /// Tells whether a count and updates follow the header.
    pub const fn carries_updates(&self) -> bool {
        !matches!(self, Self::Announce | Self::Broadcast | Self::TurnUndead)
    }

    /// Tells whether broadcasts may end the datagram.
    pub const fn carries_broadcasts(&self) -> bool {
        !matches!(self, Self::Announce | Self::TurnUndead)
    }
}

/// The head of every datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Hash of the pool's name; members of another pool are not heard.
    pub pool: u32,
    /// Who sent it.
    pub source: Identity,
    /// The sender's incarnation.
    pub incarnation: u16,
    /// For whom exactly, generation included.
    pub target: Identity,
    /// What it asks or answers.
    pub message: Message,
}

/// Reads fields from the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<u16, Error> {
        self.take().map(u16::from_be_bytes)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        let (identity, len) = Identity::parse(self.0).ok_or(Error::Malformed)?;
        self.slice(len)?;
        Ok(identity)
    }

    fn update(&mut self) -> Result<Update, Error> {
        let identity = self.identity()?;
        let incarnation = self.short()?;
        let state = match self.byte()? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(Error::Malformed),
        };
        Ok(Update { identity, incarnation, state })
    }
}

/// Writes fields to the front of a slice.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end).ok_or(Error::NoRoom)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    fn identity(&mut self, identity: &Identity) -> Result<(), Error> {
        let out = self.out.get_mut(self.len..).ok_or(Error::NoRoom)?;
        self.len += identity.emit(out).ok_or(Error::NoRoom)?;
        Ok(())
    }
}

impl Header {
    /// Parses a header from the front of `bytes`; answers it and its length.
    ///
    /// # Errors
    ///
    /// [`Error::Version`], [`Error::Truncated`] or [`Error::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), Error> {
        let mut reader = Reader(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let kind = reader.byte()?;
        let pool = u32::from_be_bytes(reader.take()?);
        let source = reader.identity()?;
        let incarnation = reader.short()?;
        let target = reader.identity()?;
        let message = match kind {
            0 => Message::Ping(reader.byte()?),
            1 => Message::Ack(reader.byte()?),
            2..=5 => {
                let probe = reader.byte()?;
                let third = reader.identity()?;
                match kind {
                    2 => Message::PingReq { target: third, probe },
                    3 => Message::IndirectPing { origin: third, probe },
                    4 => Message::IndirectAck { target: third, probe },
                    _ => Message::ForwardedAck { origin: third, probe },
                }
            }
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            10 => Message::TurnUndead,
            _ => return Err(Error::Malformed),
        };
        Ok((Self { pool, source, incarnation, target, message }, bytes.len() - reader.0.len()))
    }

    /// Emits the header; answers its length.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`]; `out` then holds a part of it.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut writer = Writer { out, len: 0 };
        writer.put(&[VERSION, self.message.kind()])?;
        writer.put(&self.pool.to_be_bytes())?;
        writer.identity(&self.source)?;
        writer.put(&self.incarnation.to_be_bytes())?;
        writer.identity(&self.target)?;
        let (probe, third) = self.message.details();
        if let Some(probe) = probe {
            writer.put(&[probe])?;
        }
        if let Some(third) = third {
            writer.identity(third)?;
        }
        Ok(writer.len)
    }
}

impl Update {
    /// Parses an update from the front of `bytes`; answers it and its length.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] or [`Error::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), Error> {
        let mut reader = Reader(bytes);
        let update = reader.update()?;
        Ok((update, bytes.len() - reader.0.len()))
    }

    /// Emits the update; answers its length.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`]; `out` then holds a part of it.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut writer = Writer { out, len: 0 };
        writer.identity(&self.identity)?;
        writer.put(&self.incarnation.to_be_bytes())?;
        writer.put(&[self.state as u8])?;
        Ok(writer.len)
    }
}

/// A datagram that has been checked to its last byte; reading it cannot fail any more.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The head.
    pub header: Header,
    updates: &'a [u8],
    broadcasts: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks and parses a whole datagram.
    ///
    /// # Errors
    ///
    /// Every [`Error`] but `NoRoom`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Error::TooBig);
        }
        let (header, len) = Header::parse(bytes)?;
        let mut reader = Reader(bytes.get(len..).ok_or(Error::Truncated)?);
        let mut updates: &[u8] = &[];
        if header.message.carries_updates() {
            let count = reader.short()?;
            let start = reader.0;
            for _ in 0..count {
                reader.update()?;
            }
            updates = &start[..start.len() - reader.0.len()];
        }
        let broadcasts = reader.0;
        if !broadcasts.is_empty() && !header.message.carries_broadcasts() {
            return Err(Error::Malformed);
        }
        while !reader.0.is_empty() {
            let len = reader.short()?;
            if len == 0 {
                return Err(Error::Malformed);
            }
            reader.slice(usize::from(len))?;
        }
        Ok(Self { header, updates, broadcasts })
    }

    /// Walks the updates.
    pub fn updates(&self) -> impl Iterator<Item = Update> + use<'a> {
        let mut reader = Reader(self.updates);
        core::iter::from_fn(move || reader.update().ok())
    }

    /// Walks the broadcasts.
    pub fn broadcasts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader(self.broadcasts);
        core::iter::from_fn(move || {
            let len = reader.short().ok()?;
            reader.slice(usize::from(len)).ok()
        })
    }
}

/// Builds one datagram in lent memory: header first, then updates, then broadcasts.
pub struct Emitter<'a> {
    writer: Writer<'a>,
    message: Message,
    count_at: usize,
    count: u16,
    sealed: bool,
}

impl<'a> Emitter<'a> {
    /// Starts a datagram in `out`, of which at most [`PACKET_BYTES_MAX`] bytes are used.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`].
    pub fn new(out: &'a mut [u8], header: &Header) -> Result<Self, Error> {
        let end = out.len().min(PACKET_BYTES_MAX);
        let out = &mut out[..end];
        let len = header.emit(out)?;
        let mut writer = Writer { out, len };
        if header.message.carries_updates() {
            writer.put(&[0, 0])?;
        }
        Ok(Self { writer, message: header.message, count_at: len, count: 0, sealed: false })
    }

    /// Adds an update.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`], or [`Error::Malformed`] where the kind carries none or a broadcast went
    /// before; the datagram stays as it was.
    pub fn push_update(&mut self, update: &Update) -> Result<(), Error> {
        if !self.message.carries_updates() || self.sealed {
            return Err(Error::Malformed);
        }
        let count = self.count.checked_add(1).ok_or(Error::NoRoom)?;
        let out = self.writer.out.get_mut(self.writer.len..).ok_or(Error::NoRoom)?;
        self.writer.len += update.emit(out)?;
        self.count = count;
        self.writer.out[self.count_at..self.count_at + 2].copy_from_slice(&count.to_be_bytes());
        Ok(())
    }

    /// Adds a broadcast; no update may follow.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`], or [`Error::Malformed`] for an empty one or a kind that carries none; the
    /// datagram stays as it was.
    pub fn push_broadcast(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if !self.message.carries_broadcasts() || bytes.is_empty() {
            return Err(Error::Malformed);
        }
        let len = u16::try_from(bytes.len()).map_err(|_| Error::NoRoom)?;
        if self.writer.out.len() - self.writer.len < bytes.len() + 2 {
            return Err(Error::NoRoom);
        }
        self.sealed = true;
        self.writer.put(&len.to_be_bytes())?;
        self.writer.put(bytes)
    }

    /// Ends the datagram; answers its length.
    pub const fn finish(self) -> usize {
        self.writer.len
    }
}
