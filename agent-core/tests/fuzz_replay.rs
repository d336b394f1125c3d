//! The fuzz targets on stable Rust: corpus, seeds and seeded mutations.

#[allow(unreachable_pub, reason = "shared with the fuzzer by inclusion")]
#[path = "../fuzz/replay.rs"]
mod replay;
#[allow(unreachable_pub, reason = "shared with the fuzzer by inclusion")]
#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;

/// The folder of the targets and their corpus.
const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn every_decoder_survives_damaged_input() {
    replay::replay(targets::TARGETS, Path::new(FUZZ), 20_000);
}

#[test]
fn every_target_has_its_binary() {
    replay::assert_binaries(targets::TARGETS, Path::new(FUZZ));
}
