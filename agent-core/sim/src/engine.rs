//! A production state machine behind its five calls.

use std::net::SocketAddr;

use agent_core::gossip::leaf::Event as LeafEvent;
use agent_core::gossip::{Card, Config, Event, Leaf, Meta, Pool, Transmit};
use agent_core::time::Instant;

/// Contacts of a simulated leaf, as boards have them.
pub const CONTACTS: usize = 8;

/// The datacentre of every pool here.
const DATACENTER: &str = "dc1";

/// Which engine a member runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Knows everybody.
    Full,
    /// Knows [`CONTACTS`] members.
    Leaf,
}

/// What an engine told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// By a full member.
    Full(Event),
    /// By a leaf.
    Leaf(LeafEvent),
}

/// One member's state machine.
pub enum Engine {
    /// A full member.
    Full(Box<Pool>),
    /// A member of constant size.
    Leaf(Box<Leaf<CONTACTS>>),
}

/// Names a member's node ID: its number and nothing else.
pub fn node_id(number: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    id
}

/// Describes member `number` as an agent does.
pub fn meta(number: usize) -> Meta {
    Meta {
        rpc_port: 8300,
        ..Meta::client(&format!("node{number}"), DATACENTER, node_id(number), "1.8.7:")
    }
}

impl Engine {
    /// Starts a full member.
    ///
    /// # Panics
    ///
    /// If the metadata is not fit to be sent.
    pub fn full(
        config: Config,
        meta: Meta,
        at: SocketAddr,
        generation: u32,
        seed: u64,
        now: Instant,
    ) -> Self {
        let pool = Pool::new(config, meta, at, generation, seed, now);
        Self::Full(Box::new(pool.expect("fit metadata")))
    }

    /// Starts a leaf that describes itself as member `number`.
    pub fn leaf(
        config: Config,
        number: usize,
        at: SocketAddr,
        generation: u32,
        seed: u64,
        now: Instant,
    ) -> Self {
        let name = format!("node{number}");
        let card = Card::client(&name, DATACENTER, node_id(number), "1.8.7:");
        let leaf = Leaf::new(config, &card, at, generation, seed, now);
        Self::Leaf(Box::new(leaf.expect("a short card")))
    }

    /// Tells which engine this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Full(_) => Kind::Full,
            Self::Leaf(_) => Kind::Leaf,
        }
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        match self {
            Self::Full(pool) => pool.handle_datagram(now, from, bytes),
            Self::Leaf(leaf) => leaf.handle_datagram(now, from, bytes),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Full(pool) => pool.handle_timeout(now),
            Self::Leaf(leaf) => leaf.handle_timeout(now),
        }
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        match self {
            Self::Full(pool) => pool.poll_transmit(now, out),
            Self::Leaf(leaf) => leaf.poll_transmit(now, out),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Full(pool) => pool.poll_timeout().map(|(at, _)| at),
            Self::Leaf(leaf) => leaf.poll_timeout().map(|(at, _)| at),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Told> {
        match self {
            Self::Full(pool) => pool.poll_event().map(Told::Full),
            Self::Leaf(leaf) => leaf.poll_event().map(Told::Leaf),
        }
    }
}
