//! How the leader looks after the servers.

use super::Tables;
use super::scope::Change;
use agent_core::model::Stamp;
use agent_core::model::autopilot::{Configuration, Op};
use agent_core::model::request::Reply;
use std::sync::Arc;

impl Change<'_> {
    pub(super) fn autopilot(&mut self, op: &Op) -> Reply {
        let known = self.tables.autopilot.as_ref().map(|known| known.stamp);
        let wanted = match (op, known) {
            (Op::Begin(_), Some(_)) => return Reply::Done,
            (Op::Begin(wanted), None) | (Op::Set(wanted), _) => wanted,
            (Op::Cas(wanted, index), known) => {
                if known.map_or(0, |stamp| stamp.modify) != *index {
                    return Reply::Applied(false);
                }
                wanted
            }
        };
        let create = known.map_or(self.index, |stamp| stamp.create);
        let stamp = Stamp { create, modify: self.index };
        self.tables.autopilot = Some(Arc::new(Configuration { stamp, ..wanted.clone() }));
        Reply::Applied(true)
    }
}

impl Tables {
    /// Tells how the leader looks after the servers, once a leader has written it.
    pub fn autopilot(&self) -> Option<&Configuration> {
        self.autopilot.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use agent_core::model::command::Command;

    #[test]
    fn a_condition_keeps_what_somebody_else_wrote() {
        let store = Store::new();
        let with = |logs| Configuration { max_trailing_logs: logs, ..Configuration::default() };
        let commit = |index, op| store.commit(index, &Command::Autopilot(op)).unwrap();
        let logs = || store.tables().autopilot().unwrap().max_trailing_logs;
        commit(5, Op::Begin(with(1)));
        commit(6, Op::Begin(with(2)));
        assert_eq!(logs(), 1);
        assert_eq!(commit(7, Op::Cas(with(3), 6)), Reply::Applied(false));
        assert_eq!(commit(8, Op::Cas(with(3), 5)), Reply::Applied(true));
        assert_eq!(commit(9, Op::Set(with(4))), Reply::Applied(true));
        assert_eq!(logs(), 4);
        assert_eq!(store.tables().autopilot().unwrap().stamp, Stamp { create: 5, modify: 9 });
        let (mut bytes, copy) = (Vec::new(), Store::new());
        store.freeze()(&mut bytes).unwrap();
        copy.restore(&mut &bytes[..]).unwrap();
        assert_eq!(copy.tables().autopilot(), store.tables().autopilot());
    }
}
