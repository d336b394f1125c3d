//! Plays every script and compares its transcript with the one that it holds.
//!
//! `SIM_REWRITE=1 cargo test -p sim --test script` writes the transcripts anew.

use std::path::Path;

#[test]
fn every_script_plays_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let rewrite = std::env::var_os("SIM_REWRITE").is_some();
    let mut played = 0;
    for entry in std::fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.display();
        let transcript = match sim::script::run(&text) {
            Ok(transcript) => transcript,
            Err((failure, transcript)) => panic!("{name}: {failure}\n{transcript}"),
        };
        if rewrite {
            std::fs::write(&path, transcript).expect("writable");
        } else {
            assert!(transcript == text, "{name} plays differently:\n{transcript}");
        }
        played += 1;
    }
    assert!(played >= 4, "{played} scripts");
}
