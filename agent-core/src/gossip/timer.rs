//! The pool's own timers: what is due when, in order of time, then of arming.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::time::{Duration, Instant};

struct Entry<T> {
    at: Instant,
    order: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A queue of timers; two of one instant fire in the order in which they were armed.
pub(super) struct Timers<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    armed: u64,
}

impl<T> Timers<T> {
    /// Starts with nothing due.
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), armed: 0 }
    }

    /// Arms a timer.
    pub(super) fn arm(&mut self, at: Instant, what: T) {
        self.armed += 1;
        self.heap.push(Reverse(Entry { at, order: self.armed, what }));
    }

    /// Tells the next timer.
    pub(super) fn next(&self) -> Option<(Instant, &T)> {
        self.heap.peek().map(|Reverse(entry)| (entry.at, &entry.what))
    }

    /// Takes a timer that is due at `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<T> {
        if self.next()?.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }

    /// Takes a timer that `wanted` wants, due or not.
    pub(super) fn take(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut entries = core::mem::take(&mut self.heap).into_vec();
        let found = entries.iter().position(|Reverse(entry)| wanted(&entry.what));
        let taken = found.map(|at| entries.swap_remove(at).0.what);
        self.heap = entries.into();
        taken
    }

    /// Puts off every timer due at `now` by what `delay` says for it, keeping their order.
    pub(super) fn postpone(&mut self, now: Instant, delay: impl Fn(&T) -> Duration) {
        let entries = core::mem::take(&mut self.heap).into_vec();
        let moved = entries.into_iter().map(|Reverse(mut entry)| {
            if entry.at <= now {
                entry.at = now + delay(&entry.what);
            }
            Reverse(entry)
        });
        self.heap = moved.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_late_ones_can_be_put_off() {
        let at = Instant::from_micros;
        let mut timers = Timers::new();
        for (when, what) in [(5, 'b'), (1, 'a'), (5, 'c'), (9, 'd')] {
            timers.arm(at(when), what);
        }
        assert_eq!(timers.take_due(at(1)), Some('a'));
        assert_eq!(timers.take_due(at(4)), None);
        timers.postpone(at(6), |_| Duration::from_micros(2));
        assert_eq!(timers.take_due(at(7)), None);
        assert_eq!([(); 3].map(|()| timers.take_due(at(9))), [Some('b'), Some('c'), Some('d')]);
        assert!(timers.next().is_none());
    }

    #[test]
    fn a_timer_can_be_taken_before_it_is_due() {
        let at = Instant::from_micros;
        let mut timers = Timers::new();
        for (when, what) in [(3, 'c'), (1, 'a'), (2, 'b')] {
            timers.arm(at(when), what);
        }
        assert_eq!(timers.take(|what| *what == 'a'), Some('a'));
        assert_eq!(timers.take(|what| *what == 'a'), None);
        assert_eq!([(); 3].map(|()| timers.take_due(at(9))), [Some('b'), Some('c'), None]);
    }
}
