//! Finds our own place from round-trip times to others who tell theirs.
//!
//! Every answered probe is a spring between two places that pulls ours to where the distance is the
//! time measured. Sources as in [`coordinate`](super::coordinate); the constants are those of
//! Consul's Serf.

use alloc::collections::BTreeMap;

use super::coordinate::{Coordinate, DIMENSIONS, ERROR_MAX, HEIGHT_MIN, difference, length};
use crate::rand::Rng;

/// How fast the estimated error follows, and how far a spring pulls at once (Vivaldi's c_e, c_c).
const ERROR_GAIN: f64 = 0.25;
const FORCE_GAIN: f64 = 0.25;

/// Measurements that the adjustment is averaged over.
const ADJUSTMENT_WINDOW: usize = 20;

/// Measurements of one member of which the median counts, so that a late packet does not.
const FILTER_WINDOW: usize = 3;

/// Members whose measurements are kept; in a larger pool a random one makes room.
const FILTERS_MAX: usize = 1024;

/// How weakly places are pulled to the origin, so that the whole space does not drift, in seconds.
const GRAVITY: f64 = 150.0;

/// Longest round-trip time that is believed, in seconds.
const RTT_MAX: f64 = 10.0;

/// Least round-trip time and error that are divided by.
const LEAST: f64 = 1.0e-6;

/// Below this a distance is none, in seconds.
const NEAR: f64 = 1.0e-6;

/// The last measurements of a member; not a number where there was none yet.
type Filter = [f64; FILTER_WINDOW];

/// Our place, and what it takes to keep it.
#[derive(Debug)]
pub struct Vivaldi {
    place: Coordinate,
    adjustments: [f64; ADJUSTMENT_WINDOW],
    next_adjustment: usize,
    filters: BTreeMap<u64, Filter>,
    resets: u64,
    dice: Rng,
}

impl Vivaldi {
    /// Starts at the origin; `seed` rolls directions for those who meet at one place.
    pub fn new(seed: u64) -> Self {
        Self {
            place: Coordinate::default(),
            adjustments: [0.0; ADJUSTMENT_WINDOW],
            next_adjustment: 0,
            filters: BTreeMap::new(),
            resets: 0,
            dice: Rng::new(seed),
        }
    }

    /// Tells our place.
    pub const fn place(&self) -> &Coordinate {
        &self.place
    }

    /// Tells how often we had to start at the origin again.
    pub const fn resets(&self) -> u64 {
        self.resets
    }

    /// Hears that a member at `other` answered after `rtt` seconds. What cannot be is passed over.
    pub fn observe(&mut self, node: u64, other: &Coordinate, rtt: f64) {
        let possible = rtt > 0.0 && rtt <= RTT_MAX;
        if !possible || !other.is_valid() || other.error < 0.0 || other.height < 0.0 {
            return;
        }
        let rtt = self.filter(node, rtt);
        self.pull(other, rtt.max(LEAST));
        self.adjust(other, rtt);
        self.fall();
        if !self.place.is_valid() {
            self.resets += 1;
            self.place = Coordinate::default();
            self.adjustments = [0.0; ADJUSTMENT_WINDOW];
        }
    }

    /// Forgets what was measured of a member.
    pub fn forget(&mut self, node: u64) {
        self.filters.remove(&node);
    }

    /// Takes the median of a member's last measurements.
    fn filter(&mut self, node: u64, rtt: f64) -> f64 {
        if self.filters.len() >= FILTERS_MAX && !self.filters.contains_key(&node) {
            let at = self.dice.next_u64();
            let victim = self.filters.range(at..).next().or_else(|| self.filters.iter().next());
            if let Some(victim) = victim.map(|(node, _)| *node) {
                self.filters.remove(&victim);
            }
        }
        let filter = self.filters.entry(node).or_insert([f64::NAN; FILTER_WINDOW]);
        filter.rotate_left(1);
        filter[FILTER_WINDOW - 1] = rtt;
        let mut sorted = *filter;
        // What is not a number comes last.
        sorted.sort_by(f64::total_cmp);
        let known = sorted.iter().filter(|sample| sample.is_finite()).count();
        sorted[known / 2]
    }

    /// Lets the spring pull: as hard as the estimate is off and as we are unsure beside the other.
    fn pull(&mut self, other: &Coordinate, rtt: f64) {
        let estimate = self.place.distance(other);
        let wrong = (estimate - rtt).abs() / rtt;
        let weight = self.place.error / (self.place.error + other.error).max(LEAST);
        let gain = ERROR_GAIN * weight;
        self.place.error = (gain * wrong + self.place.error * (1.0 - gain)).min(ERROR_MAX);
        self.push(FORCE_GAIN * weight * (rtt - estimate), other);
    }

    /// Averages what the space cannot express: half of it is ours, half the other's.
    fn adjust(&mut self, other: &Coordinate, rtt: f64) {
        self.adjustments[self.next_adjustment] = rtt - self.place.raw_distance(other);
        self.next_adjustment = (self.next_adjustment + 1) % ADJUSTMENT_WINDOW;
        let sum: f64 = self.adjustments.iter().sum();
        self.place.adjustment = sum / (2.0 * ADJUSTMENT_WINDOW as f64);
    }

    /// Lets us fall to the origin, the faster the farther away.
    fn fall(&mut self) {
        let origin = Coordinate::default();
        let part = origin.distance(&self.place) / GRAVITY;
        self.push(-part * part, &origin);
    }

