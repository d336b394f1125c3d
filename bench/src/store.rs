//! Engines for the log of raft: sled with the sync beside it that makes it durable, and a plain
//! file that is appended to, on the same disk in the same run.

use crate::Order;
use crate::plot::{Group, bars};
use crate::process::cpu_ns;
use crate::report::{Figures, Report};
use crate::stat::quantile;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Bytes of an entry.
const ENTRY: [u8; 256] = [b'e'; 256];
/// Entries that are made durable together.
const BATCHES: [usize; 3] = [1, 16, 128];
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

struct Append {
    file: File,
    next: u64,
}

impl Engine for Append {
    fn append(&mut self, entries: usize) -> Result<(), String> {
        let mut bytes = Vec::with_capacity(entries * (ENTRY.len() + 12));
        for _ in 0..entries {
            bytes.extend_from_slice(&self.next.to_be_bytes());
            bytes.extend_from_slice(&(ENTRY.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&ENTRY);
            self.next += 1;
        }
        self.file.write_all(&bytes).map_err(|error| error.to_string())?;
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
        ("sled with sync", Box::new(Sled::open(&folder.0.join("sled"))?)),
        ("append file", Box::new(Append { file: file("append")?, next: 0 })),
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
    Ok(Report { verb: "store", figures, plots: vec![("store".into(), plot)] })
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
        let path = folder.0.join("append");
        let mut append = Append { file: File::create(&path).expect("a file"), next: 0 };
        append.append(3).expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 3 * (256 + 12));
        let mut sled = Sled::open(&folder.0.join("sled")).expect("a database");
        sled.append(3).expect("written");
        assert_eq!(sled.db.len(), 3);
    }
}
