//! What foca wants done, gathered: datagrams, timers, and notes for our own table.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;

use foca::{Notification, Timer};

use super::FOCA_BYTES_MAX;
use crate::gossip::Reason;
use crate::gossip::coordinate::Coordinate;
use crate::gossip::identity::{Address, Identity};
use crate::gossip::news::{COORDINATE_BYTES, News};
use crate::gossip::outbox::{NEWS_BYTES_MAX, Outbox};
use crate::gossip::suspicion::Suspicions;
use crate::gossip::timer::Timers;
use crate::rand::Rng;
use crate::time::{Duration, Instant};
use crate::wire::packet::{Emitter, Header, Message, PACKET_BYTES_MAX, Packet, State, Update};

/// Most datagrams waiting for the driver; more are dropped, as a full socket would.
const TRANSMITS_MAX: usize = 1024;

/// Our dice, as foca's.
pub(super) struct Dice(pub Rng);

impl rand::TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let bytes = self.0.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

/// What a timer of the pool is for.
#[derive(Clone, Debug)]
pub(super) enum Due {
    Probe(Timer<Identity>),
    Suspicion { identity: Identity, incarnation: u16 },
    Gossip,
    Sync,
    CatchUp,
    Verify,
    Reconnect,
    Reap,
    Ask,
    Leave,
    Event,
}

impl Due {
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Probe(_) => Reason::Probe,
            Self::Suspicion { .. } | Self::Verify => Reason::Suspicion,
            Self::Gossip => Reason::Gossip,
            Self::Sync | Self::CatchUp => Reason::Sync,
            Self::Reconnect => Reason::Reconnect,
            Self::Reap => Reason::Reap,
            Self::Ask => Reason::Ask,
            Self::Leave => Reason::Leave,
            Self::Event => Reason::Event,
        }
    }
}

/// What foca found out by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    Up(Identity),
    Down(Identity),
    /// Our own probe failed, of a member at this incarnation.
    Suspect(Identity, u16),
    ProbeFailed,
    Renewed(Identity),
}

/// The probe under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    pub to: Identity,
    pub number: u8,
    pub at: Instant,
}

/// The runtime that foca is lent for the time of one call.
pub(super) struct Effects {
    pub now: Instant,
    /// The factor for probe timers.
    pub stretch: u64,
    pub suspicions: Suspicions,
    pub transmits: VecDeque<(Address, Vec<u8>)>,
    pub timers: Timers<Due>,
    pub notes: Vec<Note>,
    pub outbox: Outbox,
    /// Our incarnation, as the last header told it.
    pub incarnation: u16,
    /// The last probe that was sent, until it is answered.
    pub ping: Option<Ping>,
    /// Where we are, unless nobody is to know.
    pub place: Option<Coordinate>,
}

impl Effects {
    pub(super) fn send(&mut self, to: Address, packet: Vec<u8>) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back((to, packet));
        }
    }

    pub(super) fn arm(&mut self, after: Duration, due: Due) {
        self.timers.arm(self.now + after, due);
    }

    /// Opens a suspicion, unless it is open.
    pub(super) fn suspect(&mut self, identity: Identity, incarnation: u16) {
        if let Some(ends) = self.suspicions.open(self.now, identity, incarnation) {
            self.timers.arm(ends, Due::Suspicion { identity, incarnation });
        }
    }

    /// Counts an accuser of an open suspicion; false if it is none, or not needed. `witnesses` are
    /// those who can confirm it besides the first.
    pub(super) fn accuse(
        &mut self,
        identity: Identity,
        incarnation: u16,
        accuser: u64,
        witnesses: usize,
    ) -> bool {
        let ends = self.suspicions.accuse(&identity, incarnation, accuser, witnesses);
        if let Some(ends) = ends {
            self.timers.arm(ends, Due::Suspicion { identity, incarnation });
        }
        ends.is_some()
    }

    /// Sends a datagram outside of foca, with as many of the updates, then of the news, as fit.
    pub(super) fn send_word(&mut self, header: &Header, updates: &[Update], news: &[News<'_>]) {
        let mut packet = [0; PACKET_BYTES_MAX];
        let Ok(mut emitter) = Emitter::new(&mut packet, header) else { return };
        for update in updates {
            let _ = emitter.push_update(update);
        }
        for item in news {
            let mut piece = [0; NEWS_BYTES_MAX];
            if let Some(len) = item.emit(&mut piece) {
                let _ = emitter.push_broadcast(&piece[..len]);
            }
        }
        let len = emitter.finish();
        self.send(header.target.address, packet[..len].to_vec());
    }

    /// Tells whoever probed us where we are, behind the answer.
    fn push_place(&self, packet: &mut Vec<u8>) {
        let Some(place) = self.place else { return };
        let mut piece = [0; COORDINATE_BYTES];
        if let Some(len) = News::Coordinate(place).emit(&mut piece) {
            packet.extend_from_slice(&(len as u16).to_be_bytes());
            packet.extend_from_slice(&piece[..len]);
        }
    }
}

