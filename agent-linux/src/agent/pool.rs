//! The agent's gossip pools: what it tells about itself, and how it gets in.

use crate::config::{self, Config, View};
use crate::gossip::{self, Gossip, Keys, Meta, Options, Role, Strictness};
use crate::version;
use agent_core::time::Duration;
use std::io;
use std::net::SocketAddr;
use tokio::net::lookup_host;
use uuid::Uuid;

/// Tells what the agent says about itself; `raft_id` is 0 for a client.
pub(super) fn meta(config: &Config, node_id: Uuid, raft_id: u64) -> Meta {
    let build = format!("{}:", version::CONSUL);
    Meta {
        role: if config.server { Role::Server } else { Role::Client },
        rpc_port: if config.server { config.ports.server } else { 0 },
        wan_port: if config.server { config.ports.serf_wan.unwrap_or(0) } else { 0 },
        expect: u8::try_from(config.bootstrap_expect).unwrap_or(u8::MAX),
        bootstrap: config.bootstrap,
        raft_id,
        leaf: config.gossip_lan.view == View::Partial,
        ..Meta::client(&config.node_name, &config.datacenter, node_id.into_bytes(), &build)
    }
}

/// Members that a leaf takes its pool to have, to space its syncs: it does not see them, and is
/// meant for pools of many thousands.
const LEAF_POOL_SIZE: usize = 8192;

/// Tells how many members the pool has, as far as this agent can tell.
pub(super) fn size(gossip: &Gossip) -> usize {
    if gossip.servers().is_some() { LEAF_POOL_SIZE } else { gossip.count() }
}

/// Starts the LAN pool.
///
/// # Errors
///
/// What binding says, with the address, or that the name or metadata is too long.
pub(super) async fn start_lan(config: &Config, meta: Meta) -> io::Result<Gossip> {
    let bind = SocketAddr::new(config.serf_lan_bind, config.ports.serf_lan);
    let advertise = SocketAddr::new(config.advertise_addr, config.ports.serf_lan);
    let options = Options {
        bind,
        advertise,
        meta,
        config: gossip::Config {
            coordinates: !config.disable_coordinates,
            ..lan_config(&config.gossip_lan, config.reconnect_timeout)
        },
        snapshot_path: config.data_dir.as_ref().map(|dir| dir.join("serf").join("local.snapshot")),
        rejoin_after_leave: config.rejoin_after_leave,
        keys: keys(config, "local", "LAN")?,
    };
    Gossip::start(options).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start gossip on {bind}: {error}"))
    })
}

/// Starts the WAN pool, of which only servers are members; `None` for a client or without its port.
///
/// # Errors
///
/// As [`start_lan`].
pub(super) async fn start_wan(config: &Config, lan: Meta) -> io::Result<Option<Gossip>> {
    let (true, Some(port)) = (config.server, config.ports.serf_wan) else { return Ok(None) };
    let bind = SocketAddr::new(config.bind_addr, port);
    let options = Options {
        bind,
        advertise: SocketAddr::new(config.advertise_addr_wan, port),
        meta: Meta { name: format!("{}.{}", config.node_name, config.datacenter), ..lan },
        config: gossip::Config {
            coordinates: !config.disable_coordinates,
            ..gossip::Config::wan()
        },
        snapshot_path: config.data_dir.as_ref().map(|dir| dir.join("serf").join("remote.snapshot")),
        rejoin_after_leave: config.rejoin_after_leave,
        keys: keys(config, "remote", "WAN")?,
    };
    Gossip::start(options).await.map(Some).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start WAN gossip on {bind}: {error}"))
    })
}

/// Finds the keys of a pool: those of its keyring file, else the one of `encrypt`.
///
/// # Errors
///
/// Consul's words for keys that are no good.
fn keys(config: &Config, file: &str, pool: &str) -> io::Result<Option<Keys>> {
    let folder = config.data_dir.as_ref().filter(|_| !config.disable_keyring_file);
    let file = folder.map(|folder| folder.join("serf").join(format!("{file}.keyring")));
    let strictness = Strictness {
        verify_incoming: config.encrypt_verify_incoming,
        verify_outgoing: config.encrypt_verify_outgoing,
    };
    let found = Keys::load(file, config.encrypt.as_deref(), strictness)
        .map_err(|error| io::Error::other(format!("Failed to configure keyring: {error}")))?;
    Ok(found.map(|(keys, lacks)| {
        if lacks {
            let text = "keyring doesn't include key provided with -encrypt, using keyring";
            tracing::warn!("agent: {text}: keyring={pool}");
        }
        keys
    }))
}

/// Translates the settings under `gossip_lan`.
fn lan_config(settings: &config::Gossip, reconnect_timeout: Duration) -> gossip::Config {
    gossip::Config {
        probe_period: settings.probe_interval,
        probe_timeout: settings.probe_timeout.min(settings.probe_interval),
        fanout: u8::try_from(settings.gossip_nodes).unwrap_or(u8::MAX),
        gossip_period: settings.gossip_interval,
        suspicion_factor: settings.suspicion_mult,
        retransmit_factor: u8::try_from(settings.retransmit_mult).unwrap_or(u8::MAX),
        reconnect_timeout,
        ..gossip::Config::lan()
    }
}

/// Joins through `addresses` (IP or host name, with or without a port); answers how many took us
/// in.
///
/// # Errors
///
/// Why nobody did, in Consul's form, one line for each address.
pub(super) async fn join(
    gossip: &Gossip,
    addresses: &[String],
    port: u16,
) -> Result<usize, String> {
    let mut resolved = Vec::new();
    let mut failures = Vec::new();
    for address in addresses {
        match resolve(address, port).await {
            Ok(found) => resolved.extend(found),
            Err(error) => failures.push(format!("Failed to resolve {address}: {error}")),
        }
    }
    let (joined, refused) = gossip.join(&resolved).await;
    if joined > 0 {
        return Ok(joined);
    }
    let refusal = |(address, why): (SocketAddr, String)| {
        let ip = address.ip();
        format!("Failed to join {ip}: {why}")
    };
    failures.extend(refused.into_iter().map(refusal));
    let plural = if failures.len() == 1 { "" } else { "s" };
    let list: String = failures.iter().map(|failure| format!("\t* {failure}\n")).collect();
    Err(format!("{} error{plural} occurred:\n{list}\n", failures.len()))
}

/// Finds the socket addresses that a text means.
async fn resolve(address: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = address.trim_matches(['[', ']']).parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let with_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let found = if with_port {
        lookup_host(address).await?.collect()
    } else {
        lookup_host((address, port)).await?.collect()
    };
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_takes_the_pools_port_unless_it_has_one() {
        for (text, address) in [
            ("127.0.0.11", "127.0.0.11:8301"),
            ("127.0.0.11:9000", "127.0.0.11:9000"),
            ("::1", "[::1]:8301"),
            ("[::1]:9000", "[::1]:9000"),
        ] {
            assert_eq!(resolve(text, 8301).await.unwrap(), [address.parse().unwrap()], "{text}");
        }
    }
}
