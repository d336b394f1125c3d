//! Snapshots: files of their own beside the log, whole or not there.
//!
//! ```text
//! <dir>/snapshot/<term>-<index>-<lot>.snap
//! magic · u32 length of the head · head (openraft's meta, index of the state) · state · CRC-32
//! ```
//!
//! A snapshot is written aside, synced, renamed, and the directory synced; only then is it current,
//! and only then are older ones removed. The CRC is checked on opening and before a received
//! snapshot is put in place. Writing and checking stream: no snapshot is held in memory, except by
//! a server that keeps everything there.

use super::disk;
use super::entry::SnapshotMeta;
use super::log::Fault;
use super::{Freeze, StateMachine};
use agent_core::model::Index;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Names the format and its version.
const MAGIC: &[u8; 8] = b"reevesn1";

/// Bytes of a head: meta with a few servers. A longer one is not ours.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that a reader or writer of a snapshot holds.
const BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of the checksum at the end.
const CRC_BYTES: u64 = 4;

/// The contents of a snapshot.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// Nothing received yet.
    Empty,
    /// A file; open, so that it can be sent even after it was replaced.
    File(Arc<File>, PathBuf),
    /// In memory.
    Memory(Bytes),
}

impl Data {
    /// Tells the length in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Empty => Ok(0),
            Self::File(file, _) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Reads some bytes at an offset; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Empty => Ok(0),
            Self::File(file, _) => file.read_at(buffer, offset),
            Self::Memory(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(offset..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }

    /// Reads up to `max` bytes at an offset.
    pub(super) fn piece(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let mut piece = Vec::new();
        self.reader(offset, offset.saturating_add(max as u64)).read_to_end(&mut piece)?;
        Ok(piece.into())
    }

    fn reader(&self, start: u64, end: u64) -> Reader<'_> {
        Reader { data: self, at: start, end }
    }

    /// Reads and checks everything; tells the head and where the state is.
    fn check(&self) -> io::Result<(Head, u64, u64)> {
        let bad =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("snapshot {what}"));
        let end = self.len()?.checked_sub(CRC_BYTES).ok_or_else(|| bad("is cut short"))?;
        let mut crc = crc32fast::Hasher::new();
        let mut all = BufReader::with_capacity(BUFFER_BYTES, self.reader(0, end));
        let mut start = [0; 12];
        all.read_exact(&mut start)?;
        crc.update(&start);
        let (magic, length) = start.split_first_chunk::<8>().expect("8 of 12");
        if magic != MAGIC {
            return Err(bad("is of another format"));
        }
        let length = u32::from_le_bytes(length.try_into().expect("4 of 12")) as usize;
        if length > HEAD_BYTES_MAX {
            return Err(bad("has too long a head"));
        }
        let mut head = vec![0; length];
        all.read_exact(&mut head)?;
        crc.update(&head);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match all.read(&mut buffer)? {
                0 => break,
                count => crc.update(&buffer[..count]),
            }
        }
        let mut wanted = [0; 4];
        self.reader(end, end + CRC_BYTES).read_exact(&mut wanted)?;
        if crc.finalize() != u32::from_le_bytes(wanted) {
            return Err(bad("does not match its checksum"));
        }
        let head = postcard::from_bytes(&head).map_err(|_| bad("has a damaged head"))?;
        Ok((head, 12 + length as u64, end))
    }
}

/// A part of a snapshot as a stream.
struct Reader<'a> {
    data: &'a Data,
    at: u64,
    end: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self.data.read_at(&mut buffer[..length], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// What a snapshot is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) meta: SnapshotMeta,
    /// The index of the state, see [`apply`](super::apply).
    pub(super) index: Index,
}

/// The snapshots of one server: one is current.
pub(super) struct Shelf {
    dir: Option<PathBuf>,
    current: Mutex<Option<(Head, Data)>>,
}

