//! A datagram's way: check -> admit (our table drops what is known) -> foca -> news.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::effects::Ping;
use super::{FOCA_BYTES_MAX, Phase, Pool};
use crate::gossip::Refusal;
use crate::gossip::codec;
use crate::gossip::identity::Identity;
use crate::gossip::news::News;
use crate::gossip::roster::Verdict;
use crate::time::Instant;
use crate::wire::packet::{Emitter, Header, Message, Packet, State, Update};

/// Most updates that wait to be gossiped on. What comes on top is applied and not passed on; an
/// exchange makes up for it, here and wherever else it was missed.
///
/// Building a packet costs time in proportion to this, and a datagram holds some 35 of them.
const BACKLOG_MAX: usize = 512;

/// Most newcomers that wait to be told to other full members. Those on top are left to gossip.
const NEWCOMERS_MAX: usize = 512;

impl Pool {
    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.effects.now = now;
        if matches!(self.local.phase, Phase::Parting { .. } | Phase::Gone) {
            return;
        }
        let Ok(packet) = Packet::parse(bytes) else {
            self.stats.malformed += 1;
            return;
        };
        if packet.header.pool != self.label {
            self.refuse(from, Refusal::Pool);
            if packet.header.message == Message::Announce {
                // Who asks at the wrong door should be told: the label says whose it is.
                let header = self.header(packet.header.source, Message::Broadcast);
                self.effects.send_word(&header, &[], &[]);
            }
            return;
        }
        let own = *self.foca.identity();
        let (source, target) = (packet.header.source, packet.header.target);
        let announced = packet.header.message == Message::Announce && target.address == own.address;
        let is_own = |one: &Identity| one.address == own.address || one.node == own.node;
        // Nobody is asked to reach itself, nor is told of its own probe by way of itself.
        let absurd = is_own(&source) || packet.header.message.third().is_some_and(is_own);
        if absurd || (target != own && !announced) {
            return;
        }
        self.stats.received += 1;
        self.heard = true;
        if !self.admit_sender(now, from, &packet.header) {
            return;
        }
        if !self.roster.holds(source.address) {
            // An elder life of a node that moved: foca would keep it as somebody new.
            self.stats.refused += 1;
            return;
        }
        let trusted = self
            .roster
            .records
            .get(source.node)
            .is_some_and(|record| *record.identity() == source && record.live());
        let news: Vec<News<'_>> =
            packet.broadcasts().filter(|_| trusted).filter_map(News::parse).collect();
        // Departures first: a member that left must not look failed in between.
        for item in news.iter().filter(|item| item.is_departure()) {
            self.handle_news(now, source, item);
        }
        let answered = self.answered(&packet.header);
        if let Some(ping) = answered {
            self.measure(now, ping, &news);
        }
        self.feed_foca(now, &packet, trusted);
        if answered.is_some() {
            self.end_probe(&source);
        }
        for item in news.iter().filter(|item| !item.is_departure()) {
            self.handle_news(now, source, item);
        }
        self.settle(now);
    }

    /// Applies to our table that the sender of a datagram lives; false if there is no room for it.
    fn admit_sender(&mut self, now: Instant, from: SocketAddr, header: &Header) -> bool {
        let Header { source: identity, incarnation, .. } = *header;
        let sender = Update { identity, incarnation, state: State::Alive };
        let verdict = self.admit(now, &sender);
        match verdict {
            Verdict::News if self.backlog_full(0) => self.apply_quietly(&[sender]),
            Verdict::Known | Verdict::News => {}
            Verdict::Moved(old) => self.drop_identity(old),
            Verdict::Full => {
                self.refuse(from, Refusal::Full);
                return false;
            }
        }
        let announced = header.message == Message::Announce && verdict != Verdict::Known;
        if announced && self.newcomers.len() < NEWCOMERS_MAX {
            self.newcomers.push(sender);
        }
        true
    }

    /// Tells which probe a datagram answers: that under way, once.
    fn answered(&mut self, header: &Header) -> Option<Ping> {
        let Message::Ack(number) = header.message else { return None };
        self.effects.ping.take_if(|ping| ping.to == header.source && ping.number == number)
    }

    /// Applies a claim about another member to our table; whoever refutes is no longer suspect.
    pub(super) fn admit(&mut self, now: Instant, update: &Update) -> Verdict {
        let verdict = self.roster.admit(now, update);
        if verdict == Verdict::News && update.state != State::Suspect {
            self.effects.suspicions.close(&update.identity);
        }
        verdict
    }

    /// Hands foca the header and what is new among the updates.
    fn feed_foca(&mut self, now: Instant, packet: &Packet<'_>, trusted: bool) {
        let mut stripped = core::mem::take(&mut self.scratch);
        stripped.clear();
        stripped.resize(FOCA_BYTES_MAX, 0);
        let mut moved = Vec::new();
        let (mut loud, mut quiet, mut rest) = (0, Vec::new(), Vec::new());
        let emitted = Emitter::new(&mut stripped, &packet.header);
        if let Ok(mut emitter) = emitted {
            for update in packet.updates().filter(|_| trusted) {
                let fresh = if self.concerns_us(&update.identity) {
                    self.hear_of_ourselves(&update)
                } else {
                    match self.admit(now, &update) {
                        Verdict::Known => false,
                        Verdict::News => true,
                        Verdict::Moved(old) => {
                            moved.push(old);
                            true
                        }
                        Verdict::Full => {
                            self.stats.refused += 1;
                            false
                        }
                    }
                };
                if !fresh {
                    continue;
                }
                if update.state == State::Suspect {
                    self.effects.suspect(update.identity, update.incarnation);
                }
                // What says that somebody is not well goes on whatever the backlog.
                if update.state == State::Alive && self.backlog_full(loud) {
                    quiet.push(update);
                } else {
                    loud += 1;
                    if emitter.push_update(&update).is_err() {
                        rest.push(update);
                    }
                }
            }
            let len = emitter.finish();
            let fed = self.foca.handle_data(&stripped[..len], &mut self.effects);
            self.count(fed);
        }
        // Others may fill a datagram further than foca reads.
        let applied = self.foca.apply_many(rest.iter().map(codec::member), true, &mut self.effects);
        self.count(applied);
        self.apply_quietly(&quiet);
        for old in moved {
            self.drop_identity(old);
        }
        self.scratch = stripped;
    }

    /// Tells whether not even one update beyond `more` can wait.
    pub(super) fn backlog_full(&self, more: usize) -> bool {
        self.foca.updates_backlog() + more >= BACKLOG_MAX
    }

    /// Applies updates that are not gossiped on, and sees to it that an exchange makes up for it.
    fn apply_quietly(&mut self, updates: &[Update]) {
        if !updates.is_empty() {
            let members = updates.iter().map(codec::member);
            let applied = self.foca.apply_many(members, false, &mut self.effects);
            self.count(applied);
            self.catch_up();
        }
    }
}
