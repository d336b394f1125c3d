//! The entries that a former version kept in sled: read once, to be taken over.
//!
//! ```text
//! tree `log`   u64 index · u16 chunk (big-endian) -> CRC-32 · u16 count of chunks · data
//! ```

use super::{FORMER_ID, Facts, Fault, ID, unseal};

/// Name of the tree.
const TREE: &str = "log";

/// The entries of a former version.
pub(in crate::raft::log) struct Former(sled::Tree);

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

impl Facts {
    /// Opens the entries of a former version, if there are any.
    pub(in crate::raft::log) fn former(&self) -> Result<Option<Former>, Fault> {
        if !self.db.tree_names().iter().any(|name| *name == TREE.as_bytes()) {
            return Ok(None);
        }
        let tree = self.db.open_tree(TREE)?;
        Ok((!tree.is_empty()).then_some(Former(tree)))
    }

    /// Removes what a former version left, now that it has been taken over.
    pub(in crate::raft::log) fn forget_former(&self) -> Result<(), Fault> {
        if let Some(id) = self.get::<u64>(FORMER_ID)? {
            self.set(ID, &id)?;
            self.meta.remove(FORMER_ID)?;
            self.sync()?;
        }
        if self.db.drop_tree(TREE)? {
            self.sync()?;
        }
        Ok(())
    }
}

impl Former {
    /// Hands over each entry from `start` on, encoded, with its index; they are whole and without
    /// gaps.
    ///
    /// # Errors
    ///
    /// [`Fault::Damaged`] if they are not; then some were handed over.
    pub(in crate::raft::log) fn each(
        &self,
        start: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (mut index, mut chunks_read, mut bytes) = (start, 0_u16, Vec::new());
        for pair in self.0.range(key(start, 0)..) {
            let (name, value) = pair?;
            let damaged = || Fault::Damaged(format!("entry {index} does not check out"));
            let (at, chunk) = parse_key(&name).ok_or_else(damaged)?;
            let contents = unseal(&value).ok_or_else(damaged)?;
            let (count, data) = contents.split_first_chunk::<2>().ok_or_else(damaged)?;
            if at != index || chunk != chunks_read {
                return Err(Fault::Damaged(format!("entry {index} is missing")));
            }
            bytes.extend_from_slice(data);
            chunks_read += 1;
            if chunks_read == u16::from_be_bytes(*count) {
                take(index, &bytes)?;
                bytes.clear();
                (index, chunks_read) = (index + 1, 0);
            }
        }
        match chunks_read {
            0 => Ok(()),
            _ => Err(Fault::Damaged(format!("entry {index} is cut short"))),
        }
    }

    /// Makes everything look as a former version left it, with these entries.
    #[cfg(test)]
    pub(in crate::raft::log) fn write(facts: &Facts, id: u64, entries: &[(u64, Vec<u8>)]) {
        const CHUNK_BYTES: usize = 30 * 1024;
        let tree = facts.db.open_tree(TREE).unwrap();
        for (index, bytes) in entries {
            let count = u16::try_from(bytes.len().div_ceil(CHUNK_BYTES)).unwrap();
            for (chunk, data) in (0..count).zip(bytes.chunks(CHUNK_BYTES)) {
                let value = [&count.to_be_bytes()[..], data].concat();
                tree.insert(key(*index, chunk), super::seal(&value)).unwrap();
            }
        }
        facts.set(FORMER_ID, &id).unwrap();
        for name in [ID, super::NEWEST] {
            facts.meta.remove(name).unwrap();
        }
        facts.sync().unwrap();
    }
}
