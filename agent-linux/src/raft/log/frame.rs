//! The bytes of a segment, and where a log ends.
//!
//! ```text
//! segment  head · frame · frame · … · zeros up to the length that the head names
//! head     magic 8 · raft id 8 · number 8 · first index 8 · length 8 · salt 4 · CRC 4
//! frame    length 4 · CRC of the body 4 · first index 8 · count 4 · CRC of these and of the offset
//!          4 · body · 1 to 8 bytes of 0xff, up to a multiple of 8
//! body     records: what is known to be committed (or nothing), then `count` entries
//! record   length 4 · bytes
//! ```
//!
//! Numbers are little-endian; a CRC is a CRC-32 that begins with the salt, so that nothing a client
//! writes can pass for a frame.
//!
//! # Where a log ends
//!
//! A frame is synced before the next is written, and what it is written over is zeros. So a crash
//! can only leave the *last* frame half-written, and then its end or at least one of its disk
//! sectors is still zeros: that frame was never acknowledged, and it is cut off. Everything else
//! that does not check out is damage: a frame that is followed by another, one that is there in
//! full but does not match its CRC, a file that is shorter than its head says. One thing cannot be
//! told apart from a crash: the last frame damaged while it holds 512 zeros in a row of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Names the format and its version.
const MAGIC: &[u8; 8] = b"reevelg1";

/// Bytes of a segment's head.
pub(super) const HEAD_BYTES: u64 = 48;

/// Bytes of a frame's head.
const FRAME_BYTES: usize = 24;

/// Frames begin at multiples of it.
const ALIGN: u64 = 8;

/// Bytes that a disk writes as a whole.
const SECTOR: u64 = 512;

/// Bytes of one entry at most: far above what a peer can send.
pub(in crate::raft) const ENTRY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the body of a frame at most: one entry of the longest, and what goes with it.
const BODY_BYTES_MAX: u32 = 65 * 1024 * 1024;

/// Bytes of a segment at most: one frame of the longest, and its head.
pub(super) const SEGMENT_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + 1024;

/// Bytes that a reader asks for at once.
const PIECE: usize = 64 * 1024;

