//! User events: Lamport's clock, what was heard already, and the order in which it is told.
//!
//! An event carries a time above that of everything its sender had heard of (Lamport, "Time,
//! Clocks" (1978)). Gossip may bring a later event first: it waits until one of each time before it
//! came, or until it waited long enough. So events that follow from each other are told in order;
//! those fired at once in several places have none. Of many events only the latest are remembered;
//! whatever is below them counts as heard.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::wire::event::{self, EVENT_BYTES_MAX, TooBig};

/// Most events remembered, and handed to who missed them.
pub const EVENTS_MAX: usize = 256;

/// Tells events apart: time, then id.
pub(super) type Key = (u64, [u8; 16]);

/// A user event as the application is told of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserEvent {
    /// Lamport time.
    pub time: u64,
    /// A UUID.
    pub id: [u8; 16],
    /// What happened.
    pub name: String,
    /// A regular expression for names of nodes, or empty.
    pub node: String,
    /// A regular expression for ids of services, or empty.
    pub service: String,
    /// A regular expression for tags of these services, or empty.
    pub tag: String,
    /// Anything.
    pub payload: Vec<u8>,
}

impl UserEvent {
    /// Lends the event to be emitted.
    pub fn lend(&self) -> event::Event<'_> {
        event::Event {
            time: self.time,
            id: self.id,
            name: &self.name,
            node: &self.node,
            service: &self.service,
            tag: &self.tag,
            payload: &self.payload,
        }
    }
}

impl From<event::Event<'_>> for UserEvent {
    fn from(event: event::Event<'_>) -> Self {
        Self {
            time: event.time,
            id: event.id,
            name: event.name.into(),
            node: event.node.into(),
            service: event.service.into(),
            tag: event.tag.into(),
            payload: event.payload.into(),
        }
    }
}

/// What a member has heard, to be compared in an exchange.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Heard {
    /// Its clock.
    pub clock: u64,
    /// Events that it remembers.
    pub keys: Vec<Key>,
}

/// The events of one pool.
pub(super) struct Events {
    /// The highest time seen.
    clock: u64,
    /// Events up to here are not taken any more.
    floor: Key,
    /// Events up to this time were told, or will not come any more.
    told: u64,
    /// Encoded events.
    recent: BTreeMap<Key, Box<[u8]>>,
    /// Those that were not told yet.
    waiting: BTreeSet<Key>,
}

