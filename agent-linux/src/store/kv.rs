//! Keys and values: writes, locks, graves; reads.
//!
//! A deleted key leaves a grave with its index, so that a list over its prefix does not run
//! backwards; graves are reaped by a log command once nobody can still wait with an older index.

use super::scope::Change;
use super::{Key, Name, Scope, Seen, Tables, fold};
use agent_core::model::kv::{Entry, Op, Put, Query, Reply};
use agent_core::model::request::{self, Error, Kind};
use agent_core::model::{Index, Stamp};
use std::ops::Bound;
use std::sync::Arc;

/// Length of a UUID's text, which session lookups insist on.
const UUID_LEN: usize = 36;

/// What a put does to the lock of its key.
enum Lock {
    /// Who holds it stays; how often it was locked is forgotten, as Consul does.
    Keep,
    /// It becomes this.
    Become { session: String, lock_index: Index },
}

impl Change<'_> {
    pub(super) fn kv(&mut self, op: &Op) -> Result<request::Reply, Error> {
        let applied = match op {
            Op::Set(put) => {
                self.kv_put(put, Lock::Keep);
                return Ok(request::Reply::Done);
            }
            Op::Cas(put, index) => {
                let holds = self.kv_modified(&put.key).unwrap_or(0) == *index;
                if holds {
                    self.kv_put(put, Lock::Keep);
                }
                holds
            }
            Op::Acquire(put, session) => self.kv_acquire(put, session)?,
            Op::Release(put, session) => self.kv_release(put, session)?,
            Op::Delete(key) => {
                self.kv_delete(key);
                return Ok(request::Reply::Done);
            }
            Op::DeleteCas(key, index) => match self.kv_modified(key) {
                Some(modified) if modified == *index => {
                    self.kv_delete(key);
                    true
                }
                Some(_) => false,
                None => true,
            },
            Op::DeleteTree(prefix) => {
                self.kv_delete_tree(prefix);
                return Ok(request::Reply::Done);
            }
            Op::Reap(through) => {
                self.kv_reap(*through);
                return Ok(request::Reply::Done);
            }
        };
        Ok(request::Reply::Applied(applied))
    }

    fn kv_modified(&self, key: &str) -> Option<Index> {
        self.tables.kv.get(key).map(|entry| entry.stamp.modify)
    }

    /// Stores a value; what is already so stays untouched.
    fn kv_put(&mut self, put: &Put, lock: Lock) {
        let existing = self.tables.kv.get(put.key.as_str()).cloned();
        let (session, lock_index) = match lock {
            Lock::Keep => (existing.as_ref().map_or_else(String::new, |e| e.session.clone()), 0),
            Lock::Become { session, lock_index } => (session, lock_index),
        };
        let mut entry = Entry {
            key: put.key.clone(),
            value: put.value.clone(),
            flags: put.flags,
            lock_index,
            session,
            stamp: existing.as_ref().map_or_else(Stamp::default, |e| e.stamp),
        };
        if existing.as_deref() == Some(&entry) {
            return;
        }
        entry.stamp.modify = self.index;
        if existing.is_none() {
            entry.stamp.create = self.index;
        }
        self.kv_insert(entry);
    }

    /// Stores an entry as it is and keeps the index of locks.
    fn kv_insert(&mut self, entry: Entry) {
        let key: Key = entry.key.as_str().into();
        if let Some(old) = self.tables.kv.get(&key).filter(|old| !old.session.is_empty()) {
            self.tables.locks.remove(&(fold(&old.session), key.clone()));
        }
        if !entry.session.is_empty() {
            self.tables.locks.insert((fold(&entry.session), key.clone()));
        }
        if let Some(buried) = self.tables.graves.remove(&key) {
            self.tables.graves_by_age.remove(&(buried, key.clone()));
        }
        self.tables.kv.insert(key.clone(), Arc::new(entry));
        self.touch(Scope::Key(key));
    }

    fn kv_acquire(&mut self, put: &Put, session: &str) -> Result<bool, Error> {
        check_given(session)?;
        if session.len() != UUID_LEN {
            let text = "failed session lookup: index error: UUID must be 36 characters";
            return Err(Error::with(Kind::Invalid, text));
        }
        if !self.tables.sessions.contains_key(&fold(session)) {
            return Err(Error::with(Kind::Invalid, format!("invalid session {session:?}")));
        }
        let lock_index = match self.tables.kv.get(put.key.as_str()) {
            Some(entry) if entry.session == session => entry.lock_index,
            Some(entry) if !entry.session.is_empty() => return Ok(false),
            Some(entry) => entry.lock_index + 1,
            None => 1,
        };
        self.kv_put(put, Lock::Become { session: session.into(), lock_index });
        Ok(true)
    }

    fn kv_release(&mut self, put: &Put, session: &str) -> Result<bool, Error> {
        check_given(session)?;
        match self.tables.kv.get(put.key.as_str()) {
            Some(entry) if entry.session == session => {
                let lock_index = entry.lock_index;
                self.kv_put(put, Lock::Become { session: String::new(), lock_index });
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    fn kv_delete(&mut self, key: &str) {
        if let Some(key) = self.kv_bury(key) {
            self.touch(Scope::Key(key));
        }
    }

    /// Removes a key and digs its grave.
    fn kv_bury(&mut self, key: &str) -> Option<Key> {
        let (key, entry) = self.tables.kv.remove_with_key(key)?;
        if !entry.session.is_empty() {
            self.tables.locks.remove(&(fold(&entry.session), key.clone()));
        }
        self.tables.graves.insert(key.clone(), self.index);
        self.tables.graves_by_age.insert((self.index, key.clone()));
        Some(key)
    }

    fn kv_delete_tree(&mut self, prefix: &str) {
        let keys: Vec<Key> = self.tables.under(prefix).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.kv_bury(key);
        }
        if !keys.is_empty() {
            self.touched.trees.push(prefix.into());
        }
    }

    fn kv_reap(&mut self, through: Index) {
        while let Some((buried, key)) = self.tables.graves_by_age.get_min().cloned() {
            if buried > through {
                break;
            }
            self.tables.graves.remove(&key);
            self.tables.graves_by_age.remove(&(buried, key));
            self.tables.gone.grave = self.tables.gone.grave.max(buried);
        }
    }

    /// Unlocks the keys that a session held, as it ends.
    pub(super) fn kv_release_all(&mut self, session: &Name, delay_ns: u64) {
        for key in self.tables.locked_by(session) {
            let Some(entry) = self.tables.kv.get(&key) else { continue };
            let mut entry = Entry::clone(entry);
            entry.session.clear();
            entry.stamp.modify = self.index;
            self.kv_insert(entry);
            self.touched.lost_locks.push((key, delay_ns));
        }
    }

    /// Deletes the keys that a session held, as it ends.
    pub(super) fn kv_delete_all(&mut self, session: &Name, delay_ns: u64) {
        for key in self.tables.locked_by(session) {
            self.kv_delete(&key);
            self.touched.lost_locks.push((key, delay_ns));
        }
    }
}

fn check_given(session: &str) -> Result<(), Error> {
    if session.is_empty() { Err(Error::with(Kind::Invalid, "missing session")) } else { Ok(()) }
}

impl Tables {
    /// Reads the key/value store.
    pub fn kv(&self, query: &Query) -> Seen<Reply> {
        match query {
            Query::Get(key) => self.kv_get(key),
            Query::List(prefix) => {
                let entries: Vec<_> = self.under(prefix).map(|(_, entry)| entry.clone()).collect();
                self.kv_seen(prefix, Reply::Entries(entries))
            }
            Query::Keys { prefix, separator } => {
                self.kv_seen(prefix, Reply::Keys(self.kv_keys(prefix, separator)))
            }
        }
    }

    /// Tells the index of the youngest grave, `None` if there is nothing to reap.
    pub fn youngest_grave(&self) -> Option<Index> {
        self.graves_by_age.get_max().map(|(buried, _)| *buried)
    }

    fn kv_get(&self, key: &str) -> Seen<Reply> {
        let entry = self.kv.get(key).cloned();
        let index = match &entry {
            Some(entry) => entry.stamp.modify,
            None => self.graves.get(key).copied().unwrap_or(self.gone.grave),
        };
        Seen::new(Reply::Entry(entry), index, vec![Scope::Key(key.into())])
    }

    /// Entries whose key starts with the prefix.
    pub(super) fn under(&self, prefix: &str) -> impl Iterator<Item = (&Key, &Arc<Entry>)> {
        self.kv
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn kv_keys(&self, prefix: &str, separator: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (key, _) in self.under(prefix) {
            let end = match separator {
                "" => key.len(),
                separator => key[prefix.len()..]
                    .find(separator)
                    .map_or(key.len(), |at| prefix.len() + at + separator.len()),
            };
            if keys.last().is_none_or(|last| *last != key[..end]) {
                keys.push(key[..end].into());
            }
        }
        keys
    }

    /// The index of a prefix: its youngest entry or grave.
    fn kv_seen(&self, prefix: &str, reply: Reply) -> Seen<Reply> {
        let entries = self.under(prefix).map(|(_, entry)| entry.stamp.modify);
        let graves = self
            .graves
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, buried)| *buried);
        let index = entries.chain(graves).max().unwrap_or(self.gone.grave);
        Seen::new(reply, index, vec![Scope::Prefix(prefix.into())])
    }

    fn locked_by(&self, session: &Name) -> Vec<Key> {
        let from: (Name, Key) = (session.clone(), "".into());
        self.locks
            .range(from..)
            .take_while(|(holder, _)| holder == session)
            .map(|(_, key)| key.clone())
            .collect()
    }
}
