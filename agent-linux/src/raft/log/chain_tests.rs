//! The chain beside its model, whatever crashes and whatever is damaged.

use super::*;
use openraft::RaftLogId;
use openraft::entry::FromAppData;
use openraft::testing::log_id;
use proptest::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries in their encoded form, with their indexes.
type Entries = Vec<(u64, Vec<u8>)>;

const ID: u64 = 42;
const SEGMENT_BYTES: u64 = 8 * 1024;

/// A directory of its own, removed in the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reeve-chain-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left over from an earlier process of the same number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        for (name, bytes) in contents(&self.0) {
            fs::write(copy.0.join(name), bytes).unwrap();
        }
        copy
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap());
    let mut files: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// One entry, encoded; its bytes are never 0, so that any sector of it tells whether it is there.
fn encoded(term: u64, index: u64, bytes: usize) -> Vec<u8> {
    let fill = u8::try_from(1 + (index + term) % 250).unwrap();
    let commands = vec![bytes::Bytes::from(vec![fill; bytes])];
    let batch = crate::raft::entry::Batch { commands, logged: None };
    let mut entry = Entry::from_app_data(batch);
    entry.set_log_id(&log_id(term, 7, index));
    postcard::to_stdvec(&entry).unwrap()
}

fn site(dir: &Path) -> Site {
    Site { dir: dir.into(), id: ID, segment_bytes: SEGMENT_BYTES }
}

/// A log and what must be in it.
struct Model {
    dir: Dir,
    facts: Arc<Facts>,
    tail: Tail,
    term: u64,
    floor: u64,
    /// Index, and encoded form, of every entry that was acknowledged.
    entries: Entries,
}

impl Model {
    fn new(facts: Arc<Facts>) -> Self {
        let dir = Dir::new();
        let mut tail = Tail::begin(site(&dir.0), 0).unwrap();
        tail.note_in(Arc::clone(&facts)).unwrap();
        Self { dir, facts, tail, term: 1, floor: 0, entries: Vec::new() }
    }

    fn next(&self) -> u64 {
        self.entries.last().map_or(self.floor, |(index, _)| index + 1)
    }

    /// Writes entries as one frame, and tells what was written where.
    fn append(&mut self, lengths: &[usize]) -> (Entries, PathBuf, Range<usize>) {
        let entries: Vec<_> = (self.next()..)
            .zip(lengths)
            .map(|(index, length)| (index, encoded(self.term, index, *length)))
            .collect();
        let mut frame = Frame::default();
        frame.begin(self.next(), b"h");
        entries.iter().for_each(|(_, bytes)| frame.push(bytes));
        let bytes = usize::try_from(frame.sealed_bytes()).unwrap();
        self.tail.append(&mut frame).unwrap();
        let path = path_of(&self.dir.0, self.tail.head.number);
        let end = usize::try_from(self.tail.offset).unwrap();
        (entries, path, end - bytes..end)
    }

    fn reopen(&mut self) {
        let recovered = self.recover(&self.dir).expect("a log that nobody damaged");
        self.tail = recovered.tail;
    }

    fn recover(&self, dir: &Dir) -> Result<Recovered, Fault> {
        let newest = self.tail.head.number;
        recover(site(&dir.0), self.floor, Arc::clone(&self.facts), newest)
    }

    /// What a chain holds of what is not purged.
    fn read(&self, tail: &Tail) -> Entries {
        let all = tail.chain().read(self.floor, u64::MAX, usize::MAX).unwrap();
        let encode = |entry: &Entry| postcard::to_stdvec(entry).unwrap();
        all.iter().map(|(entry, _)| (entry.log_id.index, encode(entry))).collect()
    }

