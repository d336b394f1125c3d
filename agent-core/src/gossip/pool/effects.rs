//! What foca wants done, gathered: datagrams, timers, and notes for our own table.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;

use foca::{Notification, Timer};

use crate::gossip::Reason;
use crate::gossip::identity::{Address, Identity};
use crate::gossip::news::News;
use crate::gossip::outbox::{NEWS_BYTES_MAX, Outbox};
use crate::gossip::timer::Timers;
use crate::rand::Rng;
use crate::time::{Duration, Instant};
use crate::wire::packet::{Emitter, Header, Message, PACKET_BYTES_MAX, State};

/// Most datagrams waiting for the driver; more are dropped, as a full socket would.
const TRANSMITS_MAX: usize = 1024;

/// Most suspicions that wait for their end; further suspects are left to the next failed probe.
const SUSPICIONS_MAX: usize = 4096;

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
    Reconnect,
    Reap,
    Ask,
    Leave,
}

impl Due {
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Probe(_) => Reason::Probe,
            Self::Suspicion { .. } => Reason::Suspicion,
            Self::Gossip => Reason::Gossip,
            Self::Sync => Reason::Sync,
            Self::Reconnect => Reason::Reconnect,
            Self::Reap => Reason::Reap,
            Self::Ask => Reason::Ask,
            Self::Leave => Reason::Leave,
        }
    }
}

/// What foca found out by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    Up(Identity),
    Down(Identity),
    Suspect(Identity),
    ProbeFailed,
    Renewed(Identity),
}

/// The runtime that foca is lent for the time of one call.
pub(super) struct Effects {
    pub now: Instant,
    /// The factor for probe timers.
    pub stretch: u64,
    pub suspicion: Duration,
    pub transmits: VecDeque<(Address, Vec<u8>)>,
    pub timers: Timers<Due>,
    pub suspicions: usize,
    pub notes: Vec<Note>,
    pub outbox: Outbox,
    /// Our incarnation, as the last header told it.
    pub incarnation: u16,
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

    pub(super) fn suspect(&mut self, identity: Identity, incarnation: u16) {
        if self.suspicions < SUSPICIONS_MAX {
            self.suspicions += 1;
            self.arm(self.suspicion, Due::Suspicion { identity, incarnation });
        }
    }

    /// Sends one piece of news to one member, outside of foca.
    pub(super) fn send_news(&mut self, pool: u32, source: Identity, to: Identity, news: &News<'_>) {
        let mut piece = [0; NEWS_BYTES_MAX];
        let Some(len) = news.emit(&mut piece) else { return };
        let incarnation = self.incarnation;
        let message = Message::Broadcast;
        let header = Header { pool, source, incarnation, target: to, message };
        let mut packet = [0; PACKET_BYTES_MAX];
        let emitted = Emitter::new(&mut packet, &header).and_then(|mut emitter| {
            emitter.push_broadcast(&piece[..len])?;
            Ok(emitter.finish())
        });
        if let Ok(len) = emitted {
            self.send(to.address, packet[..len].to_vec());
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
                self.notes.push(Note::Suspect(member_id));
                self.suspect(member_id, incarnation);
            }
            // None of these is configured; the pool has its own.
            Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => {}
        }
    }
}

/// Tells the state that a note speaks of.
impl Note {
    pub(super) const fn state(&self) -> Option<(Identity, State)> {
        match self {
            Self::Up(identity) => Some((*identity, State::Alive)),
            Self::Down(identity) => Some((*identity, State::Down)),
            Self::Suspect(identity) => Some((*identity, State::Suspect)),
            Self::ProbeFailed | Self::Renewed(_) => None,
        }
    }
}
