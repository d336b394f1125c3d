//! What the pool makes of claims about itself, and of the news behind the updates.

use super::{Phase, Pool, effects};
use crate::gossip::codec;
use crate::gossip::identity::Identity;
use crate::gossip::meta::Meta;
use crate::gossip::news::{Accusation, Contact, News, SERVERS_BYTES_MAX, Servers, Stamp};
use crate::gossip::{Event, Role, Status};
use crate::time::Instant;
use crate::wire::packet::{State, Update};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// One in so many probes of a leaf is answered with another contact. A leaf that we probe takes us
/// in, one a period, and each of eight contacts is probed every eighth: so we come to be in some
/// 64 tables of a large pool, and news of leaves finds us.
const SHUFFLE_ODDS: u64 = 8;

impl Pool {
    /// Tells whether an update is about us or an address of ours.
    pub(super) fn concerns_us(&self, identity: &Identity) -> bool {
        let own = self.foca.identity();
        identity.node == own.node || identity.address == own.address
    }

    /// Hears a claim about ourselves; true if foca is to hear it too.
    pub(super) fn hear_of_ourselves(&mut self, update: &Update) -> bool {
        let own = *self.foca.identity();
        if update.identity == own {
            if update.state == State::Suspect && update.incarnation >= self.effects.incarnation {
                self.awareness.worsen();
            }
            return update.state != State::Alive && self.local.phase == Phase::Active;
        }
        if update.identity.generation < own.generation {
            return false;
        }
        if update.identity.address == own.address || update.state == State::Down {
            // Our clock went back, or we moved: the pool remembers a later life of ours.
            self.renew_past(update.identity.generation);
        } else {
            let claimant = update.identity.address.socket();
            let name = self.local.meta.name.clone();
            self.tell_refusal(Event::Conflict { name, holder: None, claimant });
        }
        false
    }

    /// Takes a generation after `past`.
    pub(super) fn renew_past(&mut self, past: u32) {
        if self.local.phase != Phase::Active {
            return;
        }
        if let Some(identity) = self.foca.identity().after(past) {
            let changed = self.foca.change_identity(identity, &mut self.effects);
            self.count(changed);
            self.effects.notes.push(effects::Note::Renewed(identity));
        }
    }

    pub(super) fn handle_news(&mut self, now: Instant, source: Identity, news: &News<'_>) {
        let own = *self.foca.identity();
        match *news {
            News::Meta { node, stamp, .. } if node == own.node => self.outbid(stamp),
            News::Meta { node, stamp, body } => {
                if self.learn_meta(node, stamp, body) {
                    self.spread(news);
                }
            }
            News::Departure { node, departure } if node == own.node => {
                if departure.generation >= own.generation {
                    self.renew_past(departure.generation);
                }
            }
            News::Departure { node, departure } => {
                if self.roster.depart(now, node, departure) {
                    self.spread(news);
                }
            }
            News::Want { node } => self.answer_want(source, node),
            News::WantServers => self.answer_want_servers(source),
            News::Accusation(accusation) => {
                if self.hear_accusation(&accusation) {
                    self.spread(news);
                }
            }
            News::Event(event) => self.hear_event(event),
            News::Shuffle => self.hand_over(source),
            News::Servers(_) | News::Contact(_) | News::Coordinate(_) => {}
        }
    }

    /// Counts a member whose own probe of a suspect failed; true if that was news.
    fn hear_accusation(&mut self, accusation: &Accusation) -> bool {
        let Accusation { node, generation, incarnation, accuser } = *accusation;
        let live = |node: u64| self.roster.records.get(node).filter(|record| record.live());
        let suspect = live(node).map(|record| *record.identity());
        let suspect = suspect.filter(|identity| identity.generation == generation);
        match suspect {
            Some(identity) if live(accuser).is_some() => {
                let witnesses = self.witnesses(&identity);
                self.effects.accuse(identity, incarnation, accuser, witnesses)
            }
            Some(_) | None => false,
        }
    }

