//! Small durable files, checksums, and the question whether the disk has room.
//!
//! A small file is replaced as a whole: written aside, synced, renamed, and the directory synced,
//! so that after a power cut either the old or the new contents are there, never a mixture.

use rustix::fs::StatVfs;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes that must stay free on the data directory's file system. Below that, commands are refused
/// while the log can still be closed cleanly: the log's own bookkeeping and an election need room
/// too.
pub(super) const FREE_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// How long an answer about free space is believed.
const FREE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes of a checksum.
const CRC_BYTES: usize = 4;

/// Makes a directory (and its parents), private to the agent's user, and syncs where it is listed.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes what was created, renamed or removed in a directory durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Opens a new file for writing, readable by the agent's user only.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Replaces a small file and its checksum.
pub(super) fn write_sealed(path: &Path, contents: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    let mut file = create(&aside)?;
    file.write_all(&seal(contents))?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Reads what [`write_sealed`] wrote; `None` if there is no file.
///
/// # Errors
///
/// `InvalidData` if the checksum does not match, or that of the file system.
pub(super) fn read_sealed(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let contents = unseal(&bytes).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: bad checksum", path.display()))
    })?;
    Ok(Some(contents.to_vec()))
}

/// Puts a checksum before bytes.
pub(super) fn seal(contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CRC_BYTES + contents.len());
    bytes.extend_from_slice(&crc32fast::hash(contents).to_le_bytes());
    bytes.extend_from_slice(contents);
    bytes
}

/// Checks and removes the checksum; `None` if it does not match.
pub(super) fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (crc, contents) = bytes.split_first_chunk::<CRC_BYTES>()?;
    (crc32fast::hash(contents) == u32::from_le_bytes(*crc)).then_some(contents)
}

/// Names the file that is written before it takes the place of `path`.
pub(super) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Watches the free space of a file system.
#[derive(Debug)]
pub(super) struct Space {
    path: PathBuf,
    last: Mutex<Option<(Instant, u64)>>,
}

impl Space {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), last: Mutex::new(None) }
    }

    /// Makes sure that more than [`FREE_BYTES_MIN`] is free.
    ///
    /// # Errors
    ///
    /// A text that names the directory and what is left.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut last = self.last.lock().expect("no holder panics");
        let free = match *last {
            Some((at, free)) if at.elapsed() < FREE_CHECK_INTERVAL => free,
            Some(_) | None => {
                let free = match rustix::fs::statvfs(&self.path) {
                    Ok(StatVfs { f_bavail, f_frsize, .. }) => f_bavail.saturating_mul(f_frsize),
                    Err(error) => return Err(format!("{}: {error}", self.path.display())),
                };
                *last = Some((Instant::now(), free));
                free
            }
        };
        if free < FREE_BYTES_MIN {
            let path = self.path.display();
            return Err(format!("no space left on device: {path} has {free} bytes free"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_comes_back_or_is_refused() {
        let dir = std::env::temp_dir().join(format!("reeve-disk-{}", std::process::id()));
        make_dir(&dir).unwrap();
        let path = dir.join("vote");
        assert!(read_sealed(&path).unwrap().is_none());
        write_sealed(&path, b"first").unwrap();
        write_sealed(&path, b"second").unwrap();
        assert_eq!(read_sealed(&path).unwrap().unwrap(), b"second");
        let mut bytes = fs::read(&path).unwrap();
        bytes[5] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read_sealed(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&path, b"").unwrap();
        assert!(read_sealed(&path).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_disk_with_room_is_accepted() {
        assert_eq!(Space::new(&std::env::temp_dir()).check(), Ok(()));
        assert!(Space::new(Path::new("/nonexistent/reeve")).check().is_err());
    }
}
