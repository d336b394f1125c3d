//! Where a node is in a space in which distance is round-trip time.
//!
//! Eight dimensions for the core of the network, a height for the link to it, an adjustment for
//! what neither can say: Dabek, Cox, Kaashoek, Morris, "Vivaldi" (2004), sections 2 and 5.4;
//! Ledlie, Gardner, Seltzer, "Network Coordinates in the Wild" (2007), sections 4 and 7.

use serde::{Deserialize, Serialize};

/// Dimensions of the Euclidean part.
pub const DIMENSIONS: usize = 8;

/// Numbers of a place.
pub const NUMBERS: usize = DIMENSIONS + 3;

/// Estimated error of a node that knows nothing, and the largest there is.
pub const ERROR_MAX: f64 = 1.5;

/// Least height: what a packet costs on its way to the network, in seconds.
pub const HEIGHT_MIN: f64 = 10.0e-6;

/// A place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Coordinate {
    /// The Euclidean part, in seconds.
    pub vec: [f64; DIMENSIONS],
    /// How far estimates are off, as a part of the distance; 0 to [`ERROR_MAX`].
    pub error: f64,
    /// What is added to distances, in seconds; may be negative.
    pub adjustment: f64,
    /// Distance to the Euclidean part, in seconds.
    pub height: f64,
}

impl Default for Coordinate {
    fn default() -> Self {
        Self { vec: [0.0; DIMENSIONS], error: ERROR_MAX, adjustment: 0.0, height: HEIGHT_MIN }
    }
}

/// Bit by bit, so that a place is equal to its copy whatever it holds.
impl PartialEq for Coordinate {
    fn eq(&self, other: &Self) -> bool {
        self.numbers().map(f64::to_bits).eq(other.numbers().map(f64::to_bits))
    }
}

impl Eq for Coordinate {}

impl Coordinate {
    /// Walks all numbers: the Euclidean part, then error, adjustment and height.
    pub fn numbers(&self) -> impl Iterator<Item = f64> {
        self.vec.into_iter().chain([self.error, self.adjustment, self.height])
    }

    /// Puts a place together from its numbers, as [`numbers`](Self::numbers) walks them.
    pub fn from_numbers(numbers: [f64; NUMBERS]) -> Self {
        let [vec @ .., error, adjustment, height] = numbers;
        Self { vec, error, adjustment, height }
    }

    /// Tells whether all numbers are finite.
    pub fn is_valid(&self) -> bool {
        self.numbers().all(f64::is_finite)
    }

    /// Estimates the round-trip time to another place, in seconds.
    pub fn distance(&self, other: &Self) -> f64 {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    /// The same without the adjustments.
    pub(super) fn raw_distance(&self, other: &Self) -> f64 {
        length(&difference(&self.vec, &other.vec)) + self.height + other.height
    }
}

pub(super) fn difference(a: &[f64; DIMENSIONS], b: &[f64; DIMENSIONS]) -> [f64; DIMENSIONS] {
    core::array::from_fn(|at| a[at] - b[at])
}

pub(super) fn length(vec: &[f64; DIMENSIONS]) -> f64 {
    square_root(vec.iter().map(|part| part * part).sum())
}

/// Takes a square root by Newton's method; the core has none without `std`. The guess halves the
/// exponent, so that it is off by less than a tenth; every round doubles the right digits.
fn square_root(square: f64) -> f64 {
    if !square.is_finite() || square <= 0.0 {
        return if square > 0.0 { square } else { 0.0 };
    }
    let mut root = f64::from_bits((square.to_bits() >> 1) + (0x3ff0_0000_0000_0000 >> 1));
    for _ in 0..5 {
        root = 0.5 * (root + square / root);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_square_root_is_one(square in 1.0e-300..1.0e300f64) {
            let root = square_root(square);
            prop_assert!((root * root / square - 1.0).abs() < 1.0e-12);
        }
    }

    #[test]
    fn distance_is_the_way_and_both_heights_and_adjustments() {
        let mut a = Coordinate { height: 0.001, ..Coordinate::default() };
        let mut b = Coordinate { height: 0.002, ..Coordinate::default() };
        (b.vec[0], b.vec[7]) = (0.003, 0.004);
        assert!((a.distance(&b) - 0.008).abs() < 1.0e-12);
        a.adjustment = -0.001;
        assert!((b.distance(&a) - 0.007).abs() < 1.0e-12);
        a.adjustment = -1.0;
        assert!((a.distance(&b) - 0.008).abs() < 1.0e-12, "no distance is negative");
        assert_eq!(square_root(0.0), 0.0);
    }

    #[test]
    fn a_number_that_is_none_is_found_out() {
        let mut place = Coordinate::default();
        assert!(place.is_valid());
        place.vec[3] = f64::NAN;
        assert!(!place.is_valid());
        assert!(!Coordinate { error: f64::INFINITY, ..Coordinate::default() }.is_valid());
    }
}
