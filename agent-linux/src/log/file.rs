//! The log in files: a new one at start, after a time and after a size; old ones are removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::config::Log;

/// Start of the name where only a directory is given.
const NAME: &str = "consul-";

/// The file that is written now, and how its name is made.
pub(super) struct LogFile {
    dir: PathBuf,
    prefix: String,
    suffix: String,
    bytes_max: u64,
    age_max: std::time::Duration,
    kept_max: i64,
    file: File,
    written: u64,
    since: Instant,
}

impl LogFile {
    /// Opens the file that the configuration asks for, if any.
    pub(super) fn open(config: &Log) -> io::Result<Option<Self>> {
        let Some(path) = &config.file else { return Ok(None) };
        let (dir, prefix, suffix) = split(path);
        std::fs::create_dir_all(&dir)?;
        let file = create(&dir, &prefix, &suffix)?;
        let log = Self {
            dir,
            prefix,
            suffix,
            bytes_max: config.rotate_bytes,
            age_max: config.rotate_duration.to_core(),
            kept_max: config.rotate_max_files,
            file,
            written: 0,
            since: Instant::now(),
        };
        log.prune()?;
        Ok(Some(log))
    }

    /// Writes a line, into a new file if the old one is too large or too old.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let full = self.bytes_max > 0 && self.written >= self.bytes_max;
        let old = !self.age_max.is_zero() && self.since.elapsed() >= self.age_max;
        if full || old {
            self.file = create(&self.dir, &self.prefix, &self.suffix)?;
            (self.written, self.since) = (0, Instant::now());
            self.prune()?;
        }
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        Ok(())
    }

    /// Removes the oldest files beyond those to keep beside the present one.
    fn prune(&self) -> io::Result<()> {
        let kept = match self.kept_max {
            0 => return Ok(()),
            negative if negative < 0 => 0,
            count => usize::try_from(count).unwrap_or(usize::MAX),
        };
        let mut stamps = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let stamp = name
                .to_str()
                .and_then(|name| name.strip_prefix(&self.prefix))
                .and_then(|name| name.strip_suffix(&self.suffix))
                .and_then(|stamp| stamp.parse::<u128>().ok());
            stamps.extend(stamp);
        }
        stamps.sort_unstable();
        let excess = stamps.len().saturating_sub(kept.saturating_add(1));
        for stamp in &stamps[..excess] {
            std::fs::remove_file(self.dir.join(name(&self.prefix, *stamp, &self.suffix)))?;
        }
        Ok(())
    }
}

/// Splits a path as Consul does: directory, start of the name, end of the name.
fn split(path: &Path) -> (PathBuf, String, String) {
    let text = path.to_string_lossy();
    let (dir, name) = match text.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((dir, name)) => (dir, name),
        None => (".", text.as_ref()),
    };
    let name = if name.is_empty() { NAME.trim_end_matches('-') } else { name };
    let (stem, end) = match name.rsplit_once('.') {
        Some((stem, end)) if !stem.is_empty() => (stem, end),
        _ => (name, "log"),
    };
    (PathBuf::from(dir), format!("{stem}-"), format!(".{end}"))
}

/// Makes a file's name.
fn name(prefix: &str, stamp: u128, suffix: &str) -> String {
    format!("{prefix}{stamp}{suffix}")
}

/// Creates a file whose name holds the time in nanoseconds.
fn create(dir: &Path, prefix: &str, suffix: &str) -> io::Result<File> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let path = dir.join(name(prefix, since.as_nanos(), suffix));
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_consul_makes_them() {
        for (path, want) in [
            ("/var/log/", ("/var/log", "consul-", ".log")),
            ("/var/log/x", ("/var/log", "x-", ".log")),
            ("/var/log/x.txt", ("/var/log", "x-", ".txt")),
            ("x", (".", "x-", ".log")),
            ("/x", ("/", "x-", ".log")),
        ] {
            let (dir, prefix, suffix) = split(Path::new(path));
            let got = (dir.to_str().unwrap(), prefix.as_str(), suffix.as_str());
            assert_eq!(got, want, "{path}");
        }
    }

    #[test]
    fn full_files_are_changed_and_old_ones_removed() {
        let dir = std::env::temp_dir().join(format!("reeve-log-{}", uuid::Uuid::new_v4()));
        let config = Log {
            file: Some(dir.join("x")),
            rotate_bytes: 4,
            rotate_max_files: 2,
            ..Log::default()
        };
        let mut log = LogFile::open(&config).unwrap().unwrap();
        for _ in 0..6 {
            log.write(b"line\n").unwrap();
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 3);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
