//! Saving the whole state of the servers, and replacing it.
//!
//! A state travels as *frames*: whole rows of the store's snapshot format, each with its length
//! and checksum, cut into parts of bounded size. A restore goes through the log: its parts are
//! staged where no read sees them, and one last command puts the staged state in place, so that
//! every server changes over at the same index, or none does.

use super::Index;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Bytes of frames from which on a part is full; a part is longer by one row at most.
pub const PART_BYTES: usize = 256 * 1024;

/// A step of replacing the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Stages a new state, in place of one that was left unfinished. Its id is a UUID.
    Begin(String),
    /// Adds a part to the staged state.
    Stage(Part),
    /// Puts the staged state, if it is complete, in place of the present one.
    Commit(String),
    /// Forgets the staged state.
    Abandon(String),
}

/// Some rows of a state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Which restore they belong to.
    pub id: String,
    /// Their place, counted from 0.
    pub number: u64,
    /// The rows.
    #[serde(with = "super::bytes")]
    pub frames: Vec<u8>,
}

/// A question about the state as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Takes the state as it is now, and holds it for [`Next`](Self::Next).
    Take,
    /// Asks for the next part of a state that was taken.
    Next {
        /// Which one.
        ticket: Ticket,
        /// The part's place, counted from 0: a reply that was lost cannot be made good.
        number: u64,
    },
}

/// A state that a server holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ticket {
    /// Raft id of the server.
    pub holder: u64,
    /// Its number there.
    pub number: u64,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// A state was taken.
    Taken(Taken),
    /// The next frames; none after the last.
    Part(#[serde(with = "super::bytes")] Vec<u8>),
}

/// What a taken state is of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Taken {
    /// Where its parts are.
    pub ticket: Ticket,
    /// The index of its last change.
    pub index: Index,
    /// The raft term.
    pub term: u64,
    /// Bytes of all parts together.
    pub bytes: u64,
    /// The servers: node UUID, `ip:port` for RPC, whether it votes.
    pub servers: Vec<(String, String, bool)>,
}
