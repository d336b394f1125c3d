#!/bin/bash
# usage: build.sh STATIC_BINARY [IMAGE]   builds the image (default reeve) from a static binary
set -euo pipefail
here=$(dirname "$(realpath "$0")")
binary=$(realpath "${1:?usage: $0 STATIC_BINARY [IMAGE]}")
image=${2:-reeve}
if file -L "$binary" 2>/dev/null | grep -q 'dynamically linked'; then
    echo "$binary is not static: it would not run in an empty image (see .ci/static)"
    exit 1
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/bin"
cp "$binary" "$context/bin/reeve"
chmod 755 "$context/bin/reeve"
ln -s reeve "$context/bin/consul"
docker build --quiet -t "$image" -f "$here/Dockerfile" "$context"
