#!/bin/bash
# HAProxy balances over what SRV records say. usage: haproxy.sh AGENT_BINARY
. "$(dirname "$0")/lib.sh"
need haproxy haproxy
need curl curl
need python3 python3
at=127.118.3.1 servers=127.118.3.2 front=127.118.3.3

# Two servers that tell their names.
for port in 8081 8082; do
    mkdir "$work/$port"
    echo "server $port" >"$work/$port/index.html"
    run "server-$port" python3 -m http.server --bind $servers --directory "$work/$port" $port
done

cat >"$work/haproxy.cfg" <<CONFIG
global
    log stdout format raw local0
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
resolvers agent
    nameserver agent $at:8600
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 300ms
    timeout retry 300ms
    hold obsolete 0s
    hold nx 0s
frontend front
    bind $front:8080
    default_backend web
backend web
    balance roundrobin
    server-template web 4 _web._tcp.service.consul resolvers agent resolve-prefer ipv4 check inter 2s
CONFIG

start_agent $at dev1
for port in 8081 8082; do
    check "server $port is registered" register $at \
        "{\"Name\": \"web\", \"ID\": \"web-$port\", \"Address\": \"$servers\", \"Port\": $port}"
done
run haproxy haproxy -db -f "$work/haproxy.cfg"

# Prints who answers twenty requests.
sample() {
    local n
    for n in $(seq 20); do
        curl -s "http://$front:8080/"
    done | sort -u | paste -sd,
}
both() {
    [ "$(sample)" = 'server 8081,server 8082' ]
}
only() {
    [ "$(sample)" = "server $1" ]
}
check 'both are balanced' within 15 both
check 'one is deregistered' deregister $at web-8081
check 'and out soon' within 5 only 8082
check 'it is registered again' register $at \
    "{\"Name\": \"web\", \"ID\": \"web-8081\", \"Address\": \"$servers\", \"Port\": 8081}"
check 'and in again' within 15 both
finish
