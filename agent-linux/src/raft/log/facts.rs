//! What is small and rarely written, in sled: the only place that names it.
//!
//! ```text
//! <dir>/log/   tree `meta`: id, vote, purged, the newest segment, and that the entries are in
//!              segments; each value with its checksum
//!              tree `log`: only what a former version has left, see `former`
//! ```
//!
//! sled's `flush` hands its writes to the disk with `sync_file_range`, which flushes neither the
//! disk's cache nor the file's metadata. So a second handle on sled's only data file is kept and
//! `sync_data` is called on it after every flush; fdatasync acts on the inode, whoever wrote.
//!
//! Between two flushes sled may rewrite a part of its file whose newer copy our sync has not yet
//! covered. What that could damage is found on opening: values carry a CRC-32, id and vote must
//! agree with their second copies, and the segments must reach as far as was noted here.

mod former;

use super::Fault;
use crate::raft::disk::{self, seal, unseal};
pub(super) use former::Former;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 1024 * 1024;

/// How long to wait for another process (a former run of this server) to let go of the files.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Raft id.
pub(super) const ID: &str = "raft-id";
/// Where a former version keeps it. Without it that version refuses the directory, whose entries it
/// would not find.
const FORMER_ID: &str = "id";
/// The vote.
pub(super) const VOTE: &str = "vote";
/// The last entry that was purged.
pub(super) const PURGED: &str = "purged";
/// Number of the newest segment that was begun: a `u64`. It is there once the entries are in
/// segments.
pub(super) const NEWEST: &str = "newest";

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(error.to_string()),
            sled::Error::Corruption { .. }
            | sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_) => Self::Damaged(error.to_string()),
        }
    }
}

/// The facts of one server.
pub(super) struct Facts {
    db: sled::Db,
    meta: sled::Tree,
    sync: File,
}

impl Facts {
    /// Opens what is in the directory, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        remove_half_made_snapshots(path)?;
        let db = open_sled(path)?;
        let meta = db.open_tree("meta")?;
        let facts = Self { db, meta, sync: File::open(path.join("db"))? };
        facts.sync()?;
        facts.sync.sync_all()?;
        disk::sync_dir(path)?;
        Ok(facts)
    }

    /// Tells a fact.
    pub(super) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.meta.get(name)? else { return Ok(None) };
        let parsed = unseal(&value).and_then(|bytes| postcard::from_bytes(bytes).ok());
        parsed.map(Some).ok_or_else(|| Fault::Damaged(format!("`{name}` does not check out")))
    }

    /// Tells the raft id, also that of a former version.
    pub(super) fn id(&self) -> Result<Option<u64>, Fault> {
        match self.get(ID)? {
            None => self.get(FORMER_ID),
            id => Ok(id),
        }
    }

    /// Keeps a fact; it is on disk once this returns.
    pub(super) fn set<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Fault> {
        let bytes = postcard::to_stdvec(value).expect("a vector takes any value");
        self.meta.insert(name, seal(&bytes))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), Fault> {
        self.db.flush()?;
        self.sync.sync_data()?;
        Ok(())
    }
}

/// Waits for a former run to let go of the files.
fn open_sled(path: &Path) -> Result<sled::Db, Fault> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") => {
                if Instant::now() >= deadline {
                    let path = path.display();
                    return Err(Fault::Io(format!("{path} is used by another process")));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes the sled snapshots that a crash left half-made: sled would refuse to open over them, and
/// the data file has everything that they had.
fn remove_half_made_snapshots(path: &Path) -> io::Result<()> {
    let listing = match std::fs::read_dir(path) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for file in listing {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
