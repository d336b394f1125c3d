#!/bin/bash
# The lock recipe with python-consul, which Debian has as python3-consul. usage: python-consul.sh AGENT_BINARY
. "$(dirname "$0")/lib.sh"
need python3 python3
home=$cache/python-consul

set_up() {
    set -e
    mkdir -p "$home"
    cd "$home"
    if [ ! -e venv/ready ]; then
        rm -rf venv
        python3 -m venv venv
        venv/bin/pip -q install 'python-consul==1.1.0'
        touch venv/ready
    fi
}
(set_up) >"$work/set-up.log" 2>&1 || { cat "$work/set-up.log"; exit 1; }

address=127.94.5.1
start_agent $address lock1
check "the lock recipe holds" timeout 180 "$home/venv/bin/python" "$here/py/lock.py" $address
finish
