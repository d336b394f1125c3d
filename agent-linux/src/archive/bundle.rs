//! A directory as one compressed archive.

use super::tar;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Longest name of a file in an archive, below the archive's own: what a head holds.
const NAME_BYTES_MAX: usize = 99;

/// Writes the files of a directory, and of those in it, under the directory's own name.
///
/// # Errors
///
/// Those of the file system; `InvalidInput` for a file whose path is too long.
pub fn bundle(dir: &Path, unix_seconds: u64, to: impl Write) -> io::Result<()> {
    let mut out = GzEncoder::new(to, Compression::default());
    let name = dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    add(dir, &name, unix_seconds, &mut out)?;
    out.write_all(&tar::END)?;
    out.finish()?.flush()
}

/// Adds a file, or what is in a directory, in the order of names.
fn add(path: &Path, name: &str, unix_seconds: u64, out: &mut dyn Write) -> io::Result<()> {
    if path.is_dir() {
        let mut files = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        return files.iter().try_for_each(|file| {
            let name = format!("{name}/{}", file.file_name().to_string_lossy());
            add(&file.path(), &name, unix_seconds, out)
        });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long")));
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    out.write_all(&tar::head(name, size, unix_seconds))?;
    if io::copy(&mut file.take(size), out)? < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    out.write_all(&[0; tar::BLOCK][..tar::padding(size)])
}
