//! One check's results against its thresholds.

use super::Status;

/// How many results in a row it takes to turn a check. 0 and 1 both mean: the first one does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Thresholds {
    /// Good results in a row before the check turns passing or warning.
    pub success_before_passing: u16,
    /// Bad results in a row before the check turns critical.
    pub failures_before_critical: u16,
}

/// Counts results in a row; a warning counts as good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judge {
    thresholds: Thresholds,
    good: u16,
    bad: u16,
}

impl Judge {
    /// Starts with no results.
    pub const fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, good: 0, bad: 0 }
    }

    /// Takes a result; tells the status to adopt, or `None` while the threshold is not reached.
    pub fn handle_result(&mut self, result: Status) -> Option<Status> {
        let (count, other, threshold) = match result {
            Status::Passing | Status::Warning => {
                (&mut self.good, &mut self.bad, self.thresholds.success_before_passing)
            }
            Status::Critical => {
                (&mut self.bad, &mut self.good, self.thresholds.failures_before_critical)
            }
        };
        *count = count.saturating_add(1);
        *other = 0;
        (*count >= threshold).then_some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_thresholds_every_result_counts() {
        let mut judge = Judge::default();
        for result in [Status::Passing, Status::Critical, Status::Warning] {
            assert_eq!(judge.handle_result(result), Some(result));
        }
    }

    #[test]
    fn a_status_turns_after_enough_results_in_a_row() {
        let thresholds = Thresholds { success_before_passing: 2, failures_before_critical: 3 };
        let mut judge = Judge::new(thresholds);
        assert_eq!(judge.handle_result(Status::Passing), None);
        assert_eq!(judge.handle_result(Status::Warning), Some(Status::Warning));
        assert_eq!(judge.handle_result(Status::Critical), None);
        assert_eq!(judge.handle_result(Status::Critical), None);
        assert_eq!(judge.handle_result(Status::Passing), None, "one good result is not two");
        assert_eq!(judge.handle_result(Status::Critical), None, "the count began anew");
        assert_eq!(judge.handle_result(Status::Critical), None);
        assert_eq!(judge.handle_result(Status::Critical), Some(Status::Critical));
    }
}
