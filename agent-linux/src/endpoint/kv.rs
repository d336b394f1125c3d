//! Keys and values: what is settled before a write is proposed.

use super::Prepared;
use crate::store::Store;
use agent_core::model::kv::{Op, Put};
use agent_core::model::request::{Error, Kind, Reply};

/// Refuses a write without a key, and a lock on a key that must stay free for a while yet.
pub(super) fn prepare(op: &Op, store: &Store) -> Result<Prepared, Error> {
    match op {
        Op::Set(Put { key, .. })
        | Op::Cas(Put { key, .. }, _)
        | Op::Acquire(Put { key, .. }, _)
        | Op::Release(Put { key, .. }, _)
        | Op::Delete(key)
        | Op::DeleteCas(key, _)
            if key.is_empty() =>
        {
            Err(Error::with(Kind::Invalid, "Must provide key"))
        }
        Op::Acquire(put, _) if store.lock_delay(&put.key).is_some() => {
            Ok(Prepared::Answer(Reply::Applied(false)))
        }
        Op::Set(_)
        | Op::Cas(..)
        | Op::Acquire(..)
        | Op::Release(..)
        | Op::Delete(_)
        | Op::DeleteCas(..)
        | Op::DeleteTree(_)
        | Op::Reap(_) => Ok(Prepared::Propose),
    }
}
