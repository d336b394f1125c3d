//! Every check of an agent, in lent slots: who is due next, and what follows from a result.

use super::{Judge, Status, Thresholds};
use crate::rand::Rng;
use crate::time::{Duration, Instant, sooner};

/// Shortest time between two runs; shorter wishes are raised to it, as Consul does.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Shortest time that a check must be critical before its service is removed.
pub const CRITICAL_MIN: Duration = Duration::from_secs(60);

/// Names a check within its [`Engine`]; a removed check's key is never mistaken for another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    slot: u32,
    generation: u32,
}

/// What makes a check speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// It is run this long after its last run ended, first after a random part of it.
    Every(Duration),
    /// Its owner reports at least this often, or it turns critical.
    Ttl(Duration),
    /// Its owner reports whenever there is something to report.
    Told,
}

/// How a check is to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What makes it speak.
    pub pace: Pace,
    /// Results in a row that it takes to turn it. They bind runs, not reports.
    pub thresholds: Thresholds,
    /// Where it starts.
    pub status: Status,
    /// How long it may stay critical before [`Event::Overdue`]; zero for ever.
    pub critical_max: Duration,
}

/// What the driver has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Run the check now; answer with [`Engine::handle_result`].
    Run(Key),
    /// Nobody reported in time: the check is critical now.
    Expired(Key),
    /// The check was critical for too long: remove what it is about.
    Overdue(Key),
}

/// Why [`Engine::poll_timeout`] named its instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A check is to be run.
    Run,
    /// A report is missing.
    Expiry,
    /// A check has been critical for too long.
    Overdue,
}

/// Every slot is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// Room for one check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    generation: u32,
    check: Option<Check>,
}

/// A check in its slot.
#[derive(Clone, Copy, Debug)]
struct Check {
    pace: Pace,
    judge: Judge,
    status: Status,
    /// Next run or expiry; `None` while it runs, after it expired, or if it has none.
    due: Option<Instant>,
    /// Since when it is critical.
    critical_since: Option<Instant>,
    critical_max: Duration,
}

/// Every check of an agent. Costs nothing between two timeouts; a timeout costs one look per slot.
#[derive(Clone, Debug)]
pub struct Engine<S> {
    slots: S,
    rng: Rng,
    now: Instant,
}

impl Check {
    /// Adopts a status; the time of the first critical one counts.
    fn adopt(&mut self, now: Instant, status: Status) {
        self.status = status;
        self.critical_since = match status {
            Status::Critical => self.critical_since.or(Some(now)),
            Status::Passing | Status::Warning => None,
        };
    }

