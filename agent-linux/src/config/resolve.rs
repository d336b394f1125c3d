//! From what was written to what the agent runs with: defaults, bounds, and what must fit together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use agent_core::time::parse_go;
use serde_json::Value;

use super::address::{self, Addresses};
use super::cidr::Cidr;
use super::definition::{CheckDefinition, ServiceDefinition};
use super::field::from_nanos;
use super::field::go_base64;
use super::gossip;
use super::layer::{Error, Layer};
use super::operation;
use super::reader::Reader;
use super::runtime::{
    Autopilot, Config, Dns, Http, Limits, Listen, Log, Ports, Raft, Soa, UnixSockets,
};
use super::setting::{self, Effect};
use super::source::Sources;
use super::template::{self, Interface};
use super::tls;
use super::verify;
use super::watch::Watch;

impl Config {
    /// Reads everything that `sources` names and makes a configuration of it; the second part are
    /// warnings for the log.
    ///
    /// # Errors
    ///
    /// [`Error`] naming file and key where there is one.
    pub fn load(sources: Sources) -> Result<(Self, Vec<String>), Error> {
        let host = template::host_interfaces()
            .map_err(|error| Error::Invalid(format!("cannot list network interfaces: {error}")))?;
        let mut warnings = Vec::new();
        let layer = sources.read(&mut warnings)?;
        let config = Self::resolve(layer, sources, &host, &mut warnings)?;
        Ok((config, warnings))
    }

    /// Reads the same sources again and takes over what may change while the agent runs: the
    /// settings of [`Effect::Reload`]. Warnings also name those whose change waits for a restart.
    ///
    /// # Errors
    ///
    /// [`Error`] as for [`Config::load`]; the running configuration stands.
    pub fn reload(&self) -> Result<(Self, Vec<String>), Error> {
        let (new, mut warnings) = Self::load(self.sources.clone())?;
        let mut written = new.written;
        for setting in setting::all().filter(|setting| setting.effect == Effect::Start) {
            let value = |of: &Layer| of.entries.get(setting.key).map(|e| e.value.clone());
            if value(&self.written) != value(&written) {
                warnings.push(format!("{} changed; restart to take it over", setting.key));
                written.keep(&self.written, setting.key);
            }
        }
        let config = Self {
            node_meta: new.node_meta,
            services: new.services,
            checks: new.checks,
            watches: new.watches,
            tls: new.tls,
            limits: Limits {
                http_max_conns_per_client: new.limits.http_max_conns_per_client,
                rpc_rate: new.limits.rpc_rate,
                rpc_max_burst: new.limits.rpc_max_burst,
                ..self.limits
            },
            log: Log { level: new.log.level, ..self.log.clone() },
            written,
            ..self.clone()
        };
        Ok((config, warnings))
    }

    /// Makes a configuration of what was written.
    pub(super) fn resolve(
        layer: Layer,
        sources: Sources,
        host: &[Interface],
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        verify::refuse_unsafe(&layer)?;
        verify::warn_without_effect(&layer, warnings);
        let reader = Reader::new(&layer);
        let mut config = assemble(&reader, sources, host, warnings)?;
        verify::verify(&config, &reader, warnings)?;
        config.written = layer;
        Ok(config)
    }
}

/// Puts the parts together.
pub(super) fn assemble(
    reader: &Reader<'_>,
    sources: Sources,
    host: &[Interface],
    warnings: &mut Vec<String>,
) -> Result<Config, Error> {
    let mut config = Config { dev: sources.dev, sources, ..Config::default() };
    identity(&mut config, reader)?;
    network(&mut config, reader, host)?;
    membership(&mut config, reader)?;
    consensus(&mut config, reader)?;
    requests(&mut config, reader)?;
    config.http = http(reader)?;
    config.ui = operation::ui(reader, config.dev)?;
    config.tls = tls::tls(reader, config.server, warnings)?;
    config.dns = dns(reader, host)?;
    health(&mut config, reader)?;
    config.disable_remote_exec = reader.bool("disable_remote_exec", config.disable_remote_exec);
    config.watches = watches(reader)?;
    config.telemetry = operation::telemetry(reader)?;
    config.log = operation::log(reader)?;
    Ok(config)
}

