//! Runs fuzz targets without a fuzzer: committed corpus, seeds, and seeded mutations of both.

use agent_core::rand::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a mutated input at most; targets that take longer input get it from their seeds.
const INPUT_BYTES_MAX: usize = 4096;

/// One decoder of bytes from outside.
pub struct Target {
    /// The name of the fuzz target and of its corpus folder.
    pub name: &'static str,
    /// Takes any bytes and must not panic.
    pub run: fn(&[u8]),
    /// Valid input, to be damaged.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Runs each target over its corpus in the folder `fuzz`, its seeds and `rounds` mutations of them;
/// on for so many seconds each if `REEVE_FUZZ_SECONDS` says so.
pub fn replay(targets: &[Target], fuzz: &Path, rounds: u32) {
    let corpus = fuzz.join("corpus");
    let seconds = std::env::var("REEVE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(0));
    for target in targets {
        let mut inputs = (target.seeds)();
        inputs.extend(files(&corpus.join(target.name)));
        inputs.push(Vec::new());
        for input in &inputs {
            feed(target, input);
        }
        let mut dice = Rng::new(0x5eed);
        let (begun, mut round) = (Instant::now(), 0);
        while round < rounds || begun.elapsed() < time {
            let input = mutated(&inputs, &mut dice);
            feed(target, &input);
            round += 1;
        }
        println!("{}: {round} mutations", target.name);
    }
}

/// Fails unless the folder `fuzz` has a binary for the fuzzer for each target, and no others.
pub fn assert_binaries<'t>(targets: impl IntoIterator<Item = &'t Target>, fuzz: &Path) {
    let entries = std::fs::read_dir(fuzz.join("fuzz_targets")).expect("folder").flatten();
    let mut binaries: Vec<String> = entries
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let mut listed: Vec<String> = targets.into_iter().map(|t| t.name.to_string()).collect();
    binaries.sort();
    listed.sort();
    assert_eq!(binaries, listed);
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("corpus file")).collect()
}

fn feed(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} fails on {} bytes: {hex}\n{:?}", target.name, input.len(), text(input));
    }
}

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn mutated(inputs: &[Vec<u8>], dice: &mut Rng) -> Vec<u8> {
    let mut bytes = pick(inputs, dice).clone();
    for _ in 0..=dice.below(4) {
        mutate(&mut bytes, inputs, dice);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn pick<'a>(inputs: &'a [Vec<u8>], dice: &mut Rng) -> &'a Vec<u8> {
    &inputs[place(inputs.len(), dice)]
}

fn place(len: usize, dice: &mut Rng) -> usize {
    dice.below(len as u64) as usize
}

fn mutate(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], dice: &mut Rng) {
    /// Bytes that parsers branch on.
    const LOUD: &[u8] = &[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'}', b'[', b'\\', b'\n', b'%', b'.'];
    let at = place(bytes.len() + 1, dice);
    let len = bytes.len();
    match dice.below(8) {
        0 if at < len => bytes[at] ^= 1 << dice.below(8),
        1 if at < len => bytes[at] = LOUD[place(LOUD.len(), dice)],
        2 if at < len => bytes[at] = dice.next_u64() as u8,
        3 => bytes.truncate(at),
        4 => bytes.insert(at, LOUD[place(LOUD.len(), dice)]),
        5 if at < len => {
            let end = (at + 1 + place(16, dice)).min(len);
            bytes.drain(at..end);
        }
        6 => {
            let piece = bytes[at..(at + 1 + place(64, dice)).min(len).max(at)].to_vec();
            let to = place(len + 1, dice);
            bytes.splice(to..to, piece);
        }
        _ => {
            let other = pick(inputs, dice);
            let from = place(other.len() + 1, dice);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}
