#!/bin/bash
# usage: install.sh REEVE_DEB REEVE_DEVICE_DEB   the life of both packages on this machine
#
# Installs them with dpkg, runs both programs as their units say, installs them again over themselves,
# removes and purges them. All of it in namespaces of its own, whose changes are thrown away: an overlay
# over this machine's files, no network but loopback. `systemctl` is a stand-in that notes what it is
# told. Needs root.
set -euo pipefail
if [ "${1:-}" != --inside ]; then
    exec unshare --mount --net --pid --fork --kill-child "$(realpath "$0")" --inside "$@"
fi
shift
debs=("$(realpath "$1")" "$(realpath "$2")")
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
unset NOTIFY_SOCKET

work=$(mktemp -d)
trap 'umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs -o mode=755 tmpfs "$work"
machine=$work/machine
mkdir "$work/upper" "$work/overlay" "$machine"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/overlay" overlay "$machine"
mount -t proc proc "$machine/proc"
mount --rbind /dev "$machine/dev"
mount -t tmpfs -o mode=755 tmpfs "$machine/run"
mount -t tmpfs -o mode=1777 tmpfs "$machine/tmp"
mkdir -p "$machine/run/systemd/system"
printf '#!/bin/sh\necho "$*" >>/run/told\n' >"$machine/usr/local/sbin/systemctl"
chmod 755 "$machine/usr/local/sbin/systemctl"
cp "${debs[@]}" "$machine/tmp"
ip link set lo up
ip address add 10.0.0.11/24 dev lo

fail() { echo "install.sh: $*"; cat "$machine/run/log" 2>/dev/null; exit 1; }
on() { chroot "$machine" "$@"; }
packages() { on dpkg "$@" >>"$machine/run/log" 2>&1 || fail "dpkg $*"; }

# is WANT PATH: compares owner, group and mode.
is() { [ "$(on stat -c '%U:%G %a' "$2")" = "$1" ] || fail "$2 is not $1"; }
absent() { [ ! -e "$machine$1" ] || fail "$1 is there"; }
told() { grep -qxF "$1" "$machine/run/told" || fail "systemctl was not told: $1"; }
setting() { sed -n "s/^$2=//p" "$machine/lib/systemd/system/$1.service"; }

# await WHAT COMMAND...: waits up to a minute.
await() {
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "$what"
        sleep 0.2
    done
}
member() { on reeve members 2>/dev/null | grep -q "^$1 .*$2 *alive "; }

# What the units name but do not make: systemd makes it when it starts them.
start_agent() {
    local state user command
    state=/var/lib/$(setting reeve StateDirectory) user=$(setting reeve User)
    command=$(setting reeve ExecStart)
    on install -d -m "$(setting reeve StateDirectoryMode)" -o "$user" -g "$user" "$state"
    on setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all $command \
        >>"$machine/run/log" 2>&1 &
    agent=$!
    await 'the agent is a member' member "$(hostname)" 10.0.0.11:8301
    is "$user:$user 750" "$state"
    on find "$state" -mindepth 1 -user "$user" | grep -q . || fail "nothing in $state"
}

start_device() {
    local state=/var/lib/private/reeve-device CREDENTIALS_DIRECTORY=/run/credentials command
    # Here the agent has the usual ports of all addresses.
    sed '/^http_addr/d; s/^bind_addr/port = 8311\n&/' \
        "$machine/usr/share/doc/reeve-device/examples/reeve-device.hcl" >"$machine/etc/reeve-device.hcl"
    on install -d -m 700 /var/lib/private
    on install -d -m 750 -o nobody -g nogroup "$state"
    on ln -s "$state" /var/lib/reeve-device
    on install -D -m 440 -g nogroup /etc/reeve-device.hcl "$CREDENTIALS_DIRECTORY/reeve-device.hcl"
    ip address add 10.0.0.13/24 dev lo
    # systemd opens the way to it for this user only.
    on chmod 711 /var/lib/private
    command=$(setting reeve-device ExecStart)
    on setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps=-all \
        ${command//'${CREDENTIALS_DIRECTORY}'/$CREDENTIALS_DIRECTORY} >>"$machine/run/log" 2>&1 &
    device=$!
    await 'the device is a member' member board 10.0.0.13:8311
}

packages -i "/tmp/$(basename "${debs[0]}")" "/tmp/$(basename "${debs[1]}")"
told daemon-reload
if grep -q restart "$machine/run/told"; then fail 'a first installation restarts nothing'; fi
is 'root:reeve 750' /etc/reeve.d
is 'root:reeve 640' /etc/reeve.d/reeve.hcl
is 'root:root 755' /usr/bin/reeve
is 'root:root 755' /usr/bin/reeve-device
[ "$(on getent passwd reeve | cut -d: -f6,7)" = /var/lib/reeve:/usr/sbin/nologin ] || fail 'the user reeve'
if on sh -c 'command -v systemd-analyze' >/dev/null; then
    for unit in reeve reeve-device; do
        on systemd-analyze verify --man=no "/lib/systemd/system/$unit.service" >>"$machine/run/log" 2>&1 ||
            fail "$unit.service"
    done
fi
start_agent
start_device

echo '# ours' >>"$machine/etc/reeve.d/reeve.hcl"
packages -i "/tmp/$(basename "${debs[0]}")" "/tmp/$(basename "${debs[1]}")"
told 'try-restart reeve.service'
told 'try-restart reeve-device.service'
grep -qx '# ours' "$machine/etc/reeve.d/reeve.hcl" || fail 'the configuration was lost in an upgrade'

kill "$agent" "$device"
wait "$agent" "$device" || true
packages -r reeve reeve-device
told 'disable --now reeve.service'
told 'disable --now reeve-device.service'
absent /usr/bin/reeve
absent /usr/bin/reeve-device
absent /lib/systemd/system/reeve.service
for kept in /var/lib/reeve/node-id /etc/reeve.d/reeve.hcl /var/lib/reeve-device/node-id /etc/reeve-device.hcl; do
    [ -s "$machine$kept" ] || on test -s "$kept" || fail "$kept is gone after a removal"
done
packages -P reeve reeve-device
for gone in /var/lib/reeve /var/lib/private/reeve-device /var/lib/reeve-device /etc/reeve.d; do
    absent "$gone"
done
[ -s "$machine/etc/reeve-device.hcl" ] || fail 'what the administrator made is gone'
echo "installed, run, upgraded, removed and purged: $(basename -a "${debs[@]}" | tr '\n' ' ')"
