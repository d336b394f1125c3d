//! News waiting to ride on datagrams: bounded, freshest first, each sent a set number of times.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::meta::META_BYTES_MAX;
use super::news::{Accusation, META_HEAD_BYTES, News};
use crate::wire::event::EVENT_BYTES_MAX;
use crate::wire::packet::PACKET_BYTES_MAX;

/// Most pieces of news kept; at the bound an accusation makes room (the suspect's time is merely
/// longer without it), or else the piece that was sent most often.
///
/// A packet's building costs time in proportion to this, and bulk news travels by stream instead.
pub(super) const NEWS_MAX: usize = 256;

/// Most user events among them: a flood of events must not drown news about members.
const EVENTS_MAX: usize = 128;

/// Largest piece of news in bytes: metadata, which is longer than any event.
pub(super) const NEWS_BYTES_MAX: usize = META_HEAD_BYTES + META_BYTES_MAX;

const _: () = assert!(EVENT_BYTES_MAX < NEWS_BYTES_MAX && EVENTS_MAX < NEWS_MAX);

/// Which kind of news about which node; newer news of one key replaces older.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Meta(u64),
    Departure(u64),
    Accusation { node: u64, accuser: u64 },
    Event(u64, [u8; 16]),
}

impl Key {
    /// Tells what makes room first.
    const fn rank(self) -> u8 {
        match self {
            Self::Accusation { .. } => 0,
            Self::Meta(_) | Self::Departure(_) | Self::Event(..) => 1,
        }
    }

    const fn is_event(&self) -> bool {
        matches!(self, Self::Event(..))
    }
}

struct Item {
    key: Key,
    left: u8,
    bytes: Vec<u8>,
}

/// The queue.
#[derive(Default)]
pub(super) struct Outbox {
    items: Vec<Item>,
}

impl Outbox {
    /// Queues a piece of news to be sent `transmissions` times. Questions and their answers
    /// are never queued.
    pub(super) fn push(&mut self, news: &News<'_>, transmissions: u8) {
        let key = match news {
            News::Meta { node, .. } => Key::Meta(*node),
            News::Departure { node, .. } => Key::Departure(*node),
            News::Accusation(Accusation { node, accuser, .. }) => {
                Key::Accusation { node: *node, accuser: *accuser }
            }
            News::Event(event) => Key::Event(event.time, event.id),
            News::Want { .. }
            | News::WantServers
            | News::Servers(_)
            | News::Shuffle
            | News::Contact(_)
            | News::Coordinate(_) => return,
        };
        let mut bytes = [0; NEWS_BYTES_MAX];
        let Some(len) = news.emit(&mut bytes) else { return };
        self.items.retain(|item| item.key != key);
        let events = self.items.iter().filter(|item| item.key.is_event()).count();
        let crowded = key.is_event() && events >= EVENTS_MAX;
        if crowded || self.items.len() >= NEWS_MAX {
            let rivals = self.items.iter().enumerate();
            let rivals = rivals.filter(|(_, item)| !crowded || item.key.is_event());
            if let Some((oldest, _)) = rivals.min_by_key(|(_, item)| (item.key.rank(), item.left)) {
                self.items.remove(oldest);
            }
        }
        self.items.push(Item { key, left: transmissions, bytes: bytes[..len].to_vec() });
    }

    /// Adds as much news as fits behind `packet`, which must be of a kind that carries broadcasts.
    pub(super) fn fill(&mut self, packet: &mut Vec<u8>) {
        if self.items.is_empty() {
            return;
        }
        self.items.sort_by_key(|item| Reverse(item.left));
        for item in &mut self.items {
            if packet.len() + 2 + item.bytes.len() <= PACKET_BYTES_MAX {
                let len = u16::try_from(item.bytes.len()).expect("bounded by NEWS_BYTES_MAX");
                packet.extend_from_slice(&len.to_be_bytes());
                packet.extend_from_slice(&item.bytes);
                item.left -= 1;
            }
        }
        self.items.retain(|item| item.left > 0);
    }

    /// Tells how much news waits.
    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }

    /// Tells whether news about a departure of `node` still waits.
    pub(super) fn departs(&self, node: u64) -> bool {
        self.items.iter().any(|item| item.key == Key::Departure(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::news::Departure;
    use crate::wire::event::Event;

    fn departure(node: u64) -> News<'static> {
        News::Departure { node, departure: Departure { generation: 1, pruned: false } }
    }

    #[test]
    fn news_is_sent_its_number_of_times_and_replaced_by_key() {
        let mut outbox = Outbox::default();
        outbox.push(&departure(1), 2);
        outbox.push(&departure(1), 2);
        outbox.push(&News::Want { node: 1 }, 2);
        assert_eq!(outbox.len(), 1);
        for _ in 0..2 {
            let mut packet = Vec::new();
            outbox.fill(&mut packet);
            assert_eq!(packet.len(), 2 + 14);
        }
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn the_queue_and_the_packet_stay_bounded() {
        let mut outbox = Outbox::default();
        for node in 0..NEWS_MAX as u64 * 2 {
            outbox.push(&departure(node), 4);
        }
        assert_eq!(outbox.len(), NEWS_MAX);
        let mut packet = Vec::new();
        outbox.fill(&mut packet);
        assert!(packet.len() <= PACKET_BYTES_MAX && packet.len() > PACKET_BYTES_MAX - 16);
    }

    #[test]
    fn a_flood_of_events_leaves_other_news_alone() {
        let mut outbox = Outbox::default();
        outbox.push(&departure(1), 4);
        for time in 0..2 * NEWS_MAX as u64 {
            let event = Event { time, name: "n", ..Event::default() };
            outbox.push(&News::Event(event), 4);
        }
        assert_eq!(outbox.len(), EVENTS_MAX + 1);
        assert!(outbox.departs(1));
    }
}
