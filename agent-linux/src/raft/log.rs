//! The log on disk.
//!
//! ```text
//! <dir>/entries/      the entries, in segments that are appended to
//! <dir>/log/          what is small and rarely written: id, vote, purged, newest segment
//! <dir>/vote          the vote once more, in a small file of its own
//! <dir>/id            the raft id once more
//!
//! open                opens all of it; takes over what a former version left
//! chain frame         the segments · their bytes, and where a log ends
//! facts               the only place that names sled
//! ```
//!
//! # What survives a power cut
//!
//! One thread writes: it takes everything that waits, writes it as one frame, syncs it with
//! fdatasync, and only then reports. Hence whatever was reported is on disk. What was not reported
//! may be there as a whole or not at all.
//!
//! On opening, every frame of every segment is checked, entries must be without gaps, the newest
//! segment must be there, and id and vote must agree with their second copies. A log that fails
//! this is *damaged*. It is never repaired by leaving entries out: a server that forgot entries or
//! votes could break the promise it gave under its id. The caller sets the directory aside and
//! begins with a new id. What a crash can leave in the middle of an append is told apart from
//! damage (see `frame`) and cut off.
//!
//! After the first failed write (a full disk, say) nothing more is written, and every later write
//! fails with the same reason: after a failed sync the state of the page cache is unknown.

mod chain;
mod facts;
mod frame;
mod open;

use super::disk;
use super::entry::{Entry, LogId, Vote};
use chain::{Chain, Tail};
use facts::{Facts, PURGED, VOTE};
use frame::Frame;
use openraft::storage::LogFlushed;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

pub(super) use chain::check;
pub(super) use frame::ENTRY_BYTES_MAX;

/// Bytes of a segment; one that is begun with a longer frame is longer.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Jobs that one write to the disk covers at most.
const GROUP_MAX: usize = 256;

/// Bytes of entries in one frame, unless a single one is longer.
const GROUP_BYTES_MAX: u64 = 1024 * 1024;

/// How often what is committed is written: it is only a hint, so not with every entry.
const HINT_INTERVAL: Duration = Duration::from_millis(250);

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
    chain: Chain,
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
        let (facts, tail, found) = open::open(dir, fresh_id)?;
        let chain = tail.chain();
        let committed = Arc::new(Mutex::new(found.committed));
        let (jobs, queue) = mpsc::channel();
        let writer = Writer {
            facts,
            tail,
            frame: Frame::default(),
            vote_file: dir.join(VOTE),
            committed: Arc::clone(&committed),
            hint: Hint { written: found.committed, at: Instant::now() },
        };
        let writer = std::thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || writer.run(&queue))
            .map_err(|error| Fault::Io(format!("cannot start the log writer: {error}")))?;
        Ok((Self { chain, jobs, committed, writer: Some(writer) }, found))
    }

    /// Queues a change; `done` is told once it is on disk.
    pub(super) fn submit(&self, change: Change, done: Done) {
        if let Err(mpsc::SendError(job)) = self.jobs.send(Job { change, done }) {
            job.done.tell(&Err(Fault::Io("the log is closed".into())));
        }
    }

    /// Notes what is committed; written along with entries, so it may be lost. That costs only
    /// time: the leader says again what is committed.
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
        self.chain.read(start, end, bytes_max)
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

/// The one thread that writes.
struct Writer {
    facts: Arc<Facts>,
    tail: Tail,
    /// What is to be written next.
    frame: Frame,
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
            && let Some(hint) = self.hint()
        {
            self.frame.begin(self.tail.next(), &hint);
            if let Err(fault) = self.tail.append(&mut self.frame) {
                tracing::warn!("raft log: {fault}");
            }
        }
    }

    /// Makes a group of changes, in their order.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        for change in changes {
            match change {
                Change::Append(entries) => {
                    for (index, bytes) in entries {
                        self.add(index, &bytes)?;
                    }
                }
                Change::Truncate(since) => {
                    self.flush()?;
                    self.tail.truncate(since)?;
                }
                Change::Purge(upto) => {
                    self.flush()?;
                    self.facts.set(PURGED, &upto)?;
                    self.tail.purge(upto.index + 1)?;
                }
                Change::Vote(vote) => {
                    self.facts.set(VOTE, &vote)?;
                    let bytes = postcard::to_stdvec(&vote).expect("a vector takes any vote");
                    disk::write_sealed(&self.vote_file, &bytes)?;
                }
            }
        }
        self.flush()
    }

    /// Adds an entry to the frame that is written next.
    fn add(&mut self, index: u64, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Fault::Io(format!("entry {index} is too long: {} bytes", bytes.len())));
        }
        let follows = self.frame.first() + u64::from(self.frame.count()) == index;
        let fits = self.frame.sealed_bytes() + bytes.len() as u64 <= GROUP_BYTES_MAX;
        if !follows || !fits {
            self.flush()?;
        }
        if self.frame.count() == 0 {
            let hint = self.hint().unwrap_or_default();
            self.frame.begin(index, &hint);
        }
        self.frame.push(bytes);
        Ok(())
    }

    /// Writes the frame, if there is anything in it, and syncs it.
    fn flush(&mut self) -> Result<(), Fault> {
        if self.frame.count() == 0 {
            return Ok(());
        }
        self.tail.append(&mut self.frame)?;
        self.frame.clear();
        Ok(())
    }

    /// What is committed, encoded, if it is to be written again.
    fn hint(&mut self) -> Option<Vec<u8>> {
        let committed = *self.committed.lock().expect("no holder panics");
        if committed == self.hint.written || self.hint.at.elapsed() < HINT_INTERVAL {
            return None;
        }
        self.hint = Hint { written: committed, at: Instant::now() };
        committed.map(|committed| postcard::to_stdvec(&committed).expect("a vector takes any id"))
    }
}

/// What was last written of the hint, and when.
struct Hint {
    written: Option<LogId>,
    at: Instant,
}
