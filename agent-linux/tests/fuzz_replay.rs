//! The fuzz targets on stable Rust: corpus, seeds and seeded mutations.

#[allow(unreachable_pub, reason = "shared with the fuzzer by inclusion")]
#[path = "../../agent-core/fuzz/replay.rs"]
mod replay;
#[allow(unreachable_pub, reason = "shared with the fuzzer by inclusion")]
#[path = "../fuzz/targets.rs"]
mod targets;
#[allow(unreachable_pub, reason = "shared with the fuzzer by inclusion")]
#[path = "../fuzz/world.rs"]
mod world;

use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn every_decoder_survives_damaged_input() {
    replay::replay(targets::PURE, &fuzz().join("corpus"), 5_000);
}

#[test]
fn every_listener_survives_damaged_input() {
    replay::replay(targets::SOCKETS, &fuzz().join("corpus"), 400);
}

#[test]
fn every_target_has_its_binary() {
    let entries = std::fs::read_dir(fuzz().join("fuzz_targets")).expect("folder").flatten();
    let mut binaries: Vec<String> = entries
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let all = targets::PURE.iter().chain(targets::SOCKETS);
    let mut listed: Vec<String> = all.map(|target| target.name.to_string()).collect();
    binaries.sort();
    listed.sort();
    assert_eq!(binaries, listed);
}
