//! Log entries to changes: the only `match Command`.

use super::scope::Change;
use agent_core::model::command::Command;
use agent_core::model::request::{Error, Reply};

impl Change<'_> {
    /// Makes the change that a log entry asks for: pure, and the same on every server.
    pub(super) fn apply(&mut self, command: &Command) -> Result<Reply, Error> {
        match command {
            Command::Register(registration) => self.register(registration),
            Command::Deregister(deregistration) => self.deregister(deregistration),
            Command::Kv(op) => self.kv(op),
            Command::Session(op) => self.session(op),
            Command::Autopilot(op) => Ok(self.autopilot(op)),
            Command::Prepared(op) => self.prepared(op),
            Command::Snapshot(op) => self.snapshot(op),
            Command::Txn(ops) => Ok(self.txn(ops)),
            Command::Coordinate(op) => Ok(self.coordinate(op)),
        }
    }
}
