//! What must hold between settings, and what the user should hear about them.

use std::collections::BTreeSet;

use agent_core::model::snapshot::PART_BYTES;
use agent_core::wire::frame::REQUEST_BYTES_MAX;
use serde_json::Value;

use super::layer::{Error, Layer};
use super::meta::{META_PAIRS_MAX, Reserved, check_meta};
use super::reader::Reader;
use super::runtime::{Config, Listen, LogLevel};
use super::setting::{self, Effect};

/// Bytes of a value or a transaction, whatever the limits say: with its key, or with the rows
/// before it in a part of a snapshot, it has to fit a request between agents.
const VALUE_BYTES_MAX: usize = REQUEST_BYTES_MAX as usize - PART_BYTES - 64 * 1024;

impl LogLevel {
    /// Reads a level by any of Consul's names, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "TRACE" => Some(Self::Trace),
            "DEBUG" => Some(Self::Debug),
            "INFO" => Some(Self::Info),
            "WARN" => Some(Self::Warn),
            "ERR" | "ERROR" => Some(Self::Error),
            _ => None,
        }
    }
}

/// Stops where a setting that promises safety is switched on but would not be honoured.
pub(super) fn refuse_unsafe(layer: &Layer) -> Result<(), Error> {
    for setting in setting::all().filter(|setting| setting.effect == Effect::Refused) {
        let Some(entry) = layer.entries.get(setting.key) else { continue };
        let on = match &entry.value {
            Value::Bool(on) => *on,
            Value::Number(number) => number.as_i64().is_some_and(|port| port > 0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Null | Value::Object(_) => false,
        };
        if on {
            return Err(Error::Value {
                origin: entry.origin.clone(),
                key: setting.key.to_owned(),
                what: "not supported by this build; the agent will not run with less protection \
                       than configured"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// Warns about settings that were written but do nothing.
pub(super) fn warn_without_effect(layer: &Layer, warnings: &mut Vec<String>) {
    for (key, entry) in &layer.entries {
        let Some(setting) = setting::find(key) else { continue };
        match setting.effect {
            Effect::Later => {
                warnings.push(format!("{}: \"{key}\" is not yet effective", entry.origin));
            }
            Effect::Enterprise => warnings.push(format!(
                "\"{key}\" is a Consul Enterprise configuration and will have no effect"
            )),
            Effect::Deprecated => {
                warnings.push(format!("config key \"{key}\" is deprecated and should be removed"));
            }
            Effect::Start | Effect::Reload | Effect::Nothing | Effect::Refused => {}
        }
    }
}

/// Checks the whole.
pub(super) fn verify(
    config: &Config,
    reader: &Reader<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    names(config, reader, warnings)?;
    roles(config, warnings)?;
    data_dir(config)?;
    sizes(config, reader)?;
    node_meta(config)?;
    listeners(config)?;
    definitions(config, reader)?;
    Ok(())
}

/// Makes a fault that belongs to no single setting.
fn invalid<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

/// Checks the names of the datacentre and the node.
fn names(config: &Config, r: &Reader<'_>, warnings: &mut Vec<String>) -> Result<(), Error> {
    let datacenter = &config.datacenter;
    if datacenter.is_empty() {
        return invalid("datacenter cannot be empty");
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !datacenter.chars().all(fits) {
        return invalid(format!("datacenter cannot be {datacenter:?}. Please use only [a-z0-9-_]"));
    }
    if config.node_name.is_empty() {
        return invalid("node_name cannot be empty");
    }
    if !config.node_name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        warnings.push(format!(
            "Node name {:?} will not be discoverable via DNS due to invalid characters. Valid \
             characters include all alpha-numerics and dashes.",
            config.node_name
        ));
    }
    if config.node_id.as_deref().is_some_and(|id| {
        // Only the hyphenated form of 36 characters is stable across tools.
        id.len() != 36 || uuid::Uuid::try_parse(id).is_err()
    }) {
        return Err(r.fault("node_id", "specified NodeID is invalid: not a UUID"));
    }
    if config.dns.domain.is_empty() || config.dns.domain.contains(char::is_whitespace) {
        return Err(r.fault("domain", "is not a domain"));
    }
    Ok(())
}

/// Checks what only servers may do.
fn roles(config: &Config, warnings: &mut Vec<String>) -> Result<(), Error> {
    let expect = config.bootstrap_expect;
    if config.bootstrap && !config.server {
        return invalid("'bootstrap = true' requires 'server = true'");
    }
    if expect > 0 && !config.server {
        return invalid("'bootstrap_expect > 0' requires 'server = true'");
    }
    if expect > 0 && config.dev {
        return invalid("'bootstrap_expect > 0' not allowed in dev mode");
    }
    if expect > 0 && config.bootstrap {
        return invalid("'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive");
    }
    if expect == 2 {
        warnings.push(
            "bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance."
                .to_owned(),
        );
    } else if expect > 2 && expect.is_multiple_of(2) {
        warnings.push(
            "bootstrap_expect is even number: A cluster with an even number of servers does not \
             achieve optimum fault tolerance."
                .to_owned(),
        );
    }
    if expect > 0 {
        warnings.push(format!("bootstrap_expect > 0: expecting {expect} servers"));
    }
    if config.bootstrap {
        warnings.push("bootstrap = true: do not enable unless necessary".to_owned());
    }
    Ok(())
}

/// Checks that state can be kept.
fn data_dir(config: &Config) -> Result<(), Error> {
    let Some(dir) = &config.data_dir else {
        return if config.dev { Ok(()) } else { invalid("data_dir cannot be empty") };
    };
    match std::fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            invalid(format!("data_dir {:?} is not a directory", dir.display().to_string()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => invalid(format!(
            "Error getting info on data_dir: stat {}: {}",
            dir.display(),
            super::os_text(&error)
        )),
    }
}

/// Checks that what the limits allow can be told to other servers.
fn sizes(config: &Config, r: &Reader<'_>) -> Result<(), Error> {
    let limits = &config.limits;
    for (key, bytes) in [
        ("limits.kv_max_value_size", limits.kv_max_value_size),
        ("limits.txn_max_req_len", limits.txn_max_req_len),
    ] {
        if bytes > VALUE_BYTES_MAX {
            return Err(
                r.fault(key, format!("cannot be {bytes}. Must be at most {VALUE_BYTES_MAX}"))
            );
        }
    }
    Ok(())
}

/// Checks the node's metadata.
fn node_meta(config: &Config) -> Result<(), Error> {
    let meta = &config.node_meta;
    if meta.len() > META_PAIRS_MAX {
        return invalid(format!(
            "node_meta invalid: Node metadata cannot contain more than {META_PAIRS_MAX} key pairs"
        ));
    }
    check_meta(meta, Reserved::Refused)
        .or_else(|fault| invalid(format!("node_meta invalid: {fault}")))
}

/// Checks that no two TCP listeners want one address.
fn listeners(config: &Config) -> Result<(), Error> {
    let mut taken: Vec<(std::net::SocketAddr, &str)> = Vec::new();
    let mut claim = |address, name: &'static str| match taken.iter().find(|t| t.0 == address) {
        Some((_, other)) => {
            invalid(format!("{name} address {address} already configured for {other}"))
        }
        None => {
            taken.push((address, name));
            Ok(())
        }
    };
    for address in &config.dns_listen {
        claim(*address, "DNS")?;
    }
    for (listens, name) in [(&config.http_listen, "HTTP"), (&config.https_listen, "HTTPS")] {
        for listen in listens {
            match listen {
                Listen::Tcp(address) => claim(*address, name)?,
                Listen::Unix(_) => {}
            }
        }
    }
    claim((config.bind_addr, config.ports.server).into(), "RPC Advertise")?;
    claim((config.serf_lan_bind, config.ports.serf_lan).into(), "Serf Advertise LAN")?;
    match config.ports.serf_wan {
        Some(port) => claim((config.bind_addr, port).into(), "Serf Advertise WAN"),
        None => Ok(()),
    }
}

/// Checks services and checks beyond their types.
fn definitions(config: &Config, r: &Reader<'_>) -> Result<(), Error> {
    let mut ids = BTreeSet::new();
    for (at, service) in config.services.iter().enumerate() {
        let fault = |what: String| r.fault("services", format!("service {at}: {what}"));
        if service.name.is_empty() {
            return Err(fault("Missing service name".to_owned()));
        }
        let id = if service.id.is_empty() { &service.name } else { &service.id };
        if !ids.insert(id) {
            return invalid(format!("duplicate service id {id:?}"));
        }
        if let Some(weights) = &service.weights {
            weights.validate().map_err(|e| fault(format!("Invalid Weights: {e}")))?;
        }
        for check in &service.checks {
            check.validate().map_err(|e| fault(format!("Invalid check: {e}")))?;
        }
    }
    let mut ids = BTreeSet::new();
    for (at, check) in config.checks.iter().enumerate() {
        let fault = |what: String| r.fault("checks", format!("check {at}: {what}"));
        if check.name.is_empty() {
            return Err(fault("Missing check name".to_owned()));
        }
        let id = if check.id.is_empty() { &check.name } else { &check.id };
        if !ids.insert(id) {
            return invalid(format!("duplicate check id {id:?}"));
        }
        check.validate().map_err(|e| fault(format!("Invalid check: {e}")))?;
    }
    Ok(())
}
