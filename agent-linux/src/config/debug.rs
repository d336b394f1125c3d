//! The configuration as `agent/self` and the start-up banner show it: Consul's names, no secrets.

use std::net::IpAddr;

use agent_core::time::Duration;
use serde_json::{Map, Value, json};

use super::field::go_text;
use super::runtime::{Config, Listen, LogLevel};
use crate::version;

/// A part of the shown configuration.
type Part = Vec<(&'static str, Value)>;

impl Config {
    /// Shows the configuration under Consul's names; secrets read `hidden`.
    pub fn debug_config(&self, node_id: &str) -> Map<String, Value> {
        let parts = [
            self.show_identity(node_id),
            self.show_network(),
            self.show_membership(),
            self.show_raft(),
            self.show_edges(),
            self.show_dns(),
            self.show_health(),
            self.show_log(),
            show_absent(&self.datacenter),
        ];
        let pair = |(name, value): (&str, Value)| (name.to_owned(), value);
        parts.into_iter().flatten().map(pair).collect()
    }

    /// Writes what Consul prints at start.
    pub fn banner(&self, node_id: &str) -> String {
        let port = |port: Option<u16>| port.map_or(-1, i32::from);
        let segment = if self.server { "<all>" } else { "" };
        let clients: Vec<String> = self.client_addrs.iter().map(IpAddr::to_string).collect();
        let Self { datacenter, server, ports, node_name, .. } = self;
        let lines = [
            ("Version", format!("'{}' (Reeve {})", version::CONSUL, version::REEVE)),
            ("Node ID", format!("'{node_id}'")),
            ("Node name", format!("'{node_name}'")),
            ("Datacenter", format!("'{datacenter}' (Segment: '{segment}')")),
            ("Server", format!("{server} (Bootstrap: {})", self.bootstrap)),
            (
                "Client Addr",
                format!(
                    "[{}] (HTTP: {}, HTTPS: -1, gRPC: -1, DNS: {})",
                    clients.join(" "),
                    port(ports.http),
                    port(ports.dns)
                ),
            ),
            (
                "Cluster Addr",
                format!(
                    "{} (LAN: {}, WAN: {})",
                    self.advertise_addr,
                    ports.serf_lan,
                    port(ports.serf_wan)
                ),
            ),
            ("Encrypt", "Gossip: false, TLS-Outgoing: false, TLS-Incoming: false".to_owned()),
        ];
        lines.iter().map(|(name, value)| format!("{name:>18}: {value}\n")).collect()
    }

    fn show_identity(&self, node_id: &str) -> Part {
        vec![
            ("ServerMode", json!(self.server)),
            ("Bootstrap", json!(self.bootstrap)),
            ("BootstrapExpect", json!(self.bootstrap_expect)),
            ("DevMode", json!(self.dev)),
            ("NodeName", json!(self.node_name)),
            ("NodeID", json!(node_id)),
            ("NodeMeta", json!(self.node_meta)),
            ("Datacenter", json!(self.datacenter)),
            ("PrimaryDatacenter", json!(self.datacenter)),
            ("DataDir", json!(path(self.data_dir.as_ref()))),
            ("PidFile", json!(path(self.pid_file.as_ref()))),
            ("Version", json!(version::CONSUL)),
            ("VersionPrerelease", json!("")),
            ("Revision", json!("")),
        ]
    }

    fn show_network(&self) -> Part {
        let p = &self.ports;
        let tcp = |ip: IpAddr, port: u16| format!("tcp://{}", std::net::SocketAddr::new(ip, port));
        let wan = p.serf_wan.unwrap_or(0);
        vec![
            ("BindAddr", json!(self.bind_addr)),
            ("AdvertiseAddrLAN", json!(self.advertise_addr)),
            ("AdvertiseAddrWAN", json!(self.advertise_addr_wan)),
            ("ClientAddrs", json!(self.client_addrs)),
            ("RPCAdvertiseAddr", json!(tcp(self.advertise_addr, p.server))),
            ("RPCBindAddr", json!(tcp(self.bind_addr, p.server))),
            ("SerfAdvertiseAddrLAN", json!(tcp(self.advertise_addr, p.serf_lan))),
            ("SerfAdvertiseAddrWAN", json!(tcp(self.advertise_addr_wan, wan))),
            ("SerfBindAddrLAN", json!(tcp(self.serf_lan_bind, p.serf_lan))),
            ("SerfBindAddrWAN", json!(tcp(self.bind_addr, wan))),
            ("SerfPortLAN", json!(p.serf_lan)),
            ("SerfPortWAN", json!(p.serf_wan.map_or(-1, i32::from))),
            ("ServerPort", json!(p.server)),
            ("HTTPPort", json!(p.http.map_or(-1, i32::from))),
            ("DNSPort", json!(p.dns.map_or(-1, i32::from))),
            ("HTTPAddrs", self.http_listen.iter().map(show_listen).collect()),
            ("DNSAddrs", self.show_dns_addrs()),
            ("TaggedAddresses", json!(self.tagged_addresses)),
            ("TranslateWANAddrs", json!(false)),
            ("UnixSocketUser", json!(number(self.unix_sockets.user))),
            ("UnixSocketGroup", json!(number(self.unix_sockets.group))),
            (
                "UnixSocketMode",
                json!(self.unix_sockets.mode.map(|m| format!("{m:o}")).unwrap_or_default()),
            ),
        ]
    }

    fn show_dns_addrs(&self) -> Value {
        let of = |scheme: &'static str| {
            self.dns_listen.iter().map(move |address| format!("{scheme}://{address}"))
        };
        of("tcp").chain(of("udp")).collect()
    }

    fn show_membership(&self) -> Part {
        let g = &self.gossip_lan;
        vec![
            ("StartJoinAddrsLAN", json!(self.start_join)),
            ("RetryJoinLAN", json!(self.retry_join)),
            ("RetryJoinIntervalLAN", span(self.retry_interval)),
            ("RetryJoinMaxAttemptsLAN", json!(self.retry_max)),
            ("RejoinAfterLeave", json!(self.rejoin_after_leave)),
            ("LeaveOnTerm", json!(self.leave_on_terminate)),
            ("SkipLeaveOnInt", json!(self.skip_leave_on_interrupt)),
            ("LeaveDrainTime", span(self.leave_drain_time)),
            ("ReconnectTimeoutLAN", span(self.reconnect_timeout)),
            ("DisableCoordinates", json!(false)),
            ("GossipLANGossipInterval", span(g.gossip_interval)),
            ("GossipLANGossipNodes", json!(g.gossip_nodes)),
            ("GossipLANProbeInterval", span(g.probe_interval)),
            ("GossipLANProbeTimeout", span(g.probe_timeout)),
            ("GossipLANRetransmitMult", json!(g.retransmit_mult)),
            ("GossipLANSuspicionMult", json!(g.suspicion_mult)),
        ]
    }

    fn show_raft(&self) -> Part {
        let (r, a) = (&self.raft, &self.autopilot);
        let factor = u64::from(r.multiplier);
        vec![
            ("ConsulRaftElectionTimeout", span(Duration::from_secs(1).times(factor))),
            ("ConsulRaftHeartbeatTimeout", span(Duration::from_secs(1).times(factor))),
            ("ConsulRaftLeaderLeaseTimeout", span(Duration::from_millis(500).times(factor))),
            ("RaftProtocol", json!(3)),
            ("RaftSnapshotInterval", span(Duration::ZERO)),
            ("RaftSnapshotThreshold", json!(r.snapshot_threshold)),
            ("RaftTrailingLogs", json!(r.trailing_logs)),
            ("RPCHoldTimeout", span(self.rpc_hold_timeout)),
            ("RPCProtocol", json!(2)),
            ("SessionTTLMin", span(self.session_ttl_min)),
            ("AutopilotCleanupDeadServers", json!(a.cleanup_dead_servers)),
            ("AutopilotLastContactThreshold", span(Duration::from_millis(200))),
            ("AutopilotMaxTrailingLogs", json!(250)),
            ("AutopilotMinQuorum", json!(a.min_quorum)),
            ("AutopilotServerStabilizationTime", span(Duration::from_secs(10))),
        ]
    }

    fn show_edges(&self) -> Part {
        let networks = self.http.allow_write_from.iter().map(ToString::to_string);
        vec![
            ("DefaultQueryTime", span(self.default_query_time)),
            ("MaxQueryTime", span(self.max_query_time)),
            ("DiscoveryMaxStale", span(self.discovery_max_stale)),
            ("HTTPMaxConnsPerClient", json!(self.limits.http_max_conns_per_client)),
            ("KVMaxValueSize", json!(self.limits.kv_max_value_size)),
            ("HTTPBlockEndpoints", json!(self.http.block_endpoints)),
            ("AllowWriteHTTPFrom", networks.collect()),
            ("HTTPResponseHeaders", json!(self.http.response_headers)),
            ("EnableUI", json!(self.ui)),
            ("UIDir", json!("")),
            ("UIContentPath", json!("/ui/")),
            ("EnableDebug", json!(false)),
        ]
    }

    fn show_dns(&self) -> Part {
        let d = &self.dns;
        let ttl = |(name, ttl): (&String, &Duration)| (name.clone(), span(*ttl));
        let recursors = d.recursors.iter().map(ToString::to_string);
        vec![
            ("DNSDomain", json!(format!("{}.", d.domain))),
            ("DNSAltDomain", json!(d.alt_domain)),
            ("DNSAllowStale", json!(d.allow_stale)),
            ("DNSMaxStale", span(d.max_stale)),
            ("DNSNodeTTL", span(d.node_ttl)),
            ("DNSServiceTTL", Value::Object(d.service_ttl.iter().map(ttl).collect())),
            ("DNSOnlyPassing", json!(d.only_passing)),
            ("DNSUDPAnswerLimit", json!(d.udp_answer_limit)),
            ("DNSARecordLimit", json!(d.a_record_limit)),
            ("DNSEnableTruncate", json!(d.enable_truncate)),
            ("DNSDisableCompression", json!(d.disable_compression)),
            ("DNSNodeMetaTXT", json!(d.node_meta_txt)),
            ("DNSRecursorTimeout", span(d.recursor_timeout)),
            ("DNSRecursors", recursors.collect()),
            (
                "DNSSOA",
                json!({"Refresh": d.soa.refresh, "Retry": d.soa.retry,
                       "Expire": d.soa.expire, "Minttl": d.soa.min_ttl}),
            ),
        ]
    }

    fn show_health(&self) -> Part {
        let mut services: Vec<Value> = self.services.iter().map(|s| s.to_json()).collect();
        let mut checks: Vec<Value> = self.checks.iter().map(|c| c.to_json()).collect();
        services.iter_mut().chain(&mut checks).for_each(hide_tokens);
        vec![
            ("Services", Value::Array(services)),
            ("Checks", Value::Array(checks)),
            ("EnableRemoteScriptChecks", json!(self.enable_script_checks)),
            ("EnableLocalScriptChecks", json!(self.enable_local_script_checks)),
            ("CheckUpdateInterval", span(self.check_update_interval)),
            ("CheckOutputMaxSize", json!(self.check_output_max_size)),
            ("DiscardCheckOutput", json!(self.discard_check_output)),
            ("DisableRemoteExec", json!(true)),
        ]
    }

    fn show_log(&self) -> Part {
        let log = &self.log;
        vec![
            ("LogLevel", json!(log.level.name())),
            ("LogJSON", json!(log.json)),
            ("LogFile", json!(path(log.file.as_ref()))),
            ("LogRotateBytes", json!(log.rotate_bytes)),
            ("LogRotateDuration", span(log.rotate_duration)),
            ("LogRotateMaxFiles", json!(log.rotate_max_files)),
        ]
    }
}