/// Reads who this agent is.
fn identity(c: &mut Config, r: &Reader<'_>) -> Result<(), Error> {
    let expect = bootstrap_expect(r)?;
    c.server = r.bool("server", c.server);
    c.bootstrap = r.bool("bootstrap", false) || expect == 1;
    c.bootstrap_expect = if expect == 1 { 0 } else { expect };
    c.node_name = r.some_text("node_name").map_or_else(host_name, |name| name.trim().to_owned());
    c.node_id = r.some_text("node_id").map(str::to_lowercase);
    c.node_meta = r.text_map("node_meta");
    c.datacenter = r.text("datacenter").unwrap_or(&c.datacenter).to_lowercase();
    c.data_dir = r.some_text("data_dir").filter(|_| !c.dev).map(PathBuf::from);
    c.pid_file = r.some_text("pid_file").map(PathBuf::from);
    Ok(())
}

/// Reads addresses and ports.
fn network(c: &mut Config, r: &Reader<'_>, host: &[Interface]) -> Result<(), Error> {
    c.ports = ports(r, c.ports)?;
    let addresses = Addresses::find(r, host)?;
    c.http_listen = addresses.listen(r, "addresses.http", c.ports.http, host)?;
    c.https_listen = addresses.listen(r, "addresses.https", c.ports.https, host)?;
    c.dns_listen = dns_listen(r, &addresses, c.ports.dns, host)?;
    c.tagged_addresses = tagged_addresses(r, &addresses);
    c.bind_addr = addresses.bind;
    c.advertise_addr = addresses.advertise;
    c.advertise_addr_wan = addresses.advertise_wan;
    c.serf_lan_bind = addresses.serf_lan_bind;
    c.client_addrs = addresses.client;
    c.unix_sockets = UnixSockets {
        user: owner(r, "unix_sockets.user", "/etc/passwd")?,
        group: owner(r, "unix_sockets.group", "/etc/group")?,
        mode: mode(r, "unix_sockets.mode")?,
    };
    Ok(())
}

/// Reads how to join, stay and leave.
fn membership(c: &mut Config, r: &Reader<'_>) -> Result<(), Error> {
    c.start_join = r.texts("start_join");
    c.retry_join = r.texts("retry_join");
    c.retry_interval = r.span("retry_interval", c.retry_interval)?;
    c.retry_max = r.count("retry_max", c.retry_max)?;
    c.rejoin_after_leave = r.bool("rejoin_after_leave", c.rejoin_after_leave);
    c.leave_on_terminate = r.bool("leave_on_terminate", !c.server);
    c.skip_leave_on_interrupt = r.bool("skip_leave_on_interrupt", c.server);
    c.reconnect_timeout = r.span("reconnect_timeout", c.reconnect_timeout)?;
    c.encrypt = encrypt(r)?;
    c.encrypt_verify_incoming = r.bool("encrypt_verify_incoming", c.encrypt_verify_incoming);
    c.encrypt_verify_outgoing = r.bool("encrypt_verify_outgoing", c.encrypt_verify_outgoing);
    c.disable_keyring_file = r.bool("disable_keyring_file", c.disable_keyring_file);
    c.gossip_lan = gossip::read(r, c.gossip_lan, c.server)?;
    Ok(())
}

/// Reads the key of gossip; its length is checked where it is used.
fn encrypt(r: &Reader<'_>) -> Result<Option<String>, Error> {
    let Some(key) = r.some_text("encrypt") else { return Ok(None) };
    match go_base64(key) {
        Ok(_) => Ok(Some(key.to_owned())),
        Err(error) => Err(r.fault("encrypt", format!("has invalid key: {error}"))),
    }
}

