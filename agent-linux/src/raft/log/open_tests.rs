//! Logs that a former version left.

use super::*;
use crate::raft::entry::Entry;
use openraft::RaftLogId;
use openraft::entry::FromAppData;
use openraft::testing::log_id;
use std::path::PathBuf;

/// A directory of its own, removed in the end.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Entries 5 to 44, in a directory as a former version leaves it.
fn former(name: &str) -> (Dir, Vec<(u64, Vec<u8>)>) {
    let dir = std::env::temp_dir().join(format!("reeve-open-{}-{name}", std::process::id()));
    // Left over from an earlier process of the same number.
    let _ = std::fs::remove_dir_all(&dir);
    let entry = |index: u64| {
        let length = usize::try_from(index * 2_000).unwrap();
        let commands = vec![bytes::Bytes::from(vec![7; length])];
        let batch = crate::raft::entry::Batch { commands, logged: None };
        let mut entry = Entry::from_app_data(batch);
        entry.set_log_id(&log_id(2, 7, index));
        (index, postcard::to_stdvec(&entry).unwrap())
    };
    let entries: Vec<_> = (5..45).map(entry).collect();
    disk::make_dir(&dir).unwrap();
    let facts = Facts::open(&dir.join("log")).unwrap();
    facts.set(VOTE, &Vote::new(2, 7)).unwrap();
    facts.set(PURGED, &log_id::<u64>(1, 7, 4)).unwrap();
    disk::write_sealed(&dir.join("id"), &postcard::to_stdvec(&77_u64).unwrap()).unwrap();
    Former::write(&facts, 77, &entries);
    (Dir(dir), entries)
}

/// Opens it, checks that it holds the entries, and closes it.
fn check(dir: &Path, entries: &[(u64, Vec<u8>)]) {
    let (facts, tail, found) = open(dir, 1).unwrap();
    assert_eq!((found.id, found.vote), (77, Some(Vote::new(2, 7))));
    assert_eq!(found.purged, Some(log_id(1, 7, 4)));
    assert_eq!(found.last.map(|last| last.index), entries.last().map(|(index, _)| *index));
    let read = tail.chain().read(0, u64::MAX, usize::MAX).unwrap();
    let read =
        read.iter().map(|(entry, _)| (entry.log_id.index, postcard::to_stdvec(entry).unwrap()));
    assert!(read.eq(entries.iter().cloned()));
    assert!(facts.former().unwrap().is_none(), "what was taken over is gone");
}

#[test]
fn the_log_of_a_former_version_is_taken_over_once() {
    let (dir, entries) = former("whole");
    check(&dir.0, &entries);
    check(&dir.0, &entries);
}

#[test]
fn taking_over_starts_over_after_a_crash() {
    let (dir, entries) = former("half");
    drop(open(&dir.0, 1).unwrap());
    // What a crash in the middle leaves: the former entries, and a part of the segments.
    let facts = Facts::open(&dir.0.join("log")).unwrap();
    Former::write(&facts, 77, &entries);
    drop(facts);
    let segment = dir.0.join("entries/0000000000000001.seg");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..100_000]).unwrap();
    check(&dir.0, &entries);
}

#[test]
fn what_was_taken_over_but_not_yet_removed_is_removed() {
    let (dir, entries) = former("left");
    let (facts, ..) = open(&dir.0, 1).unwrap();
    let newest: u64 = facts.get(NEWEST).unwrap().unwrap();
    Former::write(&facts, 77, &entries[..3]);
    facts.set(NEWEST, &newest).unwrap();
    drop(facts);
    check(&dir.0, &entries);
}

#[test]
fn a_former_log_with_a_gap_is_damaged_and_left_as_it_is() {
    let (dir, entries) = former("gap");
    let facts = Facts::open(&dir.0.join("log")).unwrap();
    facts.forget_former().unwrap();
    Former::write(&facts, 77, &[&entries[..7], &entries[8..]].concat());
    drop(facts);
    for _ in 0..2 {
        let Err(Fault::Damaged(text)) = open(&dir.0, 1) else { panic!("it opens") };
        assert!(text.contains("entry 12 is missing"), "{text}");
    }
}
