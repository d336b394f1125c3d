//! openraft's own suite against our storage, and what our log promises beyond it.

use super::apply::Machine;
use super::entry::{Batch, Entry, Types, Vote};
use super::log::{Disk, Fault};
use super::snapshot::Shelf;
use super::start::{open_dir, open_or_begin};
use super::storage::Log;
use super::{Freeze, StateMachine};
use agent_core::model::Index;
use agent_core::model::request::{self, Reply};
use bytes::Bytes;
use openraft::entry::FromAppData;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::{StoreBuilder, Suite, log_id};
use openraft::{RaftLogId, RaftLogReader, StorageError};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A state machine without state.
struct Blank;

impl StateMachine for Blank {
    fn apply(&self, _: Index, _: &[u8]) -> Result<Reply, request::Error> {
        Ok(Reply::Done)
    }

    fn freeze(&self) -> Freeze {
        Box::new(|to| to.write_all(b"blank"))
    }

    fn restore(&self, from: &mut dyn io::Read) -> io::Result<()> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        assert_eq!(text, "blank");
        Ok(())
    }
}

/// A directory of its own, removed in the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reeve-raft-{}-{count}", std::process::id()));
        // Left over from an earlier process of the same number.
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct OnDisk;
struct InMemory;

impl StoreBuilder<Types, Log, Machine, Dir> for OnDisk {
    async fn build(&self) -> Result<(Dir, Log, Machine), StorageError<u64>> {
        let dir = Dir::new();
        let opened = open_dir(&dir.0, Arc::new(Blank)).expect("a new directory");
        Ok((dir, opened.log, opened.machine))
    }
}

impl StoreBuilder<Types, Log, Machine, ()> for InMemory {
    async fn build(&self) -> Result<((), Log, Machine), StorageError<u64>> {
        let machine = Machine::open(Arc::new(Blank), Shelf::open(None).unwrap()).unwrap();
        Ok(((), Log::in_memory(), machine))
    }
}

#[test]
fn openrafts_suite_passes_on_disk() {
    Suite::test_all(OnDisk).unwrap();
}

#[test]
fn openrafts_suite_passes_in_memory() {
    Suite::test_all(InMemory).unwrap();
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let command = Bytes::from(vec![u8::try_from(index % 251).unwrap(); bytes]);
    let mut entry = Entry::from_app_data(Batch { commands: vec![command], logged: None });
    entry.set_log_id(&log_id(term, 7, index));
    entry
}

fn open(dir: &Path) -> (Log, u64) {
    let (disk, found) = Disk::open(dir, 42).unwrap();
    (Log::on_disk(disk, &found), found.id)
}

fn sizes(entries: &[Entry]) -> Vec<(u64, usize)> {
    let size = |entry: &Entry| match &entry.payload {
        openraft::EntryPayload::Normal(batch) => batch.commands[0].len(),
        _ => 0,
    };
    entries.iter().map(|entry| (entry.log_id.index, size(entry))).collect()
}

#[tokio::test]
async fn entries_of_any_length_votes_and_the_id_survive_a_restart() {
    let dir = Dir::new();
    let lengths = [0, 1, 30 * 1024, 30 * 1024 + 1, 100_000, 600_000];
    let vote = Vote::new(3, 7);
    let id = {
        let (mut log, id) = open(&dir.0);
        log.save_vote(&vote).await.unwrap();
        let entries = (0_u64..).zip(lengths).map(|(index, length)| entry(3, index, length));
        log.blocking_append(entries).await.unwrap();
        log.close();
        id
    };
    let (mut log, again) = open(&dir.0);
    assert_eq!(id, again);
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    let read = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(sizes(&read), (0_u64..).zip(lengths).collect::<Vec<_>>());
    let limited = log.limited_get_log_entries(0, 6).await.unwrap();
    assert!(!limited.is_empty());
    log.close();
}

#[tokio::test]
async fn entries_are_read_across_disk_and_memory() {
    let dir = Dir::new();
    let (mut log, _) = open(&dir.0);
    log.save_vote(&Vote::new(1, 7)).await.unwrap();
    for index in 0..60 {
        log.blocking_append([entry(1, index, 20_000)]).await.unwrap();
    }
    let all = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(all.len(), 60);
    assert!(all.iter().zip(0..).all(|(entry, index)| entry.log_id.index == index));
    let some = log.limited_get_log_entries(0, 60).await.unwrap();
    assert!(some.len() > 40 && some.len() < 60, "{}", some.len());
    log.truncate(log_id(1, 7, 50)).await.unwrap();
    log.purge(log_id(1, 7, 9)).await.unwrap();
    log.blocking_append([entry(2, 50, 1)]).await.unwrap();
    log.close();
    let (mut log, _) = open(&dir.0);
    let all = log.try_get_log_entries(0..100).await.unwrap();
    assert_eq!(all.first().unwrap().log_id, log_id(1, 7, 10));
    assert_eq!(all.last().unwrap().log_id, log_id(2, 7, 50));
    assert_eq!(all.len(), 41);
    log.close();
}

