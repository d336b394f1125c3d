//! The configuration as `agent/self` and the start-up banner show it: Consul's names, no secrets.

use std::net::IpAddr;

use agent_core::time::Duration;
use serde_json::{Map, Value, json};

use super::field::go_text;
use super::runtime::{Config, Listen, LogLevel, TlsVersion};
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
            self.show_tls(),
            self.show_dns(),
            self.show_health(),
            self.show_log(),
            self.show_telemetry(),
            show_absent(&self.datacenter),
            show_absent_mesh(),
            show_fixed(),
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
                    "[{}] (HTTP: {}, HTTPS: {}, gRPC: -1, DNS: {})",
                    clients.join(" "),
                    port(ports.http),
                    port(ports.https),
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
            (
                "Encrypt",
                format!(
                    "Gossip: {}, TLS-Outgoing: false, TLS-Incoming: false",
                    self.encrypt.is_some()
                ),
            ),
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
            ("HTTPSPort", json!(p.https.map_or(-1, i32::from))),
            ("DNSPort", json!(p.dns.map_or(-1, i32::from))),
            ("HTTPAddrs", self.http_listen.iter().map(show_listen).collect()),
            ("HTTPSAddrs", self.https_listen.iter().map(show_listen).collect()),
            ("DNSAddrs", self.show_dns_addrs()),
            ("TaggedAddresses", json!(self.tagged_addresses)),
            ("TranslateWANAddrs", json!(self.translate_wan_addrs)),
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
            ("DisableCoordinates", json!(self.disable_coordinates)),
            ("DisableKeyringFile", json!(self.disable_keyring_file)),
            ("EncryptKey", json!("hidden")),
            ("EncryptVerifyIncoming", json!(self.encrypt_verify_incoming)),
            ("EncryptVerifyOutgoing", json!(self.encrypt_verify_outgoing)),
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
            ("RaftSnapshotInterval", span(r.snapshot_interval)),
            ("RaftSnapshotThreshold", json!(r.snapshot_threshold)),
            ("RaftTrailingLogs", json!(r.trailing_logs)),
            ("RPCHoldTimeout", span(self.rpc_hold_timeout)),
            ("RPCProtocol", json!(2)),
            ("SessionTTLMin", span(self.session_ttl_min)),
            ("AutopilotCleanupDeadServers", json!(a.cleanup_dead_servers)),
            ("AutopilotLastContactThreshold", span(a.last_contact_threshold)),
            ("AutopilotMaxTrailingLogs", json!(a.max_trailing_logs)),
            ("AutopilotMinQuorum", json!(a.min_quorum)),
            ("AutopilotServerStabilizationTime", span(a.server_stabilization_time)),
        ]
    }

    fn show_edges(&self) -> Part {
        let networks = self.http.allow_write_from.iter().map(ToString::to_string);
        vec![
            ("DefaultQueryTime", span(self.default_query_time)),
            ("MaxQueryTime", span(self.max_query_time)),
            ("DiscoveryMaxStale", span(self.discovery_max_stale)),
            ("HTTPMaxConnsPerClient", json!(self.limits.http_max_conns_per_client)),
            ("HTTPSHandshakeTimeout", span(self.limits.https_handshake_timeout)),
            ("RPCMaxConnsPerClient", json!(self.limits.rpc_max_conns_per_client)),
            ("RPCHandshakeTimeout", span(self.limits.rpc_handshake_timeout)),
            ("RPCRateLimit", json!(self.limits.rpc_rate)),
            ("RPCMaxBurst", json!(self.limits.rpc_max_burst)),
            ("KVMaxValueSize", json!(self.limits.kv_max_value_size)),
            ("TxnMaxReqLen", json!(self.limits.txn_max_req_len)),
            ("HTTPBlockEndpoints", json!(self.http.block_endpoints)),
            ("AllowWriteHTTPFrom", networks.collect()),
            ("HTTPResponseHeaders", json!(self.http.response_headers)),
            ("HTTPUseCache", json!(self.http.use_cache)),
            ("EnableUI", json!(self.ui.as_ref().is_some_and(|ui| ui.dir.is_none()))),
            ("UIDir", json!(path(self.ui.as_ref().and_then(|ui| ui.dir.as_ref())))),
            ("UIContentPath", json!(self.ui.as_ref().map_or("/ui/", |ui| &*ui.content_path))),
            ("DisableHTTPUnprintableCharFilter", json!(!self.http.printable_only)),
            ("EnableDebug", json!(false)),
        ]
    }

    fn show_tls(&self) -> Part {
        let t = &self.tls;
        let version = match t.min_version {
            TlsVersion::Tls12 => "tls12",
            TlsVersion::Tls13 => "tls13",
        };
        vec![
            ("CAFile", json!(path(t.ca_file.as_ref()))),
            ("CAPath", json!(path(t.ca_path.as_ref()))),
            ("CertFile", json!(path(t.cert_file.as_ref()))),
            ("KeyFile", json!("hidden")),
            ("TLSMinVersion", json!(version)),
            ("TLSCipherSuites", json!(t.cipher_suites)),
            ("TLSPreferServerCipherSuites", json!(t.prefer_server_cipher_suites)),
            ("VerifyIncoming", json!(!self.server && t.verify_incoming)),
            ("VerifyIncomingHTTPS", json!(t.verify_incoming)),
            ("EnableAgentTLSForChecks", json!(t.for_checks)),
            ("ServerName", json!(t.server_name.as_deref().unwrap_or_default())),
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
            ("DNSUseCache", json!(d.use_cache)),
            ("DNSCacheMaxAge", span(d.cache_max_age)),
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
            // Consul shows that there are watches, and nothing of what they do.
            ("Watches", self.watches.iter().map(|_| json!({})).collect()),
            ("EnableRemoteScriptChecks", json!(self.enable_script_checks)),
            ("EnableLocalScriptChecks", json!(self.enable_local_script_checks)),
            ("CheckUpdateInterval", span(self.check_update_interval)),
            ("SyncCoordinateIntervalMin", span(self.sync_coordinate_interval_min)),
            ("CheckOutputMaxSize", json!(self.check_output_max_size)),
            ("DiscardCheckOutput", json!(self.discard_check_output)),
            ("DisableRemoteExec", json!(self.disable_remote_exec)),
        ]
    }

    fn show_telemetry(&self) -> Part {
        let t = &self.telemetry;
        let rules = |shown| t.filter.iter().filter(move |(_, is)| *is == shown).map(|(s, _)| s);
        let address = |address: &Option<String>| address.clone().unwrap_or_default();
        let shown = json!({
            "AllowedPrefixes": rules(true).collect::<Vec<_>>(),
            "BlockedPrefixes": rules(false).collect::<Vec<_>>(),
            "DisableHostname": t.host.is_empty(),
            "DogstatsdAddr": address(&t.dogstatsd_addr),
            "DogstatsdTags": t.dogstatsd_tags,
            "FilterDefault": t.filter_default,
            "MetricsPrefix": t.prefix,
            "PrometheusRetentionTime": span(t.prometheus_retention_time),
            "StatsdAddr": address(&t.statsd_address),
            "StatsiteAddr": address(&t.statsite_address),
        });
        vec![("Telemetry", shown)]
    }

    fn show_log(&self) -> Part {
        let log = &self.log;
        let shown = json!({
            "EnableSyslog": log.syslog.is_some(),
            "LogFilePath": path(log.file.as_ref()),
            "LogJSON": log.json,
            "LogLevel": log.level.name(),
            "LogRotateBytes": log.rotate_bytes,
            "LogRotateDuration": span(log.rotate_duration),
            "LogRotateMaxFiles": log.rotate_max_files,
            "Name": "",
            "SyslogFacility": log.syslog.unwrap_or_default().name(),
        });
        vec![("Logging", shown)]
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
        ("GRPCAddrs", json!([])),
        ("GRPCPort", json!(-1)),
        ("SegmentName", json!("")),
        ("Segments", json!([])),
        ("VerifyIncomingRPC", json!(false)),
        ("VerifyOutgoing", json!(false)),
        ("VerifyServerHostname", json!(false)),
    ]
}

