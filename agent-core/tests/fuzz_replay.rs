//! The fuzz targets on stable Rust: corpus, seeds and seeded mutations.

#[allow(unreachable_pub, reason = "shared with the fuzzer by inclusion")]
#[path = "../fuzz/replay.rs"]
mod replay;
#[allow(unreachable_pub, reason = "shared with the fuzzer by inclusion")]
#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_decoder_survives_damaged_input() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    replay::replay(targets::TARGETS, &corpus, 20_000);
}

#[test]
fn every_target_has_its_binary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let names =
        |path: std::path::PathBuf| path.file_stem().map(|n| n.to_string_lossy().into_owned());
    let entries = std::fs::read_dir(folder).expect("folder").flatten();
    let mut binaries: Vec<String> = entries.filter_map(|entry| names(entry.path())).collect();
    let mut listed: Vec<String> = targets::TARGETS.iter().map(|t| t.name.to_string()).collect();
    binaries.sort();
    listed.sort();
    assert_eq!(binaries, listed);
}
