//! The last known members on disk, so that an agent finds its pool again after a restart.
//!
//! ```text
//! generation 347196161
//! events 17                     Lamport time of the user events that were told
//! left                          only after a graceful leave
//! alive 10.0.0.1:8301           one line per living member
//! ```
//!
//! Written whole beside the file and renamed over it; unknown lines are ignored.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Most members kept: enough to find the pool again, and no bound on the pool itself.
pub(super) const MEMBERS_MAX: usize = 64;

/// Largest file read, in bytes; a longer one is not ours.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The file and what it holds.
#[derive(Debug)]
pub(super) struct Snapshot {
    path: PathBuf,
    generation: u32,
    events: u64,
    left: bool,
    members: Vec<SocketAddr>,
    fresh: bool,
}

impl Snapshot {
    /// Reads the file; a missing one is empty.
    ///
    /// # Errors
    ///
    /// What reading says, or `InvalidData` for a file that is too long.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut snapshot =
            Self { path, generation: 0, events: 0, left: false, members: Vec::new(), fresh: true };
        match fs::metadata(&snapshot.path) {
            Ok(meta) if meta.len() > FILE_BYTES_MAX => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "gossip snapshot too long"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(snapshot),
            Err(error) => return Err(error),
        }
        let bytes = fs::read(&snapshot.path)?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            match line.split_once(' ') {
                Some(("generation", number)) => {
                    snapshot.generation = number.parse().unwrap_or_default();
                }
                Some(("events", time)) => snapshot.events = time.parse().unwrap_or_default(),
                Some(("alive", address)) if snapshot.members.len() < MEMBERS_MAX => {
                    snapshot.members.extend(address.parse::<SocketAddr>());
                }
                None if line == "left" => snapshot.left = true,
                Some(_) | None => {}
            }
        }
        Ok(snapshot)
    }

    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Lamport time of the user events that were told, 0 if none were.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    pub(super) const fn left(&self) -> bool {
        self.left
    }

    pub(super) fn members(&self) -> &[SocketAddr] {
        &self.members
    }

    /// Drops members and events: a graceful leave ended the membership for good.
    pub(super) fn forget(&mut self) {
        self.events = 0;
        self.members.clear();
    }

    /// Writes the file if anything changed.
    ///
    /// A lonely agent keeps the members that it knew: it may be the network that is gone.
    ///
    /// # Errors
    ///
    /// What writing says; the old file is then still whole.
    pub(super) fn save(
        &mut self,
        generation: u32,
        events: u64,
        left: bool,
        mut members: Vec<SocketAddr>,
    ) -> io::Result<()> {
        members.truncate(MEMBERS_MAX);
        if members.is_empty() {
            members.clone_from(&self.members);
        }
        let same = (generation, events, left) == (self.generation, self.events, self.left)
            && members == self.members;
        if same && !self.fresh {
            return Ok(());
        }
        let mut text = format!("generation {generation}\nevents {events}\n");
        if left {
            text.push_str("left\n");
        }
        for member in &members {
            text.push_str(&format!("alive {member}\n"));
        }
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        let beside = self.path.with_extension("tmp");
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        drop(file);
        fs::rename(&beside, &self.path)?;
        (self.generation, self.events, self.left) = (generation, events, left);
        self.members = members;
        self.fresh = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_and_junk_is_ignored() {
        let dir = std::env::temp_dir().join(format!("reeve-snapshot-{}", std::process::id()));
        let path = dir.join("serf").join("local.snapshot");
        let mut snapshot = Snapshot::open(path.clone()).expect("a missing file is empty");
        let members: Vec<SocketAddr> = vec!["127.0.0.1:1".parse().expect("an address")];
        snapshot.save(7, 9, true, members.clone()).expect("writable");
        let mut text = fs::read_to_string(&path).expect("written");
        text.push_str("alive nowhere\njunk\n\u{0}\n");
        fs::write(&path, text).expect("writable");
        let mut again = Snapshot::open(path).expect("readable");
        assert_eq!((again.generation(), again.left(), again.members()), (7, true, &members[..]));
        assert_eq!(again.events(), 9);
        again.save(8, 9, false, Vec::new()).expect("writable");
        assert_eq!(again.members(), &members[..]);
        fs::remove_dir_all(dir).expect("ours");
    }
}
