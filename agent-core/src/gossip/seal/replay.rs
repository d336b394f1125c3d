//! What was opened already: for each run of a sender, a window of 64 counters.
//!
//! The table is bounded; the run that was heard least recently makes room. Runs are spread over
//! sets of four, so that a look costs the same for 8 senders and for 1,024.

use super::nonce::{Nonce, split};

/// Runs that compete for one place.
const WAYS: usize = 4;

/// Counters remembered below the highest one.
const WINDOW: u32 = 64;

#[derive(Clone, Copy, Debug)]
struct Slot {
    run: u64,
    /// Bit n stands for the counter `high - n`; 0 means that the slot is free.
    bits: u64,
    high: u32,
    /// When it was heard last, in datagrams.
    heard: u32,
}

/// The table.
#[derive(Debug)]
pub(super) struct Seen<const SENDERS: usize> {
    slots: [Slot; SENDERS],
    clock: u32,
}

impl<const SENDERS: usize> Seen<SENDERS> {
    /// Starts with nothing seen.
    pub(super) const fn new() -> Self {
        const {
            assert!(SENDERS >= WAYS && SENDERS.is_multiple_of(WAYS), "sets are whole");
        }
        Self { slots: [Slot { run: 0, bits: 0, high: 0, heard: 0 }; SENDERS], clock: 0 }
    }

    /// Takes a nonce whose message is authentic; false if it was taken before or is too old to
    /// tell.
    pub(super) fn admit(&mut self, nonce: &Nonce) -> bool {
        let (run, counter) = split(nonce);
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        let set = (run % (SENDERS / WAYS) as u64) as usize * WAYS;
        let slots = &mut self.slots[set..set + WAYS];
        if let Some(slot) = slots.iter_mut().find(|slot| slot.bits != 0 && slot.run == run) {
            slot.heard = clock;
            return slot.admit(counter);
        }
        let age = |slot: &&mut Slot| (slot.bits != 0, clock.wrapping_sub(slot.heard));
        // A free slot first, then the one silent for longest.
        let oldest = slots.iter_mut().min_by_key(|slot| {
            let (taken, age) = age(slot);
            (taken, u32::MAX - age)
        });
        if let Some(slot) = oldest {
            *slot = Slot { run, bits: 1, high: counter, heard: clock };
        }
        true
    }
}

impl Slot {
    fn admit(&mut self, counter: u32) -> bool {
        if counter > self.high {
            let ahead = counter - self.high;
            self.bits = self.bits.checked_shl(ahead).unwrap_or(0) | 1;
            self.high = counter;
            return true;
        }
        let behind = self.high - counter;
        let bit = if behind < WINDOW { 1_u64 << behind } else { return false };
        let fresh = self.bits & bit == 0;
        self.bits |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(run: u64, counter: u32) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&run.to_be_bytes());
        nonce[8..].copy_from_slice(&counter.to_be_bytes());
        nonce
    }

    #[test]
    fn each_counter_is_taken_once_in_any_order_within_the_window() {
        let mut seen = Seen::<4>::new();
        for counter in [5, 3, 4, 70, 7, 69] {
            assert!(seen.admit(&nonce(1, counter)), "{counter}");
            assert!(!seen.admit(&nonce(1, counter)), "{counter} again");
        }
        assert!(!seen.admit(&nonce(1, 6)), "64 below the highest is out of the window");
        assert!(seen.admit(&nonce(1, u32::MAX)));
        assert!(!seen.admit(&nonce(1, 70)));
    }

    #[test]
    fn the_run_silent_for_longest_makes_room() {
        let mut seen = Seen::<4>::new();
        for run in 1..=4 {
            assert!(seen.admit(&nonce(run, 0)));
        }
        assert!(seen.admit(&nonce(1, 1)));
        assert!(seen.admit(&nonce(5, 0)), "takes the place of 2");
        for run in [1, 3, 4, 5] {
            assert!(!seen.admit(&nonce(run, 0)), "{run} is remembered");
        }
        assert!(seen.admit(&nonce(2, 0)), "2 is not");
    }
}
