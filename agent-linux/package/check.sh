#!/bin/bash
# usage: check.sh STATIC_REEVE...   makes the packages of each target and looks into them
#
# Paths are those that .ci/static prints. Programs of other machines run under qemu-user; packages for
# this machine are installed where it leaves no trace (install.sh, as root).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
trap 'rm -rf "$work"' EXIT

fail() { echo "$deb: $*"; exit 1; }

# The words that run a program of an architecture here.
emulator() {
    case $1 in
        arm64) echo qemu-aarch64-static ;;
        armhf) echo qemu-arm-static ;;
    esac
}

# What dpkg will read: fields, scripts, sums, owners, modes.
examine() {
    local field script
    for field in Package Version Architecture Maintainer Description Installed-Size; do
        [ -n "$(dpkg-deb -f "$deb" "$field")" ] || fail "no field $field"
    done
    [ "$(basename "$deb")" = "$(dpkg-deb -W --showformat='${Package}_${Version}_${Architecture}.deb' "$deb")" ] ||
        fail 'its name is not that of its fields'
    dpkg-deb -c "$deb" | awk '$2 != "root/root" { print; bad = 1 } END { exit bad }' || fail 'not root'
    dpkg-deb -c "$deb" | awk '$1 ~ /^.....w|^........w/ && $1 !~ /^l/ { print; bad = 1 } END { exit bad }' ||
        fail 'writable by others'
    for script in "$tree"/DEBIAN/p*; do
        sh -n "$script" || fail "$script"
        [ -x "$script" ] || fail "$script cannot be run"
    done
    (cd "$tree" && md5sum --quiet -c DEBIAN/md5sums) || fail 'sums'
    if [ -e "$tree/DEBIAN/conffiles" ]; then
        sed "s|^|$tree|" "$tree/DEBIAN/conffiles" | xargs -d '\n' ls >/dev/null || fail 'conffiles'
    fi
    [ "$(dpkg-deb -c "$deb" | grep -c "[ ]\./usr/bin/$package\$")" = 1 ] || fail 'no program'
    zcat "$tree/usr/share/doc/$package/changelog.gz" | head -1 |
        grep -qF "$package ($(dpkg-deb -f "$deb" Version))" || fail 'changelog'
}

# What the system will run: the program starts, its unit and its configuration are sound.
try() {
    local run output
    run=$(emulator "$(dpkg-deb -f "$deb" Architecture)")
    case $package in
        reeve)
            output=$($run "$tree/usr/bin/reeve" version 2>&1) || fail "$output"
            version=$(dpkg-deb -f "$deb" Version)
            grep -qxF "Reeve v${version%+*}" <<<"$output" || fail "$output"
            # A machine with several addresses has to be told which.
            echo 'bind_addr = "127.0.0.1"' >"$work/bind.hcl"
            $run "$tree/usr/bin/reeve" validate "$tree/etc/reeve.d" "$work/bind.hcl" >/dev/null ||
                fail 'configuration'
            ;;
        reeve-device)
            # Its example is taken as far as this machine goes: it has not that address.
            sed 's|/var/lib/reeve-device|'"$work"'/data|' \
                "$tree/usr/share/doc/reeve-device/examples/reeve-device.hcl" >"$work/device.hcl"
            output=$($run "$tree/usr/bin/reeve-device" "$work/device.hcl" 2>&1 || true)
            grep -q 'bind_addr 10.0.0.13:8301: ' <<<"$output" || fail "$output"
            ;;
    esac
    if command -v systemd-analyze >/dev/null; then
        # What other units and programs it names are not in this tree.
        install -D -m 755 /bin/true "$tree/bin/kill"
        output=$(systemd-analyze verify --man=no --root="$tree" "$package.service" 2>&1 || true)
        if grep "$package.service" <<<"$output" | grep -v 'not found'; then fail 'unit'; fi
    fi
}

for program; do
    for deb in $("$here/build.sh" "$program" "$work"); do
        package=$(dpkg-deb -f "$deb" Package)
        tree=$work/tree
        rm -rf "$tree"
        dpkg-deb -R "$deb" "$tree"
        examine
        try
        printf '%9d  %s\n' "$(stat -c %s "$deb")" "$(basename "$deb")"
    done
    if [ "$(dpkg-deb -f "$deb" Architecture)" = "$(dpkg --print-architecture)" ]; then
        $sudo "$here/install.sh" "${deb/reeve-device_/reeve_}" "$deb"
    fi
done
