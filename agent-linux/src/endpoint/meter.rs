//! How long commands take, by subject.

use crate::metrics::{self, Sample};
use agent_core::model::command::Command;

/// Names the sample of how long a command took.
pub(super) fn sample_of(command: &Command) -> &'static Sample {
    match command {
        Command::Register(_) => &metrics::CATALOG_REGISTER,
        Command::Deregister(_) => &metrics::CATALOG_DEREGISTER,
        Command::Kv(_) => &metrics::KVS_APPLY,
        Command::Session(_) => &metrics::SESSION_APPLY,
        Command::Autopilot(_) => &metrics::AUTOPILOT_APPLY,
        Command::Prepared(_) | Command::Snapshot(_) => &metrics::QUERY_APPLY,
        Command::Txn(_) => &metrics::TXN_APPLY,
        Command::Coordinate(_) => &metrics::COORDINATE_APPLY,
    }
}
