//! The segments of the log, one after the other.
//!
//! ```text
//! <dir>/entries/<number, 16 hex digits>.seg   see `frame` for what is in them
//! ```
//!
//! A segment is made aside with its full length, synced, renamed, and the directory synced; then
//! its number is noted among the facts; only then are entries written to it. A segment begins at an
//! index, and what earlier segments hold from that index on is void: removing the end of the log is
//! beginning a new segment there. Purging removes whole segments from the front, after the facts
//! say what is purged; what a segment holds besides stays until it goes as a whole.

use super::Fault;
use super::facts::{Facts, NEWEST};
use super::frame::{Flaw, Frame, HEAD_BYTES, Head, Reader, Step};
use crate::raft::disk;
use crate::raft::entry::Entry;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes between two places in a segment that a reader can begin at.
const MARK_BYTES: u64 = 32 * 1024;

/// What a segment's name ends in.
const EXTENSION: &str = "seg";

/// Where segments are made.
pub(super) struct Site {
    pub(super) dir: PathBuf,
    /// The server whose log it is.
    pub(super) id: u64,
    /// Bytes of a segment; one that is begun with a longer frame is longer.
    pub(super) segment_bytes: u64,
}

/// The segments as readers see them; clones are handles on the same segments.
#[derive(Clone)]
pub(super) struct Chain(Arc<Shared>);

struct Shared {
    site: Site,
    segments: Mutex<VecDeque<Segment>>,
}

/// What is known of a segment.
struct Segment {
    head: Head,
    /// Index after its last entry that is not void.
    end: u64,
    /// Some of its frames: index of the first entry, and offset.
    marks: Vec<(u64, u64)>,
}

impl Segment {
    fn new(head: Head) -> Self {
        Self { head, end: head.first, marks: Vec::new() }
    }

    /// Notes a frame.
    fn note(&mut self, first: u64, offset: u64, end: u64) {
        if self.marks.last().is_none_or(|(_, last)| offset >= last + MARK_BYTES) {
            self.marks.push((first, offset));
        }
        self.end = end;
    }
}

/// Where to read on.
struct Place {
    file: File,
    path: PathBuf,
    head: Head,
    offset: u64,
    /// The entry to begin with, and the one to end before.
    index: u64,
    end: u64,
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.{EXTENSION}"))
}

fn fault(path: &Path, flaw: Flaw) -> Fault {
    let path = path.display();
    match flaw {
        Flaw::Io(error) => Fault::Io(format!("{path}: {error}")),
        Flaw::At(offset, what) => Fault::Damaged(format!("{path}, byte {offset}: {what}")),
    }
}

impl Chain {
    fn segments(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.0.segments.lock().expect("no holder panics")
    }

    /// Finds the first entry from `index` on. The file is opened under the lock, lest it be purged.
    fn locate(&self, index: u64) -> Result<Option<Place>, Fault> {
        let segments = self.segments();
        let Some(segment) = segments.iter().find(|segment| segment.end > index) else {
            return Ok(None);
        };
        let before = segment.marks.partition_point(|(first, _)| *first <= index);
        let offset = before.checked_sub(1).map_or(HEAD_BYTES, |mark| segment.marks[mark].1);
        let path = path_of(&self.0.site.dir, segment.head.number);
        let file = File::open(&path).map_err(|error| fault(&path, error.into()))?;
        let (head, end) = (segment.head, segment.end);
        Ok(Some(Place { file, path, head, offset, index: index.max(head.first), end }))
    }