/// Reads what servers and the leader do.
fn consensus(c: &mut Config, r: &Reader<'_>) -> Result<(), Error> {
    c.raft = raft(r, c.raft)?;
    let a = c.autopilot;
    c.autopilot = Autopilot {
        cleanup_dead_servers: r.bool("autopilot.cleanup_dead_servers", a.cleanup_dead_servers),
        min_quorum: r.count("autopilot.min_quorum", a.min_quorum)?,
        last_contact_threshold: r
            .span("autopilot.last_contact_threshold", a.last_contact_threshold)?,
        max_trailing_logs: r.count("autopilot.max_trailing_logs", a.max_trailing_logs)?,
        server_stabilization_time: r
            .span("autopilot.server_stabilization_time", a.server_stabilization_time)?,
    };
    c.session_ttl_min = r.span("session_ttl_min", c.session_ttl_min)?;
    c.rpc_hold_timeout = r.span("performance.rpc_hold_timeout", c.rpc_hold_timeout)?;
    c.leave_drain_time = r.span("performance.leave_drain_time", c.leave_drain_time)?;
    Ok(())
}

/// Reads what requests may do, and the web interface.
fn requests(c: &mut Config, r: &Reader<'_>) -> Result<(), Error> {
    c.default_query_time = r.span("default_query_time", c.default_query_time)?;
    c.max_query_time = r.span("max_query_time", c.max_query_time)?;
    c.discovery_max_stale = r.span("discovery_max_stale", c.discovery_max_stale)?;
    let l = c.limits;
    let http = "limits.http_max_conns_per_client";
    c.limits = Limits {
        http_max_conns_per_client: r.count(http, l.http_max_conns_per_client)?,
        https_handshake_timeout: r
            .span("limits.https_handshake_timeout", l.https_handshake_timeout)?,
        rpc_max_conns_per_client: r
            .count("limits.rpc_max_conns_per_client", l.rpc_max_conns_per_client)?,
        rpc_handshake_timeout: r.span("limits.rpc_handshake_timeout", l.rpc_handshake_timeout)?,
        rpc_rate: r.float("limits.rpc_rate", l.rpc_rate),
        rpc_max_burst: r.count("limits.rpc_max_burst", l.rpc_max_burst)?,
        kv_max_value_size: r.count("limits.kv_max_value_size", l.kv_max_value_size)?,
        txn_max_req_len: r.count("limits.txn_max_req_len", l.txn_max_req_len)?,
    };
    c.translate_wan_addrs = r.bool("translate_wan_addrs", c.translate_wan_addrs);
    Ok(())
}

/// Reads services, checks and how checks run.
fn health(c: &mut Config, r: &Reader<'_>) -> Result<(), Error> {
    c.services = services(r)?;
    c.checks = checks(r)?;
    c.enable_script_checks = r.bool("enable_script_checks", false);
    c.enable_local_script_checks =
        r.bool("enable_local_script_checks", false) || c.enable_script_checks;
    c.check_update_interval = r.span("check_update_interval", c.check_update_interval)?;
    c.disable_coordinates = r.bool("disable_coordinates", false);
    c.sync_coordinate_interval_min =
        r.span("sync_coordinate_interval_min", c.sync_coordinate_interval_min)?;
    c.check_output_max_size = check_output_max_size(r, c.check_output_max_size)?;
    c.discard_check_output = r.bool("discard_check_output", c.discard_check_output);
    Ok(())
}

/// Reads the servers to wait for.
fn bootstrap_expect(r: &Reader<'_>) -> Result<usize, Error> {
    let value = r.int("bootstrap_expect", 0);
    usize::try_from(value).map_err(|_| {
        Error::Invalid(format!(
            "bootstrap_expect cannot be {value}. Must be greater than or equal to zero"
        ))
    })
}

/// Reads the host's name.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Reads the ports; gossip and RPC cannot be switched off.
fn ports(r: &Reader<'_>, p: Ports) -> Result<Ports, Error> {
    let needed = |key, default| -> Result<u16, Error> {
        let off = || r.fault(key, "must be a valid port from 1 to 65535");
        r.port(key, Some(default))?.ok_or_else(off)
    };
    Ok(Ports {
        dns: r.port("ports.dns", p.dns)?,
        http: r.port("ports.http", p.http)?,
        https: r.port("ports.https", p.https)?,
        serf_lan: needed("ports.serf_lan", p.serf_lan)?,
        serf_wan: r.port("ports.serf_wan", p.serf_wan)?,
        server: needed("ports.server", p.server)?,
    })
}

