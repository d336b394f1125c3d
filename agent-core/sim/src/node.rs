//! One member: its engine, its clock, what ails it and what it sends.

use agent_core::gossip::{Leaf, Pool};
use agent_core::time::{Duration, Instant};

use crate::engine::{CONTACTS, Engine};

/// One million parts.
const WHOLE: u128 = 1_000_000;

/// A member's own clock: starts somewhere, and runs a little fast or slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    /// What it shows at the world's first instant.
    pub origin: Instant,
    /// Millionths that it runs fast; negative if it runs slow.
    pub drift: i32,
}

impl Clock {
    fn rate(self) -> u128 {
        WHOLE.saturating_add_signed(i128::from(self.drift)).max(1)
    }

    /// Tells what the clock shows at an instant of the world.
    pub fn show(self, world: Instant) -> Instant {
        let span = u128::from(world.micros()) * self.rate() / WHOLE;
        self.origin + Duration::from_micros(span as u64)
    }

    /// Tells the first instant of the world at which the clock shows `shown` or more.
    pub fn when(self, shown: Instant) -> Instant {
        let span = u128::from(shown.since(self.origin).micros()) * WHOLE;
        Instant::from_micros(span.div_ceil(self.rate()) as u64)
    }
}

/// What a member sent since it was last asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Datagrams.
    pub datagrams: u64,
    /// Their bytes, with IP and UDP headers.
    pub datagram_bytes: u64,
    /// Bytes on streams, with IP and TCP headers.
    pub stream_bytes: u64,
}

impl Traffic {
    /// Tells all bytes.
    pub const fn bytes(&self) -> u64 {
        self.datagram_bytes + self.stream_bytes
    }
}

/// One member of the world.
pub struct Node {
    /// Its state machine.
    pub engine: Engine,
    /// Whether its process runs.
    pub up: bool,
    /// Where it stands when the network is cut.
    pub side: u8,
    /// Its clock.
    pub clock: Clock,
    /// Until when it does nothing at all.
    pub stalled_until: Instant,
    /// How long whatever it should do waits before it is done.
    pub lag: Duration,
    /// What it sent.
    pub traffic: Traffic,
    /// When it was last down, stalled or cut off; never for a member that always did well.
    pub(crate) troubled: Option<Instant>,
    /// When it will be woken.
    pub(crate) wake: Option<Instant>,
}

impl Node {
    pub(crate) const fn new(engine: Engine, clock: Clock) -> Self {
        Self {
            engine,
            up: true,
            side: 0,
            clock,
            stalled_until: Instant::from_micros(0),
            lag: Duration::ZERO,
            traffic: Traffic { datagrams: 0, datagram_bytes: 0, stream_bytes: 0 },
            troubled: None,
            wake: None,
        }
    }

    /// Tells the full member.
    ///
    /// # Panics
    ///
    /// If it is a leaf.
    pub fn pool(&self) -> &Pool {
        match &self.engine {
            Engine::Full(pool) => pool,
            Engine::Leaf(_) => panic!("a leaf where a full member was asked for"),
        }
    }

    /// Lends the full member.
    ///
    /// # Panics
    ///
    /// If it is a leaf.
    pub fn pool_mut(&mut self) -> &mut Pool {
        match &mut self.engine {
            Engine::Full(pool) => pool,
            Engine::Leaf(_) => panic!("a leaf where a full member was asked for"),
        }
    }

    /// Lends the leaf.
    ///
    /// # Panics
    ///
    /// If it is a full member.
    pub fn leaf_mut(&mut self) -> &mut Leaf<CONTACTS> {
        match &mut self.engine {
            Engine::Leaf(leaf) => leaf,
            Engine::Full(_) => panic!("a full member where a leaf was asked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_never_read_before_it_shows_what_was_asked_for() {
        for drift in [-300, -1, 0, 1, 300] {
            let clock = Clock { origin: Instant::from_micros(12_345), drift };
            for micros in [12_345, 12_346, 1_000_000, 86_400_000_001] {
                let shown = Instant::from_micros(micros);
                let world = clock.when(shown);
                assert!(clock.show(world) >= shown);
                let before = world - Duration::from_micros(2);
                assert!(before.micros() == 0 || clock.show(before) < shown, "{drift} {micros}");
            }
        }
    }
}
