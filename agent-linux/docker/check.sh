#!/bin/bash
# usage: check.sh [STATIC_BINARY]   brings compose.yaml's picture up, asks it, and tears it down
#
# Without a binary it builds one (.ci/static). Without a running Docker it says so and succeeds.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")

if ! docker info >/dev/null 2>&1; then
    echo 'skipped: no Docker daemon answers'
    exit 0
fi
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    echo 'skipped: neither "docker compose" nor docker-compose is installed'
    exit 0
fi

binary=${1:-$("$root/.ci/static" --bin reeve)}
export REEVE_IMAGE=reeve-check-$$
compose+=(-p "reevecheck$$" -f "$here/compose.yaml")

down() {
    local code=$?
    [ $code = 0 ] || "${compose[@]}" logs --no-color --tail=40 2>&1 || true
    "${compose[@]}" down -v --remove-orphans -t 5 >/dev/null 2>&1 || true
    docker rmi -f "$REEVE_IMAGE" >/dev/null 2>&1 || true
    exit $code
}
trap down EXIT

within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || { echo "not in time: $*"; return 1; }
        sleep 0.2
    done
}

reeve() {
    local service=$1
    shift
    "${compose[@]}" exec -T "$service" /bin/reeve "$@"
}

alive() { [ "$(reeve client members 2>/dev/null | grep -c ' alive ')" = "$1" ]; }
put() { reeve client kv put greeting hello >/dev/null 2>&1; }
got() { [ "$(reeve "$1" kv get greeting 2>/dev/null)" = hello ]; }
voters() { [ "$(reeve server1 operator raft list-peers 2>/dev/null | grep -c ' true ')" = 3 ]; }

"$here/build.sh" "$binary" "$REEVE_IMAGE"
"${compose[@]}" up -d 2>&1 | grep -v '^$' || true
within 60 alive 4
within 30 voters
within 30 put
for service in server1 server2 server3 client; do
    within 10 got "$service"
done
reeve client members
"${compose[@]}" exec -T server2 /bin/consul version >/dev/null
# Docker stops a container with SIGTERM: a client leaves, and the others see it.
"${compose[@]}" stop -t 15 client >/dev/null 2>&1
left() { reeve server1 members 2>/dev/null | grep -q '^agent131 .* left '; }
within 30 left
echo 'containers: the picture came up, kept a value, and a stopped client left'
