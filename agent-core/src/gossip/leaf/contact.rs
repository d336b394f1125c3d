//! Whom a leaf knows, and how it probes them: one contact a period, with help, never to the end.

use super::{Contact, Event, Leaf, Probe, Rumour};
use crate::gossip::identity::Identity;
use crate::gossip::news::Accusation;
use crate::time::Instant;
use crate::wire::packet::{Message, State, Update};

impl<const CONTACTS: usize> Leaf<CONTACTS> {
    pub(super) fn end_probe(&mut self, probed: Identity, number: u8) {
        let waiting = match self.probe {
            Probe::Idle => false,
            Probe::Direct(target) | Probe::Indirect(target) => target.identity == probed,
        };
        if waiting && number == self.number {
            self.probe = Probe::Idle;
            self.help_at = None;
        }
    }

    pub(super) fn start_probe(&mut self, now: Instant) {
        if self.contacts.is_empty() {
            return;
        }
        self.cursor = (self.cursor + 1) % self.contacts.len();
        let target = self.contacts[self.cursor];
        self.number = self.number.wrapping_add(1);
        self.probe = Probe::Direct(target);
        self.help_at = Some(now + self.config.probe_timeout);
        self.send(target.identity, Message::Ping(self.number));
    }

    pub(super) fn ask_for_help(&mut self) {
        let Probe::Direct(target) = self.probe else { return };
        self.probe = Probe::Indirect(target);
        let (target, probe) = (target.identity, self.number);
        let start = self.dice.below(self.contacts.len().max(1) as u64) as usize;
        let mut helpers = usize::from(self.config.fanout);
        for at in 0..self.contacts.len() {
            let helper = self.contacts[(start + at) % self.contacts.len()].identity;
            if helper != target && helpers > 0 {
                helpers -= 1;
                self.send(helper, Message::PingReq { target, probe });
            }
        }
    }

    /// Tells the pool of a contact that did not answer, and looks for others.
    pub(super) fn finish_probe(&mut self, now: Instant) {
        let (Probe::Direct(target) | Probe::Indirect(target)) = self.probe else { return };
        self.probe = Probe::Idle;
        let Contact { identity: target, incarnation } = target;
        let alone = self.contacts.iter().all(|contact| contact.identity == target);
        // With nobody else to vouch, the silence may be ours.
        if !alone {
            let suspect = Update { identity: target, incarnation, state: State::Suspect };
            self.relay(now, Rumour::Update(suspect));
            let Identity { node, generation, .. } = target;
            let accuser = self.own.node;
            self.relay(
                now,
                Rumour::Accusation(Accusation { node, generation, incarnation, accuser }),
            );
            self.send(target, Message::Gossip);
            for _ in 0..self.config.fanout {
                if let Some(contact) = self.pick().filter(|contact| *contact != target) {
                    self.send(contact, Message::Gossip);
                }
            }
        }
        self.drop_contact(&target);
        if let Some(contact) = self.pick() {
            self.send(contact, Message::Announce);
        }
    }

    pub(super) fn drop_contact(&mut self, identity: &Identity) {
        let before = self.contacts.len();
        self.contacts.retain(|contact| contact.identity != *identity);
        if before > 0 && self.contacts.is_empty() {
            self.tell(Event::Alone);
        }
    }

    pub(super) fn pick(&mut self) -> Option<Identity> {
        let at = self.dice.below(self.contacts.len() as u64) as usize;
        self.contacts.get(at).map(|contact| contact.identity)
    }

    /// Keeps a live member as a contact; a full table gives up a random one now and then.
    pub(super) fn meet(&mut self, identity: Identity, incarnation: u16) {
        if identity.node == self.own.node || identity.address == self.own.address {
            return;
        }
        let contact = Contact { identity, incarnation };
        let same =
            |known: &Identity| known.node == identity.node || known.address == identity.address;
        if let Some(known) = self.contacts.iter_mut().find(|known| same(&known.identity)) {
            let fresher = known.identity == identity && incarnation > known.incarnation;
            if fresher || identity.wins(&known.identity) {
                *known = contact;
            }
            return;
        }
        let first = self.contacts.is_empty();
        if self.contacts.push(contact).is_err() && self.dice.below(4) == 0 {
            let at = self.dice.below(CONTACTS as u64) as usize;
            self.contacts[at] = contact;
        }
        if first {
            self.tell(Event::Joined);
            self.seek_servers();
        }
    }
}