#[tokio::test]
async fn a_vote_lost_in_one_place_is_found_in_the_other() {
    let dir = Dir::new();
    let (mut log, _) = open(&dir.0);
    log.save_vote(&Vote::new(5, 7)).await.unwrap();
    log.close();
    std::fs::remove_file(dir.0.join("vote")).unwrap();
    let (mut log, _) = open(&dir.0);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(5, 7)));
    log.close();
}

#[tokio::test]
async fn a_damaged_or_half_lost_log_is_never_opened() {
    for lose in ["log", "entries", "id", "entries/0000000000000001.seg"] {
        let dir = Dir::new();
        let (mut log, _) = open(&dir.0);
        log.save_vote(&Vote::new(1, 7)).await.unwrap();
        log.blocking_append([entry(1, 0, 10), entry(1, 1, 10)]).await.unwrap();
        log.close();
        let lost = dir.0.join(lose);
        match lost.is_dir() {
            true => std::fs::remove_dir_all(&lost).unwrap(),
            false => std::fs::remove_file(&lost).unwrap(),
        }
        assert!(matches!(Disk::open(&dir.0, 43), Err(Fault::Damaged(_))), "{lose}");
    }
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_acknowledged_until_a_restart() {
    let dir = Dir::new();
    let (mut log, _) = open(&dir.0);
    log.save_vote(&Vote::new(1, 7)).await.unwrap();
    log.blocking_append([entry(1, 0, 3_000_000)]).await.unwrap();
    let (entries, elsewhere) = (dir.0.join("entries"), dir.0.join("elsewhere"));
    std::fs::rename(&entries, &elsewhere).unwrap();
    // There is no room for it in the segment, and no place for another.
    log.blocking_append([entry(1, 1, 3_000_000)]).await.unwrap_err();
    std::fs::rename(&elsewhere, &entries).unwrap();
    log.blocking_append([entry(1, 2, 10)]).await.unwrap_err();
    log.save_vote(&Vote::new(2, 7)).await.unwrap_err();
    log.close();
    let (mut log, _) = open(&dir.0);
    assert_eq!(log.last(), Some(log_id(1, 7, 0)));
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(1, 7)));
    log.blocking_append([entry(1, 1, 10)]).await.unwrap();
    log.close();
}

#[tokio::test]
async fn a_damaged_log_is_set_aside_and_the_id_is_new() {
    let dir = Dir::new();
    let raft = dir.0.join("raft");
    let first = open_or_begin(Some(&raft), Arc::new(Blank)).unwrap();
    let mut log = first.log;
    log.save_vote(&Vote::new(1, 7)).await.unwrap();
    log.blocking_append([entry(1, 0, 10)]).await.unwrap();
    log.close();
    std::fs::write(raft.join("vote"), b"nonsense").unwrap();
    let second = open_or_begin(Some(&raft), Arc::new(Blank)).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(second.log.last(), None);
    second.log.close();
    let kept = std::fs::read_dir(&dir.0).unwrap();
    let kept = kept.filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("raft.damaged-")
    });
    assert_eq!(kept.count(), 1);
}

/// Names the directory in which a child of this test writes until it is killed.
const CHILD: &str = "REEVE_RAFT_CHILD";

/// Not a test by itself: what the child of the next one does.
#[tokio::test]
async fn a_child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let (mut log, _) = open(Path::new(&dir));
    let next = log.last().map_or(0, |last| last.index + 1);
    if next == 0 {
        log.save_vote(&Vote::new(1, 7)).await.unwrap();
    }
    for index in next.. {
        let length = usize::try_from(index * 977 % 70_000).unwrap();
        log.blocking_append([entry(1, index, length)]).await.unwrap();
        if index % 50 == 49 {
            log.purge(log_id(1, 7, index - 20)).await.unwrap();
        }
        println!("\nwritten {index}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = Dir::new();
    let mut acknowledged = 0;
    for round in 0..4_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("raft::suite::a_child_that_writes_until_it_is_killed")
            .env(CHILD, &dir.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = io::BufReader::new(child.stdout.take().unwrap());
        let told = told.lines().map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("written ").and_then(|index| index.parse::<u64>().ok())
        });
        let until = acknowledged + 30 + round * 11;
        acknowledged = told.take_while(|index| *index < until).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let (log, _) = open(&dir.0);
        let last = log.last().unwrap().index;
        assert!(last > acknowledged, "{last} is there, {acknowledged} + 1 was acknowledged");
        log.close();
    }
}
