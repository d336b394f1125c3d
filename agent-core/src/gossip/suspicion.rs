//! Lifeguard's suspicions: one accuser alone has to wait long, several are believed soon.
//!
//! A suspect has [`MOST_FACTOR`] times the least time to refute; every further member whose own
//! probe failed shortens that, on a logarithmic scale, down to the least.
//!
//! Source: Dadgar, Phillips, Currey, "Lifeguard" (2017), section IV-B.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::config::log10_milli;
use super::identity::Identity;
use crate::time::{Duration, Instant};

/// Most suspicions at a time; further suspects are left to the next failed probe.
const SUSPICIONS_MAX: usize = 4096;

/// The longest time to refute, in least times. Consul's `suspicion_max_timeout_mult`.
const MOST_FACTOR: u64 = 6;

/// Most accusers that are told apart.
const ACCUSERS_MAX: usize = 8;

/// How long suspects of this pool may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    /// The time with enough accusers.
    pub(super) least: Duration,
    /// Accusers besides the first that are enough, below [`ACCUSERS_MAX`].
    pub(super) enough: usize,
}

impl Terms {
    /// Sets the terms for a pool of `members`: `factor` is Consul's `suspicion_mult`, of which two
    /// are the first accuser and a spare. Too small a pool has nobody to confirm.
    pub(super) fn new(least: Duration, factor: u32, members: usize) -> Self {
        let enough = (factor.saturating_sub(2) as usize).min(ACCUSERS_MAX - 1);
        let enough = if members < enough + 2 { 0 } else { enough };
        Self { least, enough }
    }

    /// Tells the time to refute with so many accusers besides the first, if there can be so many
    /// `witnesses`.
    fn time(&self, confirmations: usize, witnesses: usize) -> Duration {
        let enough = self.enough.min(witnesses);
        if confirmations >= enough {
            return self.least;
        }
        let most = self.least.times(MOST_FACTOR).micros();
        let share = log10_milli(confirmations + 1) * 1000 / log10_milli(enough + 1);
        Duration::from_micros(most - (most - self.least.micros()) / 1000 * share)
    }
}

/// One suspicion.
struct Suspicion {
    incarnation: u16,
    since: Instant,
    ends: Instant,
    /// Rounds of verification so far.
    rounds: u8,
    accusers: heapless::Vec<u64, ACCUSERS_MAX>,
}

/// All of them.
pub(super) struct Suspicions {
    terms: Terms,
    open: BTreeMap<Identity, Suspicion>,
}

impl Suspicions {
    pub(super) const fn new(terms: Terms) -> Self {
        Self { terms, open: BTreeMap::new() }
    }

