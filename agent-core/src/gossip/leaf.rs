//! Leaf: a member of constant size for small devices, without an allocator.
//!
//! ```text
//! answers    Ping -> Ack, PingReq -> IndirectPing, IndirectPing -> IndirectAck -> ForwardedAck
//! defends    suspicion of itself -> next incarnation, told again and again for a while;
//!            TurnUndead -> next generation and Announce
//! helps      probes one of its contacts a period, tells of a suspect, relays a few rumours
//! shuffles   who is probed takes the prober in for one of its contacts, which the prober takes
//! refreshes  Announce to a contact now and then; its Feed brings other contacts
//! ```
//!
//! Shuffling turns an edge of the graph of who knows whom around and moves another (Cyclon,
//! Voulgaris et al. 2005, with an exchange of one): who is known by few becomes known with every
//! probe of its own, and who is known by many is given up as often as it is probed. However a pool
//! came together, each leaf is soon in about as many tables as every other, so that each is probed
//! about once a period, and a failure of anybody is noticed. Full members are in more.
//!
//! It holds up to `CONTACTS` members whatever the pool's size, and never declares anybody down:
//! that is for full members. It speaks the datagrams of [`crate::wire::packet`] and nothing else.

use core::net::SocketAddr;

use heapless::{Deque, Vec};

use super::Reason;
use super::config::Config;
use super::identity::{Address, Identity};
use super::meta::Card;
use super::news::{Contact, Departure, News, SERVERS_MAX, Stamp};
use crate::rand::Rng;
use crate::time::{Duration, Instant};
use crate::wire::packet::{Header, Message, Packet, State, Update};

mod contact;
mod defence;
mod rumour;
mod server;
mod transmit;

use defence::Refutation;
use rumour::{Memory, RELAYED_MAX, Relay, Rumour};
use transmit::{Cargo, Parcel, QUEUE_MAX};

/// Largest encoded metadata of a leaf, in bytes: name, datacentre, ID and a tag or two.
pub const CARD_BYTES_MAX: usize = 256;

/// Metadata as it is sent.
pub type Packed = Vec<u8, CARD_BYTES_MAX>;

/// How often our metadata rides along after it or our generation changed.
const CARD_SENDS: u8 = 6;

/// Time between two requests for other contacts.
const REFRESH_PERIOD: Duration = Duration::from_secs(30);

/// A full table takes one in so many strangers that a feed brings.
const FEED_ODDS: u64 = 4;

/// A full table takes one in so many strangers that probe us.
const SHUFFLE_ODDS: u64 = 2;

/// A timer this late says that we, not the others, were away.
const LATE: Duration = Duration::from_secs(1);

/// Why a leaf could not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The metadata is longer than [`CARD_BYTES_MAX`] when encoded.
    CardTooBig,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::CardTooBig => write!(f, "metadata exceeds {CARD_BYTES_MAX} bytes"),
        }
    }
}

impl core::error::Error for Error {}

/// What a leaf's application should know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The first contact was made.
    Joined,
    /// No contact is left; [`Leaf::join`] is to be called with an address known otherwise.
    Alone,
    /// [`Leaf::servers`] are others than before.
    Servers,
    /// The pool had given us up; we are back under this generation, to be kept if it can be.
    Renewed {
        /// The new generation.
        generation: u32,
    },
}

/// Where the probe of this period stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Probe {
    /// Nobody is probed, or the probe was answered.
    Idle,
    /// Waits for the probed member itself.
    Direct(Contact),
    /// Waits for others, too.
    Indirect(Contact),
}

/// A member of constant size. `CONTACTS` of 8 to 32 do for pools of any size.
pub struct Leaf<const CONTACTS: usize> {
    config: Config,
    label: u32,
    own: Identity,
    incarnation: u16,
    card: Packed,
    stamp: Stamp,
    card_left: u8,
    departure: Option<Departure>,
    contacts: Vec<Contact, CONTACTS>,
    cursor: usize,
    probe: Probe,
    number: u8,
    relays: Deque<Relay, RELAYED_MAX>,
    memory: Memory,
    servers: Vec<Address, SERVERS_MAX>,
    queue: Deque<Parcel, QUEUE_MAX>,
    events: Deque<Event, 4>,
    dice: Rng,
    foreign: u32,
    refutation: Option<Refutation>,
    probe_at: Instant,
    help_at: Option<Instant>,
    refresh_at: Instant,
}

