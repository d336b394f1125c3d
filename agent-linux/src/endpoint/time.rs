//! How long queries wait, and how long calls of other servers may take.

use super::Inner;
use super::block::{JITTER_PART, Wait};
use agent_core::model::request::Request;
use std::sync::PoisonError;
use std::time::Duration;

/// Time for a call on the far side beyond the time that it may block: a write under load.
const CALL_TIME: Duration = Duration::from_secs(30);

impl Inner {
    /// How long a blocking query waits: what was asked within bounds, and up to a sixteenth more,
    /// so that those who came together do not leave together.
    pub(super) fn wait(&self, request: &Request) -> Wait {
        let time = self.wait_time(request);
        Wait { after: request.options.min_index, time: time + self.roll(time / JITTER_PART) }
    }

    /// How long a query may wait at most, before jitter.
    pub(super) fn wait_time(&self, request: &Request) -> Duration {
        match request.options.wait_ms {
            0 => self.settings.query_time_default,
            asked => Duration::from_millis(asked).min(self.settings.query_time_max),
        }
    }

    /// How long another server may take to answer.
    pub(super) fn call_time(&self, request: &Request) -> Duration {
        if request.options.min_index == 0 {
            return CALL_TIME;
        }
        let wait = self.wait_time(request);
        wait + wait / JITTER_PART + CALL_TIME
    }

    /// Rolls a duration of at most `most`.
    pub(super) fn roll(&self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(dice.below(most.saturating_add(1)))
    }
}
