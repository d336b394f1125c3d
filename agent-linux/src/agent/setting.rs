//! What each part of the agent is told of the configuration.

use super::{Role, local};
use crate::config::Config;
use crate::http;
use crate::log;
use crate::metrics::{Naming, Sink, Sinks};
use crate::rpc::server::Limits;
use crate::tls;
use agent_core::model::Stamp;
use agent_core::model::node::Node;
use agent_core::time::Duration;
use std::net::IpAddr;
use uuid::Uuid;

/// Tells the row that this node has in the catalog.
pub(super) fn node(config: &Config, node_id: Uuid) -> Node {
    let mut meta = config.node_meta.clone();
    meta.insert("consul-network-segment".to_owned(), String::new());
    Node {
        id: node_id.to_string(),
        name: config.node_name.clone(),
        address: config.advertise_addr.to_string(),
        datacenter: config.datacenter.clone(),
        tagged_addresses: config.tagged_addresses.clone(),
        meta,
        stamp: Stamp::default(),
    }
}

/// Tells what the agent is.
pub(super) fn role(config: &Config) -> Role {
    if config.server { Role::Server } else { Role::Client }
}

/// Translates how services and checks are kept.
pub(super) fn local_settings(config: &Config) -> local::Settings {
    local::Settings {
        role: role(config),
        scripts: match (config.enable_script_checks, config.enable_local_script_checks) {
            (true, _) => local::Scripts::All,
            (false, true) => local::Scripts::Config,
            (false, false) => local::Scripts::Off,
        },
        check_update_interval: config.check_update_interval,
        check_output_bytes: config.check_output_max_size,
        discard_check_output: config.discard_check_output,
    }
}

/// Takes the services and checks of the configuration, and how checks speak TLS.
///
/// # Errors
///
/// For files of TLS that are no good.
pub(super) fn configured(config: &Config) -> Result<local::Configured, tls::Error> {
    let files = &config.tls;
    let name = files.server_name.as_ref().unwrap_or(&config.node_name);
    let own = files.for_checks.then(|| tls::Own::new(files, name)).transpose()?;
    let (services, checks) = (config.services.clone(), config.checks.clone());
    Ok(local::Configured { services, checks, tls: own })
}

/// Translates the bounds of the RPC listener.
pub(super) fn rpc_limits(config: &Config) -> Limits {
    let connections = match config.limits.rpc_max_conns_per_client {
        0 => u32::MAX,
        max => max,
    };
    Limits {
        connections_per_ip_max: connections,
        handshake_time: config.limits.rpc_handshake_timeout.to_core(),
        ..Limits::default()
    }
}

/// Tells the address that connections to servers come from: the one that is listened on, unless
/// that is any. Source: `bind_addr` in <https://developer.hashicorp.com/consul/docs/agent/options>.
pub(super) fn source(config: &Config) -> Option<IpAddr> {
    (!config.bind_addr.is_unspecified()).then_some(config.bind_addr)
}

/// Translates how metrics are named.
fn naming(config: &Config) -> Naming {
    let t = &config.telemetry;
    let statsd = [&t.statsd_address, &t.statsite_address, &t.dogstatsd_addr];
    // Names need the host only where those of many agents come together, as in Consul.
    let gathered =
        statsd.iter().any(|to| to.is_some()) || t.prometheus_retention_time > Duration::ZERO;
    Naming {
        prefix: t.prefix.clone(),
        host: if gathered { t.host.clone() } else { String::new() },
        filter: t.filter.clone(),
        filter_default: t.filter_default,
    }
}

/// Translates who is sent metrics.
pub(super) fn sinks(config: &Config) -> Sinks {
    let t = &config.telemetry;
    let dogstatsd = |to: String| Sink::Dogstatsd(to, t.dogstatsd_tags.clone());
    let sinks = [
        t.statsd_address.clone().map(Sink::Statsd),
        t.dogstatsd_addr.clone().map(dogstatsd),
        t.statsite_address.clone().map(Sink::Statsite),
    ];
    Sinks::new(naming(config), sinks.into_iter().flatten().collect())
}

/// Follows the log.
fn follow(level: tracing::Level, form: http::LineForm) -> http::Lines {
    let form = match form {
        http::LineForm::Text => log::Form::Text,
        http::LineForm::Json => log::Form::Json,
    };
    log::follow(level, form)
}

/// Lists the headers of every answer of the API.
fn response_headers(config: &Config) -> Vec<(String, String)> {
    let mut headers: Vec<_> = config.http.response_headers.clone().into_iter().collect();
    if config.translate_wan_addrs {
        headers.push(("X-Consul-Translate-Addresses".to_owned(), "true".to_owned()));
    }
    headers
}

/// Translates what the HTTP edge is set to.
pub(super) fn http_settings(config: &Config, connections: &http::ConnectionsMax) -> http::Settings {
    http::Settings {
        server: config.server,
        coordinates: !config.disable_coordinates,
        site: config.ui.clone().map(|ui| http::Site { path: ui.content_path, folder: ui.dir }),
        printable_only: config.http.printable_only,
        pretty: config.dev,
        kv_value_bytes_max: config.limits.kv_max_value_size,
        txn_bytes_max: config.limits.txn_max_req_len.max(config.limits.kv_max_value_size),
        connections_per_client_max: connections.clone(),
        tls_handshake_max: config.limits.https_handshake_timeout.to_core(),
        discovery_max_stale: config.discovery_max_stale.to_core(),
        use_cache: config.http.use_cache,
        response_headers: response_headers(config),
        block_endpoints: config.http.block_endpoints.clone(),
        allow_write_from: config.http.allow_write_from.clone(),
        metrics: naming(config),
        prometheus: config.telemetry.prometheus_retention_time > Duration::ZERO,
        monitor: Some(std::sync::Arc::new(follow)),
        ..http::Settings::new(config.datacenter.clone(), config.node_name.clone())
    }
}