impl foca::Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        let note = match notification {
            Notification::MemberUp(identity) => Note::Up(*identity),
            Notification::MemberDown(identity) => Note::Down(*identity),
            Notification::Rejoin(identity) => Note::Renewed(*identity),
            Notification::ProbeFailed(_, _) => Note::ProbeFailed,
            Notification::Rename(_, _)
            | Notification::Active
            | Notification::Idle
            | Notification::Defunct
            | Notification::DataReceived(_)
            | Notification::DataSent(_) => return,
        };
        self.notes.push(note);
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        let mut packet = Vec::with_capacity(data.len());
        packet.extend_from_slice(data);
        if let Ok((header, _)) = Header::parse(data) {
            self.incarnation = header.incarnation;
            let probe = matches!(header.message, Message::Ping(_) | Message::IndirectPing { .. });
            let suspected = self.suspicions.holds(&header.target).filter(|_| probe);
            if let Some(warned) = suspected.and_then(|at| with_warning(data, at)) {
                packet = warned;
            }
            if let Message::Ping(number) = header.message {
                self.ping = Some(Ping { to, number, at: self.now });
            }
            if let Message::Ack(_) = header.message {
                self.push_place(&mut packet);
            }
            if header.message.carries_broadcasts() {
                self.outbox.fill(&mut packet);
            }
        }
        self.send(to.address, packet);
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: core::time::Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let after = Duration::from_micros(micros);
        match timer {
            Timer::ProbeRandomMember(_) | Timer::SendIndirectProbe { .. } => {
                self.arm(after.times(self.stretch), Due::Probe(timer));
            }
            // Suspicions end on our own timers: foca's would send TurnUndead to the refuted.
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                self.notes.push(Note::Suspect(member_id, incarnation));
            }
            // None of these is configured; the pool has its own.
            Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => {}
        }
    }
}

/// Adds to a probe of a suspect that it is one, as Lifeguard's buddies do, if it is not in there.
fn with_warning(data: &[u8], incarnation: u16) -> Option<Vec<u8>> {
    let packet = Packet::parse(data).ok()?;
    let identity = packet.header.target;
    let warning = Update { identity, incarnation, state: State::Suspect };
    let mut bytes = alloc::vec![0; FOCA_BYTES_MAX];
    let mut emitter = Emitter::new(&mut bytes, &packet.header).ok()?;
    emitter.push_update(&warning).ok()?;
    for update in packet.updates().filter(|update| update.identity != identity) {
        // The last one may have to wait for the next packet.
        if emitter.push_update(&update).is_err() {
            break;
        }
    }
    let len = emitter.finish();
    bytes.truncate(len);
    Some(bytes)
}

impl Note {
    /// Tells the state that a note speaks of, if it is to be taken over as it is.
    pub(super) const fn state(&self) -> Option<(Identity, State)> {
        match self {
            Self::Up(identity) => Some((*identity, State::Alive)),
            Self::Down(identity) => Some((*identity, State::Down)),
            Self::Suspect(..) | Self::ProbeFailed | Self::Renewed(_) => None,
        }
    }
}
