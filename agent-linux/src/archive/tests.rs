use super::*;
use proptest::prelude::*;

const STATE_BYTES: usize = 3000;

/// A snapshot and what it holds.
fn sample() -> (Vec<u8>, Meta, Vec<u8>) {
    let state: Vec<u8> = (0..STATE_BYTES).map(|at| (at * at / 7) as u8).collect();
    let server = Server { suffrage: 0, id: "u".into(), address: "10.0.0.1:8300".into() };
    let configuration = Configuration { servers: vec![server] };
    let (id, size) = ("2-13-1795888277967".into(), STATE_BYTES as u64);
    let meta = Meta { version: 1, id, index: 13, term: 2, configuration, size };
    let mut writer = Writer::begin(&meta, 1_795_888_277).unwrap();
    let mut bytes = Vec::new();
    for part in state.chunks(700) {
        bytes.extend(writer.add(part).unwrap());
    }
    bytes.extend(writer.end().unwrap());
    (bytes, meta, state)
}

/// Reads a snapshot: what it is of and its state.
fn open(bytes: &[u8]) -> Result<(Meta, Vec<u8>), Error> {
    let mut state = Vec::new();
    let meta = read(bytes, &mut |from| from.read_to_end(&mut state).map(|_| ()))?;
    Ok((meta, state))
}

/// The archive without its compression.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

#[test]
fn what_was_written_is_read_again() {
    let (bytes, meta, state) = sample();
    assert_eq!(open(&bytes).unwrap(), (meta.clone(), state));
    assert_eq!(read(&bytes[..], &mut |_| Ok(())).unwrap(), meta, "a state that nobody takes");
}

#[test]
fn the_state_must_have_the_length_that_was_announced() {
    let meta = Meta { size: 3, ..Meta::default() };
    let mut writer = Writer::begin(&meta, 0).unwrap();
    writer.add(b"ab").unwrap();
    assert!(writer.add(b"cd").is_err());
    assert!(Writer::begin(&meta, 0).unwrap().end().is_err());
}

#[test]
fn damage_is_told_in_consuls_words() {
    let (bytes, ..) = sample();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut plain = plain(&bytes);
        change(&mut plain);
        packed(&plain)
    };
    let file = "failed to read snapshot file: ";
    let integrity = "failed checking integrity of snapshot: ";
    let second = tar::BLOCK * 2;
    for (damaged, want) in [
        (Vec::new(), "failed to decompress snapshot: EOF".to_owned()),
        (b"garbage".to_vec(), "failed to decompress snapshot: unexpected EOF".to_owned()),
        (b"garbage garbage".to_vec(), "failed to decompress snapshot: gzip: invalid header".into()),
        (packed(&[]), format!("{file}{integrity}file missing for \"meta.json\"")),
        (
            packed(&[b'x'; 1500]),
            format!("{file}failed reading snapshot: archive/tar: invalid tar header"),
        ),
        (
            with(&|plain| plain[second + tar::BLOCK] ^= 1),
            format!("{file}{integrity}hash check failed for \"state.bin\""),
        ),
        (
            with(&|plain| plain.truncate(second + tar::BLOCK + 9)),
            format!("{file}failed to read or write snapshot data: unexpected EOF"),
        ),
        (
            with(&|plain| {
                let head = tar::head("x", 0, 0);
                plain.splice(..0, head);
            }),
            format!("{file}unexpected file \"x\" in snapshot"),
        ),
    ] {
        assert_eq!(open(&damaged).unwrap_err().to_string(), want);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_changed_or_cut_file_is_never_taken(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (bytes, meta, state) = sample();
        let at = at.index(bytes.len());
        prop_assert!(open(&bytes[..at]).is_err());
        let mut damaged = bytes;
        damaged[at] ^= 1 << bit;
        // Some bits mean nothing: the compressor's name, how far back zeros are copied from.
        if let Ok(found) = open(&damaged) {
            prop_assert_eq!(found, (meta, state));
        }
    }

    #[test]
    fn a_changed_archive_is_never_taken_for_another(
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (bytes, meta, state) = sample();
        let mut plain = plain(&bytes);
        let at = at.index(plain.len());
        plain[at] ^= 1 << bit;
        if let Ok(found) = open(&packed(&plain)) {
            prop_assert_eq!(found, (meta, state));
        }
    }
}
