//! The trees of the log: entries cut into chunks, every value with its checksum; reading and
//! checking.

use super::{COMMITTED, Fault, Found, ID, PURGED, VOTE};
use crate::raft::disk::{self, seal, unseal};
use crate::raft::entry::{Entry, LogId, Vote};
use openraft::RaftLogId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Bytes of an entry in one value: below 32 KB with key, count and checksum, so that sled keeps it
/// in its data file.
const CHUNK_BYTES: usize = 30 * 1024;

/// Entries, in chunks, and what is known besides them.
#[derive(Clone)]
pub(super) struct Trees {
    pub(super) db: sled::Db,
    pub(super) log: sled::Tree,
    pub(super) meta: sled::Tree,
}

fn key(index: u64, chunk: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Option<(u64, u16)> {
    let (index, chunk) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*index), u16::from_be_bytes(chunk.try_into().ok()?)))
}

impl Trees {
    fn meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.meta.get(name)? else { return Ok(None) };
        let parsed = unseal(&value).and_then(|bytes| postcard::from_bytes(bytes).ok());
        parsed.map(Some).ok_or_else(|| Fault::Damaged(format!("`{name}` does not check out")))
    }

    pub(super) fn set_meta<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Fault> {
        let bytes = postcard::to_stdvec(value).expect("a vector takes any value");
        self.meta.insert(name, seal(&bytes))?;
        Ok(())
    }

    /// Reads and checks everything.
    pub(super) fn recover(&self, dir: &Path, existed: bool, fresh_id: u64) -> Result<Found, Fault> {
        let (id_file, vote_file) = (dir.join(ID), dir.join(VOTE));
        let in_file = disk::read_sealed(&id_file)?;
        let in_file = in_file.map(|bytes| postcard::from_bytes::<u64>(&bytes));
        let in_file = in_file.transpose().map_err(|_| Fault::Damaged("file `id`".into()))?;
        let in_tree: Option<u64> = self.meta(ID)?;
        let vote_in_file = disk::read_sealed(&vote_file)?;
        let unused = self.log.is_empty() && vote_in_file.is_none() && in_file.is_none();
        let id = match (in_tree, in_file) {
            (Some(tree), Some(file)) if tree == file => tree,
            // Nothing was promised under an id whose file is not yet there.
            (_, None) if unused => {
                self.set_meta(ID, &fresh_id)?;
                self.db.flush()?;
                disk::write_sealed(&id_file, &postcard::to_stdvec(&fresh_id).expect("a u64"))?;
                fresh_id
            }
            (Some(_) | None, Some(_) | None) => {
                let what = if existed { "is of another server" } else { "was lost" };
                return Err(Fault::Damaged(format!("the log {what}: raft ids differ")));
            }
        };
        let vote = self.vote(vote_in_file)?;
        let (purged, committed) = (self.meta(PURGED)?, self.meta(COMMITTED)?);
        let last = self.check_entries(purged)?;
        if last.is_some() && vote.is_none() {
            return Err(Fault::Damaged("there are entries but no vote".into()));
        }
        Ok(Found { id, vote, committed, purged, last })
    }

    /// The later of the two copies of the vote: a crash may fall between writing them.
    fn vote(&self, file: Option<Vec<u8>>) -> Result<Option<Vote>, Fault> {
        let tree: Option<Vote> = self.meta(VOTE)?;
        let file: Option<Vote> = file
            .map(|bytes| postcard::from_bytes(&bytes))
            .transpose()
            .map_err(|_| Fault::Damaged("file `vote`".into()))?;
        match (tree, file) {
            (Some(tree), Some(file)) if file >= tree => Ok(Some(file)),
            (Some(tree), Some(_) | None) => Ok(Some(tree)),
            (None, file) => Ok(file),
        }
    }

    /// Makes sure that the entries are whole and without gaps, finishes a purge that was cut short,
    /// and tells the last entry.
    fn check_entries(&self, purged: Option<LogId>) -> Result<Option<LogId>, Fault> {
        let mut next = purged.map_or(0, |purged| purged.index + 1);
        self.remove(0, next)?;
        let mut last = purged;
        loop {
            // In pieces, so that a long log is checked in little memory.
            let piece = self.read(next, u64::MAX, CHUNK_BYTES)?;
            if piece.is_empty() {
                return Ok(last);
            }
            for (entry, _) in piece {
                let id = *entry.get_log_id();
                if id.index != next {
                    return Err(Fault::Damaged(format!("entry {next} is missing")));
                }
                (next, last) = (next + 1, Some(id));
            }
        }
    }

    pub(super) fn read(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<(Entry, usize)>, Fault> {
        let mut entries = Vec::new();
        let mut total = 0;
        let (mut index, mut wanted, mut bytes) = (start, 0_u16, Vec::new());
        let mut chunks_read = 0;
        for pair in self.log.range(key(start, 0)..key(end, 0)) {
            let (name, value) = pair?;
            let damaged = || Fault::Damaged(format!("an entry from {start} on does not check out"));
            let (at, chunk) = parse_key(&name).ok_or_else(damaged)?;
            let contents = unseal(&value).ok_or_else(damaged)?;
            let (count, data) = contents.split_first_chunk::<2>().ok_or_else(damaged)?;
            if chunk == 0 && chunks_read == wanted {
                (index, wanted, chunks_read) = (at, u16::from_be_bytes(*count), 0);
                bytes.clear();
            }
            if at != index || chunk != chunks_read || wanted == 0 {
                return Err(damaged());
            }
            bytes.extend_from_slice(data);
            chunks_read += 1;
            if chunks_read == wanted {
                let entry: Entry = postcard::from_bytes(&bytes).map_err(|_| damaged())?;
                if entry.get_log_id().index != index {
                    return Err(damaged());
                }
                entries.push((entry, bytes.len()));
                total += bytes.len();
                if total >= bytes_max {
                    break;
                }
            }
        }
        match chunks_read == wanted {
            true => Ok(entries),
            false => Err(Fault::Damaged(format!("entry {index} is cut short"))),
        }
    }

    /// Removes entries from `start` to before `end`, as one batch.
    pub(super) fn remove(&self, start: u64, end: u64) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        for name in self.log.range(key(start, 0)..key(end, 0)).keys() {
            batch.remove(name?);
        }
        Ok(self.log.apply_batch(batch)?)
    }
}

/// Adds an entry to a batch, in chunks.
pub(super) fn insert(batch: &mut sled::Batch, index: u64, bytes: &[u8]) {
    let count = u16::try_from(bytes.len().div_ceil(CHUNK_BYTES)).expect("entries are below 1 GiB");
    for (chunk, data) in (0..count).zip(bytes.chunks(CHUNK_BYTES)) {
        let mut value = Vec::with_capacity(2 + data.len());
        value.extend_from_slice(&count.to_be_bytes());
        value.extend_from_slice(data);
        batch.insert(&key(index, chunk), seal(&value));
    }
}
