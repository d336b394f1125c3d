//! Who this agent is: the node's UUID, chosen once and kept in the data directory.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The file in the data directory that holds the node's UUID, as Consul names it.
const NODE_ID_FILE: &str = "node-id";

/// The node's UUID could not be had.
#[derive(Debug)]
pub enum Error {
    /// The data directory cannot be made, read or written.
    Io(PathBuf, io::Error),
    /// The file or the setting does not hold a UUID.
    NotUuid {
        /// Where the text came from.
        origin: String,
        /// The text.
        text: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "data_dir: {}: {error}", path.display()),
            Self::NotUuid { origin, text } => write!(f, "{origin}: `{text}` is not a UUID"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads the node's UUID from the data directory, or chooses and keeps one.
///
/// `wanted` (the setting `node_id`) wins over what is kept. Without a data directory (`-dev`) the
/// UUID lives as long as the process.
///
/// # Errors
///
/// [`Error`] names the file; nothing was changed, except that the directory may have been made.
pub(super) fn load(data_dir: Option<&Path>, wanted: Option<&str>) -> Result<Uuid, Error> {
    let wanted = wanted.map(|text| parse(text, "node_id")).transpose()?;
    let Some(dir) = data_dir else {
        return Ok(wanted.unwrap_or_else(Uuid::new_v4));
    };
    fs::create_dir_all(dir).map_err(|error| Error::Io(dir.to_owned(), error))?;
    let path = dir.join(NODE_ID_FILE);
    let kept = match fs::read_to_string(&path) {
        Ok(text) => Some(parse(text.trim(), &path.display().to_string())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::Io(path, error)),
    };
    let id = wanted.or(kept).unwrap_or_else(Uuid::new_v4);
    if kept != Some(id) {
        write_durably(&path, id.to_string().as_bytes())
            .map_err(|error| Error::Io(path.clone(), error))?;
    }
    Ok(id)
}

/// Reads a UUID and names where it came from if it is none.
fn parse(text: &str, origin: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(text)
        .map_err(|_| Error::NotUuid { origin: origin.to_owned(), text: text.to_owned() })
}

/// Writes a file so that after a crash it holds the old bytes or the new, never a part.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let dir = path.parent().expect("a file in the data directory has a parent");
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own that is gone when dropped.
    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("reeve-identity-{}", Uuid::new_v4()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_chosen_id_outlives_the_process() {
        let dir = Dir::new();
        let first = load(Some(&dir.0), None).unwrap();
        assert_eq!(load(Some(&dir.0), None).unwrap(), first);
        assert_ne!(load(None, None).unwrap(), first);
    }

    #[test]
    fn a_setting_wins_over_what_is_kept() {
        let dir = Dir::new();
        load(Some(&dir.0), None).unwrap();
        let wanted = Uuid::new_v4();
        assert_eq!(load(Some(&dir.0), Some(&wanted.to_string())).unwrap(), wanted);
        assert_eq!(load(Some(&dir.0), None).unwrap(), wanted);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = Dir::new();
        fs::write(dir.0.join(NODE_ID_FILE), "not a uuid").unwrap();
        let error = load(Some(&dir.0), None).unwrap_err().to_string();
        assert!(error.contains("node-id") && error.contains("`not a uuid`"), "{error}");
    }

    #[test]
    fn an_unusable_directory_is_named() {
        let dir = Dir::new();
        let file = dir.0.join("file");
        fs::write(&file, "").unwrap();
        let error = load(Some(&file.join("data")), None).unwrap_err().to_string();
        assert!(error.starts_with("data_dir: ") && error.contains("file/data"), "{error}");
    }
}