    /// Reads entries from `start` to before `end`, with their encoded size; at least one if there
    /// is one, and no more once `bytes_max` is reached.
    ///
    /// # Errors
    ///
    /// [`Fault::Damaged`] if they do not check out, [`Fault::Io`] if they cannot be read.
    pub(super) fn read(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<(Entry, usize)>, Fault> {
        let (mut entries, mut total, mut next) = (Vec::new(), 0, start);
        while next < end && total < bytes_max {
            let Some(place) = self.locate(next)? else { break };
            let Place { file, path, head, offset, index, end: until } = place;
            let mut reader = Reader::new(file, head, offset);
            reader.skip_to(index).map_err(|error| fault(&path, error.into()))?;
            next = index;
            while next < until.min(end) && total < bytes_max {
                let at = reader.offset();
                let damaged = |what| fault(&path, Flaw::At(at, what));
                let frame = match reader.step().map_err(|error| fault(&path, error.into()))? {
                    Step::Frame(frame) => frame,
                    Step::None => return Err(damaged("a frame does not check out")),
                };
                for (index, bytes) in frame.entries() {
                    if index < next {
                        continue;
                    }
                    if index >= until.min(end) || total >= bytes_max {
                        break;
                    }
                    let entry = decode(index, bytes).ok_or_else(|| damaged("not an entry"))?;
                    let before = entries.last().map(|(entry, _): &(Entry, usize)| entry.log_id);
                    if index != next || before.is_some_and(|before| before > entry.log_id) {
                        return Err(damaged("an entry does not follow the one before"));
                    }
                    (next, total) = (next + 1, total + bytes.len());
                    entries.push((entry, bytes.len()));
                }
            }
        }
        Ok(entries)
    }
}

/// Decodes an entry, which must have this index.
pub(super) fn decode(index: u64, bytes: &[u8]) -> Option<Entry> {
    let entry: Entry = postcard::from_bytes(bytes).ok()?;
    (entry.log_id.index == index).then_some(entry)
}

/// The end of the log, where the one writer writes.
pub(super) struct Tail {
    chain: Chain,
    /// Where segments are noted; nowhere as long as the chain does not count.
    facts: Option<Arc<Facts>>,
    file: File,
    head: Head,
    offset: u64,
    /// The index after the last entry.
    next: u64,
}

impl Tail {
    /// Begins a chain in an empty directory. It does not count until [`Tail::note_in`].
    pub(super) fn begin(site: Site, first: u64) -> Result<Self, Fault> {
        let length = site.segment_bytes;
        let head = Head { id: site.id, number: 1, first, length, salt: salt() };
        let file = create(&site.dir, &head)?;
        let segments = Mutex::new(VecDeque::from([Segment::new(head)]));
        let chain = Chain(Arc::new(Shared { site, segments }));
        Ok(Self { chain, facts: None, file, head, offset: HEAD_BYTES, next: first })
    }

    /// Notes the newest segment, and from now on each that is begun.
    pub(super) fn note_in(&mut self, facts: Arc<Facts>) -> Result<(), Fault> {
        facts.set(NEWEST, &self.head.number)?;
        self.facts = Some(facts);
        Ok(())
    }

    pub(super) fn chain(&self) -> Chain {
        self.chain.clone()
    }

    /// The index after the last entry.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Writes a frame and syncs it. After an error nothing more may be written.
    pub(super) fn append(&mut self, frame: &mut Frame) -> Result<(), Fault> {
        let bytes = frame.sealed_bytes();
        if frame.first() != self.next || self.offset + bytes > self.head.length {
            self.roll(frame.first(), bytes)?;
        }
        let refused = |error: io::Error| {
            let path = path_of(&self.chain.0.site.dir, self.head.number);
            fault(&path, error.into())
        };
        self.file
            .write_all_at(frame.seal(&self.head, self.offset), self.offset)
            .map_err(refused)?;
        self.file.sync_data().map_err(refused)?;
        let next = frame.first() + u64::from(frame.count());
        if let Some(segment) = self.chain.segments().back_mut() {
            segment.note(frame.first(), self.offset, next);
        }
        (self.offset, self.next) = (self.offset + bytes, next);
        Ok(())
    }

    /// Removes the entries from `since` on.
    pub(super) fn truncate(&mut self, since: u64) -> Result<(), Fault> {
        if since >= self.next { Ok(()) } else { self.roll(since, 0) }
    }

