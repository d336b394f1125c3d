//! Where entries lie: bounded in number and idle time.

use super::follow::State;
use super::keep::Kept;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most entries. Each followed one costs a parked query on a server.
pub(super) const ENTRIES_MAX: usize = 1024;

/// How long an entry stays that nobody asks for.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(3600);

/// An encoded request.
pub(super) type Key = Vec<u8>;

/// Entries by request.
#[derive(Default)]
pub(super) struct Shelf(Mutex<HashMap<Key, Slot>>);

struct Slot {
    used: Instant,
    entry: Entry,
}

/// What is kept for a request.
#[derive(Clone)]
pub(super) enum Entry {
    /// An answer that a task keeps fresh until the last receiver is gone.
    Followed(watch::Receiver<State>),
    /// An answer that is asked for when it is too old; locked meanwhile.
    Kept(Arc<tokio::sync::Mutex<Option<Kept>>>),
}

impl Entry {
    fn is_alive(&self) -> bool {
        match self {
            Self::Followed(updates) => updates.has_changed().is_ok(),
            Self::Kept(_) => true,
        }
    }
}

impl Shelf {
    /// Finds a request's entry or makes one. Idle entries are thrown away for a new one, and if
    /// there are too many still, the one that was not asked for longest: its task ends, unless
    /// somebody watches it, with the last watcher.
    pub(super) fn entry(&self, key: &Key, make: impl FnOnce() -> Entry) -> Entry {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(slot) = slots.get_mut(key).filter(|slot| slot.entry.is_alive()) {
            slot.used = now;
            return slot.entry.clone();
        }
        slots.retain(|other, slot| other != key && now.duration_since(slot.used) < IDLE_MAX);
        if slots.len() >= ENTRIES_MAX {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| slots.remove(&oldest));
        }
        let entry = make();
        slots.insert(key.clone(), Slot { used: now, entry: entry.clone() });
        entry
    }

    /// Throws an entry away if nobody asked for it for long.
    pub(super) fn drop_idle(&self, key: &Key) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.get(key).is_some_and(|slot| slot.used.elapsed() >= IDLE_MAX) {
            slots.remove(key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
