//! The store as what the log is applied to.

use super::{Freeze, StateMachine};
use crate::store::Store;
use agent_core::model::Index;
use agent_core::model::command::Command;
use agent_core::model::request::{Error, Kind, Reply};
use std::io;

impl StateMachine for Store {
    fn apply(&self, index: Index, entry: &[u8]) -> Result<Reply, Error> {
        let command =
            Command::parse(entry).map_err(|e| Error::with(Kind::Failed, e.to_string()))?;
        self.commit(index, &command)
    }

    fn freeze(&self) -> Freeze {
        Box::new(Self::freeze(self))
    }

    fn restore(&self, from: &mut dyn io::Read) -> io::Result<()> {
        Self::restore(self, from)
    }
}
