//! The settings that have an effect, one row each.

use super::setting::Kind::{
    Bool, Check, Checks, Float, Int, Port, Service, Services, Span, SpanMap, Text, TextMap, Texts,
    Watches,
};
use super::setting::{Setting, works};

/// Settings that work.
#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    // Who this agent is.
    works("server", Bool, "Switches the agent to server mode.").flag("server"),
    works("bootstrap", Bool, "Lets this server elect itself at once.").flag("bootstrap"),
    works("bootstrap_expect", Int, "Servers to see before the first election.")
        .flag("bootstrap-expect"),
    works("node_name", Text, "Name of this node, unique in the cluster. Default: host name.")
        .flag("node"),
    works("node_id", Text, "ID of this node; by default random and kept in the data directory.")
        .flag("node-id"),
    works("node_meta", TextMap, "A pair `key:value` about this node. May be repeated.")
        .flag("node-meta").reloads(),
    works("datacenter", Text, "Datacenter of the agent. Default: dc1.").flag("datacenter"),
    works("data_dir", Text, "Directory in which state is kept.").flag("data-dir"),
    works("pid_file", Text, "File that is given the process ID.").flag("pid-file"),

    // Addresses and ports.
    works("bind_addr", Text, "Address that cluster communication binds to.").flag("bind"),
    works("advertise_addr", Text, "Address that other members are told.").flag("advertise"),
    works("advertise_addr_ipv4", Text, "IPv4 address that other members are told."),
    works("advertise_addr_ipv6", Text, "IPv6 address that other members are told."),
    works("advertise_addr_wan", Text, "Address that the WAN pool is told.").flag("advertise-wan"),
    works("serf_lan", Text, "Address that LAN gossip binds to.").flag("serf-lan-bind"),
    works("client_addr", Text, "Addresses that HTTP and DNS bind to, space between.")
        .flag("client"),
    works("addresses.http", Text, "Addresses that HTTP binds to, `unix://` too."),
    works("addresses.https", Text, "Addresses that HTTPS binds to, `unix://` too."),
    works("addresses.dns", Text, "Addresses that DNS binds to."),
    works("ports.dns", Port, "Port of DNS, -1 for none. Default: 8600.").flag("dns-port"),
    works("ports.http", Port, "Port of HTTP, -1 for none. Default: 8500.").flag("http-port"),
    works("ports.https", Port, "Port of HTTPS, -1 for none. Default: -1.").flag("https-port"),
    works("ports.serf_lan", Port, "Port of LAN gossip. Default: 8301.").flag("serf-lan-port"),
    works("ports.serf_wan", Port, "Port of WAN gossip, -1 for none. Default: 8302.")
        .flag("serf-wan-port"),
    works("ports.server", Port, "Port of RPC. Default: 8300.").flag("server-port"),
    works("unix_sockets.user", Text, "Owner of Unix sockets."),
    works("unix_sockets.group", Text, "Group of Unix sockets."),
    works("unix_sockets.mode", Text, "Mode of Unix sockets, in octal."),
    works("tagged_addresses", TextMap, "More addresses of the node, by tag."),

    // Membership.
    works("start_join", Texts, "Member to join at start; fails if none answers. May be repeated.")
        .flag("join"),
    works("retry_join", Texts, "Member to join, tried until one answers. May be repeated.")
        .flag("retry-join"),
    works("retry_interval", Span, "Time between tries to join. Default: 30s.")
        .flag("retry-interval"),
    works("retry_max", Int, "Tries to join before giving up, 0 for no end.").flag("retry-max"),
    works("rejoin_after_leave", Bool, "Joins the old members again after a leave.")
        .flag("rejoin"),
    works("encrypt", Text, "Key of encrypted gossip: 16, 24 or 32 bytes, in base64.")
        .flag("encrypt"),
    works("encrypt_verify_incoming", Bool, "Drops gossip that is not encrypted. Default: true."),
    works("encrypt_verify_outgoing", Bool, "Sends gossip encrypted only. Default: true."),
    works("disable_keyring_file", Bool, "Keeps no keyring file: the key is that of -encrypt.")
        .flag("disable-keyring-file"),
    works("leave_on_terminate", Bool, "Leaves at SIGTERM. Default: true for clients."),
    works("skip_leave_on_interrupt", Bool, "Does not leave at SIGINT. Default: true for servers."),
    works("reconnect_timeout", Span, "Time until a failed member is forgotten. Default: 72h."),
    works("gossip_lan.gossip_nodes", Int, "Members reached by a round of gossip."),
    works("gossip_lan.gossip_interval", Span, "Time between rounds of gossip."),
    works("gossip_lan.probe_interval", Span, "Time between probes."),
    works("gossip_lan.probe_timeout", Span, "Time for a probe's answer."),
    works("gossip_lan.suspicion_mult", Int, "Factor on the time of suspicion."),
    works("gossip_lan.retransmit_mult", Int, "Factor on retransmissions."),
    works("gossip_lan.view", Text, "Members known: full, or partial for clients of large pools."),

    // Consensus.
    works("performance.raft_multiplier", Int, "Factor on raft's times, 1 to 10. Default: 1."),
    works("performance.leave_drain_time", Span, "Time for requests to drain at a leave."),
    works("performance.rpc_hold_timeout", Span, "Time that RPC waits for a leader."),
    works("protocol", Int, "Version of gossip, 2 or 3; changes nothing.").flag("protocol"),
    works("raft_protocol", Int, "Version of raft, up to 3; changes nothing.").flag("raft-protocol"),
    works("raft_snapshot_threshold", Int, "Entries between snapshots."),
    works("raft_snapshot_interval", Span, "Time between looks whether a snapshot is due."),
    works("raft_trailing_logs", Int, "Entries kept behind a snapshot."),
    works("autopilot.cleanup_dead_servers", Bool, "Removes dead servers when new ones come."),
    works("autopilot.min_quorum", Int, "Servers below which none is removed."),
    works("autopilot.last_contact_threshold", Span, "Silence that a healthy server may have."),
    works("autopilot.max_trailing_logs", Int, "Entries that a healthy server may lag."),
    works(
        "autopilot.server_stabilization_time",
        Span,
        "Time that a server must be healthy before it votes.",
    ),
    works("session_ttl_min", Span, "Shortest session TTL."),

    // Requests.
    works("default_query_time", Span, "Blocking time when a query gives none. Default: 300s.")
        .flag("default-query-time"),
    works("max_query_time", Span, "Longest blocking time. Default: 600s.").flag("max-query-time"),
    works("discovery_max_stale", Span, "Age up to which any server answers discovery."),
    works("limits.http_max_conns_per_client", Int, "HTTP connections of an address.").reloads(),
    works("limits.https_handshake_timeout", Span, "Time for a TLS handshake. Default: 5s."),
    works("limits.rpc_max_conns_per_client", Int, "RPC connections from one address."),
    works("limits.rpc_rate", Float, "Requests to servers a second, -1 for no bound.").reloads(),
    works("limits.rpc_max_burst", Int, "Such requests at once. Default: 1000.").reloads(),
    works("limits.rpc_handshake_timeout", Span, "Time for an RPC connection's first byte."),
    works("limits.kv_max_value_size", Int, "Bytes of a key's value."),
    works("limits.txn_max_req_len", Int, "Bytes of a transaction."),
    works("http_config.block_endpoints", Texts, "Path prefixes that are refused."),
    works("http_config.allow_write_http_from", Texts,
        "Network that may write, in CIDR form. May be repeated.").flag("allow-write-http-from"),
    works("http_config.response_headers", TextMap, "Headers added to every answer."),
    works("translate_wan_addrs", Bool, "Said in answers; one datacenter needs no more."),
    works("http_config.use_cache", Bool, "Heeds `?cached`. Default: true."),
    works("ui", Bool, "Serves the web interface.").flag("ui"),
    works("ui_config.enabled", Bool, "Serves the web interface."),
    works("ui_dir", Text, "Directory with a web interface of one's own.").flag("ui-dir"),
    works("ui_config.dir", Text, "Directory with a web interface of one's own."),
    works("ui_content_path", Text, "Path of the web interface. Default: /ui/.")
        .flag("ui-content-path"),
    works("ui_config.content_path", Text, "Path of the web interface. Default: /ui/."),
    works("disable_http_unprintable_char_filter", Bool, "Takes paths that do not print."),

    // TLS of the HTTP API.
    works("cert_file", Text, "Certificate of HTTPS, and what leads to its authority.").reloads(),
    works("key_file", Text, "Private key of the certificate.").reloads(),
    works("ca_file", Text, "Authorities that certificates of clients come from.").reloads(),
    works("ca_path", Text, "Directory of such authorities.").reloads(),
    works("tls_min_version", Text, "Oldest TLS spoken: tls12 or tls13. Default: tls12.").reloads(),
    works("tls_cipher_suites", Text, "Cipher suites of TLS 1.2, comma between.").reloads(),
    works("tls_prefer_server_cipher_suites", Bool, "The agent's order counts.").reloads(),
    works("verify_incoming", Bool, "Clients of HTTPS need a certificate; clients only.").reloads(),
    works("enable_agent_tls_for_checks", Bool, "Checks use the certificate and authorities.")
        .reloads(),
    works("server_name", Text, "Name that checks then expect. Default: the node's.").reloads(),
    works("verify_incoming_https", Bool, "Clients of HTTPS need a certificate.").reloads(),

    // DNS.
    works("domain", Text, "Domain that DNS answers for. Default: consul.").flag("domain"),
    works("alt_domain", Text, "Second domain that DNS answers for.").flag("alt-domain"),
    works("recursors", Texts, "DNS server for other names. May be repeated.").flag("recursor"),
    works("dns_config.allow_stale", Bool, "Lets any server answer."),
    works("dns_config.max_stale", Span, "Age beyond which the leader is asked."),
    works("dns_config.use_cache", Bool, "Answers from the agent's cache."),
    works("dns_config.cache_max_age", Span, "Age of cached answers, 0 for any. Default: 0."),
    works("dns_config.node_ttl", Span, "TTL of nodes."),
    works("dns_config.service_ttl", SpanMap, "TTL of services by name or `prefix*`."),
    works("dns_config.only_passing", Bool, "Leaves out instances in warning state."),
    works("dns_config.udp_answer_limit", Int, "Records in a UDP answer."),
    works("dns_config.a_record_limit", Int, "Address records in any answer."),
    works("dns_config.enable_truncate", Bool, "Marks answers that were cut."),
    works("dns_config.disable_compression", Bool, "Writes names in full."),
    works("dns_config.enable_additional_node_meta_txt", Bool, "Adds node metadata as TXT."),
    works("dns_config.recursor_timeout", Span, "Time for one recursor."),
    works("dns_config.soa.refresh", Int, "SOA refresh, in seconds."),
    works("dns_config.soa.retry", Int, "SOA retry, in seconds."),
    works("dns_config.soa.expire", Int, "SOA expire, in seconds."),
    works("dns_config.soa.min_ttl", Int, "SOA minimum TTL, in seconds."),

    // Services and checks.
    works("service", Service, "A service of this node.").reloads(),
    works("services", Services, "Services of this node.").reloads(),
    works("check", Check, "A check of this node.").reloads(),
    works("checks", Checks, "Checks of this node.").reloads(),
    works("enable_script_checks", Bool, "Allows script checks, from the API too.")
        .flag("enable-script-checks"),
    works("enable_local_script_checks", Bool, "Allows script checks from configuration files.")
        .flag("enable-local-script-checks"),
    works("check_update_interval", Span, "Delay of a check's changed output. Default: 5m."),
    works("check_output_max_size", Int, "Bytes of a check's output kept. Default: 4096.")
        .flag("check_output_max_size"),
    works("discard_check_output", Bool, "Throws the output of checks away."),
    works("disable_remote_exec", Bool, "Refuses `reeve exec`. Default: true."),
    works("watches", Watches, "Views of the cluster, and what is done when they change.").reloads(),

    // Coordinates.
    works("disable_coordinates", Bool, "Switches network coordinates off."),
    works("sync_coordinate_interval_min", Span, "Time between updates at least. Default: 15s."),

    // Metrics.
    works("telemetry.disable_hostname", Bool, "Leaves the host's name out of gauges."),
    works("telemetry.metrics_prefix", Text, "Prefix of all names. Default: consul."),
    works("telemetry.prefix_filter", Texts, "Starts of names shown (`+`) or hidden (`-`)."),
    works("telemetry.filter_default", Bool, "Shows names without a filter. Default: true."),
    works("telemetry.prometheus_retention_time", Span, "Above 0, Prometheus is answered."),
    works("telemetry.statsd_address", Text, "A statsd, `host:port`."),
    works("telemetry.statsite_address", Text, "A statsite, `host:port`."),
    works("telemetry.dogstatsd_addr", Text, "A dogstatsd, `host:port`."),
    works("telemetry.dogstatsd_tags", Texts, "Tags on each line to dogstatsd."),

    // Logs.
    works("log_level", Text, "Least level logged: trace, debug, info, warn or err.")
        .flag("log-level").reloads(),
    works("log_json", Bool, "Logs JSON objects.").flag("log-json"),
    works("enable_syslog", Bool, "Logs to the system's log too.").flag("syslog"),
    works("syslog_facility", Text, "Facility of lines there. Default: LOCAL0."),
    works("log_file", Text, "File, or start of a path, to which logs go too.").flag("log-file"),
    works("log_rotate_bytes", Int, "Bytes after which the log file is changed.")
        .flag("log-rotate-bytes"),
    works("log_rotate_duration", Span, "Time after which the log file is changed. Default: 24h.")
        .flag("log-rotate-duration"),
    works("log_rotate_max_files", Int, "Old log files kept, 0 for all.")
        .flag("log-rotate-max-files"),
];