impl LogLevel {
    /// Names the level as Consul's configuration does.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "ERR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// Shows what clients look for but this build does not have.
fn show_absent(datacenter: &str) -> Part {
    vec![
        ("ACLsEnabled", json!(false)),
        ("ACLDatacenter", json!(datacenter)),
        ("ACLDefaultPolicy", json!("allow")),
        ("ACLDownPolicy", json!("extend-cache")),
        ("ACLToken", json!("hidden")),
        ("ACLMasterToken", json!("hidden")),
        ("ACLAgentToken", json!("hidden")),
        ("ACLAgentMasterToken", json!("hidden")),
        ("ACLReplicationToken", json!("hidden")),
        ("ConnectEnabled", json!(false)),
        ("EncryptKey", json!("hidden")),
        ("EncryptVerifyIncoming", json!(false)),
        ("EncryptVerifyOutgoing", json!(false)),
        ("GRPCAddrs", json!([])),
        ("GRPCPort", json!(-1)),
        ("HTTPSAddrs", json!([])),
        ("HTTPSPort", json!(-1)),
        ("SegmentName", json!("")),
        ("Segments", json!([])),
        ("VerifyIncoming", json!(false)),
        ("VerifyIncomingHTTPS", json!(false)),
        ("VerifyIncomingRPC", json!(false)),
        ("VerifyOutgoing", json!(false)),
        ("VerifyServerHostname", json!(false)),
        ("Watches", json!([])),
    ]
}

/// Replaces every token in a definition.
fn hide_tokens(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "Token" {
                    *value = json!("hidden");
                } else {
                    hide_tokens(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_tokens),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Shows where an edge listens.
fn show_listen(listen: &Listen) -> Value {
    match listen {
        Listen::Tcp(address) => json!(format!("tcp://{address}")),
        Listen::Unix(path) => json!(format!("unix://{}", path.display())),
    }
}

/// Shows a duration.
fn span(span: Duration) -> Value {
    Value::String(go_text(span))
}

/// Shows a path, nothing for none.
fn path(path: Option<&std::path::PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// Shows an ID, nothing for none.
fn number(id: Option<u32>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}