impl<const CONTACTS: usize> Leaf<CONTACTS> {
    /// Starts alone. `address` is the one that others reach, `generation` higher than at any start
    /// before, `seed` any number.
    ///
    /// # Errors
    ///
    /// [`Error::CardTooBig`].
    pub fn new(
        config: Config,
        card: &Card<'_>,
        address: SocketAddr,
        generation: u32,
        seed: u64,
        now: Instant,
    ) -> Result<Self, Error> {
        let packed = Self::pack(card)?;
        Ok(Self::with(config, card, packed, address, generation, seed, now))
    }

    /// Encodes metadata as it is sent, for [`Leaf::with`], if it fits.
    ///
    /// # Errors
    ///
    /// [`Error::CardTooBig`].
    pub fn pack(card: &Card<'_>) -> Result<Packed, Error> {
        let mut bytes = Vec::new();
        bytes.resize_default(CARD_BYTES_MAX).expect("that is its capacity");
        let len = card.emit(&mut bytes).ok_or(Error::CardTooBig)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// As [`Leaf::new`], which cannot fail any more: a leaf is then made in its place, where the
    /// stack has no room for it.
    #[inline]
    pub fn with(
        config: Config,
        card: &Card<'_>,
        packed: Packed,
        address: SocketAddr,
        generation: u32,
        seed: u64,
        now: Instant,
    ) -> Self {
        const { assert!(CONTACTS >= 2, "a probe needs somebody else to help") };
        Self {
            label: config.label(card.dc),
            own: Identity::new(address, generation, card.node()),
            incarnation: 0,
            card: packed,
            stamp: Stamp { generation, version: 1 },
            card_left: CARD_SENDS,
            departure: None,
            contacts: Vec::new(),
            cursor: 0,
            probe: Probe::Idle,
            number: 0,
            relays: Deque::new(),
            memory: Memory::new(),
            servers: Vec::new(),
            queue: Deque::new(),
            events: Deque::new(),
            dice: Rng::new(seed),
            foreign: 0,
            refutation: None,
            probe_at: now + config.probe_period,
            help_at: None,
            refresh_at: now + REFRESH_PERIOD,
            config,
        }
    }

    /// Asks the member at an address to take us in; its identity need not be known.
    pub fn join(&mut self, address: SocketAddr) {
        self.send(Identity::new(address, 0, 0), Message::Announce);
    }

    /// Tells every contact that we leave. To be followed by polling transmits until there are none.
    pub fn leave(&mut self) {
        self.departure = Some(Departure { generation: self.own.generation, pruned: false });
        self.queue.clear();
        for at in 0..self.contacts.len() {
            self.send(self.contacts[at].identity, Message::Gossip);
        }
    }

    /// Tells our identity of now.
    pub const fn identity(&self) -> &Identity {
        &self.own
    }

    /// Counts datagrams for us that came from other pools, of another datacentre as a rule.
    pub const fn foreign(&self) -> u32 {
        self.foreign
    }

    /// Walks the members we know.
    pub fn contacts(&self) -> impl Iterator<Item = &Identity> {
        self.contacts.iter().map(|contact| &contact.identity)
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, _from: SocketAddr, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else { return };
        let header = &packet.header;
        let announced =
            header.message == Message::Announce && header.target.address == self.own.address;
        let ours = header.source.node == self.own.node || header.source.address == self.own.address;
        let departed = self.departure.is_some();
        if departed || ours || (header.target != self.own && !announced) {
            return;
        }
        if header.pool != self.label {
            self.foreign = self.foreign.saturating_add(1);
            return;
        }
        if header.message == Message::TurnUndead {
            self.renew_past(self.own.generation);
            return;
        }
        let source = Contact { identity: header.source, incarnation: header.incarnation };
        self.meet(source);
        let shuffled = packet.broadcasts().any(|news| News::parse(news) == Some(News::Shuffle));
        for update in packet.updates() {
            self.hear(now, &packet.header, &update);
            // A feed is for whoever asked for it; the rest is news.
            if header.message != Message::Feed && update.identity.node != self.own.node {
                self.pass_on(now, Rumour::Update(update));
            }
        }
        for news in packet.broadcasts().filter_map(News::parse) {
            self.hear_news(now, header.source, &news);
        }
        match header.message {
            Message::Ping(probe) => self.acknowledge(source, probe, shuffled),
            message => self.answer(header.source, message),
        }
    }

    fn answer(&mut self, from: Identity, message: Message) {
        match message {
            Message::PingReq { target, probe } if target != self.own => {
                self.send(target, Message::IndirectPing { origin: from, probe });
            }
            Message::IndirectPing { origin, probe } if origin != self.own => {
                self.send(from, Message::IndirectAck { target: origin, probe });
            }
            Message::IndirectAck { target, probe } if target != self.own => {
                self.send(target, Message::ForwardedAck { origin: from, probe });
            }
            Message::Ack(probe) => self.end_probe(from, probe),
            Message::ForwardedAck { origin, probe } => self.end_probe(origin, probe),
            Message::Announce => self.send(from, Message::Feed),
            Message::Ping(_)
            | Message::PingReq { .. }
            | Message::IndirectPing { .. }
            | Message::IndirectAck { .. }
            | Message::Feed
            | Message::Gossip
            | Message::Broadcast
            | Message::TurnUndead => {}
        }
    }

    /// Takes the time: does whatever is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.departure.is_some() {
            return;
        }
        if now.since(self.probe_at) > LATE {
            // We were away: the answer may be among what waits to be read.
            self.probe = Probe::Idle;
            self.help_at = None;
        }
        if self.help_at.is_some_and(|at| at <= now) {
            self.help_at = None;
            self.ask_for_help();
        }
        if self.probe_at <= now {
            self.probe_at = now + self.config.probe_period;
            self.finish_probe(now);
            self.start_probe(now);
        }
        if self.refutation.is_some_and(|refutation| refutation.at <= now) {
            self.repeat_refutation(now);
        }
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH_PERIOD;
            if let Some(contact) = self.pick() {
                self.send(contact, Message::Announce);
            }
            self.seek_servers();
        }
    }

    fn hear(&mut self, now: Instant, header: &Header, update: &Update) {
        let identity = &update.identity;
        if *identity == self.own {
            match update.state {
                State::Alive => {}
                State::Suspect => self.refute(now, header.source, update.incarnation),
                State::Down => self.renew_past(self.own.generation),
            }
            return;
        }
        if identity.node == self.own.node || identity.address == self.own.address {
            if identity.generation >= self.own.generation {
                self.renew_past(identity.generation);
            }
            return;
        }
        match update.state {
            State::Alive => {
                let Update { identity, incarnation, .. } = *update;
                let contact = Contact { identity, incarnation };
                let known = self.meet(contact);
                if !known && header.message == Message::Feed && self.dice.below(FEED_ODDS) == 0 {
                    self.replace_any(contact);
                }
            }
            State::Suspect => {}
            State::Down => self.drop_contact(identity),
        }
    }

    fn hear_news(&mut self, now: Instant, from: Identity, news: &News<'_>) {
        match news {
            News::Want { node } if *node == self.own.node => self.tell_news(from, Cargo::Card),
            News::WantServers if !self.servers.is_empty() => self.tell_news(from, Cargo::Servers),
            News::Servers(servers) => self.learn_servers(*servers),
            News::Departure { node, departure } if *node == self.own.node => {
                if departure.generation >= self.own.generation {
                    self.renew_past(departure.generation);
                }
            }
            News::Meta { node, stamp, .. } if *node == self.own.node => {
                if *stamp > self.stamp {
                    let version = stamp.version.saturating_add(1);
                    self.stamp = Stamp { generation: stamp.generation, version };
                    self.card_left = CARD_SENDS;
                }
            }
            News::Departure { node, departure } => {
                self.pass_on(now, Rumour::Departure { node: *node, departure: *departure });
            }
            News::Contact(contact) => self.take_over(from, *contact),
            // Full members verify suspects themselves: who accuses whom need not go round.
            // A leaf measures nothing and tells no place: one datagram in flight is all it keeps.
            // Events are for agents that can act on them.
            News::Want { .. }
            | News::WantServers
            | News::Coordinate(_)
            | News::Accusation(_)
            | News::Meta { .. }
            | News::Shuffle
            | News::Event(_) => {}
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    /// Tells when to call [`Leaf::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        if self.departure.is_some() {
            return None;
        }
        let probe = (self.help_at.unwrap_or(self.probe_at).min(self.probe_at), Reason::Probe);
        let ask = (self.refresh_at, Reason::Ask);
        let refutation = self.refutation.map_or(probe, |next| (next.at, Reason::Gossip));
        [probe, ask, refutation].into_iter().min_by_key(|(at, _)| *at)
    }

    /// Tells what happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
