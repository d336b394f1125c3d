//! A device: a member of the pool that runs checks and keeps itself registered.

use agent_core::client::{self, Client, Link, Profile};
use agent_core::gossip::meta::Card;
use agent_core::gossip::seal::query::{Answer, Fault, Message};
use agent_core::gossip::seal::{
    DATAGRAM_BYTES_MAX, Drops, Keyring, Nonces, Opened, Sealer, Strictness,
};
use agent_core::gossip::{self, Config, Leaf, Transmit, leaf};
use agent_core::health::{self, Engine, Key, Slot, Status};
use agent_core::rand::Rng;
use agent_core::time::{Instant, sooner};
use core::net::SocketAddr;

/// Why [`Device::poll_timeout`] wants to be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Gossip does.
    Gossip(gossip::Reason),
    /// A check does.
    Health(health::Reason),
    /// The way to the servers does.
    Client(client::Reason),
}

/// What the program should know or do. Checks are named by their place in the profile.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "half a KiB on the stack at most; nothing to box in")]
pub enum Event<'e> {
    /// About the pool.
    Gossip(leaf::Event),
    /// Run this check now and answer with [`Device::handle_result`].
    Run(usize),
    /// Nobody reported on this check in time: it is critical now.
    Expired(usize),
    /// This check was critical for too long: its service is being removed from the catalog.
    Overdue(usize),
    /// About the servers.
    Client(client::Event<'e>),
}

/// Keys that a device holds at most.
pub const KEYS: usize = 4;

/// Senders that a device remembers against replay.
const SENDERS: usize = 16;

/// An answer about the keyring that waits to be sent.
#[derive(Clone, Copy, Debug)]
struct Owed {
    to: SocketAddr,
    id: u64,
    fault: Option<Fault>,
}

/// Why a device could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The gossip member.
    Leaf(leaf::Error),
    /// The client.
    Client(client::Error),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Leaf(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

/// What a device starts with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Timing of the pool; [`Config::lan`] unless there is a reason.
    pub config: Config,
    /// What the device is and has.
    pub profile: Profile<'a>,
    /// The gossip address that others reach.
    pub address: SocketAddr,
    /// Higher than at any start before: a boot counter, or seconds since 1970.
    pub generation: u32,
    /// Any number that differs from device to device.
    pub seed: u64,
}

/// The build that a device tells of, in the form of Consul's.
pub const BUILD: &str = "1.8.7:";

/// A gossip leaf with up to `CONTACTS` contacts (8 to 32 do), up to `CHECKS` checks with outputs of
/// up to `OUTPUT` bytes, and a client whose frames and look-ups have up to `BUFFER` bytes.
///
/// Driven by the five calls of [`agent_core`] and the stream calls of [`agent_core::client`]; its
/// size is known when it is compiled: about 64 bytes a contact, 80 and `OUTPUT` a check, twice
/// `BUFFER`, and 2 KiB.
pub struct Device<
    'a,
    const CONTACTS: usize = 8,
    const CHECKS: usize = 4,
    const OUTPUT: usize = 64,
    const BUFFER: usize = 512,
> {
    leaf: Leaf<CONTACTS>,
    health: Engine<[Slot; CHECKS]>,
    /// The key of each check of the profile, in its order.
    keys: [Option<Key>; CHECKS],
    client: Client<'a, CHECKS, OUTPUT, BUFFER>,
    sealer: Option<Sealer<KEYS, SENDERS>>,
    owed: Option<Owed>,
}

