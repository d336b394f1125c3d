//! Keys and values: what is settled before a write is proposed.

use super::Prepared;
use crate::store::Store;
use agent_core::model::kv::Op;
use agent_core::model::request::{Error, Kind, Reply};

/// Refuses a write without a key, and a lock on a key that must stay free for a while yet.
pub(super) fn prepare(op: &Op, store: &Store) -> Result<Prepared, Error> {
    match op {
        Op::DeleteTree(_) | Op::Reap(_) => Ok(Prepared::Propose),
        op if op.key().is_empty() => Err(Error::with(Kind::Invalid, "Must provide key")),
        Op::Acquire(put, _) if store.lock_delay(&put.key).is_some() => {
            Ok(Prepared::Answer(Reply::Applied(false)))
        }
        Op::Set(_)
        | Op::Cas(..)
        | Op::Acquire(..)
        | Op::Release(..)
        | Op::Delete(_)
        | Op::DeleteCas(..) => Ok(Prepared::Propose),
    }
}
