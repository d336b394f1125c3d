#!/bin/bash
# dnsmasq passes the domain on to the agent. usage: dnsmasq.sh AGENT_BINARY
. "$(dirname "$0")/lib.sh"
need dig bind9-dnsutils
need dnsmasq dnsmasq-base
need curl curl
at=127.118.2.1 through=127.118.2.2

ask() {
    dig @$through -p 5353 +short +tries=1 +timeout=3 "$@"
}

# Whether there is an answer; dig's complaints start with semicolons.
answers() {
    ask "$@" | grep -q '^[^;]'
}

start_agent $at dev1
check 'a service is registered' register $at '{"Name": "web", "Port": 18080, "Address": "127.0.0.1"}'
run dnsmasq "$(command -v dnsmasq || echo /usr/sbin/dnsmasq)" --keep-in-foreground --port=5353 \
    --listen-address=$through --bind-interfaces --conf-file=/dev/null --no-resolv --no-hosts \
    --pid-file= --user= --cache-size=0 "--server=/consul/$at#8600" "--rev-server=127.0.0.0/8,$at#8600"
check 'it answers' within 10 answers web.service.consul

same 'SRV' '1 1 18080 7f000001.addr.dc1.consul.' ask web.service.consul SRV
same 'A' 127.0.0.1 ask web.service.consul
same 'a node' $at ask dev1.node.consul
same 'over TCP' 127.0.0.1 ask +tcp web.service.consul
same 'PTR' dev1.node.dc1.consul. ask -x $at
check 'no such service' grep -q 'status: NXDOMAIN' <(dig @$through -p 5353 zz.service.consul)
check 'it is deregistered' deregister $at web
gone() {
    ! answers web.service.consul
}
check 'and gone' within 5 gone
finish
