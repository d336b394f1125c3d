#!/bin/bash
# Prometheus finds its targets through consul_sd. usage: prometheus.sh AGENT_BINARY
#
# Debian bookworm's build leaves consul_sd out; bullseye's 2.24.1 has it. It is unpacked, not installed.
. "$(dirname "$0")/lib.sh"
need curl curl
need python3 python3
at=127.118.4.1 target=127.118.4.2 ui=127.118.4.3

unpack() {
    local d=$cache/prometheus uri keys=/usr/share/keyrings/debian-archive-keyring.gpg
    prometheus=$d/root/usr/bin/prometheus
    [ -x "$prometheus" ] && return
    mkdir -p "$d/lists/partial" "$d/archives/partial" "$d/root"
    : >"$d/status"
    uri=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)
    printf 'Types: deb\nURIs: %s\nSuites: bullseye\nComponents: main\nSigned-By: %s\n' \
        "${uri:-http://deb.debian.org/debian}" "$keys" >"$d/bullseye.sources"
    local options=(-o "Dir::Etc::sourcelist=$d/bullseye.sources" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::Lists=$d/lists" -o "Dir::Cache=$d" -o "Dir::State::status=$d/status"
        -o APT::Sandbox::User=root)
    apt-get "${options[@]}" -qq update &&
        (cd "$d" && apt-get "${options[@]}" -qq download prometheus && dpkg -x prometheus_*.deb root) &&
        rm -rf "$d/lists" "$d/archives" "$d"/prometheus_*.deb
}
unpack >"$work/unpack.log" 2>&1 || { cat "$work/unpack.log"; exit 1; }

mkdir "$work/target"
echo 'up_and_well 1' >"$work/target/metrics"
run target python3 -m http.server --bind $target --directory "$work/target" 9100

cat >"$work/prometheus.yml" <<CONFIG
scrape_configs:
- job_name: shop
  scrape_interval: 500ms
  scrape_timeout: 500ms
  consul_sd_configs:
  - server: $at:8500
    services: [shop]
    tags: [edge]
    refresh_interval: 1s
  - server: $at:8500
    services: [missing]
    refresh_interval: 1s
- job_name: all
  scrape_interval: 1h
  consul_sd_configs:
  - server: $at:8500
    refresh_interval: 1s
CONFIG

start_agent $at dev1
run prometheus "$prometheus" "--config.file=$work/prometheus.yml" "--storage.tsdb.path=$work/tsdb" \
    "--web.listen-address=$ui:9090"
check 'a target is registered' register $at "{\"Name\": \"shop\", \"ID\": \"shop1\", \"Port\": 9100,
    \"Address\": \"$target\", \"Tags\": [\"edge\", \"v1\"], \"Meta\": {\"team\": \"blue\"}}"

# targets JOB EXPRESSION: whether the expression holds of the list of the job's active targets.
targets() {
    curl -s "http://$ui:9090/api/v1/targets" | python3 -c '
import json, sys
found = json.load(sys.stdin)["data"]["activeTargets"]
t = [x for x in found if x["scrapePool"] == sys.argv[1]]
d = t[0]["discoveredLabels"] if t else {}
sys.exit(not eval(sys.argv[2]))' "$@" 2>/dev/null
}
label() {
    check "$1" targets shop "d.get('__meta_consul_$1') == '$2'"
}
check 'it is up' within 30 targets shop "len(t) == 1 and t[0]['health'] == 'up'"
label address $at
label dc dc1
label node dev1
label service shop
label service_address $target
label service_id shop1
label service_port 9100
label tags ,edge,v1,
label service_metadata_team blue
label tagged_address_lan $at
check 'every service is found where none is named' within 15 targets all \
    "{x['discoveredLabels']['__meta_consul_service'] for x in t} == {'consul', 'shop'}"
check 'it is deregistered' deregister $at shop1
check 'and gone within 5 s' within 5 targets shop 'not t'
finish
