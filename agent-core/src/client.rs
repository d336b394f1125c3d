//! A device's way to the servers, without an allocator: find one, register, stay registered, look
//! things up.
//!
//! ```text
//! link       which connection the driver is to have: wait -> connect -> linked, round the servers;
//!            none while held, until the pool is known to hear the device
//! exchange   one request in flight; its frame and the reply share one buffer
//! sync       Hello, every service and check, Settled: on a new connection and from time to time
//! between    checks that turned; what the application looks up; a ping when nothing else is said
//! event      what the application and the driver are told
//! profile    what the device tells about itself
//! ```
//!
//! A server that is lost, silent, talks nonsense or refuses is left for the next one after a pause
//! that doubles up to [`PAUSE_MAX`], with jitter, so that thousands of devices do not return at
//! once. What is registered is the device's own word: servers that forgot it, or a leader that
//! changed, are told again by the next sync.
//!
//! Beside the five calls (there are no datagrams) a stream has these: [`Client::link`] names the
//! wanted connection, [`Client::handle_connected`] and [`Client::handle_closed`] tell of it,
//! [`Client::handle_bytes`] and [`Client::poll_transmit_stream`] carry its bytes.

mod event;
mod exchange;
mod profile;

pub use event::{Busy, Error, Event, Item, Link, Reason, Wanted, Why};
pub use profile::{Check, Profile, SERVICES_MAX, Service};

use crate::gossip::identity::Address;
use crate::health::Status;
use crate::rand::Rng;
use crate::time::{Duration, Instant};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::memory::Lent;
use crate::wire::message::{Ask, TELL_BYTES_MIN, Tell, emit};
use core::net::SocketAddr;
use exchange::Flight;
use heapless::{Deque, String, Vec};

/// Most servers that are kept.
pub const SERVERS_MAX: usize = 8;

/// Pause after the first failure; each further one doubles it.
pub const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause between two attempts.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a connection may take to come up.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long a server may take to answer: it holds a write while there is no leader.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// How long a look-up may wait for its turn and its answer.
const LOOKUP_TIME: Duration = Duration::from_secs(30);

/// Time without a word after which the server is asked whether it lives.
const PING_TIME: Duration = Duration::from_secs(30);

/// Bounds of what a server may set as the time between two syncs.
const SYNC_SECS: core::ops::RangeInclusive<u16> = 10..=3600;

/// What is to be told without the buffer.
#[derive(Clone, Copy, Debug)]
enum Note {
    NoServer,
    Connected(Address),
    Registered,
    Lost(Address, Why),
    Unanswered,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Held,
    Waiting { until: Instant },
    Connecting { server: Address, until: Instant },
    Linked { server: Address },
}

/// How a check stands and what the servers know of it.
#[derive(Clone, Debug)]
struct Standing<const OUTPUT: usize> {
    status: Status,
    output: String<OUTPUT>,
    /// It turned and no server has heard of it.
    turned: bool,
}

/// Which part of a sync comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sync {
    Hello,
    Service(usize),
    Check(usize),
    Settled,
    Done,
}

/// A client for up to `CHECKS` checks with outputs of up to `OUTPUT` bytes; `BUFFER` bytes hold one
/// frame in either direction, and as many a look-up that waits.
pub struct Client<'a, const CHECKS: usize, const OUTPUT: usize, const BUFFER: usize> {
    profile: Profile<'a>,
    checks: Vec<Standing<OUTPUT>, CHECKS>,
    /// Services given up, one bit each, and those that the servers still have to hear of.
    withdrawn: u32,
    unremoved: u32,
    servers: Vec<Address, SERVERS_MAX>,
    next_server: usize,
    phase: Phase,
    number: u32,
    failures: u32,
    sync: Sync,
    sync_at: Instant,
    sync_period: Duration,
    registered: bool,
    heard_at: Instant,
    flight: Option<Flight>,
    next_id: u32,
    /// The channel byte is still to be sent.
    greet: bool,
    buffer: [u8; BUFFER],
    /// Bytes of a reply in the buffer.
    have: usize,
    /// A reply in the buffer waits to be polled as an event about this.
    told: Option<Item>,
    lookup: Vec<u8, BUFFER>,
    lookup_until: Option<Instant>,
    notes: Deque<Note, 8>,
    dice: Rng,
}

