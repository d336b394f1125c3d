//! What a member tells about itself besides its identity: name, role, ports, tags.
//!
//! Encoded by postcard, append-only; at most [`META_BYTES_MAX`] bytes, so that one fits a datagram.

#[cfg(feature = "alloc")]
use alloc::string::String;
#[cfg(feature = "alloc")]
use alloc::vec::Vec;
#[cfg(feature = "alloc")]
use core::fmt;

use serde::{Deserialize, Serialize};

use super::identity::node_key;

/// Largest encoded metadata in bytes, Serf's limit for tags.
pub const META_BYTES_MAX: usize = 512;

/// Longest node name in bytes, Serf's limit.
pub const NAME_BYTES_MAX: usize = 128;

/// What an agent is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Takes part in consensus.
    Server,
    /// Forwards to servers.
    Client,
}

/// A member's metadata in lent memory, for those who only tell it. Encodes as `Meta` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Card<'a> {
    /// The node's name, unique in the pool; 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: &'a str,
    /// Server or client.
    pub role: Role,
    /// The datacentre.
    pub dc: &'a str,
    /// The node ID, a UUID; its key is the identity's node key.
    pub node_id: [u8; 16],
    /// The build, such as `1.8.7:`.
    pub build: &'a str,
    /// The protocol version spoken, 2.
    pub protocol: u8,
    /// The port for RPC; 0 for a client.
    pub rpc_port: u16,
    /// The port of the WAN pool; 0 if there is none.
    pub wan_port: u16,
    /// How many servers are waited for; 0 for a client.
    pub expect: u8,
    /// Whether a server bootstraps alone.
    pub bootstrap: bool,
    /// Whether a server never votes.
    pub non_voter: bool,
    /// The raft node; 0 for a client.
    pub raft_id: u64,
    /// Further tags, in the order given.
    pub tags: &'a [(&'a str, &'a str)],
    /// Whether this is a leaf: it takes no streams, and knows few others.
    pub leaf: bool,
}

impl<'a> Card<'a> {
    /// Describes a leaf that is a client, without tags.
    pub const fn client(name: &'a str, dc: &'a str, node_id: [u8; 16], build: &'a str) -> Self {
        Self {
            name,
            role: Role::Client,
            dc,
            node_id,
            build,
            protocol: 2,
            rpc_port: 0,
            wan_port: 0,
            expect: 0,
            bootstrap: false,
            non_voter: false,
            raft_id: 0,
            tags: &[],
            leaf: true,
        }
    }

    /// Tells the node key that belongs to this metadata.
    pub const fn node(&self) -> u64 {
        node_key(self.node_id)
    }

    /// Emits the metadata; answers its length, or nothing if `out` is too short.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        postcard::to_slice(self, out).ok().map(|bytes| bytes.len())
    }
}

/// A member's metadata.
#[cfg(feature = "alloc")]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// The node's name, unique in the pool; 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Server or client.
    pub role: Role,
    /// The datacentre.
    pub dc: String,
    /// The node ID, a UUID; its key is the identity's node key.
    pub node_id: [u8; 16],
    /// The build, such as `1.8.7:`.
    pub build: String,
    /// The protocol version spoken, 2.
    pub protocol: u8,
    /// The port for RPC, 8300; 0 for a client.
    pub rpc_port: u16,
    /// The port of the WAN pool, 8302; 0 if there is none.
    pub wan_port: u16,
    /// How many servers this server waits for before it bootstraps; 0 if it was not told.
    pub expect: u8,
    /// Whether this server bootstraps alone.
    pub bootstrap: bool,
    /// Whether this server never votes.
    pub non_voter: bool,
    /// The raft node, 0 for a client.
    pub raft_id: u64,
    /// Further tags, in the order given.
    pub tags: Vec<(String, String)>,
    /// Whether this is a leaf: it takes no streams, and knows few others.
    pub leaf: bool,
}

/// Why metadata was refused.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Longer than [`META_BYTES_MAX`] when encoded.
    TooBig,
    /// The name is empty, too long, or holds a control character.
    Name,
    /// Not an encoding of metadata.
    Malformed,
}

#[cfg(feature = "alloc")]
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooBig => {
                write!(f, "Encoded length of tags exceeds limit of {META_BYTES_MAX} bytes")
            }
            Self::Name => write!(f, "Node name must be 1 to {NAME_BYTES_MAX} printable bytes"),
            Self::Malformed => f.write_str("Malformed member metadata"),
        }
    }
}

#[cfg(feature = "alloc")]
impl core::error::Error for Error {}

/// Tells the name in encoded metadata, without parsing the rest.
#[cfg(feature = "alloc")]
pub(super) fn name(encoded: &[u8]) -> Option<&str> {
    postcard::take_from_bytes(encoded).ok().map(|(name, _)| name)
}

#[cfg(feature = "alloc")]
impl Meta {
    /// Describes a full member that is a client, without tags.
    pub fn client(name: &str, dc: &str, node_id: [u8; 16], build: &str) -> Self {
        Self {
            name: name.into(),
            role: Role::Client,
            dc: dc.into(),
            node_id,
            build: build.into(),
            protocol: 2,
            rpc_port: 0,
            wan_port: 0,
            expect: 0,
            bootstrap: false,
            non_voter: false,
            raft_id: 0,
            tags: Vec::new(),
            leaf: false,
        }
    }

    /// Tells the node key that belongs to this metadata.
    pub const fn node(&self) -> u64 {
        node_key(self.node_id)
    }

    /// Emits the metadata.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] or [`Error::TooBig`].
    pub fn emit(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let bytes = postcard::to_allocvec(self).map_err(|_| Error::Malformed)?;
        if bytes.len() > META_BYTES_MAX {
            return Err(Error::TooBig);
        }
        Ok(bytes)
    }

    /// Parses metadata. Bytes after it are ignored: a later release may append fields.
    ///
    /// # Errors
    ///
    /// Every [`Error`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > META_BYTES_MAX {
            return Err(Error::TooBig);
        }
        let (meta, _) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| Error::Malformed)?;
        meta.check()?;
        Ok(meta)
    }

    fn check(&self) -> Result<(), Error> {
        let fits = (1..=NAME_BYTES_MAX).contains(&self.name.len());
        if !fits || self.name.chars().any(char::is_control) {
            return Err(Error::Name);
        }
        Ok(())
    }
}
