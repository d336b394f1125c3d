//! The configuration that the agent runs with: complete and valid.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use agent_core::time::Duration;

use super::cidr::Cidr;
use super::definition::{CheckDefinition, ServiceDefinition};
use super::layer::Layer;
use super::source::Sources;
use super::watch::Watch;

/// Everything that parts of the agent are told at start; names follow Consul's keys.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Whether this agent is a server. Default: client.
    pub server: bool,
    /// Whether this server elects itself at once.
    pub bootstrap: bool,
    /// Servers to see before the first election; 0 means another server decides.
    pub bootstrap_expect: usize,
    /// Whether `-dev` was given: one server that keeps nothing and elects itself at once.
    pub dev: bool,
    /// Name of the node. Default: the host's name.
    pub node_name: String,
    /// Node ID given by the user; none means the one in `data_dir/node-id`, made at first start.
    pub node_id: Option<String>,
    /// Free key/value pairs of the node.
    pub node_meta: BTreeMap<String, String>,
    /// Own datacentre, in lower case. Default: `dc1`.
    pub datacenter: String,
    /// Where state is kept; none with `-dev`.
    pub data_dir: Option<PathBuf>,
    /// Where the process ID is written.
    pub pid_file: Option<PathBuf>,

    /// Address that gossip and RPC listen on. Default: any.
    pub bind_addr: IpAddr,
    /// Address that the LAN pool is told. Default: `bind_addr`, or the only private one.
    pub advertise_addr: IpAddr,
    /// Address that the WAN pool is told. Default: `advertise_addr`.
    pub advertise_addr_wan: IpAddr,
    /// Address that LAN gossip listens on. Default: `bind_addr`.
    pub serf_lan_bind: IpAddr,
    /// Addresses for the edges that name none of their own. Default: 127.0.0.1.
    pub client_addrs: Vec<IpAddr>,
    /// Ports, none where switched off.
    pub ports: Ports,
    /// Where HTTP listens.
    pub http_listen: Vec<Listen>,
    /// Where HTTPS listens.
    pub https_listen: Vec<Listen>,
    /// Where DNS listens, UDP and TCP.
    pub dns_listen: Vec<SocketAddr>,
    /// Owner and mode of Unix sockets.
    pub unix_sockets: UnixSockets,
    /// Addresses of the node by tag: `lan`, `lan_ipv4`, `wan`, `wan_ipv4`, ...
    pub tagged_addresses: BTreeMap<String, String>,

    /// Members to join once at start; the start fails if none answers.
    pub start_join: Vec<String>,
    /// Members to join, over and over until one answers.
    pub retry_join: Vec<String>,
    /// Time between two tries to join. Default: 30 s.
    pub retry_interval: Duration,
    /// Tries to join before the agent gives up, 0 for no end.
    pub retry_max: u64,
    /// Whether to join the old members again after a leave.
    pub rejoin_after_leave: bool,
    /// Whether SIGTERM leaves the pool. Default: true for clients, false for servers.
    pub leave_on_terminate: bool,
    /// Whether SIGINT does not leave the pool. Default: true for servers, false for clients.
    pub skip_leave_on_interrupt: bool,
    /// Time a failed member is kept before it is reaped. Default: 72 h; at least 8 h.
    pub reconnect_timeout: Duration,
    /// Key of encrypted gossip in base64, checked to be that.
    pub encrypt: Option<String>,
    /// Whether gossip that is not encrypted is dropped. Default: true.
    pub encrypt_verify_incoming: bool,
    /// Whether gossip is sent encrypted only. Default: true.
    pub encrypt_verify_outgoing: bool,
    /// Whether keys are kept in no file.
    pub disable_keyring_file: bool,
    /// LAN gossip's clockwork.
    pub gossip_lan: Gossip,

    /// Consensus.
    pub raft: Raft,
    /// What the leader does about dead and new servers.
    pub autopilot: Autopilot,
    /// Shortest session TTL allowed. Default: 10 s.
    pub session_ttl_min: Duration,
    /// Time that RPC waits for a leader. Default: 7 s.
    pub rpc_hold_timeout: Duration,
    /// Time between leaving and the end, so that requests drain. Default: 5 s.
    pub leave_drain_time: Duration,

    /// Blocking time when a query gives none. Default: 300 s.
    pub default_query_time: Duration,
    /// Longest blocking time. Default: 600 s.
    pub max_query_time: Duration,
    /// Age up to which discovery is answered by any server; zero means by the leader only.
    pub discovery_max_stale: Duration,
    /// Bounds on requests.
    pub limits: Limits,
    /// HTTP edge.
    pub http: Http,
    /// TLS of the HTTP edge.
    pub tls: Tls,
    /// Whether answers tell that addresses of other datacentres are those of the WAN.
    pub translate_wan_addrs: bool,
    /// DNS edge.
    pub dns: Dns,
    /// The web interface, if it is served.
    pub ui: Option<Ui>,

    /// Services registered at start, and again at each reload.
    pub services: Vec<ServiceDefinition>,
    /// Checks registered at start, and again at each reload.
    pub checks: Vec<CheckDefinition>,
    /// Whether the API may register script checks.
    pub enable_script_checks: bool,
    /// Whether configuration files may register script checks.
    pub enable_local_script_checks: bool,
    /// Time after which a check's changed output alone is told to the catalog. Default: 5 min.
    pub check_update_interval: Duration,
    /// Whether network coordinates are switched off. Default: false.
    pub disable_coordinates: bool,
    /// Least time between two updates of this node's coordinate. Default: 15 s.
    pub sync_coordinate_interval_min: Duration,
    /// Bytes of a check's output kept. Default: 4096.
    pub check_output_max_size: usize,
    /// Whether a check's output is thrown away.
    pub discard_check_output: bool,

    /// Whether `reeve exec` is refused. Default: true.
    pub disable_remote_exec: bool,
    /// Watches, started anew where a reload changes them.
    pub watches: Vec<Watch>,

    /// Metrics.
    pub telemetry: Telemetry,
    /// Logs.
    pub log: Log,
    /// The files, flags and fragments that this was made from, for a reload.
    pub sources: Sources,
    /// What these said, so that a reload can tell what changed.
    pub written: Layer,
}