    /// Begins a segment with room for a frame of `bytes`.
    fn roll(&mut self, first: u64, bytes: u64) -> Result<(), Fault> {
        let length = self.chain.0.site.segment_bytes.max(HEAD_BYTES + bytes);
        let number = self.head.number + 1;
        let head = Head { number, first, length, salt: salt(), ..self.head };
        let file = create(&self.chain.0.site.dir, &head)?;
        if let Some(facts) = &self.facts {
            facts.set(NEWEST, &number)?;
        }
        // Only the last segment needs its room; without it the others are as good.
        if let Err(error) = self.file.set_len(self.offset) {
            tracing::debug!("raft log segment {} not trimmed: {error}", self.head.number);
        }
        let mut segments = self.chain.segments();
        void_from(&mut segments, first);
        segments.push_back(Segment::new(head));
        drop(segments);
        (self.file, self.head, self.offset, self.next) = (file, head, HEAD_BYTES, first);
        Ok(())
    }

    /// Removes segments that hold nothing from the entry `first` on.
    pub(super) fn purge(&self, first: u64) -> Result<(), Fault> {
        let mut segments = self.chain.segments();
        while segments.len() > 1
            && let Some(segment) = segments.front()
            && segment.end <= first
        {
            let path = path_of(&self.chain.0.site.dir, segment.head.number);
            fs::remove_file(&path).map_err(|error| fault(&path, error.into()))?;
            segments.pop_front();
        }
        Ok(())
    }
}

/// Voids what segments hold from an index on.
fn void_from(segments: &mut VecDeque<Segment>, first: u64) {
    for segment in segments {
        segment.end = segment.end.min(first);
    }
}

fn salt() -> u32 {
    RandomState::new().hash_one(0) as u32
}

/// Makes the file of a segment, durably and with room for all of it.
fn create(dir: &Path, head: &Head) -> Result<File, Fault> {
    let path = path_of(dir, head.number);
    let make = || {
        let aside = disk::aside(&path);
        let file = disk::create(&aside)?;
        reserve(&file, head.length)?;
        file.write_all_at(&head.emit(), 0)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        disk::sync_dir(dir)?;
        Ok(file)
    };
    make().map_err(|error: io::Error| fault(&path, error.into()))
}

/// Gives a file its length, with its room on the disk where the file system can do that.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(length),
        Err(error) => Err(error.into()),
    }
}

/// What was found in the segments.
pub(super) struct Recovered {
    pub(super) tail: Tail,
    /// What was last known to be committed.
    pub(super) hint: Vec<u8>,
}

/// Reads and checks the segments of a log that is purged up to before `floor`. A half-written frame
/// at the end is cut off; segments that were purged are removed.
///
/// # Errors
///
/// [`Fault::Damaged`] names the file and the place; then nothing was changed.
pub(super) fn recover(
    site: Site,
    floor: u64,
    facts: Arc<Facts>,
    newest: u64,
) -> Result<Recovered, Fault> {
    let dir = &*site.dir;
    let numbers = if dir.exists() { list(dir)? } else { Vec::new() };
    let last = numbers.last().copied().unwrap_or(0);
    if last < newest || last == 0 {
        let path = path_of(dir, newest);
        return Err(Fault::Damaged(format!("{} is missing", path.display())));
    }
    let run = numbers.iter().rev().zip(0..).take_while(|(number, age)| **number == last - age);
    let oldest = last + 1 - run.count() as u64;
    let (mut walk, mut next) = (Walk { hint: Vec::new(), last_frame: None }, 0);
    let mut segments = VecDeque::new();
    for number in oldest..=last {
        let path = path_of(dir, number);
        let file = File::open(&path).map_err(|error| fault(&path, error.into()))?;
        let head = Head::read(&file).map_err(|flaw| fault(&path, flaw))?;
        if head.id != site.id || head.number != number {
            return Err(fault(&path, Flaw::At(8, "it is of another log")));
        }
        let expected = floor.max(next);
        if head.first > expected {
            let what = "entries before the first of this segment are missing";
            tracing::error!("entries {expected} to {} are missing", head.first - 1);
            return Err(fault(&path, Flaw::At(24, what)));
        }
        void_from(&mut segments, head.first);
        let (segment, offset, torn) =
            walk.segment(file, head, number == last).map_err(|flaw| fault(&path, flaw))?;
        next = segment.end;
        segments.push_back(segment);
        if number == last {
            let file = restore(&path, walk.last_frame.take(), offset, torn)
                .map_err(|error| fault(&path, error.into()))?;
            for number in numbers.into_iter().filter(|number| *number < oldest) {
                fs::remove_file(path_of(dir, number))?;
            }
            let chain = Chain(Arc::new(Shared { site, segments: Mutex::new(segments) }));
            let mut tail = Tail { chain, facts: None, file, head, offset, next };
            match newest == number {
                true => tail.facts = Some(facts),
                false => tail.note_in(facts)?,
            }
            tail.purge(floor)?;
            return Ok(Recovered { tail, hint: walk.hint });
        }
    }
    unreachable!("the last segment is among them")
}

