//! The log on disk: the only place that names sled.
//!
//! ```text
//! <dir>/log/          sled; tree `log`: u64 index · u16 chunk (big-endian) -> entry, in chunks
//!                           tree `meta`: id, vote, committed, purged
//! <dir>/vote          the vote once more, in a small file of its own
//! <dir>/id            the raft id once more
//! ```
//!
//! # What survives a power cut
//!
//! sled's `flush` hands its writes to the disk with `sync_file_range`, which flushes neither the
//! disk's cache nor the file's metadata. So a second handle on sled's only data file is kept and
//! `sync_data` is called on it after every flush; fdatasync acts on the inode, whoever wrote.
//! Values are cut into chunks far below the size at which sled would put them into other files. One
//! thread writes: it takes everything that waits, writes it as one batch, flushes, syncs, and only
//! then reports. Hence whatever was reported is on disk. What was not reported may be there in
//! whole batches or not at all.
//!
//! Between two flushes sled may rewrite a segment whose newer copy our sync has not yet covered.
//! What that could damage is found on opening: every value carries a CRC-32, the entries must be
//! without gaps, and id and vote must agree with their second copies. A log that fails this is
//! *damaged*. It is never repaired by leaving entries out: a server that forgot entries or votes
//! could break the promise it gave under its id. The caller sets the directory aside and begins
//! with a new id.
//!
//! After the first failed write (a full disk, say) nothing more is written, and every later write
//! fails with the same reason: after a failed sync the state of the page cache is unknown.

mod tree;

use super::disk;
use super::entry::{Entry, LogId, Vote};
use openraft::storage::LogFlushed;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tree::{Trees, insert};

/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Jobs that one write to the disk covers at most.
const GROUP_MAX: usize = 256;

/// How long to wait for another process (a former run of this server) to let go of the files.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How often what is committed is written: it is only a hint, so not with every entry.
const HINT_INTERVAL: Duration = Duration::from_millis(250);

const ID: &str = "id";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// Why the log could not be opened, read or written.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The file system refused; the contents may be sound.
    Io(String),
    /// The contents cannot be trusted.
    Damaged(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(text) => f.write_str(text),
            Self::Damaged(text) => write!(f, "damaged: {text}"),
        }
    }
}

impl std::error::Error for Fault {}

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

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Who is told when a write is on disk.
pub(super) enum Done {
    /// openraft, of an append.
    Flushed(LogFlushed<super::entry::Types>),
    /// A task that waits.
    Waiter(oneshot::Sender<Result<(), Fault>>),
}

impl Done {
    fn tell(self, result: &Result<(), Fault>) {
        match self {
            Self::Flushed(callback) => {
                callback.log_io_completed(result.clone().map_err(io::Error::other));
            }
            // A task that gave up waiting needs no answer.
            Self::Waiter(waiter) => drop(waiter.send(result.clone())),
        }
    }
}

/// What the writer is to do.
pub(super) enum Change {
    /// Adds entries: index and encoded form.
    Append(Vec<(u64, Vec<u8>)>),
    /// Removes the entries from this index on.
    Truncate(u64),
    /// Removes the entries up to this one.
    Purge(LogId),
    /// Keeps the vote.
    Vote(Vote),
}

struct Job {
    change: Change,
    done: Done,
}

/// What was found on opening.
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
}

/// The log on disk.
pub(super) struct Disk {
    trees: Trees,
    jobs: mpsc::Sender<Job>,
    committed: Arc<Mutex<Option<LogId>>>,
    writer: Option<JoinHandle<()>>,
}

