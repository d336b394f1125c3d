//! Whom a leaf knows, how it probes them (one contact a period, with help, never to the end), and
//! how it exchanges them for others.

use super::{Cargo, Contact, Event, Leaf, Parcel, Probe, Rumour, SHUFFLE_ODDS};
use crate::gossip::identity::Identity;
use crate::gossip::news::{Accusation, CONTACT_BYTES_MAX, News};
use crate::time::Instant;
use crate::wire::packet::{Emitter, Message, State, Update};

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
        let message = Message::Ping(self.number);
        self.post(Parcel { to: target.identity, message, cargo: Cargo::Shuffle });
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

    /// Keeps a live member as a contact if there is room; false if there was none.
    pub(super) fn meet(&mut self, contact: Contact) -> bool {
        let Contact { identity, incarnation } = contact;
        if let Some(at) = self.position(&identity) {
            let known = &mut self.contacts[at];
            let fresher = known.identity == identity && incarnation > known.incarnation;
            if fresher || identity.wins(&known.identity) {
                *known = contact;
            }
            return true;
        }
        let first = self.contacts.is_empty();
        let kept = self.contacts.push(contact).is_ok();
        if first {
            self.tell(Event::Joined);
            self.seek_servers();
        }
        kept
    }

    /// Tells where a member, or one at its address, stands among our contacts.
    fn position(&self, identity: &Identity) -> Option<usize> {
        let same =
            |known: &Identity| known.node == identity.node || known.address == identity.address;
        self.contacts.iter().position(|known| same(&known.identity))
    }

    /// Puts a stranger in the place of a random contact; answers whom it replaced.
    pub(super) fn replace_any(&mut self, stranger: Contact) -> Option<Contact> {
        let at = self.dice.below(self.contacts.len() as u64) as usize;
        let place = self.contacts.get_mut(at)?;
        Some(core::mem::replace(place, stranger))
    }

    /// Answers a probe. A leaf that is no contact of ours may become one for one that it gets, a
    /// full member (which does not ask) for nothing: it hands others over in its turn.
    pub(super) fn acknowledge(&mut self, from: Contact, probe: u8, shuffled: bool) {
        let known = self.position(&from.identity).is_some();
        if !known && !shuffled {
            self.replace_any(from);
        }
        let Contact { incarnation, .. } = from;
        let trade = !known && shuffled && self.dice.below(SHUFFLE_ODDS) == 0;
        let cargo = if trade { Cargo::HandOver { incarnation } } else { Cargo::Nothing };
        self.post(Parcel { to: from.identity, message: Message::Ack(probe), cargo });
    }

    /// Takes the contact that we get for the one that we probed last, if it is a stranger.
    pub(super) fn take_over(&mut self, from: Identity, contact: Contact) {
        let own =
            contact.identity.node == self.own.node || contact.identity.address == self.own.address;
        let stranger = !own && self.position(&contact.identity).is_none();
        let probed = self.contacts.get_mut(self.cursor);
        if let Some(place) = probed.filter(|place| stranger && place.identity == from) {
            *place = contact;
        }
    }

    /// Adds what an exchange of contacts carries; who hands over takes the other in with that.
    pub(super) fn emit_shuffle(&mut self, parcel: &Parcel, emitter: &mut Emitter<'_>) {
        let news = match parcel.cargo {
            Cargo::Shuffle => News::Shuffle,
            Cargo::HandOver { incarnation } if self.position(&parcel.to).is_none() => {
                let stranger = Contact { identity: parcel.to, incarnation };
                let Some(given) = self.replace_any(stranger) else { return };
                News::Contact(given)
            }
            _ => return,
        };
        let mut bytes = [0; CONTACT_BYTES_MAX];
        if let Some(len) = news.emit(&mut bytes) {
            let _ = emitter.push_broadcast(&bytes[..len]);
        }
    }
}
