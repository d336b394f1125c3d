//! Full member: foca behind the five calls, with what foca lacks around it.
//!
//! ```text
//! pool/datagram     check -> admit (our table drops what is known) -> foca -> news
//! handle_timeout    probes and suspicions, rounds of gossip, exchanges, reaping, leaving
//! pool/exchange     push/pull over the driver's streams: sync_*
//! pool/hear         claims about ourselves, news about others
//! pool/place        where we are, from probes that were answered
//! pool/event        user events
//! pool/routine      what is done by the clock, and after every call
//! pool/verify      suspects among leaves, and what only full members are told
//! pool/effects      foca's runtime: datagrams with news behind them, timers, notes
//! ```
//!
//! Round foca 2.0.0, pinned, these are ours:
//!
//! - a refuted suspicion must not end in `TurnUndead` (foca's own timer does that): suspicions end
//!   on our timers, and only if the member is still suspect at that incarnation;
//! - foca scans its members for every update: what the table knows already is dropped before;
//! - foca keeps whatever it hears of: members are bounded, an unknown `Down` is not stored;
//! - its backlog has no bound: bulk state, and what comes when much waits, is applied without being
//!   broadcast again, and an exchange soon makes up for it;
//! - Lifeguard: local health stretches the probe timers; a suspect is told so by whoever probes
//!   it, and has the longer to refute the fewer accuse it; timers that fire late (a stalled or
//!   suspended process) are put off until the sockets have been read.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::num::{NonZeroU8, NonZeroUsize};

use foca::{Foca, NoCustomBroadcast};

use super::awareness::Awareness;
use super::codec::Codec;
use super::config::Config;
use super::coordinate::Coordinate;
use super::event::Events;
use super::identity::Identity;
use super::meta::{self, Meta};
use super::news::{COORDINATE_BYTES, Departure, News, Stamp};
use super::roster::Roster;
use super::suspicion::{Suspicions, Terms};
use super::vivaldi::Vivaldi;
use super::{Event, Reason, Refusal, Role, Status, Transmit};
use crate::rand::Rng;
use crate::time::{Duration, Instant};
use crate::wire::packet::{PACKET_BYTES_MAX, Update};
use effects::{Dice, Due, Effects};

mod datagram;
mod effects;
mod event;
mod exchange;
mod hear;
mod place;
mod routine;
mod verify;

/// Most bytes of a datagram that foca may fill; the rest holds at least one piece of news.
const FOCA_BYTES_MAX: usize = 800;

const _: () = assert!(
    FOCA_BYTES_MAX + 2 + COORDINATE_BYTES + 2 + super::outbox::NEWS_BYTES_MAX <= PACKET_BYTES_MAX
);

/// Time between two reports of somebody who was not let in.
const REFUSAL_PERIOD: Duration = Duration::from_secs(10);

/// How far we are on the way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A member.
    Active,
    /// Tells that it leaves.
    Leaving { until: Instant },
    /// Tells that it is down; hears nothing any more.
    Parting { until: Instant },
    /// Silent.
    Gone,
}

/// Ourselves.
struct Local {
    meta: Meta,
    encoded: Vec<u8>,
    stamp: Stamp,
    departure: Option<Departure>,
    phase: Phase,
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Datagrams that parsed and were for us.
    pub received: u64,
    /// Datagrams handed to the driver.
    pub sent: u64,
    /// Datagrams that did not parse.
    pub malformed: u64,
    /// Datagrams and members that were not let in.
    pub refused: u64,
    /// Probes that nobody answered.
    pub probes_failed: u64,
    /// Generations taken because the others had given us up.
    pub renewals: u64,
    /// Calls that foca refused; 0 unless there is a bug.
    pub faults: u64,
}

/// A member as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct MemberView<'a> {
    /// Address, generation, node key.
    pub identity: &'a Identity,
    /// How it does.
    pub status: Status,
    /// Its name.
    pub name: &'a str,
    /// Server or client.
    pub role: Role,
    pub(super) encoded: &'a [u8],
}

impl MemberView<'_> {
    /// Tells what it tells about itself; decoded on every call.
    pub fn meta(&self) -> Meta {
        Meta::parse(self.encoded).expect("metadata is checked before it is kept")
    }
}

/// No member is shown under the name given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownMember;

impl fmt::Display for UnknownMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such member")
    }
}

impl core::error::Error for UnknownMember {}

