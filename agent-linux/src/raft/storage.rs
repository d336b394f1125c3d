//! The log as openraft sees it: the newest entries in memory, all of them on disk.
//!
//! Replication and apply read what was just written, so the tail of the log is kept in memory and
//! the disk is read only for servers that lag. Without a data directory the tail is the whole log.

use super::entry::{Entry, LogId, StorageError, StorageIoError, Types, Vote};
use super::log::{Change, Disk, Done, Fault, Found};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogId, RaftLogReader};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Bytes of entries that are kept in memory besides the disk.
const TAIL_BYTES_MAX: usize = 512 * 1024;

/// Entries that are kept in memory besides the disk.
const TAIL_ENTRIES_MAX: usize = 1024;

/// Bytes of entries that one append to a peer carries, unless a single entry is longer.
const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// The log of one server; clones are handles on the same log.
#[derive(Clone)]
pub(super) struct Log(Arc<Shared>);

struct Shared {
    tail: Mutex<Tail>,
    /// `None` in memory only, and once closed.
    disk: Mutex<Option<Arc<Disk>>>,
    in_memory: bool,
    /// Bytes appended since the start, so that snapshots can follow volume and not only count.
    appended: AtomicU64,
}

#[derive(Default)]
struct Tail {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    /// Index up to which entries are on disk and may leave the memory.
    durable: u64,
    purged: Option<LogId>,
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Tail {
    fn first(&self) -> Option<u64> {
        self.entries.front().map(|(entry, _)| entry.get_log_id().index)
    }

    fn push(&mut self, entry: Entry, size: usize) {
        self.last = Some(*entry.get_log_id());
        self.bytes += size;
        self.entries.push_back((entry, size));
    }

    fn trim(&mut self) {
        while self.entries.len() > TAIL_ENTRIES_MAX || self.bytes > TAIL_BYTES_MAX {
            match self.entries.front() {
                Some((entry, size)) if entry.get_log_id().index < self.durable => {
                    self.bytes -= size;
                    self.entries.pop_front();
                }
                Some(_) | None => return,
            }
        }
    }

    /// Entries from `start` (which must be in memory) to before `end`.
    fn take(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
        let Some(first) = self.first() else { return Vec::new() };
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut total = 0;
        (self.entries.iter().skip(skip))
            .take_while(|(entry, size)| {
                let fits = total == 0 || total + size <= bytes_max;
                total += size;
                entry.get_log_id().index < end && fits
            })
            .map(|(entry, _)| entry.clone())
            .collect()
    }
}

fn read_error(fault: &Fault) -> StorageError {
    StorageIoError::read_logs(openraft::AnyError::new(fault)).into()
}

fn write_error(fault: &Fault) -> StorageError {
    StorageIoError::write_logs(openraft::AnyError::new(fault)).into()
}

impl Log {
    /// A log in memory only.
    pub(super) fn in_memory() -> Self {
        Self::new(None, Tail { durable: 0, ..Tail::default() })
    }

    /// A log on disk, as it was found.
    pub(super) fn on_disk(disk: Disk, found: &Found) -> Self {
        let tail = Tail {
            purged: found.purged,
            last: found.last,
            vote: found.vote,
            committed: found.committed,
            durable: found.last.map_or(0, |last| last.index + 1),
            ..Tail::default()
        };
        Self::new(Some(disk), tail)
    }

    fn new(disk: Option<Disk>, tail: Tail) -> Self {
        Self(Arc::new(Shared {
            in_memory: disk.is_none(),
            tail: Mutex::new(tail),
            disk: Mutex::new(disk.map(Arc::new)),
            appended: AtomicU64::new(0),
        }))
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.0.tail.lock().expect("no holder panics")
    }

    /// The disk, if this log has one.
    fn disk(&self) -> Result<Option<Arc<Disk>>, Fault> {
        let disk = self.0.disk.lock().expect("no holder panics").clone();
        match disk {
            None if !self.0.in_memory => Err(Fault::Io("the log is closed".into())),
            disk => Ok(disk),
        }
    }

    /// Tells how many bytes were appended since the start.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.0.appended.load(Ordering::Relaxed)
    }

    /// Tells the last entry.
    pub(super) fn last(&self) -> Option<LogId> {
        self.tail().last
    }

