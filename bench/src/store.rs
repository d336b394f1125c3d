//! Engines for the log of raft: segments, written as Reeve's log writes them, and sled with the
//! sync beside it that makes it durable, on the same disk in the same run.

use crate::Order;
use crate::plot::{Group, bars};
use crate::process::cpu_ns;
use crate::report::{Figures, Report};
use crate::stat::quantile;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Bytes of an entry.
const ENTRY: [u8; 256] = [b'e'; 256];
/// Entries that are made durable together.
const BATCHES: [usize; 3] = [1, 16, 128];
/// Bytes of a segment of Reeve's log.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Bytes that the machine's own row makes durable.
const BLOCK: [u8; 4096] = [0; 4096];

/// A log that takes batches of entries and makes each durable before it answers.
trait Engine {
    fn append(&mut self, entries: usize) -> Result<(), String>;
}

struct Sled {
    db: sled::Db,
    /// sled's flush does not reach the disk: this does.
    file: File,
    next: u64,
}

impl Sled {
    fn open(folder: &Path) -> Result<Sled, String> {
        let config = sled::Config::new().path(folder).cache_capacity(8 << 20).flush_every_ms(None);
        let db = config.open().map_err(|error| error.to_string())?;
        let file = File::open(folder.join("db")).map_err(|error| error.to_string())?;
        Ok(Sled { db, file, next: 0 })
    }
}

impl Engine for Sled {
    fn append(&mut self, entries: usize) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        for _ in 0..entries {
            batch.insert(&self.next.to_be_bytes(), &ENTRY[..]);
            self.next += 1;
        }
        self.db.apply_batch(batch).map_err(|error| error.to_string())?;
        self.db.flush().map_err(|error| error.to_string())?;
        self.file.sync_data().map_err(|error| error.to_string())
    }
}

/// Files with room made beforehand, each batch a frame with its checksums.
struct Segments {
    folder: PathBuf,
    file: File,
    number: u32,
    offset: u64,
    next: u64,
}

impl Segments {
    fn open(folder: &Path) -> Result<Segments, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let file = Segments::begin(folder, 0)?;
        Ok(Segments { folder: folder.into(), file, number: 0, offset: 0, next: 0 })
    }

    fn begin(folder: &Path, number: u32) -> Result<File, String> {
        use rustix::fs::{FallocateFlags, fallocate};
        let file = File::create(folder.join(number.to_string())).map_err(|e| e.to_string())?;
        fallocate(&file, FallocateFlags::empty(), 0, SEGMENT_BYTES).map_err(|e| e.to_string())?;
        file.sync_all().map_err(|error| error.to_string())?;
        let folder = File::open(folder).map_err(|error| error.to_string())?;
        folder.sync_all().map_err(|error| error.to_string())?;
        Ok(file)
    }
}

impl Engine for Segments {
    fn append(&mut self, entries: usize) -> Result<(), String> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; 24];
        for _ in 0..entries {
            bytes.extend_from_slice(&(ENTRY.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&ENTRY);
        }
        let crc = crc32fast::hash(&bytes[24..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.next.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..20]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        if self.offset + bytes.len() as u64 > SEGMENT_BYTES {
            self.number += 1;
            self.file = Segments::begin(&self.folder, self.number)?;
            self.offset = 0;
        }
        self.file.write_all_at(&bytes, self.offset).map_err(|error| error.to_string())?;
        self.offset += bytes.len() as u64;
        self.next += entries as u64;
        self.file.sync_data().map_err(|error| error.to_string())
    }
}

/// One block, overwritten in place: nothing but the disk.
struct Block(File);

impl Engine for Block {
    fn append(&mut self, _: usize) -> Result<(), String> {
        use std::os::unix::fs::FileExt;
        self.0.write_all_at(&BLOCK, 0).map_err(|error| error.to_string())?;
        self.0.sync_data().map_err(|error| error.to_string())
    }
}

/// Measures the engines in the folder for temporary files.
///
/// # Errors
///
/// Of the disk.
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let folder = Folder::new()?;
    let file = |name: &str| File::create(folder.0.join(name)).map_err(|error| error.to_string());
    let mut engines: Vec<(&str, Box<dyn Engine>)> = vec![
        ("segments", Box::new(Segments::open(&folder.0.join("segments"))?)),
        ("sled with sync", Box::new(Sled::open(&folder.0.join("sled"))?)),
        ("fdatasync 4 KiB", Box::new(Block(file("block")?))),
    ];
    let numbers = ["CPU us/entry", "entries/s", "p50 ms", "p99 ms"];
    let mut figures = Figures::new(&["engine", "batch"], &numbers);
    let mut groups = Vec::new();
    for batch in BATCHES {
        let mut spans = vec![Vec::new(); engines.len()];
        let mut cpu = vec![0; engines.len()];
        let deadline = Instant::now() + order.span(3) * engines.len() as u32;
        // In turn, so that what else the disk does hits all of them.
        while Instant::now() < deadline {
            for (at, (_, engine)) in engines.iter_mut().enumerate() {
                let (start, before) = (Instant::now(), cpu_ns(std::process::id()));
                engine.append(batch)?;
                spans[at].push(start.elapsed().as_secs_f64() * 1e3);
                cpu[at] += cpu_ns(std::process::id()) - before;
            }
        }
        let mut group = Group { name: format!("batches of {batch}"), bars: Vec::new() };
        for (at, (name, _)) in engines.iter().enumerate() {
            let entries = (spans[at].len() * batch) as f64;
            let seconds = spans[at].iter().sum::<f64>() / 1e3;
            let p50 = quantile(&mut spans[at], 0.5);
            group.bars.push(((*name).into(), p50));
            let p99 = quantile(&mut spans[at], 0.99);
            let numbers = vec![cpu[at] as f64 / 1e3 / entries, entries / seconds, p50, p99];
            figures.push(vec![(*name).into(), batch.to_string()], numbers);
        }
        groups.push(group);
    }
    let plot = bars("store: a durable batch, median", "ms", &groups);
    Ok(Report::plotted("store", figures, vec![("store".into(), plot)]))
}

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, String> {
        let path = std::env::temp_dir().join(format!("reeve-bench-{}-store", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{path:?}: {error}"))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_keeps_what_it_was_given() {
        let folder = Folder::new().expect("a folder");
        let mut segments = Segments::open(&folder.0.join("segments")).expect("a file");
        for _ in 0..130 {
            segments.append(128).expect("written");
        }
        let files = std::fs::read_dir(&segments.folder).expect("a folder").count();
        assert_eq!((files, segments.next), (2, 130 * 128));
        assert_eq!(segments.offset, 5 * (24 + 128 * 260), "the 126th batch begins a file");
        let mut sled = Sled::open(&folder.0.join("sled")).expect("a database");
        sled.append(3).expect("written");
        assert_eq!(sled.db.len(), 3);
    }
}
