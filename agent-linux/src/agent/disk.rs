//! What the agent keeps in its data directory: one JSON file a service, a check, a TTL check's
//! status.
//!
//! ```text
//! services/<id>.json         {"Service": definition}
//! checks/<id>.json           {"Check": definition, "Type": "maintenance" or none}
//! checks/state/<id>.json     {"CheckID", "Status", "Output", "Expires": unix ms}
//! ```
//!
//! A file is staged beside its place, durable, and then moved there, so a crash leaves the old
//! content or the new. That it is there is durable once the directory has been synced, for all
//! that were placed meanwhile at once. A file that cannot be read is named in the log and left
//! where it is.

use serde_json::Value;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of a file name's readable part; a longer id is cut and told apart by its hash.
const NAME_BYTES_MAX: usize = 180;

/// Bytes of a file that are read at most; larger ones are not ours.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A kind of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Folder {
    /// Services registered by the API.
    Services,
    /// Checks registered by the API.
    Checks,
    /// How TTL checks stood.
    CheckStates,
}

/// How much a write must survive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Durability {
    /// A crash of the machine.
    Machine,
    /// A crash of the agent: the kernel may take its time. Spares flash from heartbeats.
    Process,
}

/// A file or directory could not be used.
#[derive(Debug)]
pub struct Error {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for Error {}

/// The part of the data directory that holds services and checks.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    /// Numbers staged files, which may be many for one place.
    staged: AtomicU64,
    turns: [Turn; 3],
}

/// How far a directory is durable.
#[derive(Debug, Default)]
struct Turn {
    /// Counts changes of its entries.
    placed: AtomicU64,
    /// The count that the last sync covered; held while syncing.
    synced: Mutex<u64>,
}

/// A file beside its place, removed if it does not get there.
#[derive(Debug)]
pub(super) struct Staged {
    folder: Folder,
    durability: Durability,
    beside: PathBuf,
    path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Once placed it is no longer here; if it stays, the next start removes it.
        let _ = fs::remove_file(&self.beside);
    }
}

impl Folder {
    const ALL: [Self; 3] = [Self::Services, Self::Checks, Self::CheckStates];

    /// Tells where the files lie, below the data directory.
    fn path(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Checks => "checks",
            Self::CheckStates => "checks/state",
        }
    }
}