impl<'a, const CHECKS: usize, const OUTPUT: usize, const BUFFER: usize>
    Client<'a, CHECKS, OUTPUT, BUFFER>
{
    /// Starts unconnected.
    ///
    /// # Errors
    ///
    /// [`Error`] names what does not fit: everything is measured here, so that nothing fails later.
    pub fn new(profile: Profile<'a>, seed: u64, now: Instant) -> Result<Self, Error> {
        Self::measure(&profile)?;
        let mut client = Self::blank(profile, seed, now);
        client.fill(now);
        Ok(client)
    }

    /// A client that knows no check and no server before [`Client::fill`], for a profile that was
    /// measured: a client is then made in its place, where the stack has no room for it.
    #[inline]
    pub fn blank(profile: Profile<'a>, seed: u64, now: Instant) -> Self {
        const {
            assert!(BUFFER >= HEADER_BYTES + TELL_BYTES_MIN as usize, "a refusal must fit");
            assert!(BUFFER <= HEADER_BYTES + 2048, "servers take messages of 2048 bytes");
        }
        Self {
            profile,
            checks: Vec::new(),
            withdrawn: 0,
            unremoved: 0,
            servers: Vec::new(),
            next_server: 0,
            phase: Phase::Waiting { until: now },
            number: 0,
            failures: 0,
            sync: Sync::Hello,
            sync_at: now,
            sync_period: Duration::from_secs(60),
            registered: false,
            heard_at: now,
            flight: None,
            next_id: 0,
            greet: false,
            buffer: [0; BUFFER],
            have: 0,
            told: None,
            lookup: Vec::new(),
            lookup_until: None,
            notes: Deque::new(),
            dice: Rng::new(seed),
        }
    }

    /// Takes checks and servers from the profile of a blank client.
    pub fn fill(&mut self, now: Instant) {
        let profile = self.profile;
        for check in profile.checks {
            let status = check.plan.status;
            // Measured, so there is room.
            let _ = self.checks.push(Standing { status, output: String::new(), turned: false });
        }
        for server in profile.servers {
            self.offer_server(now, *server);
        }
        self.next_server = self.dice.below(self.servers.len() as u64) as usize;
    }

    /// Longest reply body that the buffer takes.
    const REPLY_BYTES_MAX: u16 = (BUFFER - HEADER_BYTES) as u16;

    /// Keeps away from servers until [`Client::release`]: frames are not sealed, so that a device
    /// that the pool does not hear, for want of its key, would be in the catalog all the same.
    /// Look-ups wait, and end after their time. To be called before there is a connection.
    pub fn hold(&mut self) {
        debug_assert!(self.link().is_none(), "nothing to hold back any more");
        self.phase = Phase::Held;
    }

    /// Turns to the servers at once, if it was held.
    pub fn release(&mut self, now: Instant) {
        if self.phase == Phase::Held {
            self.phase = Phase::Waiting { until: now };
        }
    }

    /// Learns of a server's RPC address; a full table gives up the one tried longest ago.
    pub fn offer_server(&mut self, now: Instant, server: SocketAddr) {
        let server = Address::from(server);
        if self.servers.contains(&server) {
            return;
        }
        if self.servers.is_empty() && matches!(self.phase, Phase::Waiting { .. }) {
            self.phase = Phase::Waiting { until: now };
        }
        if let Err(server) = self.servers.push(server) {
            let current = match self.phase {
                Phase::Held | Phase::Waiting { .. } => None,
                Phase::Connecting { server, .. } | Phase::Linked { server } => Some(server),
            };
            let configured = self.profile.servers.len().min(SERVERS_MAX);
            let learned = self.servers.iter().skip(configured);
            let place = learned.enumerate().find(|(_, known)| Some(**known) != current);
            if let Some((place, _)) = place {
                self.servers.remove(configured + place);
                let _ = self.servers.push(server);
            }
        }
    }

    /// Walks the servers that are known.
    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|server| server.socket())
    }

    /// Lends what the device told about itself.
    pub const fn profile(&self) -> &Profile<'a> {
        &self.profile
    }

    /// Tells whether the catalog holds all that the device has, as far as it knows.
    pub const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Tells how a check stands, and what it said last.
    pub fn check(&self, at: usize) -> Option<(Status, &str)> {
        self.checks.get(at).map(|standing| (standing.status, standing.output.as_str()))
    }

    /// Notes how a check stands; output beyond `OUTPUT` bytes is cut at a character. A turn is told
    /// at once, a new output with the next sync. A check that is not there is no matter.
    pub fn set_check(&mut self, at: usize, status: Status, output: &str) {
        let Some(standing) = self.checks.get_mut(at) else { return };
        standing.turned |= standing.status != status;
        standing.status = status;
        let mut end = output.len().min(OUTPUT);
        while !output.is_char_boundary(end) {
            end -= 1;
        }
        standing.output.clear();
        let kept = standing.output.push_str(&output[..end]);
        debug_assert!(kept.is_ok(), "cut to fit");
    }

    /// Gives a service up, with its checks, until the device starts again.
    pub fn withdraw(&mut self, service: usize) {
        if service < self.profile.services.len() {
            self.withdrawn |= 1 << service;
            self.unremoved |= 1 << service;
        }
    }

    /// Tells everything again at the next turn: the pool had given the device up, say.
    pub fn resync(&mut self, now: Instant) {
        self.sync_at = now;
    }

    /// Looks a key up; an event brings [`Tell::Value`], [`Tell::Missing`] or a failure.
    ///
    /// # Errors
    ///
    /// [`Busy`]; nothing is changed.
    pub fn get(&mut self, now: Instant, key: &str) -> Result<(), Busy> {
        self.look_up(now, &Ask::Get { key })
    }

    /// Stores a value; an event brings [`Tell::Done`] or a failure.
    ///
    /// # Errors
    ///
    /// [`Busy`]; nothing is changed.
    pub fn put(&mut self, now: Instant, key: &str, value: &[u8], flags: u64) -> Result<(), Busy> {
        self.look_up(now, &Ask::Put { key, value, flags })
    }

    /// Looks up to `most` instances of a service up; an event brings [`Tell::Instances`] or a
    /// failure.
    ///
    /// # Errors
    ///
    /// [`Busy`]; nothing is changed.
    pub fn find(&mut self, now: Instant, wanted: Wanted<'_>) -> Result<(), Busy> {
        let Wanted { service, tag, passing, most } = wanted;
        self.look_up(now, &Ask::Find { service, tag, passing, most })
    }

    /// Asks for the leader; an event brings [`Tell::Leader`] or a failure.
    ///
    /// # Errors
    ///
    /// [`Busy`]; nothing is changed.
    pub fn leader(&mut self, now: Instant) -> Result<(), Busy> {
        self.look_up(now, &Ask::Leader)
    }

    fn look_up(&mut self, now: Instant, ask: &Ask<Lent<'_>>) -> Result<(), Busy> {
        if self.lookup_until.is_some() || self.told == Some(Item::Lookup) {
            return Err(Busy::Waiting);
        }
        let mut body = [0; BUFFER];
        let room = &mut body[HEADER_BYTES..];
        let length = emit(ask, room).ok_or(Busy::TooLong)?;
        self.lookup.clear();
        let kept = self.lookup.extend_from_slice(&room[..length]);
        debug_assert!(kept.is_ok(), "no longer than the buffer");
        self.lookup_until = Some(now + LOOKUP_TIME);
        Ok(())
    }

    /// Names the connection that the driver is to have: it opens this one and closes any other.
    pub fn link(&self) -> Option<Link> {
        match self.phase {
            Phase::Held | Phase::Waiting { .. } => None,
            Phase::Connecting { server, .. } | Phase::Linked { server } => {
                Some(Link { number: self.number, server: server.socket() })
            }
        }
    }

    /// Hears that the wanted connection is up.
    pub fn handle_connected(&mut self, now: Instant) {
        if let Phase::Connecting { server, .. } = self.phase {
            self.phase = Phase::Linked { server };
            self.sync = Sync::Hello;
            self.greet = true;
            self.heard_at = now;
        }
    }

    /// Hears that the wanted connection ended or could not be had.
    pub fn handle_closed(&mut self, now: Instant) {
        match self.phase {
            Phase::Held | Phase::Waiting { .. } => {}
            Phase::Connecting { .. } => self.fail(now, Why::Unreachable),
            Phase::Linked { .. } => self.fail(now, Why::Closed),
        }
    }

    /// Takes the time: does whatever is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.lookup_until.is_some_and(|until| until <= now) {
            self.end_lookup();
        }
        match self.phase {
            Phase::Waiting { until } if until <= now => self.choose(now),
            Phase::Connecting { until, .. } if until <= now => self.fail(now, Why::Unreachable),
            Phase::Linked { .. } if self.flight.is_some_and(|flight| flight.until <= now) => {
                self.fail(now, Why::Silent);
            }
            Phase::Held
            | Phase::Waiting { .. }
            | Phase::Connecting { .. }
            | Phase::Linked { .. } => {}
        }
    }

    /// Tells when to call [`Client::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let own = match (self.phase, self.flight) {
            (Phase::Held, _) => None,
            (Phase::Waiting { until }, _) => Some((until, Reason::Retry)),
            (Phase::Connecting { until, .. }, _) => Some((until, Reason::Silence)),
            (Phase::Linked { .. }, Some(flight)) => Some((flight.until, Reason::Silence)),
            (Phase::Linked { .. }, None) => {
                Some((self.sync_at.min(self.heard_at + PING_TIME), Reason::Turn))
            }
        };
        let lookup = self.lookup_until.map(|until| (until, Reason::Silence));
        [own, lookup].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Tells what happened. Text and values are lent until the next call of anything.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        if let Some(item) = self.told.take() {
            return Some(match self.reply()? {
                Tell::Refused { reason, text } => Event::Refused { item, reason, text },
                tell => Event::Answer(tell),
            });
        }
        Some(match self.notes.pop_front()? {
            Note::NoServer => Event::NoServer,
            Note::Connected(server) => Event::Connected { server: server.socket() },
            Note::Registered => Event::Registered,
            Note::Lost(server, why) => Event::Lost { server: server.socket(), why },
            Note::Unanswered => Event::Unanswered,
        })
    }

    fn note(&mut self, note: Note) {
        if self.notes.is_full() {
            self.notes.pop_front();
        }
        let _ = self.notes.push_back(note);
    }

    /// Turns to the next server.
    fn choose(&mut self, now: Instant) {
        if self.servers.is_empty() {
            self.phase = Phase::Waiting { until: now + self.pause() };
            self.note(Note::NoServer);
            return;
        }
        self.next_server %= self.servers.len();
        let server = self.servers[self.next_server];
        self.next_server += 1;
        self.number = self.number.wrapping_add(1);
        self.phase = Phase::Connecting { server, until: now + CONNECT_TIME };
    }

    /// Leaves the server.
    fn fail(&mut self, now: Instant, why: Why) {
        let (Phase::Connecting { server, .. } | Phase::Linked { server }) = self.phase else {
            return;
        };
        if self.flight.take().is_some_and(|flight| flight.item == Some(Item::Lookup)) {
            self.end_lookup();
        }
        // A refusal in the buffer is still to be told; half a reply is not.
        if self.told.is_none() {
            self.have = 0;
        }
        self.registered = false;
        self.phase = Phase::Waiting { until: now + self.pause() };
        self.note(Note::Lost(server, why));
    }

    fn end_lookup(&mut self) {
        if let Some(flight) = &mut self.flight
            && flight.item == Some(Item::Lookup)
        {
            flight.item = None;
        }
        self.lookup_until = None;
        self.note(Note::Unanswered);
    }

    /// Rolls the pause before the next attempt: half of it is by lot.
    fn pause(&mut self) -> Duration {
        let doubled = PAUSE_MIN.times(1 << self.failures.min(6)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        let half = doubled.micros() / 2;
        Duration::from_micros(half + self.dice.below(half))
    }
}

#[cfg(test)]
mod tests;
