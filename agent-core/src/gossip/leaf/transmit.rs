//! What a leaf sends: a bounded queue of messages, made into datagrams as they leave.

use super::{CARD_BYTES_MAX, Leaf};
use crate::gossip::Transmit;
use crate::gossip::identity::Identity;
use crate::gossip::news::{Contact, META_HEAD_BYTES, News};
use crate::time::Instant;
use crate::wire::packet::{Emitter, Header, Message, State, Update};

/// Most messages waiting to be sent; more are dropped, as a lossy network would.
pub(super) const QUEUE_MAX: usize = 16;

/// One message to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel {
    pub(super) to: Identity,
    pub(super) message: Message,
    /// What rides along at all events.
    pub(super) cargo: Cargo,
}

/// What a message is sent for, beside its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cargo {
    Nothing,
    /// Our metadata, which was asked for.
    Card,
    /// A question for servers, or what we know of them.
    WantServers,
    Servers,
    /// With a probe: that another contact would be welcome.
    Shuffle,
    /// With its answer: one of ours, if the prober is still none of them.
    HandOver {
        /// The prober's.
        incarnation: u16,
    },
    /// That we are alive, beside the header, for those who only pass updates on.
    Refutation,
}

impl<const CONTACTS: usize> Leaf<CONTACTS> {
    pub(super) fn send(&mut self, to: Identity, message: Message) {
        self.post(Parcel { to, message, cargo: Cargo::Nothing });
    }

    pub(super) fn post(&mut self, parcel: Parcel) {
        // A full queue loses messages, and the protocol lives with loss.
        let _ = self.queue.push_back(parcel);
    }

    /// Writes the next datagram to send into `out`.
    pub fn poll_transmit(&mut self, _now: Instant, out: &mut [u8]) -> Option<Transmit> {
        loop {
            let parcel = self.queue.pop_front()?;
            if let Some(len) = self.emit(&parcel, out) {
                return Some(Transmit { to: parcel.to.address.socket(), len });
            }
        }
    }

    fn emit(&mut self, parcel: &Parcel, out: &mut [u8]) -> Option<usize> {
        let header = Header {
            pool: self.label,
            source: self.own,
            incarnation: self.incarnation,
            target: parcel.to,
            message: parcel.message,
        };
        let mut emitter = Emitter::new(out, &header).ok()?;
        if let Some(departure) = self.departure {
            let down = Update { identity: self.own, incarnation: 0, state: State::Down };
            emitter.push_update(&down).ok()?;
            let mut bytes = [0; 16];
            let news = News::Departure { node: self.own.node, departure };
            let len = news.emit(&mut bytes)?;
            emitter.push_broadcast(&bytes[..len]).ok()?;
            return Some(emitter.finish());
        }
        if parcel.message == Message::Feed {
            for contact in self.contacts.iter().filter(|contact| contact.identity != parcel.to) {
                let Contact { identity, incarnation } = *contact;
                let update = Update { identity, incarnation, state: State::Alive };
                if emitter.push_update(&update).is_err() {
                    break;
                }
            }
        } else {
            if parcel.cargo == Cargo::Refutation {
                let (identity, incarnation) = (self.own, self.incarnation);
                let _ = emitter.push_update(&Update { identity, incarnation, state: State::Alive });
            }
            self.emit_rumours(&mut emitter);
        }
        let riding = self.card_left > 0 && parcel.message.carries_broadcasts();
        if parcel.cargo == Cargo::Card || riding {
            let mut bytes = [0; META_HEAD_BYTES + CARD_BYTES_MAX];
            let news = News::Meta { node: self.own.node, stamp: self.stamp, body: &self.card };
            let len = news.emit(&mut bytes)?;
            let sent = emitter.push_broadcast(&bytes[..len]).is_ok();
            if sent && riding {
                self.card_left -= 1;
            }
        }
        self.emit_servers(parcel.cargo, &mut emitter);
        self.emit_shuffle(parcel, &mut emitter);
        Some(emitter.finish())
    }
}
