#!/bin/bash
# usage: build.sh STATIC_REEVE [FOLDER]   makes Debian packages; prints their paths
#
# STATIC_REEVE is a path that .ci/static prints, .../TARGET/PROFILE/reeve; reeve-device lies beside it.
# Makes the packages `reeve` and `reeve-device` for the target's architecture in FOLDER (default: here).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
program=$(realpath "${1:?usage: $0 STATIC_REEVE [FOLDER]}")
folder=$(realpath "${2:-.}")
target=$(basename "$(dirname "$(dirname "$program")")")
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)
maintainer='The Reeve authors <reeve@reeve-rs.invalid>'

case $target in
    x86_64-*) architecture=amd64 ;;
    aarch64-*) architecture=arm64 ;;
    armv7-*) architecture=armhf ;;
    # Raspberry Pi OS calls ARMv6 with a floating-point unit armhf too. Debian's armhf runs it as well.
    arm-*) architecture=armhf version=$version+armv6 ;;
    *) echo "$target: no Debian architecture is known for it" >&2 && exit 1 ;;
esac
# The same input makes the same package.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fill TREE PACKAGE: puts the files of a package where they belong on the machine.
fill() {
    local tree=$1 package=$2 doc=$1/usr/share/doc/$2
    install -D -m 755 "$(dirname "$program")/$package" "$tree/usr/bin/$package"
    install -D -m 644 "$here/$package/$package.service" "$tree/lib/systemd/system/$package.service"
    case $package in
        reeve) install -D -m 640 "$here/reeve/reeve.hcl" "$tree/etc/reeve.d/reeve.hcl" ;;
        *) install -D -m 644 "$here/$package/$package.hcl" "$doc/examples/$package.hcl" ;;
    esac
    mkdir -p "$doc" "$tree/usr/share/lintian/overrides"
    {
        echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
        printf 'Source: https://github.com/reeve-rs/reeve\n\nFiles: *\n'
        printf 'Copyright: The Reeve authors\nLicense: Expat or Apache-2.0\n'
        sed 's/^$/./; s/^/ /' "$root/LICENSE"
    } >"$doc/copyright"
    {
        printf '%s (%s) unstable; urgency=medium\n\n' "$package" "$version"
        printf '  * Changes are told in the CHANGELOG.md of the source.\n\n'
        printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
    } | gzip -9n >"$doc/changelog.gz"
    echo "$package: statically-linked-binary [usr/bin/$package]" \
        >"$tree/usr/share/lintian/overrides/$package"
}

# describe TREE PACKAGE: writes the control files.
describe() {
    local tree=$1 package=$2 script
    mkdir "$tree/DEBIAN"
    {
        printf 'Package: %s\nVersion: %s\nArchitecture: %s\n' "$package" "$version" "$architecture"
        printf 'Maintainer: %s\nPriority: optional\n' "$maintainer"
        printf 'Homepage: https://github.com/reeve-rs/reeve\n'
        printf 'Installed-Size: %d\n' "$(du -sk --apparent-size --exclude DEBIAN "$tree" | cut -f1)"
        cat "$here/$package/control"
    } >"$tree/DEBIAN/control"
    for script in postinst prerm postrm; do
        install -m 755 "$here/$package/$script" "$tree/DEBIAN/$script"
    done
    (cd "$tree" && find . -path './etc/*' -type f -printf '/%P\n' | sort) >"$tree/DEBIAN/conffiles"
    [ -s "$tree/DEBIAN/conffiles" ] || rm "$tree/DEBIAN/conffiles"
    (cd "$tree" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
}

for package in reeve reeve-device; do
    tree=$work/$package
    mkdir "$tree"
    fill "$tree" "$package"
    describe "$tree" "$package"
    chmod -R u+rwX,go-w "$tree"
    deb=$folder/${package}_${version}_$architecture.deb
    dpkg-deb --build --root-owner-group -Zxz "$tree" "$deb" >/dev/null
    echo "$deb"
done