impl Disk {
    /// Opens the log in `dir`, or begins one with the id `fresh_id`.
    ///
    /// # Errors
    ///
    /// [`Fault::Io`] if it cannot be read or written; [`Fault::Damaged`] if it must be set aside.
    pub(super) fn open(dir: &Path, fresh_id: u64) -> Result<(Self, Found), Fault> {
        disk::make_dir(dir)?;
        let path = dir.join("log");
        let existed = path.join("db").exists();
        remove_half_made_snapshots(&path)?;
        let db = open_sled(&path)?;
        let trees = Trees { log: db.open_tree("log")?, meta: db.open_tree("meta")?, db };
        let sync = File::open(path.join("db"))?;
        let found = trees.recover(dir, existed, fresh_id)?;
        trees.db.flush()?;
        sync.sync_all()?;
        disk::sync_dir(&path)?;
        disk::sync_dir(dir)?;
        let committed = Arc::new(Mutex::new(found.committed));
        let (jobs, queue) = mpsc::channel();
        let writer = Writer {
            trees: trees.clone(),
            sync,
            vote_file: dir.join(VOTE),
            committed: Arc::clone(&committed),
            hint: Hint { written: found.committed, at: Instant::now() },
        };
        let writer = std::thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || writer.run(&queue))
            .map_err(|error| Fault::Io(format!("cannot start the log writer: {error}")))?;
        Ok((Self { trees, jobs, committed, writer: Some(writer) }, found))
    }

    /// Queues a change; `done` is told once it is on disk.
    pub(super) fn submit(&self, change: Change, done: Done) {
        if let Err(mpsc::SendError(job)) = self.jobs.send(Job { change, done }) {
            job.done.tell(&Err(Fault::Io("the log is closed".into())));
        }
    }

    /// Notes what is committed; written along with the next change, so it may be lost. That costs
    /// only time: the leader says again what is committed.
    pub(super) fn note_committed(&self, committed: Option<LogId>) {
        *self.committed.lock().expect("no holder panics") = committed;
    }

    /// Reads entries from `start` to before `end`, with their encoded size; at least one, and no
    /// more once `bytes_max` is reached.
    pub(super) fn read(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<(Entry, usize)>, Fault> {
        self.trees.read(start, end, bytes_max)
    }

    /// Writes what is queued and lets go of the files.
    pub(super) fn close(mut self) {
        let writer = self.writer.take();
        drop(self);
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("raft log writer panicked");
        }
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

/// The one thread that writes.
struct Writer {
    trees: Trees,
    sync: File,
    vote_file: std::path::PathBuf,
    committed: Arc<Mutex<Option<LogId>>>,
    hint: Hint,
}

impl Writer {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        let mut failed: Option<Fault> = None;
        while let Ok(first) = queue.recv() {
            let (mut changes, mut waiters) = (vec![first.change], vec![first.done]);
            while changes.len() < GROUP_MAX
                && let Ok(job) = queue.try_recv()
            {
                changes.push(job.change);
                waiters.push(job.done);
            }
            let result = match &failed {
                Some(fault) => Err(fault.clone()),
                None => self.write(changes),
            };
            if let (Err(fault), None) = (&result, &failed) {
                tracing::error!("raft log cannot be written any more: {fault}");
                failed = Some(fault.clone());
            }
            for waiter in waiters {
                waiter.tell(&result);
            }
        }
        // Best effort: what is committed is only a hint, everything else was synced before.
        self.hint.at -= HINT_INTERVAL;
        if failed.is_none()
            && let Err(fault) = self.write(Vec::new())
        {
            tracing::warn!("raft log: {fault}");
        }
    }

    /// Writes a group of changes and syncs once.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                Change::Append(entries) => {
                    for (index, bytes) in entries {
                        insert(&mut batch, index, &bytes);
                    }
                }
                Change::Truncate(since) => {
                    self.trees.log.apply_batch(std::mem::take(&mut batch))?;
                    self.trees.remove(since, u64::MAX)?;
                }
                Change::Purge(upto) => {
                    self.trees.log.apply_batch(std::mem::take(&mut batch))?;
                    self.trees.set_meta(PURGED, &upto)?;
                    self.trees.remove(0, upto.index + 1)?;
                }
                Change::Vote(vote) => {
                    self.trees.set_meta(VOTE, &vote)?;
                    let bytes = postcard::to_stdvec(&vote).expect("a vector takes any vote");
                    disk::write_sealed(&self.vote_file, &bytes)?;
                }
            }
        }
        self.trees.log.apply_batch(batch)?;
        self.write_committed()?;
        self.trees.db.flush()?;
        self.sync.sync_data()?;
        Ok(())
    }

    /// Writes what is committed now and then.
    fn write_committed(&mut self) -> Result<(), Fault> {
        let committed = *self.committed.lock().expect("no holder panics");
        if committed == self.hint.written || self.hint.at.elapsed() < HINT_INTERVAL {
            return Ok(());
        }
        self.hint = Hint { written: committed, at: Instant::now() };
        committed.map_or(Ok(()), |committed| self.trees.set_meta(COMMITTED, &committed))
    }
}

/// What was last written of the hint, and when.
struct Hint {
    written: Option<LogId>,
    at: Instant,
}
