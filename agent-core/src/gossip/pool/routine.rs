//! What the pool does by the clock, and what it does after every call.

use alloc::vec::Vec;

use super::effects::{Due, Note};
use super::{Phase, Pool, foca_config, terms};
use crate::gossip::codec;
use crate::gossip::identity::Identity;
use crate::gossip::news::{Accusation, News};
use crate::gossip::roster::Record;
use crate::gossip::{Event, Status};
use crate::time::{Duration, Instant};
use crate::wire::packet::{Message, State, Update};

/// A timer this late says that we, not the others, were away.
const LATE: Duration = Duration::from_secs(1);

/// Time to read the sockets before late probe timers count.
const GRACE: Duration = Duration::from_millis(200);

/// A member that never said who it is is forgotten so long after it stopped answering: it was never
/// shown, and anybody can invent it.
const NAMELESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two looks for members to forget.
const REAP_PERIOD: Duration = Duration::from_secs(15);

/// Longest time before what came in bulk is made up for by an exchange; half of it on average, so
/// that a pool does not exchange all at once.
const CATCH_UP_PERIOD: Duration = Duration::from_secs(6);

/// Exchanges after the last bulk: each leaves the square of the share that was missing before, and
/// costs a summary where nothing is missing.
const CATCH_UPS: u8 = 5;

/// Time between two rounds of asking for metadata, and how many members one round asks.
const ASK_PERIOD: Duration = Duration::from_millis(300);
const ASKS_PER_ROUND: usize = 16;

impl Pool {
    /// Arms the timers that run for life.
    pub(super) fn arm_routine(&mut self) {
        let first = self.jitter(self.config.sync_period);
        self.effects.arm(first, Due::Sync);
        self.effects.arm(self.config.reconnect_period, Due::Reconnect);
        self.effects.arm(REAP_PERIOD, Due::Reap);
    }

