//! A lock with one holder: a key that a session acquires.

use std::sync::Arc;
use std::time::Duration;

use super::super::client::{Client, Error};
use super::entry::{self, Entry, LOCK};
use super::{Contest, Patience, WAIT_MAX};

/// Flags that mark the key of a lock, for all of Consul's clients.
const FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
/// Pause before a key within its lock-delay is tried again.
const DELAY_PAUSE: Duration = Duration::from_secs(5);

/// A lock at a key.
pub(super) struct Mutex {
    client: Arc<Client>,
    key: String,
}

impl Mutex {
    /// The lock of a prefix.
    pub(super) fn new(client: Arc<Client>, prefix: &str) -> Self {
        Self { client, key: entry::join(prefix, LOCK) }
    }

    /// Tells its key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    fn read(&self, after: u64, time: Duration) -> Result<(Option<Entry>, u64), Error> {
        let request = entry::waiting(entry::one(&self.key), after, time);
        let (mut entries, index) = entry::read(&self.client, request)?;
        Ok((entries.pop(), index))
    }

    fn write(&self, condition: &'static str, session: &str) -> Result<bool, Error> {
        entry::write(&self.client, (&self.key, FLAGS), (condition, session), &[])
    }
}

impl Contest for Mutex {
    fn acquire(&self, session: &str, patience: &mut Patience) -> Result<bool, String> {
        let unread = |error| format!("failed to read lock: {error}");
        let mut after = 0;
        while let Some(time) = patience.next() {
            let (entry, index) = self.read(after, time).map_err(unread)?;
            if let Some(entry) = entry {
                if entry.flags != FLAGS {
                    return Err("Existing key does not match lock use".to_owned());
                }
                if entry.session == session {
                    return Ok(true);
                }
                if !entry.session.is_empty() {
                    after = index;
                    continue;
                }
            }
            if self.write("acquire", session).map_err(|e| format!("failed to acquire lock: {e}"))? {
                return Ok(true);
            }
            // Somebody was faster, or the key has to stay free for its lock-delay.
            let (entry, index) = self.read(0, time).map_err(unread)?;
            if entry.is_some_and(|entry| !entry.session.is_empty()) {
                after = index;
            } else {
                after = 0;
                patience.pause(DELAY_PAUSE);
            }
        }
        Ok(false)
    }

    fn watch(&self, session: &str, after: u64) -> Result<Option<u64>, Error> {
        let request = entry::one(&self.key).with("consistent", "");
        let request = entry::waiting(request, after, WAIT_MAX);
        let (entries, index) = entry::read(&self.client, request)?;
        let held = entries.first().is_some_and(|entry| entry.session == session);
        Ok(held.then_some(index))
    }

    fn release(&self, session: &str) -> Result<(), String> {
        // Whether it was still held does not matter.
        let released = self.write("release", session);
        released.map(drop).map_err(|error| format!("failed to release lock: {error}"))
    }

    fn clean_up(&self) -> Result<(), String> {
        let (entry, _) =
            self.read(0, WAIT_MAX).map_err(|error| format!("failed to read lock: {error}"))?;
        let Some(entry) = entry.filter(|entry| entry.session.is_empty()) else { return Ok(()) };
        if entry.flags != FLAGS {
            return Err("Existing key does not match lock use".to_owned());
        }
        let removed = entry::remove_unchanged(&self.client, &entry);
        removed.map(drop).map_err(|error| format!("failed to remove lock entry: {error}"))
    }
}
