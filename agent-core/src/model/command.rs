//! Everything that enters the raft log.

use super::{autopilot, catalog, coordinate, kv, query, session, snapshot, txn};
use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// First byte of every encoded [`Command`]; raised when a variant or field is appended.
pub const VERSION: u8 = 1;

/// A change of the state that all servers share. Time and luck are settled before it is proposed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Registers a node, an instance, checks.
    Register(Box<catalog::Register>),
    /// Removes a node, an instance or a check.
    Deregister(catalog::Deregister),
    /// Writes to the key/value store.
    Kv(kv::Op),
    /// Makes or ends a session.
    Session(session::Op),
    /// Sets how the leader looks after the servers.
    Autopilot(autopilot::Op),
    /// Makes, changes or removes a prepared query.
    Prepared(query::Op),
    /// Replaces the state as a whole.
    Snapshot(snapshot::Op),
    /// Applies operations together or not at all.
    Txn(Vec<txn::Op>),
    /// Sets where nodes are.
    Coordinate(coordinate::Op),
}

/// Bytes were not a command of a version that this build knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The version byte is missing or unknown.
    Version(Option<u8>),
    /// What follows it is damaged.
    Damaged,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(Some(version)) => write!(f, "unknown command version {version}"),
            Self::Version(None) => f.write_str("empty command"),
            Self::Damaged => f.write_str("damaged command"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Command {
    /// Writes the version byte and the command.
    pub fn emit(&self) -> Vec<u8> {
        postcard::to_extend(self, alloc::vec![VERSION]).expect("a vector takes any command")
    }

    /// Reads what [`emit`](Self::emit) wrote.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for foreign, damaged or trailing bytes; nothing is changed.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
                Ok((command, [])) => Ok(command),
                Ok(_) | Err(_) => Err(DecodeError::Damaged),
            },
            Some((&version, _)) => Err(DecodeError::Version(Some(version))),
            None => Err(DecodeError::Version(None)),
        }
    }
}
