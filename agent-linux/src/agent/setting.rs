//! What each part of the agent is told of the configuration.

use super::{Role, local};
use crate::config::Config;
use crate::http;
use crate::log;
use agent_core::model::Stamp;
use agent_core::model::node::Node;
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

/// Takes the services and checks of the configuration.
pub(super) fn configured(config: &Config) -> local::Configured {
    local::Configured { services: config.services.clone(), checks: config.checks.clone() }
}

/// Translates what the HTTP edge is set to.
pub(super) fn http_settings(config: &Config) -> http::Settings {
    http::Settings {
        server: config.server,
        ui: config.ui,
        pretty: config.dev,
        kv_value_bytes_max: config.limits.kv_max_value_size,
        connections_per_client_max: config.limits.http_max_conns_per_client,
        discovery_max_stale: config.discovery_max_stale.to_core(),
        response_headers: config.http.response_headers.clone().into_iter().collect(),
        block_endpoints: config.http.block_endpoints.clone(),
        allow_write_from: config.http.allow_write_from.clone(),
        monitor: Some(std::sync::Arc::new(log::follow)),
        ..http::Settings::new(config.datacenter.clone(), config.node_name.clone())
    }
}