/// Reads the ID of a user or group, or its name as the given file knows it.
fn owner(r: &Reader<'_>, key: &'static str, file: &str) -> Result<Option<u32>, Error> {
    let Some(text) = r.some_text(key) else { return Ok(None) };
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    let known = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = known.lines().map(|line| line.split(':'));
    let found = lines.find_map(|mut cells| match cells.next() {
        Some(name) if name == text => cells.nth(1)?.parse().ok(),
        _ => None,
    });
    found.map(Some).ok_or_else(|| r.fault(key, format!("{text:?} is not in {file}")))
}

/// Reads mode bits, in octal.
fn mode(r: &Reader<'_>, key: &'static str) -> Result<Option<u32>, Error> {
    let Some(text) = r.some_text(key) else { return Ok(None) };
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => Err(r.fault(key, format!("invalid mode {text:?}"))),
    }
}

/// Finds where DNS listens.
fn dns_listen(
    r: &Reader<'_>,
    addresses: &Addresses,
    port: Option<u16>,
    host: &[Interface],
) -> Result<Vec<SocketAddr>, Error> {
    let socket = |listen| match listen {
        Listen::Tcp(socket) => Ok(socket),
        Listen::Unix(_) => Err(r.fault("addresses.dns", "cannot be a unix socket")),
    };
    addresses.listen(r, "addresses.dns", port, host)?.into_iter().map(socket).collect()
}

/// Lists the node's addresses by tag.
fn tagged_addresses(r: &Reader<'_>, addresses: &Addresses) -> BTreeMap<String, String> {
    let mut tagged = BTreeMap::new();
    for (tag, address) in [("lan", addresses.advertise), ("wan", addresses.advertise_wan)] {
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        tagged.insert(tag.to_owned(), address.to_string());
        tagged.insert(format!("{tag}_{family}"), address.to_string());
    }
    tagged.extend(r.text_map("tagged_addresses"));
    tagged
}

/// Reads consensus.
fn raft(r: &Reader<'_>, default: Raft) -> Result<Raft, Error> {
    let multiplier = r.int("performance.raft_multiplier", i64::from(default.multiplier));
    let multiplier = match u32::try_from(multiplier) {
        Ok(multiplier @ 1..=10) => multiplier,
        _ => {
            let what = format!("cannot be {multiplier}. Must be between 1 and 10");
            return Err(r.fault("performance.raft_multiplier", what));
        }
    };
    // Nothing hangs on them here, but what cannot be is a mistake of who wrote it.
    match r.int("protocol", 0) {
        ..=0 | 2..=3 => {}
        other => {
            let how = if other < 2 { "low" } else { "high" };
            let what = format!("Protocol version '{other}' too {how}. Must be in range: [2, 3]");
            return Err(r.fault("protocol", what));
        }
    }
    match r.int("raft_protocol", 0) {
        ..=3 => {}
        other => {
            let what = format!("Protocol version {other} must be >= 1 and <= 3");
            return Err(r.fault("raft_protocol", what));
        }
    }
    let or = |value: u64, default| if value == 0 { default } else { value };
    Ok(Raft {
        multiplier,
        snapshot_threshold: or(r.count("raft_snapshot_threshold", 0)?, default.snapshot_threshold),
        snapshot_interval: r.span("raft_snapshot_interval", default.snapshot_interval)?,
        trailing_logs: or(r.count("raft_trailing_logs", 0)?, default.trailing_logs),
    })
}

