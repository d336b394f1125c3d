//! The store as what the log is applied to.

use super::{Freeze, StateMachine};
use crate::lane;
use crate::store::Store;
use agent_core::model::Index;
use agent_core::model::command::Command;
use agent_core::model::kv;
use agent_core::model::request::{Error, Kind, Reply};
use agent_core::model::session;
use std::io;

/// Tells whether a command may change so many rows that heartbeats must not wait for it.
fn is_long(command: &Command) -> bool {
    match command {
        Command::Txn(_)
        | Command::Snapshot(_)
        | Command::Kv(kv::Op::DeleteTree(_) | kv::Op::Reap(_))
        | Command::Session(session::Op::Destroy(_)) => true,
        Command::Deregister(what) => what.service_id.is_empty() && what.check_id.is_empty(),
        Command::Kv(_)
        | Command::Register(_)
        | Command::Session(session::Op::Create(_))
        | Command::Autopilot(_)
        | Command::Prepared(_)
        | Command::Coordinate(_) => false,
    }
}

impl StateMachine for Store {
    fn apply(&self, index: Index, entry: &[u8]) -> Result<Reply, Error> {
        let command =
            Command::parse(entry).map_err(|e| Error::with(Kind::Failed, e.to_string()))?;
        if is_long(&command) {
            return lane::at_length(|| self.commit(index, &command));
        }
        self.commit(index, &command)
    }

    fn freeze(&self) -> Freeze {
        Box::new(Self::freeze(self))
    }

    fn restore(&self, from: &mut dyn io::Read) -> io::Result<()> {
        Self::restore(self, from)
    }
}
