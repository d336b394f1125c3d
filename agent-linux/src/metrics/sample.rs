//! Durations and sizes: how many, how large, how they spread.
//!
//! Values are whole thousandths of their unit (a millisecond, for durations). The histogram has
//! four steps an octave, so that a quantile is at most 19 % above the true one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Steps of the histogram: up to 2^32 thousandths, 71 minutes for durations.
const STEPS: usize = 128;
/// Steps an octave, as a power of two.
const STEP_BITS: u32 = 2;
/// Thousandths in a unit.
const UNIT: f64 = 1000.0;

/// What one interval brought.
#[derive(Debug)]
struct Window {
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    steps: [AtomicU64; STEPS],
}

impl Window {
    const fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            steps: [const { AtomicU64::new(0) }; STEPS],
        }
    }

    fn clear(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.sum.store(0, Ordering::Relaxed);
        self.min.store(u64::MAX, Ordering::Relaxed);
        self.max.store(0, Ordering::Relaxed);
        self.steps.iter().for_each(|step| step.store(0, Ordering::Relaxed));
    }

    fn add(&self, value: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.min.fetch_min(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
        self.steps[step(value)].fetch_add(1, Ordering::Relaxed);
    }
}

/// Finds a value's step: the position of its highest bit, and the two bits below it.
const fn step(value: u64) -> usize {
    if value < 1 << STEP_BITS {
        return value as usize;
    }
    let octave = value.ilog2() - STEP_BITS;
    let step = ((octave as usize) << STEP_BITS) + (value >> octave) as usize;
    if step < STEPS { step } else { STEPS - 1 }
}

/// Tells the largest value of a step.
const fn step_top(step: usize) -> u64 {
    if step < 1 << STEP_BITS {
        return step as u64;
    }
    let octave = (step >> STEP_BITS) - 1;
    let part = (step & ((1 << STEP_BITS) - 1)) + (1 << STEP_BITS);
    (((part + 1) as u64) << octave) - 1
}

/// Values of one kind. Adding one is a handful of atomic additions; at an interval's end one that
/// is added meanwhile may be lost.
#[derive(Debug)]
pub struct Sample {
    name: &'static str,
    count: AtomicU64,
    sum: AtomicU64,
    turn: AtomicUsize,
    windows: [Window; 2],
}

/// A sample's interval, or its whole life.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The standard deviation.
    pub deviation: f64,
}

impl Summary {
    /// Tells the mean, 0 without values.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }
}

impl Sample {
    /// A sample without values; `name` has no prefix.
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            windows: [Window::new(), Window::new()],
        }
    }

    /// Tells its name, without prefix.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Adds a duration, in milliseconds.
    pub fn add_time(&self, time: Duration) {
        self.add_thousandths(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds a number.
    pub fn add(&self, value: u64) {
        self.add_thousandths(value.saturating_mul(UNIT as u64));
    }

    fn add_thousandths(&self, value: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.windows[self.turn.load(Ordering::Relaxed) & 1].add(value);
    }

    /// Tells how many values there were since the start, and their sum.
    pub fn total(&self) -> (u64, f64) {
        let sum = self.sum.load(Ordering::Relaxed) as f64 / UNIT;
        (self.count.load(Ordering::Relaxed), sum)
    }

    /// The last whole interval, or the running one if there is none yet.
    fn window(&self, has_interval: bool) -> &Window {
        &self.windows[(self.turn.load(Ordering::Relaxed) + usize::from(has_interval)) & 1]
    }

    /// Tells what the last whole interval brought, or the running one if there is none yet.
    pub fn recent(&self, has_interval: bool) -> Summary {
        let window = self.window(has_interval);
        let count = window.count.load(Ordering::Relaxed);
        if count == 0 {
            return Summary::default();
        }
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64 / UNIT;
        let (min, max) = (read(&window.min), read(&window.max));
        let mut summary = Summary { count, sum: read(&window.sum), min, max, deviation: 0.0 };
        let mean = summary.mean();
        let squares: f64 = (window.steps.iter().enumerate())
            .map(|(at, step)| {
                let value = (step_top(at) as f64 / UNIT).clamp(min, max);
                step.load(Ordering::Relaxed) as f64 * (value - mean).powi(2)
            })
            .sum();
        summary.deviation = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        summary
    }

    /// Tells the value that a part (0 to 1) of the last ten to twenty seconds' values do not
    /// exceed; `NaN` if there were none.
    pub fn quantile(&self, part: f64) -> f64 {
        let at = |step: usize| {
            let of = |window: &Window| window.steps[step].load(Ordering::Relaxed);
            self.windows.iter().map(of).sum::<u64>()
        };
        let count: u64 = (0..STEPS).map(at).sum();
        let wanted = (count as f64 * part).ceil().max(1.0) as u64;
        let largest = self.windows.iter().map(|window| window.max.load(Ordering::Relaxed)).max();
        let mut below = 0;
        for step in 0..STEPS {
            below += at(step);
            if below >= wanted {
                return step_top(step).min(largest.unwrap_or(u64::MAX)) as f64 / UNIT;
            }
        }
        f64::NAN
    }

    /// Lists the values of the last whole interval as its histogram knows them, each with how many
    /// there were.
    pub(super) fn steps(&self) -> impl Iterator<Item = (f64, u64)> {
        let window = self.window(true);
        let max = window.max.load(Ordering::Relaxed);
        window.steps.iter().enumerate().filter_map(move |(at, step)| {
            let count = step.load(Ordering::Relaxed);
            (count > 0).then(|| (step_top(at).min(max) as f64 / UNIT, count))
        })
    }

    /// Begins a new interval.
    pub(super) fn end_interval(&self) {
        let next = self.turn.load(Ordering::Relaxed).wrapping_add(1);
        self.windows[next & 1].clear();
        self.turn.store(next, Ordering::Relaxed);
    }
}

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Adds the time since the start.
    pub fn stop(self, sample: &Sample) {
        sample.add_time(self.0.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_all_values_without_gaps() {
        for value in (0..5000).chain([1 << 20, (1 << 31) + 12_345]) {
            let top = step_top(step(value));
            assert!(top >= value && (top - value) * 4 <= value, "{value}: {top}");
            assert!(step(value) == 0 || step_top(step(value) - 1) < value, "{value}");
        }
        assert_eq!(step(u64::MAX), STEPS - 1);
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let sample = Sample::new("a");
        assert!(sample.quantile(0.5).is_nan());
        (1..=1000).for_each(|ms| sample.add_time(Duration::from_millis(ms)));
        for (part, truth) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let told = sample.quantile(part);
            assert!((truth..truth * 1.2).contains(&told), "{part}: {told}");
        }
        let (count, sum) = sample.total();
        assert_eq!((count, sum), (1000, 500_500.0));
    }

    #[test]
    fn an_interval_has_only_its_own() {
        let sample = Sample::new("a");
        sample.add(2);
        sample.add(4);
        let now = sample.recent(false);
        assert_eq!((now.count, now.sum, now.min, now.max, now.mean()), (2, 6.0, 2.0, 4.0, 3.0));
        assert!((now.deviation - 2f64.sqrt()).abs() < 0.2, "{now:?}");
        sample.end_interval();
        sample.add(10);
        assert_eq!(sample.recent(true), now);
        sample.end_interval();
        assert_eq!(sample.recent(true).max, 10.0);
        sample.end_interval();
        assert_eq!(sample.recent(true), Summary::default());
        assert!(sample.quantile(0.5).is_nan());
        assert_eq!(sample.total().0, 3);
    }
}