/// Ports; none means switched off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// DNS, UDP and TCP. Default: 8600.
    pub dns: Option<u16>,
    /// HTTP. Default: 8500.
    pub http: Option<u16>,
    /// HTTPS. Default: none.
    pub https: Option<u16>,
    /// LAN gossip, UDP and TCP. Default: 8301.
    pub serf_lan: u16,
    /// WAN gossip. Default: 8302.
    pub serf_wan: Option<u16>,
    /// RPC between agents. Default: 8300.
    pub server: u16,
}

/// A place that an edge listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// Owner and mode of Unix sockets; none means left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnixSockets {
    /// User ID.
    pub user: Option<u32>,
    /// Group ID.
    pub group: Option<u32>,
    /// Mode bits.
    pub mode: Option<u32>,
}

/// LAN gossip's clockwork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gossip {
    /// Members that one round of gossip reaches. Default: 3.
    pub gossip_nodes: u32,
    /// Time between two rounds of gossip. Default: 200 ms.
    pub gossip_interval: Duration,
    /// Time between two probes. Default: 1 s.
    pub probe_interval: Duration,
    /// Time for a probe's answer before others are asked to help, at most `probe_interval`.
    /// Default: 500 ms.
    pub probe_timeout: Duration,
    /// Factor on the time of suspicion. Default: 4.
    pub suspicion_mult: u32,
    /// Factor on the number of retransmissions. Default: 4.
    pub retransmit_mult: u32,
    /// Whether the agent knows every member. Default: full.
    pub view: View,
}

/// How much of the LAN pool an agent knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// Every member.
    Full,
    /// A few contacts, whatever the pool's size: for clients in pools of many thousands.
    Partial,
}

/// Consensus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raft {
    /// Factor on all of raft's times, 1 to 10. Default: 1, so that a lost leader is replaced within
    /// about 2 s; Consul's default is 5.
    pub multiplier: u32,
    /// Entries between two snapshots. Default: 16384.
    pub snapshot_threshold: u64,
    /// Time between two looks whether a snapshot is due; zero, the default, for one with each
    /// entry.
    pub snapshot_interval: Duration,
    /// Entries kept behind a snapshot for slow followers. Default: 10240.
    pub trailing_logs: u64,
}

/// What the leader does about dead and new servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Autopilot {
    /// Whether dead servers are removed when new ones come. Default: true.
    pub cleanup_dead_servers: bool,
    /// Servers below which none is removed. Default: 0.
    pub min_quorum: u64,
    /// Silence that a healthy server may have. Default: 200 ms.
    pub last_contact_threshold: Duration,
    /// Entries that a healthy server may lag. Default: 250.
    pub max_trailing_logs: u64,
    /// Time that a new server must be healthy before it votes: shown, and not yet heeded. Default:
    /// 10 s.
    pub server_stabilization_time: Duration,
}

/// Bounds on requests.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// HTTP connections from one address, 0 for no bound. Default: 200.
    pub http_max_conns_per_client: usize,
    /// Time for a TLS handshake. Default: 5 s.
    pub https_handshake_timeout: Duration,
    /// RPC connections from one address, 0 for no bound. Default: 100.
    pub rpc_max_conns_per_client: u32,
    /// Time for an RPC connection's first byte. Default: 5 s.
    pub rpc_handshake_timeout: Duration,
    /// Requests to servers a second, negative for no bound. Default: -1.
    pub rpc_rate: f64,
    /// Such requests at once. Default: 1000.
    pub rpc_max_burst: u32,
    /// Bytes of a key's value. Default: 524288.
    pub kv_max_value_size: usize,
    /// Bytes of a transaction; a larger `kv_max_value_size` counts instead. Default: 524288.
    pub txn_max_req_len: usize,
}