impl Shelf {
    /// Finds the latest sound snapshot in `dir`, or keeps snapshots in memory. A damaged file is
    /// reported and left out; whether the log can do without it, the caller must judge.
    pub(super) fn open(dir: Option<PathBuf>) -> Result<Self, Fault> {
        let mut current: Option<(Head, Data)> = None;
        if let Some(dir) = &dir {
            disk::make_dir(dir)?;
            for file in fs::read_dir(dir)? {
                let path = file?.path();
                if path.extension().is_none_or(|extension| extension != "snap") {
                    fs::remove_file(&path)?;
                    continue;
                }
                let data = Data::File(Arc::new(File::open(&path)?), path.clone());
                match data.check() {
                    Ok((head, ..)) => {
                        let later = current.as_ref().is_none_or(|(known, _)| {
                            known.meta.last_log_id < head.meta.last_log_id
                        });
                        if later {
                            current = Some((head, data));
                        }
                    }
                    Err(error) => tracing::error!("{}: {error}", path.display()),
                }
            }
        }
        Ok(Self { dir, current: Mutex::new(current) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Head, Data)>> {
        self.current.lock().expect("no holder panics")
    }

    /// Tells the current snapshot.
    pub(super) fn current(&self) -> Option<(Head, Data)> {
        self.lock().clone()
    }

    /// Writes a frozen state and makes it current. Blocks for the disk.
    pub(super) fn write(&self, head: Head, freeze: Freeze) -> io::Result<Data> {
        let data = match self.new_file()? {
            None => {
                let mut bytes = Vec::new();
                write_all(&mut bytes, &head, freeze)?;
                Data::Memory(bytes.into())
            }
            Some((file, path)) => {
                let written = {
                    let mut to = BufWriter::with_capacity(BUFFER_BYTES, &file);
                    write_all(&mut to, &head, freeze).and_then(|()| to.flush())
                };
                if let Err(error) = written {
                    fs::remove_file(&path)?;
                    return Err(error);
                }
                Data::File(Arc::new(file), path)
            }
        };
        self.put_in_place(head, data)
    }

    /// Begins to take a snapshot from a peer.
    pub(super) fn receive(&self) -> io::Result<Incoming> {
        Ok(match self.new_file()? {
            None => Incoming::Memory(Vec::new()),
            Some((file, path)) => Incoming::File(file, path),
        })
    }

    /// Checks a received snapshot, replaces the state with it and makes it current. Blocks.
    pub(super) fn install(&self, data: Data, machine: &dyn StateMachine) -> io::Result<Head> {
        let (head, start, end) = data.check()?;
        let data = self.put_in_place(head.clone(), data)?;
        machine.restore(&mut BufReader::with_capacity(BUFFER_BYTES, data.reader(start, end)))?;
        Ok(head)
    }

    /// Puts the current snapshot into a state machine, if there is one. Blocks.
    pub(super) fn load(&self, machine: &dyn StateMachine) -> io::Result<Option<Head>> {
        let Some((_, data)) = self.current() else { return Ok(None) };
        let (head, start, end) = data.check()?;
        machine.restore(&mut BufReader::with_capacity(BUFFER_BYTES, data.reader(start, end)))?;
        Ok(Some(head))
    }

    fn new_file(&self) -> io::Result<Option<(File, PathBuf)>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let lot = RandomState::new().hash_one(0);
        let path = dir.join(format!("{lot:016x}.part"));
        Ok(Some((disk::create(&path)?, path)))
    }

    /// Makes a snapshot durable and current, and removes the one before.
    fn put_in_place(&self, head: Head, data: Data) -> io::Result<Data> {
        let data = match data {
            Data::Empty | Data::Memory(_) => data,
            Data::File(file, path) => {
                file.sync_all()?;
                let name = format!("{}.snap", head.meta.snapshot_id);
                let place = path.parent().unwrap_or(Path::new(".")).join(name);
                fs::rename(&path, &place)?;
                place.parent().map_or(Ok(()), disk::sync_dir)?;
                Data::File(file, place)
            }
        };
        let mut current = self.lock();
        let later = current
            .as_ref()
            .is_none_or(|(known, _)| known.meta.last_log_id <= head.meta.last_log_id);
        let replaced = if later { current.replace((head, data.clone())) } else { None };
        drop(current);
        let kept = match &data {
            Data::File(_, path) => Some(path),
            Data::Empty | Data::Memory(_) => None,
        };
        if let Some((_, Data::File(_, old))) = replaced
            && Some(&old) != kept
        {
            fs::remove_file(&old)?;
        }
        Ok(data)
    }
}

/// Names a snapshot that is taken now.
pub(super) fn name(last: Option<super::entry::LogId>) -> String {
    let (term, index) = last.map_or((0, 0), |last| (last.leader_id.term, last.index));
    format!("{term}-{index}-{:08x}", RandomState::new().hash_one(0) as u32)
}

fn write_all(to: &mut dyn Write, head: &Head, freeze: Freeze) -> io::Result<()> {
    let mut to = Summed { to, crc: crc32fast::Hasher::new() };
    let head = postcard::to_stdvec(head).expect("a vector takes any head");
    to.write_all(MAGIC)?;
    to.write_all(&u32::try_from(head.len()).expect("a head is short").to_le_bytes())?;
    to.write_all(&head)?;
    freeze(&mut to)?;
    let crc = to.crc.finalize().to_le_bytes();
    to.to.write_all(&crc)
}

/// Sums up what is written.
struct Summed<'a> {
    to: &'a mut dyn Write,
    crc: crc32fast::Hasher,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.crc.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A snapshot that is being received; dropped, its file is removed.
pub(super) enum Incoming {
    File(File, PathBuf),
    Memory(Vec<u8>),
}

impl Incoming {
    /// Adds bytes at the end.
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file, _) => file.write_all(bytes),
            Self::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Everything has arrived.
    pub(super) fn finish(mut self) -> io::Result<Data> {
        match &mut self {
            Self::Memory(all) => Ok(Data::Memory(std::mem::take(all).into())),
            Self::File(file, path) => {
                let file = file.try_clone()?;
                // Emptied, so that dropping the rest leaves the file alone.
                Ok(Data::File(Arc::new(file), std::mem::take(path)))
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Self::File(_, path) = self
            && !path.as_os_str().is_empty()
            && let Err(error) = fs::remove_file(&*path)
        {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}
