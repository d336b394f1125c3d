//! Alias checks: as healthy as the worst check of another service, or of a node.

use super::Outcome;
use agent_core::health::Status;
use agent_core::model::check::Check;

/// What an alias check copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alias {
    /// The node; empty for this agent's own.
    pub node: String,
    /// The instance on that node; empty for the node alone.
    pub service_id: String,
}

/// Whether the aliased instance is registered at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// It is, or the alias is of a node.
    Known,
    /// It is not.
    Unknown,
}

impl Alias {
    /// Judges by the checks of the node: its own, and those of the aliased instance.
    pub fn judge<'a>(
        &self,
        checks: impl IntoIterator<Item = &'a Check>,
        target: Target,
    ) -> Outcome {
        let mut outcome =
            Outcome { status: Status::Passing, output: "No checks found.".to_owned() };
        let mut of_service = false;
        for check in checks {
            if !check.service_id.is_empty() && check.service_id != self.service_id {
                continue;
            }
            of_service |= !check.service_id.is_empty();
            if check.status > outcome.status {
                outcome = Outcome {
                    status: check.status,
                    output: format!("Aliased check \"{}\" failing: {}", check.name, check.output),
                };
            } else if outcome.status == Status::Passing {
                "All checks passing.".clone_into(&mut outcome.output);
            }
        }
        match target {
            Target::Unknown if !of_service && !self.service_id.is_empty() => Outcome::critical(
                format!("Service {} could not be found on node {}", self.service_id, self.node),
            ),
            Target::Known | Target::Unknown => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service_id: &str, status: Status) -> Check {
        Check {
            name: format!("c {status:?}"),
            service_id: service_id.to_owned(),
            status,
            output: "why".to_owned(),
            ..Check::default()
        }
    }

    fn judge(checks: &[Check], target: Target) -> (Status, String) {
        let alias = Alias { node: "n".to_owned(), service_id: "web".to_owned() };
        let outcome = alias.judge(checks, target);
        (outcome.status, outcome.output)
    }

    #[test]
    fn an_alias_is_as_bad_as_the_worst_check_that_counts() {
        let checks = [
            check("other", Status::Critical),
            check("web", Status::Warning),
            check("", Status::Passing),
            check("web", Status::Critical),
        ];
        let (status, output) = judge(&checks, Target::Known);
        assert_eq!(status, Status::Critical);
        assert_eq!(output, "Aliased check \"c Critical\" failing: why");
        assert_eq!(judge(&checks[..3], Target::Known).0, Status::Warning);
    }

    #[test]
    fn an_alias_without_checks_passes_unless_its_service_is_missing() {
        let found = judge(&[check("", Status::Passing)], Target::Known);
        assert_eq!(found, (Status::Passing, "All checks passing.".to_owned()));
        assert_eq!(judge(&[], Target::Known).1, "No checks found.");
        let missing = judge(&[check("", Status::Passing)], Target::Unknown);
        assert_eq!(
            missing,
            (Status::Critical, "Service web could not be found on node n".to_owned())
        );
    }
}