/// Shows what meshes, other datacentres and automatic configuration would be set to.
fn show_absent_mesh() -> Part {
    vec![
        ("AutoConfig", json!({"Enabled": false})),
        ("AutoEncryptAllowTLS", json!(false)),
        ("AutoEncryptDNSSAN", json!([])),
        ("AutoEncryptIPSAN", json!([])),
        ("AutoEncryptTLS", json!(false)),
        ("ConfigEntryBootstrap", json!([])),
        ("ConnectCAConfig", json!({})),
        ("ConnectCAProvider", json!("")),
        ("ConnectMeshGatewayWANFederationEnabled", json!(false)),
        ("ConnectSidecarMaxPort", json!(21255)),
        ("ConnectSidecarMinPort", json!(21000)),
        ("EnableCentralServiceConfig", json!(false)),
        ("ExposeMaxPort", json!(21755)),
        ("ExposeMinPort", json!(21500)),
        ("PrimaryGateways", json!([])),
        ("PrimaryGatewaysInterval", json!("30s")),
        ("RetryJoinIntervalWAN", json!("30s")),
        ("RetryJoinMaxAttemptsWAN", json!(0)),
        ("RetryJoinWAN", json!([])),
        ("StartJoinAddrsWAN", json!([])),
        ("SerfAllowedCIDRsLAN", json!([])),
        ("SerfAllowedCIDRsWAN", json!([])),
        ("ACLEnableKeyListPolicy", json!(false)),
        ("ACLEnableTokenPersistence", json!(false)),
        ("ACLTokenReplication", json!(false)),
        ("ACLDisabledTTL", json!("2m0s")),
        ("ACLPolicyTTL", json!("30s")),
        ("ACLRoleTTL", json!("0s")),
        ("ACLTokenTTL", json!("30s")),
        ("NonVotingServer", json!(false)),
        ("SegmentLimit", json!(64)),
        ("SegmentNameLimit", json!(64)),
    ]
}

