//! What the driver drives: a full member, or a leaf where the view is partial.

use std::net::SocketAddr;

use agent_core::gossip::identity::Identity;
use agent_core::gossip::leaf::Event as LeafEvent;
use agent_core::gossip::{Config, Event, Meta, Pool, Reason, Status, Transmit};
use agent_core::time::Instant;

use super::partial::Partial;

/// One of the two engines, behind its five calls.
pub(super) enum Engine {
    Full(Box<Pool>),
    Leaf(Box<Partial>),
}

/// What an engine told.
pub(super) enum Told {
    Full(Event),
    Leaf(LeafEvent),
    /// A leaf's goodbye is sent.
    Left,
    /// A leaf knows others than before.
    Contacts,
}

impl Engine {
    pub(super) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        match self {
            Self::Full(pool) => pool.handle_datagram(now, from, bytes),
            Self::Leaf(leaf) => leaf.handle_datagram(now, from, bytes),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Full(pool) => pool.handle_timeout(now),
            Self::Leaf(leaf) => leaf.handle_timeout(now),
        }
    }

    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        match self {
            Self::Full(pool) => pool.poll_transmit(now, out),
            Self::Leaf(leaf) => leaf.poll_transmit(now, out),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        match self {
            Self::Full(pool) => pool.poll_timeout(),
            Self::Leaf(leaf) => leaf.poll_timeout(),
        }
    }

    /// Tells what happened; to be called when there is nothing left to send.
    pub(super) fn poll_event(&mut self) -> Option<Told> {
        match self {
            Self::Full(pool) => pool.poll_event().map(Told::Full),
            Self::Leaf(leaf) => match leaf.poll_event() {
                Some(event) => Some(Told::Leaf(event)),
                None if leaf.left() => Some(Told::Left),
                None => leaf.contacts_changed().then_some(Told::Contacts),
            },
        }
    }

    pub(super) const fn identity(&self) -> &Identity {
        match self {
            Self::Full(pool) => pool.identity(),
            Self::Leaf(leaf) => leaf.identity(),
        }
    }

    /// Counts the others, shown or not; those that a leaf is in touch with.
    pub(super) fn known(&self) -> usize {
        match self {
            Self::Full(pool) => pool.known(),
            Self::Leaf(leaf) => leaf.contacts().len(),
        }
    }

    /// Tells where others that live are, so many at most, in order; those that were known before
    /// rather than others.
    pub(super) fn living(&self, known: &[SocketAddr], most: usize) -> Vec<SocketAddr> {
        let mut living = match self {
            Self::Full(pool) => {
                let others = pool.members().skip(1).filter(|member| member.status == Status::Alive);
                let others = others.map(|member| member.identity.address.socket());
                prefer(others, known, most)
            }
            Self::Leaf(leaf) => prefer(leaf.contacts().iter().copied(), known, most),
        };
        living.sort_unstable();
        living
    }

    pub(super) const fn config(&self) -> &Config {
        match self {
            Self::Full(pool) => pool.config(),
            Self::Leaf(leaf) => leaf.config(),
        }
    }

    pub(super) const fn meta(&self) -> &Meta {
        match self {
            Self::Full(pool) => pool.meta(),
            Self::Leaf(leaf) => leaf.meta(),
        }
    }

    /// Takes up the time of the user events that an earlier run told; a leaf hears none.
    pub(super) fn resume_events(&mut self, told: u64) {
        if let Self::Full(pool) = self {
            pool.resume_events(told);
        }
    }

    pub(super) fn events_told(&self) -> u64 {
        match self {
            Self::Full(pool) => pool.events_told(),
            Self::Leaf(_) => 0,
        }
    }

    pub(super) fn leave(&mut self, now: Instant) {
        match self {
            Self::Full(pool) => pool.leave(now),
            Self::Leaf(leaf) => leaf.leave(),
        }
    }
}

/// Picks so many at most, those that are known before others.
fn prefer(
    all: impl Iterator<Item = SocketAddr> + Clone,
    known: &[SocketAddr],
    most: usize,
) -> Vec<SocketAddr> {
    let others = all.clone().filter(|address| !known.contains(address));
    all.filter(|address| known.contains(address)).chain(others).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_known_is_preferred() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let picked = prefer((1..=5).map(at), &[at(4), at(9), at(2)], 3);
        assert_eq!(picked, [at(2), at(4), at(1)]);
        assert_eq!(prefer((1..=2).map(at), &[], 3), [at(1), at(2)]);
    }
}
