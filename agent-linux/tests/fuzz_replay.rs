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

use std::path::Path;

/// The folder of the targets and their corpus.
const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn every_decoder_survives_damaged_input() {
    replay::replay(targets::PURE, Path::new(FUZZ), 5_000);
}

#[test]
fn every_listener_survives_damaged_input() {
    replay::replay(targets::SOCKETS, Path::new(FUZZ), 400);
}

#[test]
fn every_target_has_its_binary() {
    replay::assert_binaries(targets::PURE.iter().chain(targets::SOCKETS), Path::new(FUZZ));
}