/// A full member of one pool.
pub struct Pool {
    config: Config,
    label: u32,
    foca: Foca<Identity, Codec, Dice, NoCustomBroadcast>,
    effects: Effects,
    roster: Roster,
    local: Local,
    events: Events,
    awareness: Awareness,
    vivaldi: Vivaldi,
    /// Where others are, by node: in a WAN pool, whose members are few.
    places: BTreeMap<u64, Coordinate>,
    dice: Rng,
    stats: Stats,
    /// The pool's size for which foca is set up.
    tuned: usize,
    gossip_armed: bool,
    /// Who announced itself to us since the last round of gossip.
    newcomers: Vec<Update>,
    ask_armed: bool,
    /// Exchanges still due because much came at once.
    catch_ups: u8,
    verify_armed: bool,
    event_armed: bool,
    /// Whether somebody was heard since the last probe started.
    heard: bool,
    refusal_told: Option<Instant>,
    scratch: Vec<u8>,
}

impl Pool {
    /// Starts alone. `address` is the one that others reach, `generation` higher than at any start
    /// before, `seed` any number.
    ///
    /// # Errors
    ///
    /// [`meta::Error`] if the metadata is not fit to be sent.
    pub fn new(
        config: Config,
        meta: Meta,
        address: SocketAddr,
        generation: u32,
        seed: u64,
        now: Instant,
    ) -> Result<Self, meta::Error> {
        let encoded = meta.emit()?;
        let label = config.label(&meta.dc);
        let mut dice = Rng::new(seed);
        let identity = Identity::new(address, generation, meta.node());
        let foca = Foca::new(
            identity,
            foca_config(&config, 1),
            Dice(Rng::new(dice.next_u64())),
            Codec { pool: label },
        );
        let roster = Roster::new(identity.node, meta.name.clone());
        let effects = Effects {
            now,
            stretch: 1,
            suspicions: Suspicions::new(terms(&config, 1)),
            transmits: Default::default(),
            timers: super::timer::Timers::new(),
            notes: Vec::new(),
            outbox: Default::default(),
            incarnation: 0,
            ping: None,
            place: config.coordinates.then(Coordinate::default),
        };
        let stamp = Stamp { generation, version: 1 };
        let local = Local { meta, encoded, stamp, departure: None, phase: Phase::Active };
        let mut pool = Self {
            awareness: Awareness::new(config.awareness_max),
            vivaldi: Vivaldi::new(dice.next_u64()),
            places: BTreeMap::new(),
            config,
            label,
            foca,
            effects,
            roster,
            local,
            events: Events::new(),
            dice,
            stats: Stats::default(),
            tuned: 1,
            gossip_armed: false,
            newcomers: Vec::new(),
            ask_armed: false,
            catch_ups: 0,
            verify_armed: false,
            event_armed: false,
            heard: false,
            refusal_told: None,
            scratch: Vec::new(),
        };
        pool.tell_local();
        pool.arm_routine();
        Ok(pool)
    }