/// Finds the numbers of the segments, in order; removes what is half-made.
fn list(dir: &Path) -> Result<Vec<u64>, Fault> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(dir).map_err(|error| fault(dir, error.into()))? {
        let path = file?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        match (extension, stem.and_then(|stem| u64::from_str_radix(stem, 16).ok())) {
            (Some(EXTENSION), Some(number)) => numbers.push(number),
            (Some("tmp"), _) => fs::remove_file(&path)?,
            _ => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// What is gathered from one segment to the next.
struct Walk {
    hint: Vec<u8>,
    /// The last frame of the segment and where it is.
    last_frame: Option<(u64, Vec<u8>)>,
}

impl Walk {
    /// Checks a segment. Tells where its frames end and how many bytes a crash has left there.
    fn segment<S: super::frame::Source>(
        &mut self,
        source: S,
        head: Head,
        is_last: bool,
    ) -> Result<(Segment, u64, u64), Flaw> {
        let mut segment = Segment::new(head);
        let mut reader = Reader::new(source, head, HEAD_BYTES);
        self.last_frame = None;
        while let Step::Frame(frame) = reader.step()? {
            if frame.first != segment.end {
                return Err(Flaw::At(frame.offset, "a frame does not follow the one before"));
            }
            segment.note(frame.first, frame.offset, frame.first + u64::from(frame.count));
            if !frame.hint.is_empty() {
                self.hint = frame.hint.into();
            }
            if is_last {
                let (at, kept) = self.last_frame.get_or_insert_default();
                *at = frame.offset;
                kept.clear();
                kept.extend_from_slice(frame.bytes);
            }
        }
        let torn = reader.judge_end(is_last)?;
        Ok((segment, reader.offset(), torn))
    }
}

/// Makes the newest segment ready to be written to. What a crash left is made zeros again. The last
/// frame is written once more: if its sync failed, the disk may not have what is read from it.
fn restore(
    path: &Path,
    last_frame: Option<(u64, Vec<u8>)>,
    offset: u64,
    torn: u64,
) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if let Some((at, bytes)) = last_frame {
        file.write_all_at(&bytes, at)?;
    }
    if torn > 0 {
        tracing::warn!(
            "{}: {torn} bytes of an append that was never acknowledged are cut off",
            path.display()
        );
        let zeros = vec![0; usize::try_from(torn).map_err(io::Error::other)?];
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Reads a segment from memory as recovery does, and every entry in it; for the fuzzer. Tells how
/// many there are, if it is sound.
pub(in crate::raft) fn check(bytes: &[u8]) -> Option<u64> {
    let head = Head::read(&bytes).ok()?;
    let mut walk = Walk { hint: Vec::new(), last_frame: None };
    let (segment, end, torn) = walk.segment(bytes, head, true).ok()?;
    assert!(end + torn <= bytes.len() as u64, "within the file");
    let mut reader = Reader::new(bytes, head, HEAD_BYTES);
    let mut count = 0;
    while let Ok(Step::Frame(frame)) = reader.step() {
        for (index, bytes) in frame.entries() {
            let _ = decode(index, bytes);
            count += 1;
        }
    }
    assert_eq!(segment.end - head.first, count, "every entry is counted once");
    Some(count)
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