/// Reads the HTTP edge.
fn http(r: &Reader<'_>) -> Result<Http, Error> {
    let key = "http_config.allow_write_http_from";
    let cidr = |text: String| {
        Cidr::parse(&text).ok_or_else(|| r.fault(key, format!("invalid cidr: {text}")))
    };
    Ok(Http {
        block_endpoints: r.texts("http_config.block_endpoints"),
        allow_write_from: r.texts(key).into_iter().map(cidr).collect::<Result<_, _>>()?,
        response_headers: r.text_map("http_config.response_headers"),
        use_cache: r.bool("http_config.use_cache", true),
        printable_only: !r.bool("disable_http_unprintable_char_filter", false),
    })
}

/// Reads the DNS edge.
fn dns(r: &Reader<'_>, host: &[Interface]) -> Result<Dns, Error> {
    let domain = |text: &str| text.trim_matches('.').to_lowercase();
    let mut service_ttl = BTreeMap::new();
    for (name, text) in r.text_map("dns_config.service_ttl") {
        let nanos =
            parse_go(&text).map_err(|e| r.fault("dns_config.service_ttl", e.to_string()))?;
        service_ttl.insert(name, from_nanos(nanos));
    }
    let d = Dns::default();
    Ok(Dns {
        domain: domain(r.some_text("domain").unwrap_or(&d.domain)),
        alt_domain: domain(r.text("alt_domain").unwrap_or_default()),
        recursors: address::recursors(r, host)?,
        recursor_timeout: r.span("dns_config.recursor_timeout", d.recursor_timeout)?,
        allow_stale: r.bool("dns_config.allow_stale", d.allow_stale),
        max_stale: r.span("dns_config.max_stale", d.max_stale)?,
        use_cache: r.bool("dns_config.use_cache", d.use_cache),
        cache_max_age: r.span("dns_config.cache_max_age", d.cache_max_age)?,
        node_ttl: r.span("dns_config.node_ttl", d.node_ttl)?,
        service_ttl,
        only_passing: r.bool("dns_config.only_passing", d.only_passing),
        udp_answer_limit: r.count("dns_config.udp_answer_limit", d.udp_answer_limit)?,
        a_record_limit: r.count("dns_config.a_record_limit", d.a_record_limit)?,
        enable_truncate: r.bool("dns_config.enable_truncate", d.enable_truncate),
        disable_compression: r.bool("dns_config.disable_compression", d.disable_compression),
        node_meta_txt: r.bool("dns_config.enable_additional_node_meta_txt", d.node_meta_txt),
        soa: Soa {
            refresh: r.count("dns_config.soa.refresh", d.soa.refresh)?,
            retry: r.count("dns_config.soa.retry", d.soa.retry)?,
            expire: r.count("dns_config.soa.expire", d.soa.expire)?,
            min_ttl: r.count("dns_config.soa.min_ttl", d.soa.min_ttl)?,
        },
    })
}

/// Reads the services.
fn services(r: &Reader<'_>) -> Result<Vec<ServiceDefinition>, Error> {
    r.has("service");
    let read = |value: &Value| {
        ServiceDefinition::from_json(value.clone())
            .map_err(|error| r.fault("services", error.to_string()))
    };
    r.list("services").iter().map(read).collect()
}

/// Reads the checks.
fn checks(r: &Reader<'_>) -> Result<Vec<CheckDefinition>, Error> {
    r.has("check");
    let read = |value: &Value| {
        CheckDefinition::from_json(value.clone())
            .map_err(|error| r.fault("checks", error.to_string()))
    };
    r.list("checks").iter().map(read).collect()
}

/// Reads the watches.
fn watches(r: &Reader<'_>) -> Result<Vec<Watch>, Error> {
    let read =
        |value: &Value| Watch::from_json(value.clone()).map_err(|error| r.fault("watches", error));
    r.list("watches").iter().map(read).collect()
}

/// Reads the bytes of output kept.
fn check_output_max_size(r: &Reader<'_>, default: usize) -> Result<usize, Error> {
    let key = "check_output_max_size";
    match r.count(key, default)? {
        size @ 1.. => Ok(size),
        0 => Err(r.fault(
            key,
            "must be positive, to discard check output use the discard_check_output flag",
        )),
    }
}
