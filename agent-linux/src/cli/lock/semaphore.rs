//! A lock with several holders: each holds a key of its own, and a common key, changed by
//! check-and-set, lists those who hold the semaphore.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::client::{Client, Error};
use super::entry::{self, Entry, LOCK};
use super::{Contest, Patience, WAIT_MAX};

/// Flags that mark the keys of a semaphore, for all of Consul's clients.
const FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

/// A semaphore under a prefix.
pub(super) struct Semaphore {
    client: Arc<Client>,
    prefix: String,
    limit: u64,
}

/// The value of the common key.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Table {
    limit: u64,
    holders: BTreeMap<String, bool>,
}

/// The semaphore as it was read.
struct State {
    table: Table,
    /// The common key, if it is there.
    entry: Option<Entry>,
    /// The index to wait after.
    index: u64,
}

impl State {
    /// The condition under which the table may be written.
    fn unchanged(&self) -> String {
        self.entry.as_ref().map_or(0, |entry| entry.modify_index).to_string()
    }
}

impl Semaphore {
    /// The semaphore of a prefix.
    pub(super) fn new(client: Arc<Client>, prefix: &str, limit: u64) -> Self {
        Self { client, prefix: prefix.to_owned(), limit }
    }

    fn contender(&self, session: &str) -> String {
        entry::join(&self.prefix, session)
    }

    /// Reads the table, without the holders whose session has ended.
    fn read(&self, after: u64, time: Duration, consistent: bool) -> Result<State, Error> {
        let mut request = entry::below(&self.prefix);
        if consistent {
            request = request.with("consistent", "");
        }
        let request = entry::waiting(request, after, time);
        let (mut entries, index) = entry::read(&self.client, request)?;
        let key = entry::join(&self.prefix, LOCK);
        let at = entries.iter().position(|entry| entry.key == key);
        let entry = at.map(|at| entries.swap_remove(at));
        let mut table = Table { limit: self.limit, holders: BTreeMap::new() };
        if let Some(entry) = &entry {
            if entry.flags != FLAGS {
                return Err(Error::Answer("Existing key does not match semaphore use".to_owned()));
            }
            let value = entry.value();
            if !value.is_empty() {
                table = serde_json::from_slice(&value)
                    .map_err(|error| Error::Answer(format!("lock decoding failed: {error}")))?;
            }
        }
        table.holders.retain(|holder, _| entries.iter().any(|entry| entry.session == *holder));
        Ok(State { table, entry, index })
    }

    /// Writes the table unless somebody else did since it was read.
    fn write(&self, state: &State) -> Result<bool, Error> {
        let value = serde_json::to_vec(&state.table).map_err(|e| Error::Answer(e.to_string()))?;
        let key = entry::join(&self.prefix, LOCK);
        entry::write(&self.client, (&key, FLAGS), ("cas", &state.unchanged()), &value)
    }
}

impl Contest for Semaphore {
    fn acquire(&self, session: &str, patience: &mut Patience) -> Result<bool, String> {
        let key = self.contender(session);
        let made = entry::write(&self.client, (&key, FLAGS), ("acquire", session), &[]);
        if !made.map_err(|error| format!("failed to make contender entry: {error}"))? {
            return Err("failed to make contender entry".to_owned());
        }
        let mut after = 0;
        while let Some(time) = patience.next() {
            let mut state = self.read(after, time, false).map_err(|error| match error {
                Error::Answer(text) => text,
                error => format!("failed to read prefix: {error}"),
            })?;
            if state.table.limit != self.limit {
                let (lock, local) = (state.table.limit, self.limit);
                return Err(format!("semaphore limit conflict (lock: {lock}, local: {local})"));
            }
            if state.table.holders.len() as u64 >= self.limit {
                after = state.index;
                continue;
            }
            state.table.holders.insert(session.to_owned(), true);
            let written = self.write(&state);
            if written.map_err(|error| format!("failed to update lock: {error}"))? {
                return Ok(true);
            }
            after = 0;
        }
        Ok(false)
    }

    fn watch(&self, session: &str, after: u64) -> Result<Option<u64>, Error> {
        let state = self.read(after, WAIT_MAX, true)?;
        Ok(state.table.holders.contains_key(session).then_some(state.index))
    }

    fn release(&self, session: &str) -> Result<(), String> {
        let failed = |error| format!("failed to release semaphore: {error}");
        loop {
            let mut state = self.read(0, WAIT_MAX, false).map_err(failed)?;
            if state.table.holders.remove(session).is_none() {
                break;
            }
            if self.write(&state).map_err(failed)? {
                break;
            }
        }
        entry::remove(&self.client, &self.contender(session)).map(drop).map_err(failed)
    }

    fn clean_up(&self) -> Result<(), String> {
        let failed = |error| format!("failed to remove semaphore: {error}");
        let state = self.read(0, WAIT_MAX, false).map_err(failed)?;
        match state.entry {
            Some(entry) if state.table.holders.is_empty() => {
                entry::remove_unchanged(&self.client, &entry).map(drop).map_err(failed)
            }
            Some(_) | None => Ok(()),
        }
    }
}