    /// Tells when it will have been critical for too long.
    fn overdue(&self) -> Option<Instant> {
        (self.critical_max > Duration::ZERO)
            .then_some(self.critical_since)
            .flatten()
            .map(|since| since + self.critical_max)
    }
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Engine<S> {
    /// Starts without checks, in slots that the driver lends.
    pub fn new(slots: S, rng: Rng) -> Self {
        Self { slots, rng, now: Instant::default() }
    }

    /// Lends the slots back, so that a driver with an allocator can append free ones.
    pub fn slots_mut(&mut self) -> &mut S {
        &mut self.slots
    }

    /// Adds a check.
    ///
    /// # Errors
    ///
    /// [`Full`] if every slot is taken; nothing is changed.
    pub fn insert(&mut self, now: Instant, plan: Plan) -> Result<Key, Full> {
        let free = self.slots.as_ref().iter().position(|slot| slot.check.is_none()).ok_or(Full)?;
        let (pace, wait) = match plan.pace {
            Pace::Every(interval) => {
                let interval = interval.max(INTERVAL_MIN);
                let wait = Duration::from_micros(self.rng.below(interval.micros()));
                (Pace::Every(interval), Some(wait))
            }
            Pace::Ttl(ttl) => (Pace::Ttl(ttl), Some(ttl)),
            Pace::Told => (Pace::Told, None),
        };
        let critical_max = match plan.critical_max {
            Duration::ZERO => Duration::ZERO,
            wish => wish.max(CRITICAL_MIN),
        };
        let mut check = Check {
            pace,
            judge: Judge::new(plan.thresholds),
            status: plan.status,
            due: wait.map(|wait| now + wait),
            critical_since: None,
            critical_max,
        };
        check.adopt(now, plan.status);
        let slot = &mut self.slots.as_mut()[free];
        slot.check = Some(check);
        Ok(Key { slot: free as u32, generation: slot.generation })
    }

    /// Removes a check; an unknown key is ignored.
    pub fn remove(&mut self, key: Key) {
        if let Some(slot) = self.slots.as_mut().get_mut(key.slot as usize)
            && slot.generation == key.generation
        {
            *slot = Slot { generation: key.generation.wrapping_add(1), check: None };
        }
    }

    /// Tells how a check stands.
    pub fn status(&self, key: Key) -> Option<Status> {
        let slot = self.slots.as_ref().get(key.slot as usize)?;
        let check = slot.check.as_ref().filter(|_| slot.generation == key.generation)?;
        Some(check.status)
    }

    /// Takes the result of a run and sets the next one. Tells the status that the check now has to
    /// show, or `None` while a threshold is not reached or the check is gone.
    pub fn handle_result(&mut self, now: Instant, key: Key, result: Status) -> Option<Status> {
        let check = self.check_mut(key)?;
        if let Pace::Every(interval) = check.pace {
            check.due = Some(now + interval);
        }
        let status = check.judge.handle_result(result)?;
        check.adopt(now, status);
        Some(status)
    }

    /// Takes its owner's word on a check: no thresholds, and a TTL begins anew. Tells whether the
    /// check exists.
    pub fn handle_report(&mut self, now: Instant, key: Key, status: Status) -> bool {
        let Some(check) = self.check_mut(key) else { return false };
        if let Pace::Ttl(ttl) = check.pace {
            check.due = Some(now + ttl);
        }
        check.adopt(now, status);
        true
    }

    /// Sets where a check stands without touching its deadlines, for a status kept from before.
    pub fn restore(&mut self, now: Instant, key: Key, status: Status) {
        if let Some(check) = self.check_mut(key) {
            check.adopt(now, status);
        }
    }

    /// Takes note of the time; events follow from [`poll_event`](Self::poll_event).
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Tells the next thing that is due as of the last [`handle_timeout`](Self::handle_timeout).
    pub fn poll_event(&mut self) -> Option<Event> {
        let now = self.now;
        for (index, slot) in self.slots.as_mut().iter_mut().enumerate() {
            let Some(check) = &mut slot.check else { continue };
            let key = Key { slot: index as u32, generation: slot.generation };
            if check.due.is_some_and(|due| due <= now) {
                check.due = None;
                match check.pace {
                    Pace::Every(_) => return Some(Event::Run(key)),
                    Pace::Ttl(_) => {
                        check.adopt(now, Status::Critical);
                        return Some(Event::Expired(key));
                    }
                    Pace::Told => {}
                }
            }
            if check.overdue().is_some_and(|due| due <= now) {
                check.critical_max = Duration::ZERO;
                return Some(Event::Overdue(key));
            }
        }
        None
    }

    /// Tells when something becomes due next, and what.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let checks = self.slots.as_ref().iter().filter_map(|slot| slot.check.as_ref());
        let mut first = None;
        for check in checks {
            let reason = match check.pace {
                Pace::Every(_) => Reason::Run,
                Pace::Ttl(_) | Pace::Told => Reason::Expiry,
            };
            first = sooner(first, check.due.map(|due| (due, reason)));
            first = sooner(first, check.overdue().map(|due| (due, Reason::Overdue)));
        }
        first
    }