/// HTTP edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// Path prefixes that are refused.
    pub block_endpoints: Vec<String>,
    /// Networks that may write; empty means all.
    pub allow_write_from: Vec<Cidr>,
    /// Headers added to every answer.
    pub response_headers: BTreeMap<String, String>,
    /// Whether `?cached` is heeded. Default: true.
    pub use_cache: bool,
    /// Whether paths with characters that do not print are refused. Default: true.
    pub printable_only: bool,
}

/// The web interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ui {
    /// Its path, from one slash to another. Default: `/ui/`.
    pub content_path: String,
    /// The folder that it is in; none for the agent's own.
    pub dir: Option<PathBuf>,
}

/// TLS of the HTTP edge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tls {
    /// PEM file of the certificate and what leads to its authority.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// PEM file of the authorities that clients' certificates come from.
    pub ca_file: Option<PathBuf>,
    /// Directory of such files, asked if there is no `ca_file`.
    pub ca_path: Option<PathBuf>,
    /// Oldest version spoken. Default: 1.2.
    pub min_version: TlsVersion,
    /// Names of the cipher suites of TLS 1.2 that may be used; empty for all.
    pub cipher_suites: Vec<String>,
    /// Whether the agent's order of cipher suites counts, not the client's.
    pub prefer_server_cipher_suites: bool,
    /// Whether clients need a certificate.
    pub verify_incoming: bool,
    /// Whether checks present the certificate and believe these authorities.
    pub for_checks: bool,
    /// The name that checks then expect in a certificate; none for the node's.
    pub server_name: Option<String>,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// DNS edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dns {
    /// Domain answered for, in lower case, without the last dot. Default: `consul`.
    pub domain: String,
    /// A second domain, empty for none.
    pub alt_domain: String,
    /// Servers asked for other names: `IP` or `IP:port`.
    pub recursors: Vec<SocketAddr>,
    /// Time for one recursor. Default: 2 s.
    pub recursor_timeout: Duration,
    /// Whether any server may answer. Default: true.
    pub allow_stale: bool,
    /// Age beyond which an answer is asked for again from the leader. Default: 87600 h.
    pub max_stale: Duration,
    /// Whether answers may come from the agent's cache.
    pub use_cache: bool,
    /// Age that such an answer may have, zero for any. Default: 0.
    pub cache_max_age: Duration,
    /// TTL of nodes. Default: 0.
    pub node_ttl: Duration,
    /// TTL of services by name; a trailing `*` is a prefix.
    pub service_ttl: BTreeMap<String, Duration>,
    /// Whether a warning check removes an instance.
    pub only_passing: bool,
    /// Records in a UDP answer. Default: 3.
    pub udp_answer_limit: usize,
    /// A and AAAA records in any answer, 0 for no bound.
    pub a_record_limit: usize,
    /// Whether a cut answer says so.
    pub enable_truncate: bool,
    /// Whether names are written in full.
    pub disable_compression: bool,
    /// Whether node metadata comes along as TXT. Default: true.
    pub node_meta_txt: bool,
    /// SOA timers: refresh, retry, expire, minimum TTL, all in seconds.
    pub soa: Soa,
}

/// SOA timers, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Soa {
    /// Default: 3600.
    pub refresh: u32,
    /// Default: 600.
    pub retry: u32,
    /// Default: 86400.
    pub expire: u32,
    /// Default: 0.
    pub min_ttl: u32,
}

/// Metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telemetry {
    /// Name of the host, which gauges carry; empty with `disable_hostname`.
    pub host: String,
    /// Prefix of all names. Default: `consul`.
    pub prefix: String,
    /// Starts of names, and whether they are shown.
    pub filter: Vec<(String, bool)>,
    /// Whether names that no filter fits are shown. Default: true.
    pub filter_default: bool,
    /// Above zero, `/v1/agent/metrics` also answers Prometheus.
    pub prometheus_retention_time: Duration,
    /// Address of a statsd.
    pub statsd_address: Option<String>,
    /// Address of a statsite.
    pub statsite_address: Option<String>,
    /// Address of a dogstatsd.
    pub dogstatsd_addr: Option<String>,
    /// Tags on each line to dogstatsd.
    pub dogstatsd_tags: Vec<String>,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And what may need a look.
    Warn,
    /// And what happened; the default.
    Info,
    /// And why.
    Debug,
    /// And each step, those of the libraries too.
    Trace,
}

/// A facility of syslog: its number (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facility(pub(crate) u8);

/// Logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Least important level shown. Default: info.
    pub level: LogLevel,
    /// Whether each line is a JSON object.
    pub json: bool,
    /// Facility under which lines go to the system's log too, none for that they do not.
    pub syslog: Option<Facility>,
    /// Path, or start of a path, of a log file.
    pub file: Option<PathBuf>,
    /// Bytes after which the file is changed, 0 for no bound.
    pub rotate_bytes: u64,
    /// Time after which the file is changed. Default: 24 h.
    pub rotate_duration: Duration,
    /// Old files kept, 0 for all, negative for none.
    pub rotate_max_files: i64,
}
