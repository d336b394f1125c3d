# What the scripts beside it share; they source it with the agent's binary as first argument.
#
#   start_agent ADDRESS NODE [FLAG...]   runs an agent on ports of ADDRESS, waits until it leads
#   run NAME COMMAND...                  runs a helper in the background, its output in $work/NAME.log
#   check NAME COMMAND...                counts whether the command holds
#   within SECONDS COMMAND...            asks again until the command holds
#   finish                               prints the count, fails if anything did
#
# Whatever was started is ended by its process id when the script ends, however it ends.
set -uo pipefail

agent=$(realpath "${1:?usage: $0 AGENT_BINARY}")
here=$(cd "$(dirname "$0")" && pwd)
cache=${CARGO_TARGET_DIR:-$(cd "$here/../../.." && pwd)/target}/clients
work=$(mktemp -d)
pids=()
passed=0
failed=0
mkdir -p "$cache"

end_all() {
    local code=$? pid n
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
    for pid in ${pids[@]+"${pids[@]}"}; do
        # An agent that leaves takes its time; what will not end is ended.
        for n in $(seq 150); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$work"
    exit $code
}
trap end_all EXIT
trap 'exit 130' INT TERM

# need COMMAND PACKAGE: installs Debian's package if the command is missing.
need() {
    command -v "$1" >/dev/null && return
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y --no-install-recommends "$2" \
        >/dev/null || { echo "cannot install $2"; exit 1; }
}

run() {
    local name=$1
    shift
    "$@" >"$work/$name.log" 2>&1 </dev/null &
    pids+=($!)
}

within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
}

check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "not ok: $name"
    fi
}

# same NAME EXPECTED COMMAND...: counts whether the command prints just that.
same() {
    local name=$1 expected=$2 got
    shift 2
    got=$("$@" 2>&1)
    if [ "$got" = "$expected" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'not ok: %s\n  expected: %s\n  got:      %s\n' "$name" "$expected" "$got"
    fi
}

finish() {
    if [ $failed != 0 ] && [ -e "$work/agent.log" ]; then
        echo '-- last words of the agent'
        tail -n 20 "$work/agent.log"
    fi
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
    exit
}

leads() {
    [ "$(curl -s "http://$1:8500/v1/status/leader")" = "\"$1:8300\"" ]
}

start_agent() {
    local address=$1 node=$2
    shift 2
    run agent "$agent" agent -dev -node="$node" -bind="$address" -client="$address" "$@"
    if ! within 20 leads "$address" || ! within 20 knows_itself "$address" "$node"; then
        echo "the agent does not come up on $address:"
        tail -n 20 "$work/agent.log"
        exit 1
    fi
}

knows_itself() {
    curl -s "http://$1:8500/v1/catalog/nodes" | grep -q "\"$2\""
}

# register ADDRESS JSON: registers a service with the agent.
register() {
    curl -sf -X PUT -d "$2" "http://$1:8500/v1/agent/service/register"
}

deregister() {
    curl -sf -X PUT "http://$1:8500/v1/agent/service/deregister/$2"
}
