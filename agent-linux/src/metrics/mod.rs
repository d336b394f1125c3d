//! What this process counts and measures, under Consul's names.
//!
//! ```text
//! counter  numbers that only rise
//! sample   durations and sizes: count, sum, bounds, and a histogram of the last two intervals
//! list     every counter and sample there is
//! name     prefix, host name, filter
//! process  memory, threads, files of this process
//! sink     statsd, dogstatsd and statsite: what an interval brought, sent at its end
//! ```
//!
//! Recording costs a few relaxed atomic additions and no memory: everything lives in statics, apart
//! from one sample a route of the HTTP edge, made at its first request. Intervals are ten seconds
//! long as go-metrics' are, and end when [`run`] says so.
//!
//! Not counted: what Consul labels with names from outside (`catalog.service.query{service}`, say),
//! for their number has no bound.
//!
//! Source of the names: <https://developer.hashicorp.com/consul/docs/agent/telemetry>.

mod counter;
mod list;
mod name;
mod process;
mod sample;
mod sink;

pub use counter::{Counter, Level};
pub use list::*;
pub use name::Naming;
pub use process::{process, prometheus_process, unix_millis, unix_seconds};
pub use sample::{Sample, Stopwatch, Summary};
pub use sink::{Sink, Sinks};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Length of an interval.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// How many intervals have ended.
static INTERVALS: AtomicU64 = AtomicU64::new(0);

/// Samples made while running, one a route.
static MADE: Mutex<Vec<&'static Sample>> = Mutex::new(Vec::new());

/// A value as it stands when asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Gauge {
    /// Its name, without prefix.
    pub name: &'static str,
    /// The value.
    pub value: f64,
}

impl Gauge {
    /// Makes a gauge.
    pub const fn new(name: &'static str, value: f64) -> Self {
        Self { name, value }
    }
}

/// Makes a sample that lives as long as the process. The caller bounds how many it makes.
pub fn make_sample(name: String) -> &'static Sample {
    let sample: &'static Sample = Box::leak(Box::new(Sample::new(String::leak(name))));
    MADE.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    sample
}

/// Lists every sample.
pub fn samples() -> Vec<&'static Sample> {
    let made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    SAMPLES.iter().copied().chain(made.iter().copied()).collect()
}

/// Lists every counter.
pub fn counters() -> &'static [&'static Counter] {
    COUNTERS
}

/// Tells whether an interval has ended since the start: then its values are shown, else those of
/// the one that runs.
pub fn has_interval() -> bool {
    INTERVALS.load(Ordering::Relaxed) > 0
}

/// Ends an interval every ten seconds, after `measure` has added what is only looked at then, and
/// sends what it brought to the sinks; for ever.
pub async fn run(mut sinks: Sinks, measure: impl Fn() -> Vec<Gauge>) {
    let mut ends = interval(INTERVAL);
    ends.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ends.tick().await;
    loop {
        ends.tick().await;
        let gauges = measure();
        COUNTERS.iter().for_each(|counter| counter.end_interval());
        samples().into_iter().for_each(Sample::end_interval);
        INTERVALS.fetch_add(1, Ordering::Relaxed);
        sinks.send(&gauges).await;
    }
}