impl Disk {
    /// Makes the directories.
    ///
    /// # Errors
    ///
    /// [`Error`] names the directory that cannot be made.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Error> {
        for folder in [Folder::Services, Folder::CheckStates] {
            let path = data_dir.join(folder.path());
            fs::create_dir_all(&path).map_err(|error| Error { path, error })?;
        }
        let (staged, turns) = (AtomicU64::new(0), Default::default());
        Ok(Self { root: data_dir.to_owned(), staged, turns })
    }

    /// Writes a file beside its place.
    ///
    /// # Errors
    ///
    /// [`Error`]; nothing is left of it.
    pub(super) fn stage(
        &self,
        folder: Folder,
        id: &str,
        value: &Value,
        durability: Durability,
    ) -> Result<Staged, Error> {
        let path = self.path(folder, id);
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{number}.tmp"));
        let staged = Staged { folder, durability, beside, path };
        // Definitions hold tokens: nobody else may read them.
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let write = || {
            let mut file = options.open(&staged.beside)?;
            file.write_all(value.to_string().as_bytes())?;
            if durability == Durability::Machine { file.sync_all() } else { Ok(()) }
        };
        write().map_err(|error| Error { path: staged.path.clone(), error })?;
        Ok(staged)
    }

    /// Moves a file in place of what was there; durable after [`settle`](Self::settle).
    ///
    /// # Errors
    ///
    /// [`Error`]; what was there is still there.
    pub(super) fn place(&self, staged: &Staged) -> Result<(), Error> {
        let moved = fs::rename(&staged.beside, &staged.path);
        moved.map_err(|error| Error { path: staged.path.clone(), error })?;
        if staged.durability == Durability::Machine {
            self.turns[staged.folder as usize].placed.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Removes a file; one that is not there is no failure. Durable after
    /// [`settle`](Self::settle).
    ///
    /// # Errors
    ///
    /// [`Error`]; the file may still be there.
    pub(super) fn remove(&self, folder: Folder, id: &str) -> Result<(), Error> {
        let path = self.path(folder, id);
        match fs::remove_file(&path) {
            Ok(()) => {
                self.turns[folder as usize].placed.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error { path, error }),
        }
    }

    /// Makes what was placed and removed so far durable; whoever comes while another one does so
    /// waits for that, and often has nothing left to do.
    ///
    /// # Errors
    ///
    /// [`Error`]; a crash of the machine may undo it.
    pub(super) fn settle(&self) -> Result<(), Error> {
        for folder in Folder::ALL {
            let turn = &self.turns[folder as usize];
            let wanted = turn.placed.load(Ordering::Acquire);
            let mut synced = turn.synced.lock().unwrap_or_else(PoisonError::into_inner);
            if *synced < wanted {
                let covered = turn.placed.load(Ordering::Acquire);
                self.sync(folder)?;
                *synced = covered;
            }
        }
        Ok(())
    }

    /// Reads every file; damaged ones are logged and left out, unfinished ones removed.
    pub(super) fn load(&self, folder: Folder) -> Vec<Value> {
        let directory = self.root.join(folder.path());
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(path = %directory.display(), %error, "cannot be read: skipped");
                return Vec::new();
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut values = Vec::new();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => match read(&path) {
                    Ok(value) => values.push(value),
                    Err(error) => {
                        let path = path.display();
                        tracing::warn!(%path, %error, "damaged file: what it held is not restored");
                    }
                },
                // A write that a crash interrupted: never acknowledged.
                Some("tmp") => drop(fs::remove_file(&path)),
                Some(_) | None => {}
            }
        }
        values
    }

    /// Makes the directory's entries durable.
    fn sync(&self, folder: Folder) -> Result<(), Error> {
        let path = self.root.join(folder.path());
        let result = File::open(&path).and_then(|directory| directory.sync_all());
        result.map_err(|error| Error { path, error })
    }

    /// Tells where a file lies.
    fn path(&self, folder: Folder, id: &str) -> PathBuf {
        self.root.join(folder.path()).join(file_name(id))
    }
}

/// Reads one file.
fn read(path: &Path) -> io::Result<Value> {
    let size = fs::metadata(path)?.len();
    if size > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{size} bytes, limit {FILE_BYTES_MAX}")));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Names the file of an id: letters, digits, `-`, `_`, inner dots as they are, the rest as `%XX`.
fn file_name(id: &str) -> String {
    let mut name = String::new();
    for byte in id.bytes() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if plain || (byte == b'.' && !name.is_empty()) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.len() > NAME_BYTES_MAX {
        name.truncate(NAME_BYTES_MAX);
        name.push_str(&format!("~{:016x}", super::hash::fnv(id.as_bytes())));
    }
    name + ".json"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn file_names_are_readable_and_distinct() {
        assert_eq!(file_name("service:web"), "service%3Aweb.json");
        assert_eq!(file_name("../a"), "%2E.%2Fa.json");
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        assert!(file_name(&long).len() < 255);
        assert_ne!(file_name(&long), file_name(&longer));
    }

    #[test]
    fn what_is_written_is_loaded_and_damage_is_skipped() {
        let root = std::env::temp_dir().join(format!("reeve-disk-{}", uuid::Uuid::new_v4()));
        let disk = Disk::open(&root).unwrap();
        let write = |id: &str| {
            let value = json!({ "id": id });
            let staged = disk.stage(Folder::Services, id, &value, Durability::Machine).unwrap();
            disk.place(&staged).unwrap();
        };
        write("a");
        write("b/..");
        write("gone");
        disk.remove(Folder::Services, "gone").unwrap();
        disk.remove(Folder::Services, "never").unwrap();
        disk.settle().unwrap();
        drop(disk.stage(Folder::Services, "given-up", &json!({}), Durability::Machine).unwrap());
        assert_eq!(fs::read_dir(root.join("services")).unwrap().count(), 2);
        fs::write(root.join("services/bad.json"), b"{").unwrap();
        fs::write(root.join("services/half.tmp"), b"{").unwrap();
        let found = disk.load(Folder::Services);
        assert_eq!(found, [json!({"id": "a"}), json!({"id": "b/.."})]);
        assert!(!root.join("services/half.tmp").exists());
        fs::remove_dir_all(root).unwrap();
    }
}