    fn check(&self) {
        assert_eq!(self.read(&self.tail), self.entries);
        assert!(self.tail.next().max(self.floor) == self.next());
        let start = self.floor + (self.next() - self.floor) / 3;
        let some = self.tail.chain().read(start, self.next(), 1000).unwrap();
        let wanted: Vec<u64> = (start..self.next()).take(some.len()).collect();
        let found: Vec<u64> = some.iter().map(|(entry, _)| entry.log_id.index).collect();
        assert_eq!(found, wanted);
        assert_eq!(some.is_empty(), start == self.next());
    }

    /// A damaged copy is refused as it is, or holds exactly what it should.
    fn check_damaged(&self, copy: &Dir, must_be_refused: bool, what: &str) {
        let before = contents(&copy.0);
        match self.recover(copy) {
            Ok(found) => {
                assert!(!must_be_refused, "{what}: it opens");
                assert_eq!(self.read(&found.tail), self.entries, "{what}");
            }
            Err(Fault::Io(text)) => panic!("{what}: {text}"),
            Err(Fault::Damaged(text)) => {
                assert!(text.contains(".seg"), "{what}: {text}");
                assert!(contents(&copy.0) == before, "{what}: it is left as it was");
            }
        }
    }

    /// Where an entry that counts is written: file and place of its frame.
    fn place_of(&self, index: u64) -> (String, Range<usize>) {
        let place = self.tail.chain().locate(index).unwrap().unwrap();
        let mut reader = Reader::new(place.file, place.head, place.offset);
        reader.skip_to(index).unwrap();
        let Step::Frame(frame) = reader.step().unwrap() else { panic!("no frame at {index}") };
        let at = usize::try_from(frame.offset).unwrap();
        let name = place.path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, at..at + frame.bytes.len())
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<usize>),
    /// Removes a share of the entries at the end, in 1/16.
    Truncate(u64),
    /// Removes a share at the front, or all and some more.
    Purge(u64),
    Reopen,
    /// An append that a power cut interrupts: which sectors of it arrive.
    PowerCut(Vec<usize>, u64),
    /// An append that a kill interrupts: how much of it was written, in 1/256.
    Kill(Vec<usize>, u8),
    /// A bit flips somewhere in an entry that counts, and anywhere in any file.
    Flip(u64, usize, u8),
    /// A file is cut off or vanishes.
    Lose(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let lengths = || proptest::collection::vec(0_usize..1500, 1..5);
    prop_oneof![
        8 => lengths().prop_map(Op::Append),
        1 => Just(Op::Append(vec![20_000])),
        2 => (0..16_u64).prop_map(Op::Truncate),
        2 => (0..18_u64).prop_map(Op::Purge),
        1 => Just(Op::Reopen),
        2 => (lengths(), any::<u64>()).prop_map(|(lengths, bits)| Op::PowerCut(lengths, bits)),
        2 => (lengths(), any::<u8>()).prop_map(|(lengths, share)| Op::Kill(lengths, share)),
        2 => (any::<u64>(), any::<usize>(), 0..8_u8).prop_map(|(e, at, bit)| Op::Flip(e, at, bit)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(file, at)| Op::Lose(file, at)),
    ]
}

