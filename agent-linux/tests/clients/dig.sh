#!/bin/bash
# BIND's dig asks for every form of name. usage: dig.sh AGENT_BINARY
. "$(dirname "$0")/lib.sh"
need dig bind9-dnsutils
need curl curl
at=127.118.1.1

ask() {
    dig @$at -p 8600 +short +tries=1 +timeout=3 "$@"
}

# Prints status and flags of an answer.
status() {
    dig @$at -p 8600 +tries=1 +timeout=3 "$@" |
        sed -nE 's/.*status: ([A-Z]+),.*/\1/p; s/^;; flags: ([a-z ]+);.*ANSWER: ([0-9]+), AUTHORITY: ([0-9]+).*/\1 \2 \3/p' |
        paste -sd' '
}

start_agent $at dev1 -alt-domain=edge.example
check 'a service is registered' register $at '{"Name": "web", "ID": "web1", "Port": 18080,
    "Address": "127.0.0.1", "Tags": ["v1.2", "Prod"]}'
check 'another is' register $at '{"Name": "db", "Port": 5432, "Meta": {"k": "v"}}'
check 'an external node is' curl -sf -o /dev/null -X PUT "http://$at:8500/v1/catalog/register" -d '{
    "Node": "ext", "Address": "www.example.com", "Service": {"Service": "shop", "Port": 443}}'
known() {
    ask "$1.service.consul" | grep -q '^[^;]'
}
check 'they are known' within 5 known web
check 'all of them' within 5 known db

same 'SRV' '1 1 18080 7f000001.addr.dc1.consul.' ask web.service.consul SRV
same 'A' 127.0.0.1 ask web.service.consul
same 'tag with a dot' 127.0.0.1 ask v1.2.web.service.consul
same 'tag in another case' 127.0.0.1 ask pROD.web.service.consul
same 'a tag that nobody has' '' ask v9.web.service.consul
same 'RFC 2782' '1 1 18080 7f000001.addr.dc1.consul.' ask _web._tcp.service.consul SRV
same 'RFC 2782 with a tag' '1 1 18080 7f000001.addr.dc1.consul.' ask _web._prod.service.consul SRV
same 'RFC 2782 without the keyword' '1 1 18080 7f000001.addr.dc1.consul.' ask _web._tcp.consul SRV
same 'with the datacentre' 127.0.0.1 ask web.service.dc1.consul
same 'over TCP' 127.0.0.1 ask +tcp web.service.consul
same 'in the second domain' 127.0.0.1 ask web.service.edge.example
same 'the target of an SRV' 127.0.0.1 ask 7f000001.addr.dc1.consul
same 'an SRV at the node' '1 1 5432 dev1.node.dc1.consul.' ask db.service.consul SRV
same 'a node' $at ask dev1.node.consul
same 'a node in another case' $at ask DEV1.Node.dc1.CONSUL
same 'PTR of a node' dev1.node.dc1.consul. ask -x $at
same 'PTR of a service' web.service.dc1.consul. ask -x 127.0.0.1
same 'an alias' www.example.com. ask shop.service.consul
same 'SOA' 'ns.consul. hostmaster.consul.' sh -c \
    "dig @$at -p 8600 +short consul SOA | cut -d' ' -f1,2"
same 'timers of the SOA' '3600 600 86400 0' sh -c "dig @$at -p 8600 +short consul SOA | cut -d' ' -f4-"
same 'NS' dev1.node.dc1.consul. ask consul NS
same 'metadata' '"consul-network-segment="' ask dev1.node.consul TXT

same 'flags of an answer' 'NOERROR qr aa rd 1 0' status web.service.consul
same 'no such service' 'NXDOMAIN qr aa rd 0 1' status zz.service.consul
same 'no such datacentre' 'NXDOMAIN qr aa rd 0 1' status web.service.dc9.consul
same 'no such kind of name' 'NXDOMAIN qr aa rd 0 1' status foo.consul
same 'no such data' 'NOERROR qr aa rd 0 1' status web.service.consul AAAA
same 'no such data of a node' 'NOERROR qr aa rd 0 0' status dev1.node.consul SRV
case $(status www.example.com) in
    SERVFAIL* | REFUSED*) passed=$((passed + 1)) ;;
    *) failed=$((failed + 1)); echo 'not ok: a foreign name without recursors fails' ;;
esac
check 'the question is echoed as spelt' grep -q '^WeB.Service.Consul.' \
    <(dig @$at -p 8600 +noall +answer WeB.Service.Consul)
check 'no transfers' grep -q 'Transfer failed' <(dig @$at -p 8600 web.service.consul AXFR)

for n in $(seq 10); do
    register $at "{\"Name\": \"many\", \"ID\": \"many$n\", \"Port\": $n, \"Address\": \"10.0.0.$n\"}"
done
count() {
    [ "$(ask "${@:2}" | wc -l)" = "$1" ]
}
check 'three answers without EDNS' within 5 count 3 +noedns many.service.consul
check 'all of them with EDNS' within 5 count 10 many.service.consul
check 'all of them over TCP' within 5 count 10 +tcp +noedns many.service.consul
check 'a critical check removes an instance' curl -sf -X PUT \
    "http://$at:8500/v1/agent/check/register" \
    -d '{"Name": "c", "ServiceID": "many1", "TTL": "1h", "Status": "critical"}'
check 'at once' within 5 count 9 many.service.consul
finish
