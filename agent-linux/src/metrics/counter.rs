//! Numbers that only rise, and levels that rise and fall.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only rises.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    total: AtomicU64,
    /// The total when the running interval began, and what the one before brought.
    began: AtomicU64,
    last: AtomicU64,
}

impl Counter {
    /// A counter at zero; `name` has no prefix.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, total: AtomicU64::new(0), began: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.total.fetch_add(more, Ordering::Relaxed);
    }

    /// Tells its name, without prefix.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Tells all that was counted since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Tells what the last whole interval brought, or the running one if there is none yet.
    pub fn recent(&self, has_interval: bool) -> u64 {
        match has_interval {
            true => self.last.load(Ordering::Relaxed),
            false => self.total(),
        }
    }

    /// Begins a new interval.
    pub(super) fn end_interval(&self) {
        let total = self.total();
        let began = self.began.swap(total, Ordering::Relaxed);
        self.last.store(total - began, Ordering::Relaxed);
    }
}

/// How many of something there are at present.
#[derive(Debug)]
pub struct Level(AtomicI64);

/// One of them; gone when dropped.
#[derive(Debug)]
pub struct Held(&'static Level);

impl Level {
    /// None.
    pub(super) const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// One more, until what this answers is dropped.
    #[must_use]
    pub fn hold(&'static self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self)
    }

    /// Tells how many there are.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_only_its_own() {
        let counter = Counter::new("a");
        counter.add(3);
        assert_eq!((counter.total(), counter.recent(false)), (3, 3));
        counter.end_interval();
        counter.count();
        assert_eq!((counter.total(), counter.recent(true)), (4, 3));
        counter.end_interval();
        assert_eq!(counter.recent(true), 1);
    }

    #[test]
    fn a_level_falls_when_its_holders_go() {
        static LEVEL: Level = Level::new();
        let (one, two) = (LEVEL.hold(), LEVEL.hold());
        assert_eq!(LEVEL.get(), 2);
        drop(one);
        drop(two);
        assert_eq!(LEVEL.get(), 0);
    }
}