    /// Finds a check by its key.
    fn check_mut(&mut self, key: Key) -> Option<&mut Check> {
        let slot = self.slots.as_mut().get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.check.as_mut() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    fn plan(pace: Pace) -> Plan {
        Plan {
            pace,
            thresholds: Thresholds::default(),
            status: Status::Critical,
            critical_max: Duration::ZERO,
        }
    }

    fn engine() -> Engine<[Slot; 3]> {
        Engine::new([Slot::default(); 3], Rng::new(1))
    }

    fn events<S: AsRef<[Slot]> + AsMut<[Slot]>>(
        engine: &mut Engine<S>,
        now: Instant,
    ) -> Vec<Event> {
        engine.handle_timeout(now);
        core::iter::from_fn(|| engine.poll_event()).collect()
    }

    #[test]
    fn a_run_starts_within_its_interval_and_repeats_after_it_ended() {
        let mut engine = engine();
        let key = engine.insert(at(100), plan(Pace::Every(Duration::from_secs(10)))).unwrap();
        let (first, reason) = engine.poll_timeout().unwrap();
        assert_eq!(reason, Reason::Run);
        assert!(first >= at(100) && first < at(110));
        assert_eq!(events(&mut engine, first), [Event::Run(key)]);
        assert_eq!(engine.poll_timeout(), None, "a running check is not due");
        assert_eq!(engine.handle_result(at(115), key, Status::Passing), Some(Status::Passing));
        assert_eq!(engine.poll_timeout(), Some((at(125), Reason::Run)));
    }

    #[test]
    fn an_interval_has_a_floor() {
        let mut engine = engine();
        let key = engine.insert(at(0), plan(Pace::Every(Duration::from_millis(1)))).unwrap();
        engine.handle_result(at(0), key, Status::Passing);
        assert_eq!(engine.poll_timeout(), Some((at(1), Reason::Run)));
    }

    #[test]
    fn a_ttl_expires_once_and_begins_anew_with_each_report() {
        let mut engine = engine();
        let key = engine.insert(at(0), plan(Pace::Ttl(Duration::from_secs(5)))).unwrap();
        assert!(engine.handle_report(at(3), key, Status::Passing));
        assert_eq!(events(&mut engine, at(7)), []);
        assert_eq!(engine.status(key), Some(Status::Passing));
        assert_eq!(events(&mut engine, at(8)), [Event::Expired(key)]);
        assert_eq!(engine.status(key), Some(Status::Critical));
        assert_eq!(events(&mut engine, at(99)), []);
        assert!(engine.handle_report(at(100), key, Status::Warning));
        assert_eq!(engine.poll_timeout(), Some((at(105), Reason::Expiry)));
    }

    #[test]
    fn a_check_that_stays_critical_is_overdue_after_at_least_a_minute() {
        let mut engine = engine();
        let plan = Plan { critical_max: Duration::from_secs(1), ..plan(Pace::Told) };
        let key = engine.insert(at(0), plan).unwrap();
        engine.handle_report(at(50), key, Status::Critical);
        assert_eq!(engine.poll_timeout(), Some((at(60), Reason::Overdue)));
        engine.handle_report(at(55), key, Status::Passing);
        assert_eq!(engine.poll_timeout(), None);
        engine.handle_report(at(56), key, Status::Critical);
        assert_eq!(events(&mut engine, at(115)), []);
        assert_eq!(events(&mut engine, at(116)), [Event::Overdue(key)]);
    }

    #[test]
    fn capacity_is_what_was_lent_and_old_keys_are_dead() {
        let mut engine = engine();
        let keys: Vec<_> =
            (0..3).map(|_| engine.insert(at(0), plan(Pace::Told)).unwrap()).collect();
        assert_eq!(engine.insert(at(0), plan(Pace::Told)), Err(Full));
        engine.remove(keys[1]);
        let reused = engine.insert(at(0), plan(Pace::Told)).unwrap();
        assert_ne!(reused, keys[1]);
        assert!(!engine.handle_report(at(1), keys[1], Status::Passing));
        assert_eq!(engine.status(reused), Some(Status::Critical));

        let mut engine = Engine::new(vec![Slot::default()], Rng::new(1));
        engine.insert(at(0), plan(Pace::Told)).unwrap();
        engine.slots_mut().push(Slot::default());
        assert!(engine.insert(at(0), plan(Pace::Told)).is_ok());
    }
}