impl Events {
    /// Starts a clock, as Serf does: the first event has time 2.
    pub(super) const fn new() -> Self {
        Self {
            clock: 1,
            floor: (0, [0; 16]),
            told: 1,
            recent: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Tells the time of the next event fired here.
    pub(super) const fn next_time(&self) -> u64 {
        self.clock.saturating_add(1)
    }

    /// Tells the highest time seen.
    pub(super) const fn clock(&self) -> u64 {
        self.clock
    }

    /// Takes an event; true if it was not heard before.
    ///
    /// # Errors
    ///
    /// [`TooBig`]; then nothing has changed.
    pub(super) fn hear(&mut self, event: &event::Event<'_>) -> Result<bool, TooBig> {
        let key = (event.time, event.id);
        if key <= self.floor || self.recent.contains_key(&key) {
            return Ok(false);
        }
        let mut bytes = [0; EVENT_BYTES_MAX];
        let len = event.emit(&mut bytes)?;
        self.clock = self.clock.max(event.time);
        self.recent.insert(key, bytes[..len].into());
        self.waiting.insert(key);
        Ok(true)
    }

    /// Notes that everything up to a peer's clock was heard.
    pub(super) fn catch_up(&mut self, clock: u64) {
        self.clock = self.clock.max(clock);
        self.told = self.told.max(clock);
    }

    /// Passes over everything up to a peer's clock: a newcomer is not told of the past.
    pub(super) fn skip(&mut self, clock: u64) {
        self.catch_up(clock);
        self.floor = self.floor.max((clock, [u8::MAX; 16]));
    }

    /// Tells the time up to which events were told, or will not come any more.
    pub(super) const fn told(&self) -> u64 {
        self.told
    }

    /// Gives up waiting for events between those that came.
    pub(super) fn give_up(&mut self) {
        if let Some((time, _)) = self.waiting.last() {
            self.told = self.told.max(*time);
        }
    }

    /// Takes what may be told now, in order; forgets the oldest events above [`EVENTS_MAX`].
    pub(super) fn tell(&mut self) -> Vec<UserEvent> {
        if self.recent.len() > EVENTS_MAX {
            self.give_up();
        }
        let mut told = Vec::new();
        while let Some(key) = self.waiting.first().copied() {
            if key.0 > self.told.saturating_add(1) {
                break;
            }
            self.waiting.pop_first();
            self.told = self.told.max(key.0);
            let bytes = self.recent.get(&key);
            told.extend(bytes.and_then(|bytes| event::Event::parse(bytes)).map(UserEvent::from));
        }
        while self.recent.len() > EVENTS_MAX {
            if let Some((oldest, _)) = self.recent.pop_first() {
                self.floor = oldest;
            }
        }
        told
    }

    /// Tells whether an event waits for one before it.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lists what was heard.
    pub(super) fn heard(&self) -> Heard {
        Heard { clock: self.clock, keys: self.recent.keys().copied().collect() }
    }

    /// Compares with a peer: the events that it lacks, and those that we lack.
    pub(super) fn compare(&self, theirs: &Heard) -> (Vec<Vec<u8>>, Vec<Key>) {
        let known: BTreeSet<&Key> = theirs.keys.iter().collect();
        let lacking = self.recent.iter().filter(|(key, _)| !known.contains(key));
        let wanted = theirs.keys.iter().copied();
        let wanted = wanted.filter(|key| *key > self.floor && !self.recent.contains_key(key));
        (lacking.map(|(_, bytes)| bytes.to_vec()).collect(), wanted.collect())
    }

    /// Finds what a peer wants.
    pub(super) fn wanted(&self, keys: &[Key]) -> Vec<Vec<u8>> {
        keys.iter().filter_map(|key| self.recent.get(key)).map(|bytes| bytes.to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64, id: u8) -> event::Event<'static> {
        event::Event { time, id: [id; 16], name: "n", ..Default::default() }
    }

    fn hear(events: &mut Events, list: &[(u64, u8)]) -> Vec<(u64, u8)> {
        for (time, id) in list {
            events.hear(&event(*time, *id)).expect("small");
        }
        events.tell().iter().map(|event| (event.time, event.id[0])).collect()
    }

    #[test]
    fn events_are_told_once_and_in_order() {
        let mut events = Events::new();
        assert_eq!(events.next_time(), 2);
        assert_eq!(hear(&mut events, &[(2, 1), (2, 1), (2, 0)]), [(2, 0), (2, 1)]);
        assert_eq!(hear(&mut events, &[(2, 1), (5, 1), (4, 1)]), []);
        assert!(events.waits());
        assert_eq!(hear(&mut events, &[(3, 1)]), [(3, 1), (4, 1), (5, 1)]);
        assert_eq!(hear(&mut events, &[(9, 1), (8, 1)]), []);
        events.give_up();
        assert_eq!(hear(&mut events, &[]), [(8, 1), (9, 1)]);
        assert_eq!(hear(&mut events, &[(7, 1)]), [(7, 1)], "late, but not lost");
        assert!(!events.waits());
        assert_eq!(events.next_time(), 10);
    }

    #[test]
    fn only_the_latest_are_remembered_and_nothing_is_told_twice() {
        let mut events = Events::new();
        let times: Vec<(u64, u8)> = (0..2 * EVENTS_MAX as u64).map(|at| (at * 2 + 4, 1)).collect();
        assert_eq!(hear(&mut events, &times), times, "a flood is not held back");
        assert_eq!(events.heard().keys.len(), EVENTS_MAX);
        assert_eq!(hear(&mut events, &times), []);
        assert_eq!(events.floor, (times[EVENTS_MAX - 1].0, [1; 16]));
    }

    #[test]
    fn a_newcomer_hears_nothing_of_the_past_and_who_was_away_all_of_it() {
        let mut old = Events::new();
        let past: Vec<(u64, u8)> = (2..9).map(|time| (time, 1)).collect();
        hear(&mut old, &past);
        let mut new = Events::new();
        new.skip(old.clock());
        assert_eq!(hear(&mut new, &past), []);
        assert_eq!(hear(&mut new, &[(9, 1)]), [(9, 1)], "and the next at once");
        let mut away = Events::new();
        assert_eq!(hear(&mut away, &[(2, 1), (2, 3)]), [(2, 1), (2, 3)]);
        let (lacking, wanted) = old.compare(&away.heard());
        assert_eq!((lacking.len(), wanted.as_slice()), (6, &[(2, [3; 16])][..]));
        assert_eq!(away.wanted(&wanted).len(), 1);
        for bytes in &lacking {
            away.hear(&event::Event::parse(bytes).expect("ours")).expect("small");
        }
        away.catch_up(old.clock());
        let told: Vec<u64> = away.tell().iter().map(|event| event.time).collect();
        assert_eq!(told, [3, 4, 5, 6, 7, 8]);
        assert_eq!(old.compare(&away.heard()).0.len(), 0);
    }

    #[test]
    fn who_comes_back_from_a_restart_hears_what_it_missed_and_nothing_twice() {
        let mut old = Events::new();
        hear(&mut old, &[(2, 1), (3, 1)]);
        let mut back = Events::new();
        back.skip(old.told());
        hear(&mut old, &[(4, 1)]);
        let (lacking, wanted) = old.compare(&back.heard());
        assert!(wanted.is_empty());
        for bytes in &lacking {
            back.hear(&event::Event::parse(bytes).expect("ours")).expect("small");
        }
        let told: Vec<u64> = back.tell().iter().map(|event| event.time).collect();
        assert_eq!(told, [4]);
        assert_eq!(back.next_time(), 5, "above what the others take for old");
    }
}