/// Where a segment's bytes come from.
pub(super) trait Source {
    /// Tells how many bytes there are.
    fn length(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset` on; what is past the end stays as it is.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Source for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Source for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// What does not check out, and where.
#[derive(Debug)]
pub(super) enum Flaw {
    /// It could not be read.
    Io(io::Error),
    /// At this byte there is something that no crash leaves.
    At(u64, &'static str),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// The server whose log it is part of.
    pub(super) id: u64,
    /// Segments are numbered one by one.
    pub(super) number: u64,
    /// Index of the first entry; entries from it on in earlier segments are void.
    pub(super) first: u64,
    /// Bytes of the file, as it was made.
    pub(super) length: u64,
    /// What its CRCs begin with: random.
    pub(super) salt: u32,
}

impl Head {
    pub(super) fn emit(&self) -> [u8; HEAD_BYTES as usize] {
        let mut bytes = [0; HEAD_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.length.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the head of a segment; a segment has one before it has its name.
    pub(super) fn read(source: &impl Source) -> Result<Self, Flaw> {
        let mut bytes = [0; HEAD_BYTES as usize];
        source.fill(&mut bytes, 0)?;
        if &bytes[..8] != MAGIC || u32_at(&bytes, 44) != crc32fast::hash(&bytes[..44]) {
            return Err(Flaw::At(0, "the head does not check out"));
        }
        let head = Self {
            id: u64_at(&bytes, 8),
            number: u64_at(&bytes, 16),
            first: u64_at(&bytes, 24),
            length: u64_at(&bytes, 32),
            salt: u32_at(&bytes, 40),
        };
        match (HEAD_BYTES..=SEGMENT_BYTES_MAX).contains(&head.length) {
            true => Ok(head),
            false => Err(Flaw::At(32, "the head names an impossible length")),
        }
    }

    fn hasher(&self) -> crc32fast::Hasher {
        crc32fast::Hasher::new_with_initial(self.salt)
    }

    fn crc(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finalize()
    }

    /// The CRC of a frame's head, which holds at its own place only.
    fn crc_of_head(&self, bytes: &[u8], offset: u64) -> u32 {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.update(&offset.to_le_bytes());
        hasher.finalize()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// A frame that is being filled; its buffer is used again.
#[derive(Default)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    first: u64,
    count: u32,
}

impl Frame {
    /// Begins a frame whose first entry will have this index.
    pub(super) fn begin(&mut self, first: u64, hint: &[u8]) {
        self.bytes.clear();
        self.bytes.resize(FRAME_BYTES, 0);
        (self.first, self.count) = (first, 0);
        self.record(hint);
    }

    /// Adds the next entry.
    pub(super) fn push(&mut self, entry: &[u8]) {
        self.record(entry);
        self.count += 1;
    }

    fn record(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("entries are bounded");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// Index of its first entry.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Tells how many entries it holds.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Tells how many bytes it takes once sealed.
    pub(super) fn sealed_bytes(&self) -> u64 {
        padded(self.bytes.len() as u64)
    }

    /// Seals it for its place.
    pub(super) fn seal(&mut self, head: &Head, offset: u64) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - FRAME_BYTES).expect("frames are bounded");
        let crc = head.crc(&self.bytes[FRAME_BYTES..]);
        let parts = FrameHead { length, crc, first: self.first, count: self.count };
        self.bytes[..FRAME_BYTES].copy_from_slice(&parts.emit(head, offset));
        let end = usize::try_from(self.sealed_bytes()).expect("frames are bounded");
        self.bytes.resize(end, 0xff);
        &self.bytes
    }

    /// Empties it, and lets go of most of the memory of a long one.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(PIECE);
        self.count = 0;
    }
}

/// Bytes that a frame takes with at least one byte of padding.
fn padded(bytes: u64) -> u64 {
    (bytes / ALIGN + 1) * ALIGN
}

/// The head of a frame.
#[derive(Clone, Copy)]
struct FrameHead {
    length: u32,
    crc: u32,
    first: u64,
    count: u32,
}

impl FrameHead {
    fn emit(self, head: &Head, offset: u64) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        let crc = head.crc_of_head(&bytes[..20], offset);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it; `None` if there is no sound one at this offset.
    fn parse(bytes: &[u8], head: &Head, offset: u64) -> Option<Self> {
        let bytes: &[u8; FRAME_BYTES] = bytes.first_chunk()?;
        let parts = Self {
            length: u32_at(bytes, 0),
            crc: u32_at(bytes, 4),
            first: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
        };
        let sound = bytes[..4] != [0; 4]
            && parts.length <= BODY_BYTES_MAX
            && parts.count <= parts.length / 4
            && parts.first.checked_add(u64::from(parts.count)).is_some()
            && u32_at(bytes, 20) == head.crc_of_head(&bytes[..20], offset);
        sound.then_some(parts)
    }

    /// Bytes from here to the next frame.
    fn whole(self) -> u64 {
        padded(FRAME_BYTES as u64 + u64::from(self.length))
    }
}

/// A sound frame, as it was read.
pub(super) struct Read<'a> {
    /// Where it begins.
    pub(super) offset: u64,
    /// The frame with head and padding.
    pub(super) bytes: &'a [u8],
    /// Index of its first entry.
    pub(super) first: u64,
    /// How many entries it holds.
    pub(super) count: u32,
    /// What was known to be committed; may be empty.
    pub(super) hint: &'a [u8],
    body: &'a [u8],
}

impl<'a> Read<'a> {
    /// Its entries and their indexes.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let mut records = Records(self.body);
        records.next();
        (self.first..).zip(records)
    }
}

/// The records of a body that was checked.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(record)
    }
}

/// What came of looking for a frame.
pub(super) enum Step<'a> {
    Frame(Read<'a>),
    /// No sound frame is here.
    None,
}

/// Reads frames in turn.
pub(super) struct Reader<S> {
    source: S,
    head: Head,
    offset: u64,
    /// What was read ahead, and where it begins.
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl<S: Source> Reader<S> {
    /// A reader of the frames from `offset` on, where one must begin.
    pub(super) fn new(source: S, head: Head, offset: u64) -> Self {
        Self { source, head, offset, ahead: Vec::new(), ahead_at: 0 }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes `length` bytes from the offset on be in memory, if they are there; tells where.
    fn need(&mut self, length: usize) -> io::Result<std::ops::Range<usize>> {
        let start = self.offset.checked_sub(self.ahead_at).and_then(|at| usize::try_from(at).ok());
        if let Some(start) = start
            && start + length <= self.ahead.len()
        {
            return Ok(start..start + length);
        }
        let left = self.source.length()?.saturating_sub(self.offset);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.ahead.resize(length.max(PIECE).min(left), 0);
        self.ahead_at = self.offset;
        let filled = self.source.fill(&mut self.ahead, self.offset)?;
        self.ahead.truncate(filled);
        Ok(0..length.min(filled))
    }

    /// Skips frames that end before the entry `index`, without a look at their bodies.
    pub(super) fn skip_to(&mut self, index: u64) -> io::Result<()> {
        loop {
            let place = self.need(FRAME_BYTES)?;
            let parts = FrameHead::parse(&self.ahead[place], &self.head, self.offset);
            match parts {
                Some(parts) if parts.first + u64::from(parts.count) <= index => {
                    self.offset += parts.whole();
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// Reads the next frame.
    pub(super) fn step(&mut self) -> io::Result<Step<'_>> {
        let place = self.need(FRAME_BYTES)?;
        let Some(parts) = FrameHead::parse(&self.ahead[place], &self.head, self.offset) else {
            return Ok(Step::None);
        };
        let whole = usize::try_from(parts.whole()).expect("frames are bounded");
        let place = self.need(whole)?;
        let frame = &self.ahead[place];
        let end = FRAME_BYTES + parts.length as usize;
        let Some(body) = frame.get(FRAME_BYTES..end).filter(|_| frame.len() == whole) else {
            return Ok(Step::None);
        };
        if self.head.crc(body) != parts.crc || frame[end..].iter().any(|byte| *byte != 0xff) {
            return Ok(Step::None);
        }
        let mut records = Records(body);
        let hint = records.next();
        let entries = records.by_ref().count();
        let (Some(hint), true) = (hint, records.0.is_empty() && entries == parts.count as usize)
        else {
            return Ok(Step::None);
        };
        let offset = self.offset;
        self.offset += parts.whole();
        let (first, count) = (parts.first, parts.count);
        Ok(Step::Frame(Read { offset, bytes: frame, first, count, hint, body }))
    }

    /// Judges what is where no sound frame was found. Tells how many bytes from here on a crash
    /// has left, 0 for a clean end.
    ///
    /// # Errors
    ///
    /// [`Flaw::At`] if it is damage: in a segment that is not the last, anything but zeros; in the
    /// last, what the module's head says.
    pub(super) fn judge_end(&self, is_last: bool) -> Result<u64, Flaw> {
        let at = self.offset;
        let length = self.source.length()?;
        if is_last && length != self.head.length {
            return Err(Flaw::At(length, "the file is not as long as it was made"));
        }
        let mut rest = vec![0; usize::try_from(length.saturating_sub(at)).unwrap_or(0)];
        let filled = self.source.fill(&mut rest, at)?;
        rest.truncate(filled);
        let Some(end) = rest.iter().rposition(|byte| *byte != 0) else { return Ok(0) };
        let is_torn = is_last && self.is_torn(&rest);
        let follows = || {
            (ALIGN as usize..=end)
                .step_by(ALIGN as usize)
                .any(|skip| FrameHead::parse(&rest[skip..], &self.head, at + skip as u64).is_some())
        };
        match is_torn && !follows() {
            true => Ok(end as u64 + 1),
            false => Err(Flaw::At(at, "a frame does not check out")),
        }
    }

    /// Tells whether the frame at the offset was never written in full: its end is zeros, or one
    /// of its sectors.
    fn is_torn(&self, rest: &[u8]) -> bool {
        let parts = FrameHead::parse(rest, &self.head, self.offset);
        let whole = parts.map_or(FRAME_BYTES as u64, FrameHead::whole);
        // It would not have been put where there is no room for it.
        let Some(frame) = usize::try_from(whole).ok().and_then(|whole| rest.get(..whole)) else {
            return false;
        };
        let is_zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let is_prefix = match parts {
            Some(_) => frame.last() == Some(&0),
            None => is_zeros(&rest[FRAME_BYTES..]),
        };
        let first = usize::try_from(SECTOR - self.offset % SECTOR).unwrap_or(0).min(frame.len());
        let (first, others) = frame.split_at(first);
        is_prefix || is_zeros(first) || others.chunks(SECTOR as usize).any(is_zeros)
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
