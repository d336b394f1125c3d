//! A device: a member of the pool that runs checks.

use agent_core::gossip::meta::Card;
use agent_core::gossip::{self, Config, Leaf, Transmit, leaf};
use agent_core::health::{self, Engine, Full, Key, Plan, Slot, Status};
use agent_core::rand::Rng;
use agent_core::time::Instant;
use core::net::SocketAddr;

/// Why [`Device::poll_timeout`] wants to be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Gossip does.
    Gossip(gossip::Reason),
    /// A check does.
    Health(health::Reason),
}

/// What the program should know or do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// About the pool.
    Gossip(leaf::Event),
    /// About a check: run it, say.
    Health(health::Event),
}

/// A gossip leaf with up to `CONTACTS` contacts (8 to 32 do) and up to `CHECKS` checks.
///
/// Driven by the five calls of [`agent_core`]; its size is known when it is compiled.
pub struct Device<const CONTACTS: usize, const CHECKS: usize> {
    leaf: Leaf<CONTACTS>,
    health: Engine<[Slot; CHECKS]>,
}

impl<const CONTACTS: usize, const CHECKS: usize> Device<CONTACTS, CHECKS> {
    /// Starts alone. `address` is the one that others reach, `generation` higher than at any start
    /// before (a boot counter, or seconds since 1970), `seed` any number.
    ///
    /// # Errors
    ///
    /// [`leaf::Error`] if the metadata is not fit to be sent.
    pub fn new(
        config: Config,
        card: &Card<'_>,
        address: SocketAddr,
        generation: u32,
        seed: u64,
        now: Instant,
    ) -> Result<Self, leaf::Error> {
        let mut dice = Rng::new(seed);
        let leaf = Leaf::new(config, card, address, generation, dice.next_u64(), now)?;
        Ok(Self { leaf, health: Engine::new([Slot::default(); CHECKS], dice) })
    }

    /// Asks the member at an address to take us in; again whenever [`leaf::Event::Alone`] comes.
    pub fn join(&mut self, address: SocketAddr) {
        self.leaf.join(address);
    }

    /// Tells the pool that we go. Poll transmits once more, then stop.
    pub fn leave(&mut self) {
        self.leaf.leave();
    }

    /// Lends the gossip member, to look at.
    pub const fn leaf(&self) -> &Leaf<CONTACTS> {
        &self.leaf
    }

    /// Adds a check.
    ///
    /// # Errors
    ///
    /// [`Full`] if there are `CHECKS` already; nothing changed.
    pub fn insert_check(&mut self, now: Instant, plan: Plan) -> Result<Key, Full> {
        self.health.insert(now, plan)
    }

    /// Removes a check; one that is not there is no matter.
    pub fn remove_check(&mut self, key: Key) {
        self.health.remove(key);
    }

    /// Tells how a check stands, nothing for a check that is not there.
    pub fn status(&self, key: Key) -> Option<Status> {
        self.health.status(key)
    }

    /// Takes the result of a check that [`health::Event::Run`] named; answers its new status if it
    /// turned.
    pub fn handle_result(&mut self, now: Instant, key: Key, result: Status) -> Option<Status> {
        self.health.handle_result(now, key, result)
    }

    /// Takes the report of a check's owner; answers whether its status changed.
    pub fn handle_report(&mut self, now: Instant, key: Key, status: Status) -> bool {
        self.health.handle_report(now, key, status)
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.leaf.handle_datagram(now, from, bytes);
    }

    /// Takes the time: does whatever is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.leaf.handle_timeout(now);
        self.health.handle_timeout(now);
    }

    /// Writes the next datagram to send into `out`, which should hold
    /// [`PACKET_BYTES_MAX`](agent_core::wire::packet::PACKET_BYTES_MAX) bytes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        self.leaf.poll_transmit(now, out)
    }

    /// Tells when to call [`Device::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let gossip = self.leaf.poll_timeout().map(|(at, why)| (at, Reason::Gossip(why)));
        let health = self.health.poll_timeout().map(|(at, why)| (at, Reason::Health(why)));
        [gossip, health].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Tells what happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        match self.leaf.poll_event() {
            Some(event) => Some(Event::Gossip(event)),
            None => self.health.poll_event().map(Event::Health),
        }
    }
}