/// Shows what cannot be changed in this build.
fn show_fixed() -> Part {
    vec![
        ("AutopilotDisableUpgradeMigration", json!(false)),
        ("AutopilotRedundancyZoneTag", json!("")),
        ("AutopilotUpgradeVersionTag", json!("")),
        ("AEInterval", json!("1m0s")),
        ("CheckDeregisterIntervalMin", json!("1m0s")),
        ("CheckReapInterval", json!("30s")),
        ("ConsulCoordinateUpdateBatchSize", json!(128)),
        ("ConsulCoordinateUpdateMaxBatches", json!(5)),
        ("ConsulCoordinateUpdatePeriod", json!("5s")),
        ("ConsulServerHealthInterval", json!("2s")),
        ("DisableAnonymousSignature", json!(true)),
        ("DisableUpdateCheck", json!(true)),
        ("DisableHostNodeID", json!(true)),
        ("EnterpriseRuntimeConfig", json!({})),
        ("GossipWANGossipInterval", json!("500ms")),
        ("GossipWANGossipNodes", json!(3)),
        ("GossipWANProbeInterval", json!("5s")),
        ("GossipWANProbeTimeout", json!("3s")),
        ("GossipWANRetransmitMult", json!(4)),
        ("GossipWANSuspicionMult", json!(6)),
        ("ReconnectTimeoutWAN", json!("72h0m0s")),
        ("SyncCoordinateRateTarget", json!(64)),
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
