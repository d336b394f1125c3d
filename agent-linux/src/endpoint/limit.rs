//! How often an agent asks its servers (`limits.rpc_rate`, `limits.rpc_max_burst`).

use super::Endpoint;
use crate::metrics;
use agent_core::model::request::{Error, Kind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A bucket of tokens: it fills at a rate, and each request takes one.
#[derive(Debug)]
pub struct Limit(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Tokens a second; infinite for no limit.
    rate: f64,
    /// Tokens that fit.
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Limit {
    /// Makes a full bucket: `rate` requests a second (a negative one is no limit), and up to
    /// `burst` at once.
    pub fn new(rate: f64, burst: u32) -> Self {
        let rate = without_limit(rate);
        let burst = f64::from(burst);
        Self(Mutex::new(Bucket { rate, burst, tokens: burst, filled: Instant::now() }))
    }

    /// Changes rate and size; what is in the bucket stays as far as it fits.
    pub fn set(&self, rate: f64, burst: u32) {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.fill(Instant::now());
        bucket.rate = without_limit(rate);
        bucket.burst = f64::from(burst);
        bucket.tokens = bucket.tokens.min(bucket.burst);
    }

    /// Takes a token; tells whether there was one.
    fn admit(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.rate.is_infinite() {
            return true;
        }
        bucket.fill(now);
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

impl Endpoint {
    /// Makes a copy that serves no more often than the limit allows.
    pub fn limited(&self, limit: Arc<Limit>) -> Self {
        Self(self.0.clone(), Some(limit))
    }

    /// Counts one request against the limit, if there is one.
    ///
    /// # Errors
    ///
    /// [`Kind::Limited`].
    pub(super) fn admit(&self) -> Result<(), Error> {
        metrics::CLIENT_RPC.count();
        match &self.1 {
            Some(limit) if !limit.admit(Instant::now()) => {
                metrics::CLIENT_RPC_EXCEEDED.count();
                Err(Error::new(Kind::Limited))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Bucket {
    /// Adds the tokens of the time that went by.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        // Without a rate there is nothing to add, and infinity times zero is no number.
        if self.rate.is_finite() {
            self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        }
    }
}

/// Reads a rate below zero as none.
fn without_limit(rate: f64) -> f64 {
    if rate < 0.0 { f64::INFINITY } else { rate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_the_rate_counts() {
        let limit = Limit::new(2.0, 3);
        let start = Instant::now() + Duration::from_secs(1);
        let passed = |at: Duration| (0..10).filter(|_| limit.admit(start + at)).count();
        assert_eq!(passed(Duration::ZERO), 3);
        assert_eq!(passed(Duration::from_millis(400)), 0);
        assert_eq!(passed(Duration::from_millis(500)), 1);
        assert_eq!(passed(Duration::from_secs(100)), 3);
    }

    #[test]
    fn a_negative_rate_is_none_and_zero_lets_only_the_burst_pass() {
        let start = Instant::now();
        let passed = |limit: &Limit| (0..5000).filter(|_| limit.admit(start)).count();
        let limit = Limit::new(-1.0, 0);
        assert_eq!(passed(&limit), 5000);
        limit.set(0.0, 7);
        assert_eq!(passed(&limit), 0, "the bucket was empty");
        assert_eq!(passed(&Limit::new(0.0, 7)), 7);
    }
}