    /// Rolls a time up to `span`.
    fn jitter(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.dice.below(span.micros().max(1)))
    }

    /// Puts late timers off until the driver has read what came meanwhile.
    pub(super) fn put_off_late(&mut self, now: Instant) {
        let Some((at, _)) = self.effects.timers.next() else { return };
        let late = now.since(at);
        if late <= LATE {
            return;
        }
        self.awareness.worsen();
        let away = late.min(self.effects.suspicions.least());
        self.effects.suspicions.put_off(now, now + GRACE + away);
        self.effects.timers.postpone(now, |due| match due {
            Due::Probe(foca::Timer::ProbeRandomMember(_)) => GRACE + GRACE,
            Due::Suspicion { .. } => GRACE + away,
            Due::Probe(_)
            | Due::Gossip
            | Due::Sync
            | Due::CatchUp
            | Due::Verify
            | Due::Reconnect
            | Due::Reap
            | Due::Ask
            | Due::Leave
            | Due::Event => GRACE,
        });
    }

    pub(super) fn handle_due(&mut self, now: Instant, due: Due) {
        match due {
            Due::Probe(timer) => self.probe(timer),
            Due::Suspicion { identity, incarnation } => self.end_suspicion(&identity, incarnation),
            Due::Gossip => {
                self.gossip_armed = false;
                self.tell_newcomers();
                let sent = self.foca.gossip(&mut self.effects);
                self.count(sent);
            }
            Due::Sync => self.sync_due(),
            Due::CatchUp => {
                self.catch_ups -= 1;
                self.ask_for_exchange();
                self.arm_catch_up();
            }
            Due::Verify => self.verify_due(),
            Due::Reconnect => self.reconnect_due(),
            Due::Reap => self.reap(now),
            Due::Ask => {
                self.ask_armed = false;
                self.ask();
            }
            Due::Leave => self.leave_step(now),
            Due::Event => self.event_due(),
        }
    }

    fn probe(&mut self, timer: foca::Timer<Identity>) {
        let starts = matches!(timer, foca::Timer::ProbeRandomMember(_));
        let result = self.foca.handle_timer(timer, &mut self.effects);
        self.count(result);
        if starts {
            let failed = self.effects.notes.iter().any(|note| matches!(note, Note::ProbeFailed));
            if !failed {
                self.awareness.improve();
            } else {
                self.stats.probes_failed += 1;
                // A peer that is dead says nothing about us, as long as another one was heard.
                if !self.heard && self.foca.num_members() > 1 {
                    self.awareness.worsen();
                }
            }
            self.heard = false;
        }
    }

    /// Ends the probe of a member that answered: foca looks for that at the probe's time-out, which
    /// would wake the driver for nothing.
    pub(super) fn end_probe(&mut self, identity: &Identity) {
        let is_its_timeout = |due: &Due| {
            matches!(due, Due::Probe(foca::Timer::SendIndirectProbe { probed_id, .. })
                if probed_id == identity)
        };
        if let Some(Due::Probe(timer)) = self.effects.timers.take(is_its_timeout) {
            self.probe(timer);
        }
    }

    /// Our own probe failed: warns the suspect, and tells the others that we accuse it, too.
    fn accuse(&mut self, now: Instant, identity: Identity, incarnation: u16) {
        if !self.roster.accused(&identity, incarnation) {
            return;
        }
        self.roster.note(now, &identity, State::Suspect);
        self.effects.suspect(identity, incarnation);
        let own = *self.foca.identity();
        let suspect = Update { identity, incarnation, state: State::Suspect };
        let header = self.header(identity, Message::Gossip);
        self.effects.send_word(&header, &[suspect], &[]);
        let witnesses = self.witnesses(&identity);
        if self.effects.accuse(identity, incarnation, own.node, witnesses) {
            let Identity { node, generation, .. } = identity;
            let accuser = own.node;
            self.spread(&News::Accusation(Accusation { node, generation, incarnation, accuser }));
        }
    }

    /// Declares a suspect down, if it did not refute.
    fn end_suspicion(&mut self, identity: &Identity, incarnation: u16) {
        if !self.effects.suspicions.expire(self.effects.now, identity, incarnation) {
            return;
        }
        let suspect = self.foca.iter_members().any(|member| {
            member.id() == identity
                && member.incarnation() == incarnation
                && member.state() == foca::State::Suspect
        });
        if suspect {
            let state = State::Down;
            let down = codec::member(&Update { identity: *identity, incarnation, state });
            let ended = self.foca.apply_many(core::iter::once(down), true, &mut self.effects);
            self.count(ended);
        }
    }

    /// Exchanges state soon and again: much came at once, and not all of it was passed on.
    pub(super) fn catch_up(&mut self) {
        let idle = self.catch_ups == 0;
        self.catch_ups = CATCH_UPS;
        if idle {
            self.arm_catch_up();
        }
    }

    fn arm_catch_up(&mut self) {
        if self.catch_ups > 0 {
            let after = self.jitter(CATCH_UP_PERIOD);
            self.effects.arm(after, Due::CatchUp);
        }
    }

    /// Exchanges state now and then, and arms the next time.
    fn sync_due(&mut self) {
        self.ask_for_exchange();
        let every = self.config.sync_every(self.foca.num_members() + 1);
        let jitter = self.jitter(Duration::from_micros(every.micros() / 5));
        let least = Duration::from_micros(every.micros() / 10 * 9);
        self.effects.arm(least + jitter, Due::Sync);
    }

    /// Asks the driver for an exchange with a random live full member.
    fn ask_for_exchange(&mut self) {
        let peers = self.roster.records.iter().filter(|record| record.live() && record.full());
        let pick = self.dice.below(peers.clone().count() as u64) as usize;
        let peer = peers.map(|record| record.identity().address.socket()).nth(pick);
        if let Some(peer) = peer.filter(|_| self.local.phase == Phase::Active) {
            self.roster.events.push_back(Event::SyncDue { peer });
        }
    }

    /// Asks the driver for an exchange with a random failed full member, one in the whole pool a
    /// period.
    fn reconnect_due(&mut self) {
        let full = self.roster.records.iter().filter(|record| record.full());
        let live = full.clone().filter(|record| record.live()).count() as u64 + 1;
        let failed: Vec<Identity> = full
            .filter(|record| record.status() == Status::Failed)
            .map(|record| *record.identity())
            .collect();
        let lucky = self.dice.below(live) < failed.len() as u64;
        if lucky && self.local.phase == Phase::Active {
            let pick = self.dice.below(failed.len() as u64) as usize;
            let peer = failed[pick].address.socket();
            self.roster.events.push_back(Event::SyncDue { peer });
        }
        let jitter = self.jitter(Duration::from_micros(self.config.reconnect_period.micros() / 5));
        self.effects.arm(self.config.reconnect_period + jitter, Due::Reconnect);
    }

    /// Forgets members that failed or left long ago.
    fn reap(&mut self, now: Instant) {
        let config = self.config;
        let old = |record: &&Record| match record.status() {
            Status::Alive | Status::Leaving => false,
            Status::Failed if !record.described() => record.older(now, NAMELESS_TIMEOUT),
            Status::Failed => record.older(now, config.reconnect_timeout),
            Status::Left => record.older(now, config.tombstone_timeout),
        };
        let old = self.roster.records.iter().filter(old);
        let old: Vec<u64> = old.map(|record| record.identity().node).collect();
        for node in old {
            self.roster.forget(node);
            self.vivaldi.forget(node);
            self.places.remove(&node);
        }
        self.effects.arm(REAP_PERIOD, Due::Reap);
    }

    /// Asks members that told nothing about themselves yet, other ones in each round: who never
    /// answers must not keep us from asking the rest.
    fn ask(&mut self) {
        let silent = |record: &&Record| record.live() && !record.described();
        let silent = self.roster.records.iter().filter(silent);
        let silent: Vec<Identity> = silent.map(|record| *record.identity()).collect();
        let first = self.dice.below(silent.len() as u64) as usize;
        for identity in silent.iter().cycle().skip(first).take(ASKS_PER_ROUND.min(silent.len())) {
            self.send_news(*identity, &News::Want { node: identity.node });
        }
    }

    fn leave_step(&mut self, now: Instant) {
        let alone = self.foca.num_members() == 0;
        let node = self.foca.identity().node;
        match self.local.phase {
            Phase::Active | Phase::Gone => return,
            Phase::Leaving { until } => {
                self.tell_departure();
                // Half the time is for the word that we leave: who hears `Down` first sees failure.
                let half = Duration::from_micros(self.config.leave_timeout.micros() / 2);
                let told = !self.effects.outbox.departs(node) && now + half >= until;
                if alone || now >= until || told {
                    let left = self.foca.leave_cluster(&mut self.effects);
                    self.count(left);
                    self.local.phase = Phase::Parting { until };
                }
            }
            Phase::Parting { until } => {
                if alone || now >= until || self.foca.updates_backlog() == 0 {
                    self.local.phase = Phase::Gone;
                    self.roster.events.push_back(Event::LeaveDone);
                    return;
                }
                let sent = self.foca.gossip(&mut self.effects);
                self.count(sent);
            }
        }
        self.effects.arm(self.config.gossip_period, Due::Leave);
    }

    /// Tells some full members that we leave. They decide, and among many leaves the rounds of
    /// gossip may miss them until the word that we are down reaches them first.
    fn tell_departure(&mut self) {
        let Some(departure) = self.local.departure else { return };
        let news = News::Departure { node: self.foca.identity().node, departure };
        for peer in self.some_peers() {
            self.send_news(peer, &news);
        }
    }

    /// Brings table, foca and timers in line after a call.
    pub(super) fn settle(&mut self, now: Instant) {
        let mut renewed = None;
        for note in core::mem::take(&mut self.effects.notes) {
            if let Some((identity, state)) = note.state() {
                self.roster.note(now, &identity, state);
            }
            match note {
                Note::Renewed(identity) => renewed = Some(identity),
                Note::Suspect(identity, incarnation) => self.accuse(now, identity, incarnation),
                Note::Up(_) | Note::Down(_) | Note::ProbeFailed => {}
            }
        }
        if let Some(identity) = renewed {
            self.stats.renewals += 1;
            self.effects.incarnation = 0;
            self.roster.events.push_back(Event::Renewed { generation: identity.generation });
            // A new identity starts out disconnected; this looks again whether anybody is there.
            let looked = self.foca.apply_many(core::iter::empty(), false, &mut self.effects);
            self.count(looked);
        }
        for identity in core::mem::take(&mut self.roster.forgotten) {
            let timer = foca::Timer::RemoveDown(identity);
            let removed = self.foca.handle_timer(timer, &mut self.effects);
            self.count(removed);
        }
        self.settle_events();
        self.tune();
        self.arm_as_needed();
    }

    /// Fits transmissions and suspicion to the pool's size.
    fn tune(&mut self) {
        self.effects.stretch = self.awareness.factor();
        let members = self.foca.num_members() + 1;
        if members != self.tuned {
            self.tuned = members;
            self.effects.suspicions.tune(terms(&self.config, members));
            let set = self.foca.set_config(foca_config(&self.config, members));
            self.count(set);
        }
    }

    fn arm_as_needed(&mut self) {
        let silent = matches!(self.local.phase, Phase::Parting { .. } | Phase::Gone);
        if silent || self.foca.num_members() == 0 {
            return;
        }
        let (updates, news) = self.backlog();
        if !self.gossip_armed && updates + news > 0 {
            self.gossip_armed = true;
            self.effects.arm(self.config.gossip_period, Due::Gossip);
        }
        self.arm_verification();
        if !self.ask_armed && self.roster.unknown > 0 {
            self.ask_armed = true;
            self.effects.arm(ASK_PERIOD, Due::Ask);
        }
    }
}
