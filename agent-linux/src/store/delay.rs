//! Lock delay: how long keys stay free after a session lost them.
//!
//! Kept by wall clock in each server's memory and asked by the leader before it proposes, never in
//! the log. Source: <https://developer.hashicorp.com/consul/docs/dynamic-app-config/sessions>.

use super::Key;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Keys with a delay are swept when the table has doubled, and not below this size.
const SWEEP_LEN_MIN: usize = 1024;

/// Until when keys stay free. Bounded by the locks that were lost within the longest delay (60 s).
#[derive(Debug, Default)]
pub(super) struct Delays {
    until: BTreeMap<Key, Instant>,
    sweep_at: usize,
}

impl Delays {
    pub(super) fn note(&mut self, lost: &[(Key, u64)], now: Instant) {
        for (key, nanos) in lost.iter().filter(|(_, nanos)| *nanos > 0) {
            self.until.insert(key.clone(), now + Duration::from_nanos(*nanos));
        }
        if self.until.len() > self.sweep_at.max(SWEEP_LEN_MIN) {
            self.until.retain(|_, until| *until > now);
            self.sweep_at = self.until.len() * 2;
        }
    }

    pub(super) fn remaining(&self, key: &str, now: Instant) -> Option<Duration> {
        let left = self.until.get(key)?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_lock_stays_free_for_its_delay_only() {
        let (mut delays, now) = (Delays::default(), Instant::now());
        delays.note(&[("a".into(), 2_000_000_000), ("b".into(), 0)], now);
        assert_eq!(delays.remaining("a", now), Some(Duration::from_secs(2)));
        assert_eq!(delays.remaining("a", now + Duration::from_secs(2)), None);
        assert_eq!(delays.remaining("b", now), None);
    }

    #[test]
    fn delays_that_are_over_are_swept() {
        let (mut delays, now) = (Delays::default(), Instant::now());
        for i in 0..10_000_u64 {
            let key: Key = format!("{i}").into();
            delays.note(&[(key, 1)], now + Duration::from_millis(i));
        }
        assert!(delays.until.len() <= SWEEP_LEN_MIN + 1);
    }
}