    fn push(&mut self, force: f64, from: &Coordinate) {
        let direction: [f64; DIMENSIONS] =
            core::array::from_fn(|_| self.dice.below(1 << 20) as f64 / f64::from(1 << 20) - 0.5);
        self.place.push(force, from, direction);
    }
}

impl Coordinate {
    /// Pushes the place away from another one, or pulls it if the force is negative. `direction`
    /// is where to go if both are at one place: any vector of some length.
    fn push(&mut self, force: f64, from: &Self, direction: [f64; DIMENSIONS]) {
        let way = difference(&self.vec, &from.vec);
        let apart = length(&way);
        let (way, size) = match apart > NEAR {
            true => (way, apart),
            false => (direction, length(&direction).max(NEAR)),
        };
        for (at, step) in self.vec.iter_mut().zip(way) {
            *at += step / size * force;
        }
        if apart > NEAR {
            let height = (self.height + from.height) * force / apart + self.height;
            self.height = height.max(HEIGHT_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Lets every member of a pool probe the others in turn, `rounds` times.
    fn live(times: &[Vec<f64>], rounds: usize, noise: f64, seed: u64) -> Vec<Vivaldi> {
        let count = times.len();
        let mut members: Vec<Vivaldi> =
            (0..count).map(|at| Vivaldi::new(seed + at as u64)).collect();
        let mut dice = Rng::new(seed);
        for _ in 0..rounds {
            for at in 0..count {
                let other = (at + 1 + dice.below(count as u64 - 1) as usize) % count;
                let late = dice.below(1000) as f64 / 1000.0 * noise;
                let place = *members[other].place();
                members[at].observe(other as u64, &place, times[at][other] * (1.0 + late));
            }
        }
        members
    }

    /// The median of how far estimates are off, as a part of the time.
    fn error(members: &[Vivaldi], times: &[Vec<f64>]) -> f64 {
        let mut errors: Vec<f64> = Vec::new();
        for (at, a) in members.iter().enumerate() {
            for (other, b) in members.iter().enumerate().filter(|(other, _)| *other != at) {
                let time = times[at][other];
                errors.push((a.place().distance(b.place()) - time).abs() / time);
            }
        }
        errors.sort_by(f64::total_cmp);
        errors[errors.len() / 2]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 24,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn estimates_converge_to_the_times_of_a_network(
            places in proptest::collection::vec((0.0..0.2f64, 0.0..0.2f64, 0.0005..0.01f64), 8..24),
            seed in any::<u64>(),
        ) {
            // Cities on a plane, each with a last mile.
            let time = |a: &(f64, f64, f64), b: &(f64, f64, f64)| {
                ((a.0 - b.0).powi(2) + (a.1 - b.1).powi(2)).sqrt() + a.2 + b.2
            };
            let times: Vec<Vec<f64>> =
                places.iter().map(|a| places.iter().map(|b| time(a, b)).collect()).collect();
            let members = live(&times, 1500, 0.1, seed >> 1);
            let error = error(&members, &times);
            prop_assert!(error < 0.15, "half of the estimates are off by {error}");
        }

        #[test]
        fn nothing_that_is_heard_leads_astray(
            heard in proptest::collection::vec(
                (any::<u64>(), any::<[f64; DIMENSIONS]>(), any::<[f64; 3]>(), any::<f64>()), 0..50,
            ),
        ) {
            let mut vivaldi = Vivaldi::new(1);
            for (node, vec, [error, adjustment, height], rtt) in heard {
                let other = Coordinate { vec, error, adjustment, height };
                vivaldi.observe(node, &other, rtt);
                vivaldi.observe(node, &other, 0.1);
                prop_assert!(vivaldi.place().is_valid());
                prop_assert!((0.0..=ERROR_MAX).contains(&vivaldi.place().error));
            }
        }
    }

    #[test]
    fn two_clusters_are_told_apart() {
        let times: Vec<Vec<f64>> = (0..10)
            .map(|a| (0..10).map(|b| if a / 5 == b / 5 { 0.001 } else { 0.1 }).collect())
            .collect();
        let members = live(&times, 1000, 0.1, 7);
        for (at, member) in members.iter().enumerate() {
            let distance = |other: usize| member.place().distance(members[other].place());
            let own = at / 5 * 5;
            let near = (own..own + 5).filter(|other| *other != at).map(distance);
            let far = (5 - own..10 - own).map(distance);
            let (near, far) = (near.fold(0.0, f64::max), far.fold(f64::MAX, f64::min));
            assert!(near * 3.0 < far, "member {at}: {near} to {far}");
        }
    }

    #[test]
    fn one_late_packet_does_not_count_and_memory_is_bounded() {
        let mut vivaldi = Vivaldi::new(1);
        let filtered: Vec<f64> =
            [0.1, 9.0, 0.2, 0.3].map(|rtt| vivaldi.filter(7, rtt)).into_iter().collect();
        assert_eq!(filtered, [0.1, 9.0, 0.2, 0.3]);
        for node in 0..5_000 {
            vivaldi.observe(node, &Coordinate::default(), 0.1);
        }
        assert_eq!(vivaldi.filters.len(), FILTERS_MAX);
        vivaldi.forget(4_999);
        assert_eq!(vivaldi.filters.len(), FILTERS_MAX - 1);
        assert_eq!(vivaldi.resets(), 0);
    }
}