impl<'a, const CONTACTS: usize, const CHECKS: usize, const OUTPUT: usize, const BUFFER: usize>
    Device<'a, CONTACTS, CHECKS, OUTPUT, BUFFER>
{
    /// Starts alone and unconnected; [`Device::join`] is next.
    ///
    /// # Errors
    ///
    /// [`Error`] names what is not fit to be sent or does not fit the capacities.
    pub fn new(start: Start<'a>, now: Instant) -> Result<Self, Error> {
        let mut slot = None;
        Self::new_in(&mut slot, start, now)?;
        Ok(slot.expect("just put there"))
    }

    /// As [`Device::new`], in the place where it stays: as a whole it does not pass through the
    /// stack, which a board has no room for.
    ///
    /// # Errors
    ///
    /// As [`Device::new`]; the place is as before.
    pub fn new_in<'s>(
        slot: &'s mut Option<Self>,
        start: Start<'a>,
        now: Instant,
    ) -> Result<&'s mut Self, Error> {
        let profile = start.profile;
        let card = Card::client(profile.node, profile.datacenter, profile.node_id, BUILD);
        let packed = Leaf::<CONTACTS>::pack(&card).map_err(Error::Leaf)?;
        Client::<'a, CHECKS, OUTPUT, BUFFER>::measure(&profile).map_err(Error::Client)?;
        Ok(Self::put(slot, start, &card, packed, now))
    }

    /// Puts a device that fits into its place. Not inlined, as [`Device::obey`].
    #[inline(never)]
    fn put<'s>(
        slot: &'s mut Option<Self>,
        start: Start<'a>,
        card: &Card<'_>,
        packed: leaf::Packed,
        now: Instant,
    ) -> &'s mut Self {
        let Start { config, profile, address, generation, seed } = start;
        let mut dice = Rng::new(seed);
        let [leaf_seed, client_seed] = [dice.next_u64(), dice.next_u64()];
        let device = slot.insert(Self {
            leaf: Leaf::with(config, card, packed, address, generation, leaf_seed, now),
            health: Engine::new([Slot::default(); CHECKS], dice),
            keys: [None; CHECKS],
            client: Client::blank(profile, client_seed, now),
            sealer: None,
            owed: None,
        });
        device.client.hold();
        device.client.fill(now);
        for (key, check) in device.keys.iter_mut().zip(profile.checks) {
            *key = device.health.insert(now, check.plan).ok();
        }
        device
    }

    /// Seals the pool: everything is sent sealed, and nothing plain is heard.
    ///
    /// `dice` is a number that differs from start to start; where there is no source of entropy,
    /// the generation alone keeps nonces apart.
    pub fn seal(&mut self, ring: Keyring<KEYS>, dice: u64) {
        let own = self.leaf.identity();
        let start = dice ^ (u64::from(own.generation) << 32);
        let nonces = Nonces::new(own.node, start);
        self.sealer = Some(Sealer::new(ring, nonces, Strictness::FULL));
    }

    /// Lends the keys of a sealed pool. They change while it runs: a program that can keep them
    /// compares after each step, and hands them to [`Device::seal`] at the next start.
    pub const fn ring(&self) -> Option<&Keyring<KEYS>> {
        match &self.sealer {
            Some(sealer) => Some(sealer.ring()),
            None => None,
        }
    }

    /// Tells what a sealed pool dropped; zeros for a plain one.
    pub fn drops(&self) -> Drops {
        self.sealer.as_ref().map(Sealer::drops).unwrap_or_default()
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

    /// Lends the client, to look at.
    pub const fn client(&self) -> &Client<'a, CHECKS, OUTPUT, BUFFER> {
        &self.client
    }

    /// Lends the client for look-ups: its `get`, `put`, `find` and `leader`.
    pub const fn client_mut(&mut self) -> &mut Client<'a, CHECKS, OUTPUT, BUFFER> {
        &mut self.client
    }

    /// Tells how a check stands and what it said last, nothing for a check that is not there.
    pub fn check(&self, at: usize) -> Option<(Status, &str)> {
        self.client.check(at)
    }

    /// Takes the result of a check that [`Event::Run`] named, and what it said; answers its new
    /// status if a threshold did not hold it back.
    pub fn handle_result(
        &mut self,
        now: Instant,
        at: usize,
        result: Status,
        output: &str,
    ) -> Option<Status> {
        let status = self.health.handle_result(now, self.key(at)?, result)?;
        self.client.set_check(at, status, output);
        Some(status)
    }

    /// Takes the word of a check's owner (TTL); answers whether there is such a check.
    pub fn handle_report(&mut self, now: Instant, at: usize, status: Status, output: &str) -> bool {
        let Some(key) = self.key(at) else { return false };
        let known = self.health.handle_report(now, key, status);
        if known {
            self.client.set_check(at, status, output);
        }
        known
    }

    /// Takes a datagram. In a sealed pool it is copied to be opened, 1.4 KB on the stack: see
    /// [`Device::handle_datagram_in_place`].
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if self.sealer.is_none() {
            return self.hear(now, from, bytes);
        }
        let mut copy = [0; DATAGRAM_BYTES_MAX + 1];
        // One that is longer stays too long, and is counted as such.
        let len = bytes.len().min(copy.len());
        copy[..len].copy_from_slice(&bytes[..len]);
        self.handle_datagram_in_place(now, from, &mut copy[..len]);
    }

    /// Takes a datagram in memory that may be written to, and needs no other.
    pub fn handle_datagram_in_place(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) {
        let Some(sealer) = &mut self.sealer else {
            return self.hear(now, from, bytes);
        };
        match sealer.open_datagram(bytes) {
            Ok(Opened::Gossip(packet)) => self.hear(now, from, packet),
            Ok(Opened::Query(body)) => self.obey(from, body),
            // Counted.
            Err(_) => {}
        }
    }

    /// Does what a question about the keyring asks for. Not inlined: it is rare, and takes room on
    /// the stack.
    #[inline(never)]
    fn obey(&mut self, from: SocketAddr, body: &[u8]) {
        let (Some(sealer), Some(Message::Ask { target, id, op })) =
            (&mut self.sealer, Message::parse(body))
        else {
            return;
        };
        if target == *self.leaf.identity() {
            let fault = sealer.obey(&op).err();
            self.owed = Some(Owed { to: from, id, fault });
        }
    }

    /// Writes the answer about the keyring that is owed. Not inlined, as [`Device::obey`].
    #[inline(never)]
    fn pay(&mut self, out: &mut [u8]) -> Option<Transmit> {
        let Owed { to, id, fault } = self.owed.take()?;
        let sealer = self.sealer.as_mut()?;
        let (node, keys) = (self.leaf.identity().node, sealer.list());
        let len = sealer.seal_query(&Message::Answer(Answer { id, node, fault, keys }), out)?;
        Some(Transmit { to, len })
    }

    /// Takes a packet. Once a member has answered, of another datacentre even, the key is right and
    /// servers may be spoken to: they say what else is wrong.
    fn hear(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        self.leaf.handle_datagram(now, from, packet);
        if self.leaf.foreign() > 0 || self.leaf.contacts().next().is_some() {
            self.client.release(now);
        }
    }

    /// Names the connection to a server that the driver is to have; none before the pool answered.
    pub fn link(&self) -> Option<Link> {
        self.client.link()
    }

    /// Hears that the wanted connection is up.
    pub fn handle_connected(&mut self, now: Instant) {
        self.client.handle_connected(now);
    }

    /// Hears that the wanted connection ended or could not be had.
    pub fn handle_closed(&mut self, now: Instant) {
        self.client.handle_closed(now);
    }

    /// Takes bytes of the connection; answers how many it took. Offer the rest again once the
    /// events are polled.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        self.client.handle_bytes(now, bytes)
    }

    /// Writes the next bytes for the connection into `out`; answers how many. They count as sent.
    pub fn poll_transmit_stream(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.client.poll_transmit_stream(now, out)
    }

    /// Takes the time: does whatever is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.leaf.handle_timeout(now);
        self.health.handle_timeout(now);
        self.client.handle_timeout(now);
    }

    /// Writes the next datagram to send into `out`, which should hold
    /// [`DATAGRAM_BYTES_MAX`] bytes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        if self.owed.is_some()
            && let Some(transmit) = self.pay(out)
        {
            return Some(transmit);
        }
        let Some(sealer) = &mut self.sealer else { return self.leaf.poll_transmit(now, out) };
        loop {
            let Transmit { to, len } = self.leaf.poll_transmit(now, out)?;
            if let Some(len) = sealer.seal_datagram(out, len) {
                return Some(Transmit { to, len });
            }
        }
    }

    /// Tells when to call [`Device::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let gossip = self.leaf.poll_timeout().map(|(at, why)| (at, Reason::Gossip(why)));
        let health = self.health.poll_timeout().map(|(at, why)| (at, Reason::Health(why)));
        let client = self.client.poll_timeout().map(|(at, why)| (at, Reason::Client(why)));
        sooner(sooner(gossip, health), client)
    }

    /// Tells what happened. Text and values are lent until the next call of anything.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event<'_>> {
        if let Some(event) = self.leaf.poll_event() {
            self.heed(now, event);
            return Some(Event::Gossip(event));
        }
        while let Some(event) = self.health.poll_event() {
            match event {
                health::Event::Run(key) => match self.place(key) {
                    Some(at) => return Some(Event::Run(at)),
                    None => continue,
                },
                health::Event::Expired(key) => {
                    let Some(at) = self.place(key) else { continue };
                    self.client.set_check(at, Status::Critical, "TTL expired");
                    return Some(Event::Expired(at));
                }
                health::Event::Overdue(key) => {
                    let Some(at) = self.place(key) else { continue };
                    self.withdraw_service_of(at);
                    return Some(Event::Overdue(at));
                }
            }
        }
        let event = self.client.poll_event()?;
        if event == client::Event::NoServer {
            self.leaf.seek_servers();
        }
        Some(Event::Client(event))
    }

    /// Passes on to the client what the pool tells of servers and of ourselves.
    fn heed(&mut self, now: Instant, event: leaf::Event) {
        match event {
            leaf::Event::Servers => {
                for server in self.leaf.servers() {
                    self.client.offer_server(now, server);
                }
            }
            // The catalog may have been told that we are gone.
            leaf::Event::Renewed { .. } => self.client.resync(now),
            leaf::Event::Joined | leaf::Event::Alone => {}
        }
    }

    fn withdraw_service_of(&mut self, check: usize) {
        let profile = self.client.profile();
        let Some(check) = profile.checks.get(check) else { return };
        let of_check = |service: &client::Service<'_>| service.id == check.service_id;
        if let Some(service) = profile.services.iter().position(of_check) {
            self.client.withdraw(service);
        }
    }

    fn key(&self, at: usize) -> Option<Key> {
        self.keys.get(at).copied().flatten()
    }

    fn place(&self, key: Key) -> Option<usize> {
        self.keys.iter().position(|known| *known == Some(key))
    }
}