    /// Now and then gives a leaf that probes us another contact in our place.
    fn hand_over(&mut self, to: Identity) {
        if self.dice.below(SHUFFLE_ODDS) != 0 {
            return;
        }
        let place = self.dice.below(self.roster.records.len() as u64) as usize;
        let picked = self.roster.records.nth(place).filter(|record| record.live());
        let contact = picked
            .map(|record| Contact { identity: *record.identity(), incarnation: record.incarnation })
            .filter(|contact| contact.identity.node != to.node);
        if let Some(contact) = contact {
            self.send_news(to, &News::Contact(contact));
        }
    }

    /// Tells where servers take requests: others first in an order that differs from asker to
    /// asker, so that many devices do not crowd upon one.
    fn answer_want_servers(&mut self, to: Identity) {
        let known: Vec<SocketAddr> = self
            .members()
            .filter(|view| view.status == Status::Alive && view.role == Role::Server)
            .map(|view| (view.identity.address.socket().ip(), view.meta().rpc_port))
            .filter(|(_, port)| *port != 0)
            .map(SocketAddr::from)
            .collect();
        if known.is_empty() {
            return;
        }
        let first = to.node as usize % known.len();
        let (late, early) = known.split_at(first);
        let mut bytes = [0; SERVERS_BYTES_MAX];
        let servers = Servers::emit(early.iter().chain(late).copied(), &mut bytes);
        self.send_news(to, &News::Servers(servers));
    }

    /// Publishes our metadata again if the pool holds a later edition from an earlier life.
    pub(super) fn outbid(&mut self, stamp: Stamp) {
        if stamp > self.local.stamp {
            let version = stamp.version.saturating_add(1);
            self.local.stamp = Stamp { generation: stamp.generation, version };
            self.tell_local();
        }
    }

    /// Takes a member's metadata; true if it was news.
    pub(super) fn learn_meta(&mut self, node: u64, stamp: Stamp, body: &[u8]) -> bool {
        let known = self.roster.records.get(node);
        if known.is_none_or(|record| record.stamp >= stamp) {
            return false;
        }
        match Meta::parse(body) {
            Ok(meta) if meta.node() == node && self.same_pool(&meta) => {
                self.roster.describe(node, stamp, body, &meta)
            }
            Ok(_) | Err(_) => {
                self.stats.refused += 1;
                false
            }
        }
    }

    pub(super) fn same_pool(&self, meta: &Meta) -> bool {
        self.config.label(&meta.dc) == self.label
    }

    /// Sends the metadata that was asked for, if we have it.
    pub(super) fn answer_want(&mut self, to: Identity, node: u64) {
        let own = *self.foca.identity();
        let (stamp, body) = if node == own.node {
            (self.local.stamp, self.local.encoded.clone())
        } else {
            let record = self.roster.records.get(node).filter(|record| record.described());
            let Some(record) = record else { return };
            (record.stamp, self.roster.records.meta(record).to_vec())
        };
        self.send_news(to, &News::Meta { node, stamp, body: &body });
    }

    /// Queues our metadata to be spread.
    pub(super) fn tell_local(&mut self) {
        let (node, stamp) = (self.foca.identity().node, self.local.stamp);
        let times = self.config.transmissions(self.foca.num_members() + 1);
        let body = &self.local.encoded;
        self.effects.outbox.push(&News::Meta { node, stamp, body }, times);
    }

    pub(super) fn spread(&mut self, news: &News<'_>) {
        let times = self.config.transmissions(self.foca.num_members() + 1);
        self.effects.outbox.push(news, times);
    }

    /// Makes foca forget an identity that moved to another address. Nobody is told: who hears of
    /// the new one does the same, and who heard of the old one's end first would see a failure.
    pub(super) fn drop_identity(&mut self, old: Identity) {
        let down = codec::member(&Update { identity: old, incarnation: 0, state: State::Down });
        let dropped = self.foca.apply_many(core::iter::once(down), false, &mut self.effects);
        self.count(dropped);
        let removed = self.foca.handle_timer(foca::Timer::RemoveDown(old), &mut self.effects);
        self.count(removed);
    }
}
