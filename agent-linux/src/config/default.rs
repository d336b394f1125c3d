//! The value of every setting that is not written: a client agent on any address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use agent_core::time::Duration;

use super::layer::Layer;
use super::runtime::{
    Autopilot, Config, Dns, Gossip, Http, Limits, Log, LogLevel, Ports, Raft, Soa, Telemetry, Tls,
    UnixSockets, View,
};
use super::source::Sources;

/// Consul's bound on a key's value, in bytes.
const VALUE_BYTES_MAX: usize = 524_288;

/// One hour.
const HOUR: Duration = Duration::from_secs(3600);

impl Default for Config {
    fn default() -> Self {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            server: false,
            bootstrap: false,
            bootstrap_expect: 0,
            dev: false,
            node_name: String::new(),
            node_id: None,
            node_meta: BTreeMap::new(),
            datacenter: "dc1".to_owned(),
            data_dir: None,
            pid_file: None,
            bind_addr: any,
            advertise_addr: any,
            advertise_addr_wan: any,
            serf_lan_bind: any,
            client_addrs: vec![Ipv4Addr::LOCALHOST.into()],
            ports: Ports::default(),
            http_listen: Vec::new(),
            https_listen: Vec::new(),
            dns_listen: Vec::new(),
            unix_sockets: UnixSockets::default(),
            tagged_addresses: BTreeMap::new(),
            start_join: Vec::new(),
            retry_join: Vec::new(),
            retry_interval: Duration::from_secs(30),
            retry_max: 0,
            rejoin_after_leave: false,
            leave_on_terminate: true,
            skip_leave_on_interrupt: false,
            reconnect_timeout: HOUR.times(72),
            encrypt: None,
            encrypt_verify_incoming: true,
            encrypt_verify_outgoing: true,
            disable_keyring_file: false,
            gossip_lan: Gossip::default(),
            raft: Raft::default(),
            autopilot: Autopilot::default(),
            session_ttl_min: Duration::from_secs(10),
            rpc_hold_timeout: Duration::from_secs(7),
            leave_drain_time: Duration::from_secs(5),
            default_query_time: Duration::from_secs(300),
            max_query_time: Duration::from_secs(600),
            discovery_max_stale: Duration::ZERO,
            limits: Limits::default(),
            http: Http::default(),
            tls: Tls::default(),
            translate_wan_addrs: false,
            dns: Dns::default(),
            ui: None,
            services: Vec::new(),
            checks: Vec::new(),
            enable_script_checks: false,
            enable_local_script_checks: false,
            check_update_interval: Duration::from_secs(300),
            disable_coordinates: false,
            sync_coordinate_interval_min: Duration::from_secs(15),
            check_output_max_size: 4096,
            discard_check_output: false,
            disable_remote_exec: true,
            watches: Vec::new(),
            telemetry: Telemetry::default(),
            log: Log::default(),
            sources: Sources::default(),
            written: Layer::default(),
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            dns: Some(8600),
            http: Some(8500),
            https: None,
            serf_lan: 8301,
            serf_wan: Some(8302),
            server: 8300,
        }
    }
}

impl Default for Gossip {
    fn default() -> Self {
        Self {
            gossip_nodes: 3,
            gossip_interval: Duration::from_millis(200),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            suspicion_mult: 4,
            retransmit_mult: 4,
            view: View::Full,
        }
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            multiplier: 1,
            snapshot_threshold: 16_384,
            snapshot_interval: Duration::ZERO,
            trailing_logs: 10_240,
        }
    }
}

impl Default for Autopilot {
    fn default() -> Self {
        Self {
            cleanup_dead_servers: true,
            min_quorum: 0,
            last_contact_threshold: Duration::from_millis(200),
            max_trailing_logs: 250,
            server_stabilization_time: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http_max_conns_per_client: 200,
            https_handshake_timeout: Duration::from_secs(5),
            rpc_max_conns_per_client: 100,
            rpc_handshake_timeout: Duration::from_secs(5),
            rpc_rate: -1.0,
            rpc_max_burst: 1000,
            kv_max_value_size: VALUE_BYTES_MAX,
            txn_max_req_len: VALUE_BYTES_MAX,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            block_endpoints: Vec::new(),
            allow_write_from: Vec::new(),
            response_headers: BTreeMap::new(),
            use_cache: true,
            printable_only: true,
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            domain: "consul".to_owned(),
            alt_domain: String::new(),
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            allow_stale: true,
            max_stale: HOUR.times(87_600),
            use_cache: false,
            cache_max_age: Duration::ZERO,
            node_ttl: Duration::ZERO,
            service_ttl: BTreeMap::new(),
            only_passing: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            enable_truncate: false,
            disable_compression: false,
            node_meta_txt: true,
            soa: Soa { refresh: 3600, retry: 600, expire: 86_400, min_ttl: 0 },
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            host: String::new(),
            prefix: "consul".to_owned(),
            filter: Vec::new(),
            filter_default: true,
            prometheus_retention_time: Duration::ZERO,
            statsd_address: None,
            statsite_address: None,
            dogstatsd_addr: None,
            dogstatsd_tags: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            json: false,
            syslog: None,
            file: None,
            rotate_bytes: 0,
            rotate_duration: HOUR.times(24),
            rotate_max_files: 0,
        }
    }
}