impl Model {
    fn run(&mut self, op: &Op) {
        match op {
            Op::Append(lengths) => {
                let (entries, ..) = self.append(lengths);
                self.entries.extend(entries);
            }
            Op::Truncate(sixteenths) => {
                let count = self.entries.len() as u64 * sixteenths / 16;
                let since = self.next() - count;
                self.tail.truncate(since).unwrap();
                self.entries.retain(|(index, _)| *index < since);
                self.term += 1;
            }
            Op::Purge(sixteenths) => {
                let count = self.entries.len() as u64 * sixteenths / 16;
                self.floor += count;
                self.entries.retain(|(index, _)| *index >= self.floor);
                self.tail.purge(self.floor).unwrap();
            }
            Op::Reopen => self.reopen(),
            Op::PowerCut(lengths, arrived) => {
                let (entries, path, place) = self.append(lengths);
                let mut bytes = fs::read(&path).unwrap();
                let sectors = place.start / 512..=(place.end - 1) / 512;
                let lost = sectors.zip(0..).filter(|(_, bit)| arrived >> (bit % 64) & 1 == 0);
                let lost: Vec<usize> = lost.map(|(sector, _)| sector).collect();
                for sector in &lost {
                    let (from, to) = (sector * 512, (sector + 1) * 512);
                    bytes[from.max(place.start)..to.min(place.end)].fill(0);
                }
                fs::write(&path, bytes).unwrap();
                self.after_crash(entries, lost.is_empty());
            }
            Op::Kill(lengths, share) => {
                let (entries, path, place) = self.append(lengths);
                let mut bytes = fs::read(&path).unwrap();
                let written = place.start + place.len() * usize::from(*share) / 256;
                bytes[written..place.end].fill(0);
                fs::write(&path, bytes).unwrap();
                self.after_crash(entries, false);
            }
            Op::Flip(entry, at, bit) => self.flip(*entry, *at, *bit),
            Op::Lose(file, at) => {
                let files = contents(&self.dir.0);
                let (name, bytes) = &files[file % files.len()];
                let copy = self.dir.copy();
                let path = copy.0.join(name);
                fs::write(&path, &bytes[..at % bytes.len()]).unwrap();
                let is_last = file % files.len() == files.len() - 1;
                self.check_damaged(&copy, is_last, "a file cut short");
                let copy = self.dir.copy();
                fs::remove_file(copy.0.join(name)).unwrap();
                self.check_damaged(&copy, is_last, "a file lost");
            }
        }
        self.check();
    }

    /// What was not acknowledged is there if all of it arrived, and else not at all.
    fn after_crash(&mut self, entries: Entries, arrived: bool) {
        if arrived {
            self.entries.extend(entries);
        }
        self.reopen();
    }

    fn flip(&self, entry: u64, at: usize, bit: u8) {
        let files = contents(&self.dir.0);
        let (name, bytes) = &files[at % files.len()];
        let copy = self.dir.copy();
        let mut flipped = bytes.clone();
        flipped[at / files.len() % bytes.len()] ^= 1 << bit;
        fs::write(copy.0.join(name), &flipped).unwrap();
        self.check_damaged(&copy, false, "a bit flipped anywhere");
        if self.entries.is_empty() {
            return;
        }
        let (index, _) = self.entries[usize::try_from(entry).unwrap() % self.entries.len()];
        let (name, place) = self.place_of(index);
        let copy = self.dir.copy();
        let mut flipped = fs::read(copy.0.join(&name)).unwrap();
        flipped[place.start + at % place.len()] ^= 1 << bit;
        fs::write(copy.0.join(name), &flipped).unwrap();
        self.check_damaged(&copy, true, "a bit of an entry flipped");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is acknowledged is there, whatever crashes; damage is never opened.
    #[test]
    fn the_chain_is_as_its_model(ops in proptest::collection::vec(op(), 1..40)) {
        let home = Dir::new();
        let facts = Arc::new(Facts::open(&home.0.join("log")).unwrap());
        let mut model = Model::new(facts);
        for op in &ops {
            model.run(op);
        }
    }
}

#[test]
fn the_end_of_an_old_segment_needs_no_room() {
    let home = Dir::new();
    let facts = Arc::new(Facts::open(&home.0.join("log")).unwrap());
    let mut model = Model::new(facts);
    for _ in 0..40 {
        model.tail.truncate(model.next() / 2).unwrap();
        let kept = model.next() / 2;
        model.entries.retain(|(index, _)| *index < kept);
        let (entries, ..) = model.append(&[100, 100]);
        model.entries.extend(entries);
    }
    model.check();
    let files = contents(&model.dir.0);
    assert_eq!(files.len(), 40);
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < 40 * 512 + 2 * SEGMENT_BYTES as usize, "{bytes}");
    model.reopen();
    model.check();
    assert_eq!(model.tail.head.first, model.next() - 2);
}
