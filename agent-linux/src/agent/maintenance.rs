//! Maintenance mode: a critical check that takes an instance, or the whole node, out of answers.

use crate::config::definition::CheckDefinition;
use crate::endpoint::agent::AggregatedStatus;
use agent_core::health::Status;
use agent_core::model::check::Check;
use std::sync::Arc;

/// The type that Consul shows for maintenance checks.
pub(super) const KIND: &str = "maintenance";

/// The check that takes the node out.
pub(super) const NODE_ID: &str = "_node_maintenance";

/// What the id of a check that takes an instance out begins with.
const SERVICE_PREFIX: &str = "_service_maintenance";

/// Names the check that takes an instance out.
pub(super) fn service_check_id(service_id: &str) -> String {
    format!("{SERVICE_PREFIX}:{service_id}")
}

/// Makes the check that takes the node out.
pub(super) fn node_check(reason: String) -> CheckDefinition {
    CheckDefinition {
        id: NODE_ID.to_owned(),
        name: "Node Maintenance Mode".to_owned(),
        notes: or_default(reason, "node"),
        ..CheckDefinition::default()
    }
}

/// Makes the check that takes an instance out.
pub(super) fn service_check(service_id: &str, reason: String) -> CheckDefinition {
    CheckDefinition {
        id: service_check_id(service_id),
        name: "Service Maintenance Mode".to_owned(),
        notes: or_default(reason, "service"),
        service_id: service_id.to_owned(),
        ..CheckDefinition::default()
    }
}

/// Puts Consul's text in place of a missing reason.
fn or_default(reason: String, of: &str) -> String {
    if reason.is_empty() {
        format!(
            "Maintenance mode is enabled for this {of}, but no reason was provided. This is a \
             default message."
        )
    } else {
        reason
    }
}

/// Tells the worst of an instance's checks; maintenance is worst of all.
pub(super) fn aggregate(checks: &[Arc<Check>]) -> AggregatedStatus {
    let of = |check: &Arc<Check>| {
        if check.id == NODE_ID || check.id.starts_with(SERVICE_PREFIX) {
            return AggregatedStatus::Maintenance;
        }
        match check.status {
            Status::Passing => AggregatedStatus::Passing,
            Status::Warning => AggregatedStatus::Warning,
            Status::Critical => AggregatedStatus::Critical,
        }
    };
    checks.iter().map(of).max().unwrap_or(AggregatedStatus::Passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, status: Status) -> Arc<Check> {
        Arc::new(Check { id: id.to_owned(), status, ..Check::default() })
    }

    #[test]
    fn the_worst_check_counts_and_maintenance_is_worst() {
        let mut checks = vec![];
        assert_eq!(aggregate(&checks), AggregatedStatus::Passing);
        checks.push(check("a", Status::Warning));
        assert_eq!(aggregate(&checks), AggregatedStatus::Warning);
        checks.push(check("b", Status::Critical));
        assert_eq!(aggregate(&checks), AggregatedStatus::Critical);
        checks.push(check("_service_maintenance:web", Status::Critical));
        assert_eq!(aggregate(&checks), AggregatedStatus::Maintenance);
    }
}