    /// Takes the time: does whatever is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.effects.now = now;
        self.put_off_late(now);
        while let Some(due) = self.effects.timers.take_due(now) {
            self.handle_due(now, due);
            self.settle(now);
        }
    }

    /// Writes the next datagram to send into `out`, which should hold [`PACKET_BYTES_MAX`] bytes.
    pub fn poll_transmit(&mut self, _now: Instant, out: &mut [u8]) -> Option<Transmit> {
        loop {
            let (to, packet) = self.effects.transmits.pop_front()?;
            if let Some(space) = out.get_mut(..packet.len()) {
                space.copy_from_slice(&packet);
                self.stats.sent += 1;
                return Some(Transmit { to: to.socket(), len: packet.len() });
            }
        }
    }

    /// Tells when to call [`Pool::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.effects.timers.next().map(|(at, due)| (at, due.reason()))
    }

    /// Tells what happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.roster.events.pop_front()
    }

    /// Walks the members that are shown, ourselves first.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> + Clone {
        let status = match self.local.phase {
            Phase::Active => Status::Alive,
            Phase::Leaving { .. } | Phase::Parting { .. } => Status::Leaving,
            Phase::Gone => Status::Left,
        };
        let local = MemberView {
            identity: self.foca.identity(),
            status,
            name: &self.local.meta.name,
            role: self.local.meta.role,
            encoded: &self.local.encoded,
        };
        core::iter::once(local).chain(self.roster.shown())
    }

    /// Tells how many others are in the table, shown or not: never over [`super::MEMBERS_MAX`].
    pub fn known(&self) -> usize {
        self.roster.records.len()
    }

    /// Tells our identity of now.
    pub const fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// Tells the settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Tells what we publish about ourselves.
    pub const fn meta(&self) -> &Meta {
        &self.local.meta
    }

    /// Tells the counters.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Tells Lifeguard's score, 0 when healthy.
    pub const fn health_score(&self) -> u8 {
        self.awareness.score()
    }

    /// Tells how many updates and pieces of news still spread from here.
    pub fn backlog(&self) -> (usize, usize) {
        (self.foca.updates_backlog(), self.effects.outbox.len())
    }

    /// Publishes new metadata.
    ///
    /// # Errors
    ///
    /// [`meta::Error`]; then nothing has changed.
    pub fn update_meta(
        &mut self,
        now: Instant,
        change: impl FnOnce(&mut Meta),
    ) -> Result<(), meta::Error> {
        self.effects.now = now;
        let mut meta = self.local.meta.clone();
        change(&mut meta);
        meta.node_id = self.local.meta.node_id;
        if meta == self.local.meta {
            return Ok(());
        }
        self.local.encoded = meta.emit()?;
        self.local.stamp.version = self.local.stamp.version.saturating_add(1);
        self.roster.rename_local(meta.name.clone());
        self.local.meta = meta;
        self.tell_local();
        self.settle(now);
        Ok(())
    }

    /// Starts a graceful leave; [`Event::LeaveDone`] ends it.
    pub fn leave(&mut self, now: Instant) {
        self.effects.now = now;
        if self.local.phase != Phase::Active {
            return;
        }
        self.local.phase = Phase::Leaving { until: now + self.config.leave_timeout };
        let generation = self.foca.identity().generation;
        let departure = Departure { generation, pruned: false };
        self.local.departure = Some(departure);
        self.spread(&News::Departure { node: self.foca.identity().node, departure });
        self.effects.arm(Duration::ZERO, Due::Leave);
        self.settle(now);
    }

    /// Makes a failed member a left one, everywhere; `prune` erases it from the lists too.
    ///
    /// A member that is alive hears of it and comes back as a new generation.
    ///
    /// # Errors
    ///
    /// [`UnknownMember`].
    pub fn force_leave(
        &mut self,
        now: Instant,
        name: &str,
        prune: bool,
    ) -> Result<(), UnknownMember> {
        self.effects.now = now;
        let identity = *self.roster.named(name).ok_or(UnknownMember)?.identity();
        let departure = Departure { generation: identity.generation, pruned: prune };
        if self.roster.depart(now, identity.node, departure) {
            self.spread(&News::Departure { node: identity.node, departure });
        }
        self.settle(now);
        Ok(())
    }

    fn refuse(&mut self, from: SocketAddr, why: Refusal) {
        self.stats.refused += 1;
        self.tell_refusal(Event::Refused { from, why });
    }

    /// Tells of something that anybody can provoke, but not often.
    fn tell_refusal(&mut self, event: Event) {
        let now = self.effects.now;
        if self.refusal_told.is_none_or(|told| now >= told + REFUSAL_PERIOD) {
            self.refusal_told = Some(now);
            self.roster.events.push_back(event);
        }
    }

    fn count(&mut self, result: Result<(), foca::Error>) {
        if result.is_err() {
            self.stats.faults += 1;
        }
    }
}

/// Tells how long suspects may take in a pool of `members`.
fn terms(config: &Config, members: usize) -> Terms {
    Terms::new(config.suspicion(members), config.suspicion_factor, members)
}

/// Sets foca up for a pool of `members`: its periodic tasks are off, ours replace them.
fn foca_config(config: &Config, members: usize) -> foca::Config {
    let one = NonZeroUsize::MIN;
    foca::Config {
        probe_period: config.probe_period.to_core(),
        probe_rtt: config.probe_timeout.to_core(),
        num_indirect_probes: NonZeroUsize::new(usize::from(config.fanout)).unwrap_or(one),
        max_transmissions: NonZeroU8::new(config.transmissions(members)).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: config.suspicion(members).to_core(),
        remove_down_after: None,
        max_packet_size: NonZeroUsize::new(FOCA_BYTES_MAX).unwrap_or(one),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: None,
    }
}
