//! How a leaf defends itself: a suspicion is refuted, a death survived.

use super::{CARD_SENDS, Cargo, Event, Leaf, Parcel};
use crate::gossip::identity::Identity;
use crate::time::Instant;
use crate::wire::packet::Message;

/// Rounds in which a refutation is told, each to the next `fanout` contacts: with 12 of them each
/// hears it twice, within 1.6 s of the 4 s that a suspicion lasts at least.
const ROUNDS: u8 = 8;

/// A refutation that is being spread (SWIM, Das et al. 2002, section 4.1: piggybacked several
/// times, as any of them may be lost).
#[derive(Clone, Copy, Debug)]
pub(super) struct Refutation {
    /// When the next round is due.
    pub(super) at: Instant,
    /// Rounds to go.
    left: u8,
    /// The contact whose turn it is.
    next: usize,
}

impl<const CONTACTS: usize> Leaf<CONTACTS> {
    /// Refutes a suspicion that `from` told: any message under a higher incarnation does.
    pub(super) fn refute(&mut self, now: Instant, from: Identity, suspected: u16) {
        if suspected < self.incarnation {
            // Refuted before, and `from` did not hear of it.
            return self.tell_refutation(from);
        }
        match suspected.checked_add(1) {
            Some(incarnation) => self.incarnation = incarnation,
            None => return self.renew_past(self.own.generation),
        }
        let next = self.dice.below(CONTACTS as u64) as usize;
        self.refutation = Some(Refutation { at: now, left: ROUNDS, next });
        self.repeat_refutation(now);
    }

    /// Tells the refutation to the next contacts.
    pub(super) fn repeat_refutation(&mut self, now: Instant) {
        let Some(mut refutation) = self.refutation else { return };
        for _ in 0..usize::from(self.config.fanout).min(self.contacts.len()) {
            let contact = self.contacts[refutation.next % self.contacts.len()].identity;
            refutation.next = refutation.next.wrapping_add(1);
            self.tell_refutation(contact);
        }
        refutation.left -= 1;
        refutation.at = now + self.config.gossip_period;
        self.refutation = Some(refutation).filter(|refutation| refutation.left > 0);
    }

    fn tell_refutation(&mut self, to: Identity) {
        self.post(Parcel { to, message: Message::Gossip, cargo: Cargo::Refutation });
    }

    /// Comes back as a generation after `past`.
    pub(super) fn renew_past(&mut self, past: u32) {
        let Some(own) = self.own.after(past) else { return };
        self.own = own;
        self.incarnation = 0;
        self.refutation = None;
        self.card_left = CARD_SENDS;
        self.queue.clear();
        self.tell(Event::Renewed { generation: own.generation });
        for _ in 0..self.config.fanout {
            if let Some(contact) = self.pick() {
                self.send(contact, Message::Announce);
            }
        }
    }
}