    /// Writes what is queued and lets go of the files; later writes fail. Blocks for the disk.
    pub(super) fn close(&self) {
        let disk = self.0.disk.lock().expect("no holder panics").take();
        if let Some(disk) = disk {
            match Arc::try_unwrap(disk) {
                Ok(disk) => disk.close(),
                // A reader is about to finish; the writer ends when it lets go.
                Err(shared) => drop(shared),
            }
        }
    }

    /// Makes a change on disk and waits for it.
    async fn change(&self, change: Change) -> Result<(), Fault> {
        let (told, done) = oneshot::channel();
        match self.disk()? {
            None => return Ok(()),
            Some(disk) => disk.submit(change, Done::Waiter(told)),
        }
        done.await.unwrap_or_else(|_| Err(Fault::Io("the log writer ended".into())))
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, Fault> {
        let (start, in_memory_from) = {
            let tail = self.tail();
            let start = start.max(tail.purged.map_or(0, |purged| purged.index + 1));
            let end = end.min(tail.last.map_or(0, |last| last.index + 1));
            if start >= end {
                return Ok(Vec::new());
            }
            match tail.first() {
                Some(first) if first <= start => return Ok(tail.take(start, end, bytes_max)),
                first => (start, first.unwrap_or(end).min(end)),
            }
        };
        let read = match self.disk()? {
            Some(disk) => disk.read(start, in_memory_from, bytes_max)?,
            None => Vec::new(),
        };
        let total: usize = read.iter().map(|(_, size)| size).sum();
        let mut entries: Vec<Entry> = read.into_iter().map(|(entry, _)| entry).collect();
        let whole = entries.last().is_none_or(|last| last.log_id.index + 1 == in_memory_from);
        if whole && total < bytes_max {
            let tail = self.tail();
            if tail.first().is_some_and(|first| first <= in_memory_from) {
                entries.extend(tail.take(in_memory_from, end, bytes_max - total));
            }
        }
        Ok(entries)
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).map_err(|fault| read_error(&fault))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, APPEND_BYTES_MAX).map_err(|fault| read_error(&fault))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let tail = self.tail();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let saved = self.change(Change::Vote(*vote)).await;
        saved.map_err(|fault| StorageIoError::write_vote(openraft::AnyError::new(&fault)))?;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.tail().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.tail().committed = committed;
        if let Some(disk) = self.disk().map_err(|fault| write_error(&fault))? {
            disk.note_committed(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.tail().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let disk = self.disk().map_err(|fault| write_error(&fault))?;
        let mut encoded = Vec::new();
        {
            let mut tail = self.tail();
            // openraft waits for an append before it asks for the next: what was here is on disk.
            tail.durable = tail.last.map_or(0, |last| last.index + 1);
            for entry in entries {
                if let EntryPayload::Normal(batch) = &entry.payload {
                    batch.mark_logged();
                }
                let bytes = postcard::to_stdvec(&entry).expect("a vector takes any entry");
                self.0.appended.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let index = entry.log_id.index;
                tail.push(entry, bytes.len());
                encoded.push((index, bytes));
            }
            if disk.is_some() {
                tail.trim();
            }
        }
        match disk {
            Some(disk) => disk.submit(Change::Append(encoded), Done::Flushed(callback)),
            None => callback.log_io_completed(Ok(())),
        }
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        {
            let mut tail = self.tail();
            while let Some((entry, size)) = tail.entries.back()
                && entry.log_id.index >= since.index
            {
                let size = *size;
                tail.bytes -= size;
                tail.entries.pop_back();
            }
        }
        self.change(Change::Truncate(since.index)).await.map_err(|fault| write_error(&fault))?;
        let before = since.index.checked_sub(1);
        let before = match before {
            Some(index) => self.read(index, index + 1, 1).map_err(|fault| read_error(&fault))?,
            None => Vec::new(),
        };
        let mut tail = self.tail();
        tail.last = before.first().map(|entry| entry.log_id).or(tail.purged);
        tail.durable = tail.durable.min(since.index);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        {
            let mut tail = self.tail();
            while let Some((entry, size)) = tail.entries.front()
                && entry.log_id.index <= upto.index
            {
                let size = *size;
                tail.bytes -= size;
                tail.entries.pop_front();
            }
            tail.purged = Some(upto);
            tail.last = tail.last.max(Some(upto));
        }
        self.change(Change::Purge(upto)).await.map_err(|fault| write_error(&fault))
    }
}
