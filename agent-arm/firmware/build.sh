#!/bin/bash
# usage: build.sh            builds both images, prints their sizes, fails over the ceilings (bench)
#        build.sh --folder   prints where the images are
#        build.sh --test     runs the tests of what needs no board, on this machine
#
# Takes Debian's rustc and the core library's sources that fit it; installs them where they are
# missing. Everything is kept below the root's target/.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
root=$(realpath ../..)
target=thumbv7m-none-eabi
export CARGO_TARGET_DIR=$root/target/firmware
folder=$CARGO_TARGET_DIR/$target/release

packages() {
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    if ! [ -x /usr/bin/cargo ] || ! [ -x /usr/bin/rust-lld ] || ! [ -x /usr/bin/ld.lld-22 ] ||
        ! [ -x /usr/bin/qemu-system-arm ] || ! [ -d /usr/lib/rustlib/src/rust ]; then
        $sudo apt-get -qq update
        DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y --no-install-recommends \
            rustc-web cargo-web rust-web-src rust-web-llvm lld-22 qemu-system-arm >/dev/null
    fi
}

case ${1:-} in
    --folder) echo "$folder" ;;
    --test) cargo test --quiet --locked --lib --target "$(rustc -vV | sed -n 's/^host: //p')" ;;
    '')
        packages
        unset RUSTFLAGS RUSTUP_TOOLCHAIN CARGO_PROFILE_RELEASE_LTO CARGO_PROFILE_RELEASE_CODEGEN_UNITS
        RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo build --quiet --release --locked
        # Not from here: this folder's settings are for boards.
        cd "$root"
        CARGO_TARGET_DIR=$root/target cargo run --quiet -p bench -- size
        ;;
    *) sed -n 's/^# \{0,1\}//p' "$0" | head -3 && exit 2 ;;
esac
