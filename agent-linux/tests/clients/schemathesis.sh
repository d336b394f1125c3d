#!/bin/bash
# Requests made up from openapi.json. usage: schemathesis.sh AGENT_BINARY
#
# Every answer must have a status, a type and a shape that the file declares, and the agent must
# outlive them all. Left out: what ends the agent, what does not end itself, what looks up the names
# of other hosts.
. "$(dirname "$0")/lib.sh"
need python3 python3
need curl curl
version=4.32.5 home=$cache/schemathesis address=127.77.21.1

set_up() {
    set -e
    mkdir -p "$home"
    cd "$home"
    if [ ! -e "venv/$version" ]; then
        rm -rf venv
        python3 -m venv venv
        venv/bin/pip -q install "schemathesis==$version"
        touch "venv/$version"
    fi
}
(set_up) >"$work/set-up.log" 2>&1 || { cat "$work/set-up.log"; exit 1; }

# Made-up indexes block: not for long.
start_agent $address fuzzed -hcl 'default_query_time = "20ms" max_query_time = "20ms"'

made_up() {
    cd "$work" && timeout -k 10 300 "$home/venv/bin/schemathesis" run "$here/../../openapi.json" \
        --url "http://$address:8500" --phases coverage,fuzzing --max-examples 8 --max-time 60 \
        --seed 1 --generation-deterministic --continue-on-failure --no-color --warnings off \
        --checks status_code_conformance,content_type_conformance,response_schema_conformance \
        --exclude-path-regex '^/v1/agent/(leave|monitor|join|force-leave)' \
        --request-timeout 20 --suppress-health-check all >"$work/schemathesis.log" 2>&1 && return
    sed -n '/ FAILURES \| ERRORS /,$p' "$work/schemathesis.log" | head -n 120
    return 1
}
no_panic() {
    ! grep -a 'panicked at' "$work/agent.log"
}
check 'answers are as described' made_up
check 'the agent lives' leads $address
check 'nothing panicked' no_panic
finish
