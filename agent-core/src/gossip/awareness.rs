//! Lifeguard's local health: a member that hears nobody doubts itself before it doubts others.
//!
//! Source: Dadgar, Phillips, Currey, "Lifeguard: local health awareness for more accurate failure
//! detection" (2017), section IV-A. The score multiplies our own probe period and probe timeout.

/// The score: 0 is healthy, `max` is the slowest prober.
#[derive(Clone, Copy, Debug)]
pub struct Awareness {
    score: u8,
    max: u8,
}

impl Awareness {
    /// Starts healthy; `max` is 8 in Consul.
    pub const fn new(max: u8) -> Self {
        Self { score: 0, max }
    }

    /// Notes a sign that we, not the others, are slow.
    pub const fn worsen(&mut self) {
        if self.score < self.max {
            self.score += 1;
        }
    }

    /// Notes a probe that went well.
    pub const fn improve(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// Tells the score.
    pub const fn score(&self) -> u8 {
        self.score
    }

    /// Tells the factor for probe timers, 1 when healthy.
    pub const fn factor(&self) -> u64 {
        self.score as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_in_its_bounds() {
        let mut awareness = Awareness::new(2);
        awareness.improve();
        assert_eq!(awareness.factor(), 1);
        for _ in 0..5 {
            awareness.worsen();
        }
        assert_eq!((awareness.score(), awareness.factor()), (2, 3));
        awareness.improve();
        assert_eq!(awareness.score(), 1);
    }
}
