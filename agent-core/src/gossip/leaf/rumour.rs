//! What a leaf passes on: claims about members, who accuses whom, and who left. Each a few times,
//! once.

use super::Leaf;
use crate::gossip::news::{ACCUSATION_BYTES, Accusation, Departure, News};
use crate::time::{Duration, Instant};
use crate::wire::packet::{Emitter, Update};

/// Most rumours relayed at a time.
pub(super) const RELAYED_MAX: usize = 8;

/// How often each is sent: of a pool of leaves, four reach 98 in 100 (s = 1 - exp(-4 s)).
const RELAYS: u8 = 4;

/// Time that a rumour is remembered at the least, so that it is not relayed again: longer than it
/// takes one to go round.
const MEMORY_PERIOD: Duration = Duration::from_secs(30);

/// Bits of one period's memory, a power of two.
const MEMORY_BITS: usize = 1024;

/// Rumours of this period and the one before (a Bloom filter each, two bits a rumour). When much is
/// going on it takes new rumours for old ones and they end early; none goes round for ever.
pub(super) struct Memory {
    periods: [[u32; MEMORY_BITS / 32]; 2],
    until: Instant,
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self { periods: [[0; MEMORY_BITS / 32]; 2], until: Instant::from_micros(0) }
    }

    /// Remembers a mark; true if it was not remembered already.
    fn note(&mut self, now: Instant, mark: u32) -> bool {
        if now >= self.until {
            // The period before, unless that is long past.
            let recent = now.since(self.until) < MEMORY_PERIOD;
            self.periods[1] = if recent { self.periods[0] } else { [0; MEMORY_BITS / 32] };
            self.periods[0] = [0; MEMORY_BITS / 32];
            self.until = now + MEMORY_PERIOD;
        }
        let places = [mark as usize, (mark >> 16) as usize].map(|place| place % MEMORY_BITS);
        let holds = |period: &[u32]| {
            places.iter().all(|place| period[place / 32] & (1 << (place % 32)) != 0)
        };
        let known = self.periods.iter().any(|period| holds(period));
        for place in places {
            self.periods[0][place / 32] |= 1 << (place % 32);
        }
        !known
    }
}

/// What leaves pass on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rumour {
    Update(Update),
    Accusation(Accusation),
    /// Who hears that a member is down before this takes it for failed.
    Departure {
        node: u64,
        departure: Departure,
    },
}

impl Rumour {
    /// Folds it to what it is remembered by (FNV-1a); two of one mark cost a relay.
    fn mark(&self) -> u32 {
        let (node, rest) = match self {
            Self::Update(Update { identity, incarnation, state }) => {
                let incarnation = u64::from(*incarnation) << 8 | *state as u64;
                (identity.node, [u64::from(identity.generation), incarnation])
            }
            Self::Accusation(Accusation { node, generation, incarnation, accuser }) => {
                (*node, [u64::from(*generation) << 16 | u64::from(*incarnation), *accuser])
            }
            Self::Departure { node, departure: Departure { generation, pruned } } => {
                (*node, [u64::from(*generation), u64::MAX - u64::from(*pruned)])
            }
        };
        let bytes = [node, rest[0], rest[1]].into_iter().flat_map(u64::to_be_bytes);
        bytes
            .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    pub(super) rumour: Rumour,
    pub(super) left: u8,
}

impl<const CONTACTS: usize> Leaf<CONTACTS> {
    /// Relays a rumour that was heard, unless it is remembered.
    pub(super) fn pass_on(&mut self, now: Instant, rumour: Rumour) {
        if self.memory.note(now, rumour.mark()) {
            self.keep(rumour);
        }
    }

    /// Spreads a rumour of our own.
    pub(super) fn relay(&mut self, now: Instant, rumour: Rumour) {
        self.memory.note(now, rumour.mark());
        self.keep(rumour);
    }

    /// Keeps a rumour to be sent. The oldest makes room.
    fn keep(&mut self, rumour: Rumour) {
        if self.relays.is_full() {
            self.relays.pop_front();
        }
        let kept = self.relays.push_back(Relay { rumour, left: RELAYS });
        debug_assert!(kept.is_ok(), "room was made");
    }

    /// Adds the rumours that fit: updates first, as the layout has it.
    pub(super) fn emit_rumours(&mut self, emitter: &mut Emitter<'_>) {
        let updates = self.relays.iter_mut().filter_map(|relay| match relay.rumour {
            Rumour::Update(update) => Some((update, &mut relay.left)),
            Rumour::Accusation(_) | Rumour::Departure { .. } => None,
        });
        for (update, left) in updates {
            if emitter.push_update(&update).is_ok() {
                *left -= 1;
            }
        }
        for relay in &mut self.relays {
            let news = match relay.rumour {
                Rumour::Update(_) => continue,
                Rumour::Accusation(accusation) => News::Accusation(accusation),
                Rumour::Departure { node, departure } => News::Departure { node, departure },
            };
            let mut bytes = [0; ACCUSATION_BYTES];
            let emitted = news.emit(&mut bytes);
            if emitted.is_some_and(|len| emitter.push_broadcast(&bytes[..len]).is_ok()) {
                relay.left -= 1;
            }
        }
        self.relays.retain(|relay| relay.left > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rumour_is_remembered_for_its_time_and_then_forgotten() {
        let at = |secs| Instant::from_micros(1) + Duration::from_secs(secs);
        let mut memory = Memory::new();
        assert!(memory.note(at(0), 7) && !memory.note(at(29), 7));
        assert!(!memory.note(at(59), 7), "the period before counts");
        assert!(memory.note(at(200), 7));
    }

    #[test]
    fn more_than_it_holds_makes_it_take_new_for_old_never_old_for_new() {
        let mut memory = Memory::new();
        let mut dice = crate::rand::Rng::new(1);
        let marks: [u32; 3000] = core::array::from_fn(|_| dice.next_u64() as u32);
        let new = marks.iter().filter(|mark| memory.note(Instant::from_micros(1), **mark)).count();
        assert!((250..2000).contains(&new), "{new} of 3000");
        assert!(marks.iter().all(|mark| !memory.note(Instant::from_micros(2), *mark)));
    }
}
