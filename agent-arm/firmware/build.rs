//! Gives each image its board's memory map.

use std::path::Path;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("memory");
    for board in ["lm3s6965evb", "mps2-an385"] {
        let map = folder.join(board);
        println!("cargo:rustc-link-arg-bin={board}=-L{}", map.display());
        println!("cargo:rerun-if-changed={}", map.join("memory.x").display());
    }
}
