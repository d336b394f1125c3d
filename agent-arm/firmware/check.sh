#!/bin/bash
# usage: check.sh   builds the images and drives them in QEMU: alone, and in a pool of real agents
# over a network that loses, delays and cuts. Needs root for that pool's network namespaces.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# Not from the images' folder: its settings are for them.
cd "$here/../.."
"$here/build.sh"
REEVE_FIRMWARE=$("$here/build.sh" --folder) cargo test --workspace --test firmware -- --nocapture --test-threads 1
# With the stack's high water that the boards reported.
cargo run --quiet -p bench -- size
