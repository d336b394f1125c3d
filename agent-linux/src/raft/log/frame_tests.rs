//! Frames as they are written, half-written and damaged.

use super::*;

const LENGTH: u64 = 16 * 1024;

fn head() -> Head {
    Head { id: 7, number: 1, first: 5, length: LENGTH, salt: 0x5a17 }
}

/// A segment with frames of one entry each, and where they begin and end.
fn segment(lengths: &[usize]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
    let mut bytes = vec![0; LENGTH as usize];
    bytes[..HEAD_BYTES as usize].copy_from_slice(&head().emit());
    let (mut at, mut places, mut frame) = (HEAD_BYTES as usize, Vec::new(), Frame::default());
    for (index, length) in (5..).zip(lengths) {
        frame.begin(index, b"hint");
        frame.push(&vec![b'e'; *length]);
        let sealed = frame.seal(&head(), at as u64);
        bytes[at..at + sealed.len()].copy_from_slice(sealed);
        places.push(at..at + sealed.len());
        at += sealed.len();
    }
    (bytes, places)
}

/// Reads all frames; tells the entries' lengths and what is at the end.
fn read(bytes: &[u8]) -> (Vec<usize>, Result<u64, Flaw>) {
    let mut reader = Reader::new(bytes, head(), HEAD_BYTES);
    let mut lengths = Vec::new();
    while let Step::Frame(frame) = reader.step().unwrap() {
        assert_eq!(frame.hint, b"hint");
        lengths.extend(frame.entries().map(|(_, entry)| entry.len()));
    }
    (lengths, reader.judge_end(true))
}

#[test]
fn frames_come_back_as_they_were_written() {
    let lengths = [0, 1, 7, 8, 600, 3000];
    let (bytes, _) = segment(&lengths);
    assert_eq!(Head::read(&&bytes[..]).unwrap(), head());
    let (found, end) = read(&bytes);
    assert_eq!((found.as_slice(), end.unwrap()), (&lengths[..], 0));
}

#[test]
fn a_reader_skips_to_an_index() {
    let (bytes, places) = segment(&[10, 20, 30]);
    let mut reader = Reader::new(&bytes[..], head(), HEAD_BYTES);
    reader.skip_to(7).unwrap();
    assert_eq!(reader.offset(), places[2].start as u64);
}

#[test]
fn whatever_a_crash_leaves_of_the_last_frame_is_cut_off() {
    let (bytes, places) = segment(&[100, 2000]);
    let last = places[1].clone();
    // Up to here it was written, then nothing.
    for cut in last.clone() {
        let mut torn = bytes.clone();
        torn[cut..last.end].fill(0);
        let (found, end) = read(&torn);
        assert_eq!(found, [100]);
        let written = torn[last.clone()].iter().rposition(|byte| *byte != 0);
        assert_eq!(end.unwrap() as usize, written.map_or(0, |at| at + 1), "cut at {cut}");
    }
    // Sectors were written in any order.
    let sectors: Vec<usize> = (last.start / 512..=last.end / 512).collect();
    for missing in 1..1_u32 << sectors.len() {
        let mut torn = bytes.clone();
        for (bit, sector) in sectors.iter().enumerate() {
            let (from, to) = (sector * 512, (sector + 1) * 512);
            if missing & 1 << bit != 0 {
                torn[from.max(last.start)..to.min(last.end)].fill(0);
            }
        }
        let (found, end) = read(&torn);
        assert_eq!(found, [100]);
        assert!(end.is_ok(), "{missing:b}: {end:?}");
    }
}

#[test]
fn any_flipped_bit_of_a_frame_is_damage() {
    let (bytes, places) = segment(&[40, 700, 90]);
    for (at, place) in places.iter().enumerate() {
        for byte in place.clone() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[byte] ^= 1 << bit;
                let (found, end) = read(&flipped);
                assert_eq!(found.len(), at, "byte {byte}");
                let place = place.start as u64;
                assert!(matches!(end, Err(Flaw::At(at, _)) if at == place), "{byte}: {end:?}");
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_short_is_damage() {
    let (bytes, _) = segment(&[40, 700, 90]);
    for length in HEAD_BYTES as usize..bytes.len() {
        let (_, end) = read(&bytes[..length]);
        assert!(matches!(end, Err(Flaw::At(at, _)) if at == length as u64), "{length}: {end:?}");
    }
}

#[test]
fn what_is_cut_off_is_over_before_anything_that_follows() {
    let (bytes, places) = segment(&[40, 2000, 90]);
    let mut lost = bytes.clone();
    lost[places[1].clone()].fill(0);
    let (found, end) = read(&lost);
    assert_eq!(found, [40]);
    assert!(end.is_err(), "the third frame was written after the second was synced");
}

#[test]
fn no_frame_holds_at_another_place_or_under_another_salt() {
    let (bytes, places) = segment(&[40, 40]);
    let mut moved = bytes.clone();
    moved.copy_within(places[0].clone(), places[1].start);
    assert_eq!(read(&moved).0.len(), 1);
    let other = Head { salt: 1, ..head() };
    let mut reader = Reader::new(&bytes[..], other, HEAD_BYTES);
    assert!(matches!(reader.step().unwrap(), Step::None));
}