    /// Sets the terms; suspicions that are open end as they would have.
    pub(super) const fn tune(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// Tells the time that a suspect has with enough accusers.
    pub(super) const fn least(&self) -> Duration {
        self.terms.least
    }

    /// Notes that a member is suspect; answers when that ends, if this is new.
    pub(super) fn open(
        &mut self,
        now: Instant,
        identity: Identity,
        incarnation: u16,
    ) -> Option<Instant> {
        let known = self.open.get(&identity).map(|suspicion| suspicion.incarnation);
        let full = known.is_none() && self.open.len() >= SUSPICIONS_MAX;
        if full || known.is_some_and(|known| known >= incarnation) {
            return None;
        }
        let ends = now + self.terms.time(0, usize::MAX);
        let (accusers, rounds) = (heapless::Vec::new(), 0);
        self.open.insert(identity, Suspicion { incarnation, since: now, ends, rounds, accusers });
        Some(ends)
    }

    /// Notes who accuses an open suspect; answers the end of the suspicion from now on, if the
    /// accuser is new and still needed. `witnesses` are those who can confirm it besides the first.
    pub(super) fn accuse(
        &mut self,
        identity: &Identity,
        incarnation: u16,
        accuser: u64,
        witnesses: usize,
    ) -> Option<Instant> {
        let terms = self.terms;
        let suspicion = self.open.get_mut(identity).filter(|s| s.incarnation == incarnation)?;
        let accusers = &mut suspicion.accusers;
        if accusers.len() > terms.enough || accusers.contains(&accuser) {
            return None;
        }
        accusers.push(accuser).ok()?;
        let ends = suspicion.since + terms.time(accusers.len() - 1, witnesses);
        suspicion.ends = suspicion.ends.min(ends);
        Some(suspicion.ends)
    }

    /// Tells at which incarnation a member is suspect.
    pub(super) fn holds(&self, identity: &Identity) -> Option<u16> {
        self.open.get(identity).map(|suspicion| suspicion.incarnation)
    }

    /// Tells whether nobody is suspect.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Begins a round of verification: answers up to `most` of the suspects that `wanted` names,
    /// those of the fewest rounds first, with their incarnation and the rounds before this one.
    pub(super) fn verify(
        &mut self,
        most: usize,
        wanted: impl Fn(&Identity) -> bool,
    ) -> Vec<(Identity, u16, u8)> {
        let mut suspects: Vec<(&Identity, &mut Suspicion)> =
            self.open.iter_mut().filter(|(identity, _)| wanted(identity)).collect();
        suspects.sort_by_key(|(_, suspicion)| suspicion.rounds);
        suspects.truncate(most);
        let begin = |(identity, suspicion): (&Identity, &mut Suspicion)| {
            let rounds = suspicion.rounds;
            suspicion.rounds = rounds.saturating_add(1);
            (*identity, suspicion.incarnation, rounds)
        };
        suspects.into_iter().map(begin).collect()
    }

    /// Ends the suspicion of a member that refuted, or is down.
    pub(super) fn close(&mut self, identity: &Identity) {
        self.open.remove(identity);
    }

    /// Ends a suspicion whose time is over; true if there was one.
    pub(super) fn expire(&mut self, now: Instant, identity: &Identity, incarnation: u16) -> bool {
        let over = self
            .open
            .get(identity)
            .is_some_and(|open| open.incarnation == incarnation && open.ends <= now);
        if over {
            self.open.remove(identity);
        }
        over
    }

    /// Puts the end of all that are over at `now` off until `later`.
    pub(super) fn put_off(&mut self, now: Instant, later: Instant) {
        for suspicion in self.open.values_mut().filter(|suspicion| suspicion.ends <= now) {
            suspicion.ends = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    fn suspect(port: u16) -> Identity {
        Identity::new(SocketAddr::from(([10, 0, 0, 1], port)), 1, u64::from(port))
    }

    fn secs(secs: u64) -> Instant {
        Instant::default() + Duration::from_secs(secs)
    }

    #[test]
    fn every_accuser_shortens_the_time_down_to_the_least() {
        let mut open = Suspicions::new(Terms::new(Duration::from_secs(10), 4, 100));
        let who = suspect(1);
        assert_eq!(open.open(secs(0), who, 0), Some(secs(60)));
        assert_eq!(open.open(secs(5), who, 0), None, "it is known");
        assert_eq!(open.accuse(&who, 0, 7, usize::MAX), Some(secs(60)));
        assert_eq!(open.accuse(&who, 0, 7, usize::MAX), None, "the same again says nothing");
        assert_eq!(
            open.accuse(&who, 1, 8, usize::MAX),
            None,
            "another incarnation is another matter"
        );
        let two = open.accuse(&who, 0, 8, usize::MAX).expect("a second one");
        assert!(secs(25) < two && two < secs(30), "{two:?}");
        assert_eq!(open.accuse(&who, 0, 9, usize::MAX), Some(secs(10)));
        assert_eq!(open.accuse(&who, 0, 10, usize::MAX), None, "three are enough");
        assert!(!open.expire(secs(9), &who, 0) && !open.expire(secs(10), &who, 1));
        assert!(open.expire(secs(10), &who, 0) && !open.expire(secs(10), &who, 0));
    }

    #[test]
    fn who_refutes_is_suspect_anew_with_a_new_time() {
        let mut open = Suspicions::new(Terms::new(Duration::from_secs(10), 4, 100));
        let who = suspect(1);
        open.open(secs(0), who, 0);
        assert_eq!(open.holds(&who), Some(0));
        assert_eq!(open.open(secs(30), who, 1), Some(secs(90)));
        open.close(&who);
        assert_eq!(open.holds(&who), None);
    }

    #[test]
    fn a_pool_without_witnesses_goes_by_the_least_time() {
        let mut open = Suspicions::new(Terms::new(Duration::from_secs(4), 4, 3));
        assert_eq!(open.open(secs(0), suspect(1), 0), Some(secs(4)));
        open.put_off(secs(5), secs(9));
        assert!(!open.expire(secs(8), &suspect(1), 0) && open.expire(secs(9), &suspect(1), 0));
    }

    #[test]
    fn as_many_accusers_are_enough_as_there_can_be() {
        let mut open = Suspicions::new(Terms::new(Duration::from_secs(10), 4, 100));
        let who = suspect(1);
        open.open(secs(0), who, 0);
        assert_eq!(open.accuse(&who, 0, 7, 1), Some(secs(60)));
        assert_eq!(open.accuse(&who, 0, 8, 1), Some(secs(10)));
        open.open(secs(20), who, 1);
        assert_eq!(open.accuse(&who, 1, 7, 0), Some(secs(30)));
    }

    #[test]
    fn who_was_verified_least_is_verified_next() {
        let mut open = Suspicions::new(Terms::new(Duration::from_secs(10), 4, 100));
        for port in 1..=3 {
            open.open(secs(0), suspect(port), 5);
        }
        let mut round = || -> Vec<(u16, u8)> {
            let round = open.verify(2, |identity| *identity != suspect(2));
            round.iter().map(|(who, _, rounds)| (who.address.socket().port(), *rounds)).collect()
        };
        assert_eq!(round(), [(1, 0), (3, 0)]);
        assert_eq!(round(), [(1, 1), (3, 1)]);
        assert_eq!(open.verify(2, |_| true), [(suspect(2), 5, 0), (suspect(1), 5, 2)]);
    }

    #[test]
    fn suspicions_are_bounded() {
        let mut open = Suspicions::new(Terms::new(Duration::from_secs(4), 4, 100));
        let opened =
            (0..SUSPICIONS_MAX as u16 + 100).filter_map(|at| open.open(secs(0), suspect(at), 0));
        assert_eq!(opened.count(), SUSPICIONS_MAX);
    }
}
