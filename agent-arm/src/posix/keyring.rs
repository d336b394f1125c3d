//! Keys of a sealed pool, kept in the data folder: they change while the pool runs, and a restart
//! must not turn that back. The key of the configuration is only how a ring begins.
//!
//! The file `keyring` has one key a line in base64, the primary first.

use super::base64;
use crate::device::KEYS;
use agent_core::gossip::seal::{Key, Keyring};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::string::String;

/// The ring that a device of this size has.
pub type Ring = Keyring<KEYS>;

fn path(folder: &str) -> PathBuf {
    Path::new(folder).join("keyring")
}

/// Finds the keys to start with: those kept in the folder, else the one given, else none.
///
/// # Errors
///
/// What the system says of the file, or [`ErrorKind::InvalidData`] for one that holds no keys.
pub fn load(folder: Option<&str>, given: Option<Key>) -> io::Result<Option<Ring>> {
    if let Some(folder) = folder {
        match fs::read_to_string(path(folder)) {
            Ok(text) => return parse(&text).ok_or_else(damaged).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(given.map(Keyring::new))
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the keyring has no keys, too many, or damaged ones")
}

fn parse(text: &str) -> Option<Ring> {
    let mut keys = text.lines().map(|line| Key::new(&base64::parse(line)?).ok());
    let mut ring = Keyring::new(keys.next()??);
    for key in keys {
        ring.install(key?).ok()?;
    }
    Some(ring)
}

/// Keeps the keys, for the owner only, whole or not at all.
///
/// # Errors
///
/// What the system says; what was kept before stays.
pub fn keep(folder: &str, ring: &Ring) -> io::Result<()> {
    let new = path(folder).with_extension("new");
    let mut text = String::new();
    for key in ring.keys() {
        text.push_str(&base64::emit(key.as_bytes()));
        text.push('\n');
    }
    let mut file = fs::OpenOptions::new();
    let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_kept_and_a_damaged_one_is_refused() {
        let key = |byte| Key::new(&[byte; 16]).expect("16 bytes");
        let mut ring = Ring::new(key(1));
        ring.install(key(2)).expect("room");
        ring.promote(&key(2)).expect("there");
        let folder = std::env::temp_dir().join(std::format!("reeve-ring-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let name = folder.to_str().expect("text");
        assert_eq!(load(Some(name), None).expect("no file"), None);
        assert_eq!(load(Some(name), Some(key(3))).expect("no file"), Some(Ring::new(key(3))));
        keep(name, &ring).expect("kept");
        assert_eq!(load(Some(name), Some(key(3))).expect("a file"), Some(ring));
        for damaged in ["", "x\n", "AAAA\n"] {
            fs::write(path(name), damaged).expect("written");
            let error = load(Some(name), Some(key(3))).expect_err("damaged");
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        fs::remove_dir_all(&folder).expect("removed");
    }
}
