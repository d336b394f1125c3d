//! Questions about gossip keys, put to both pools of a server.

use super::Agent;
use crate::endpoint::agent::{KeyringOp, KeyringView, Pool, Reply};
use crate::gossip::{self, Gossip, KeyOp};
use agent_core::model::request::{Error, Kind};

/// Asks the WAN pool, unless only the own one is meant, then the LAN pool.
pub(super) async fn serve(agent: &Agent, op: KeyringOp, local_only: bool) -> Result<Reply, Error> {
    let Some(wan) = &agent.wan else {
        let text = "keyring operations must run against a server node";
        return Err(Error::with(Kind::Failed, text));
    };
    let datacenter = agent.config().datacenter.clone();
    let mut views = Vec::new();
    if !local_only {
        views.push(ask(wan, Pool::Wan, &datacenter, &op).await);
    }
    views.push(ask(&agent.gossip, Pool::Lan, &datacenter, &op).await);
    Ok(Reply::Keyring(views))
}

async fn ask(gossip: &Gossip, pool: Pool, datacenter: &str, op: &KeyringOp) -> KeyringView {
    let mut view = KeyringView {
        pool,
        datacenter: datacenter.to_owned(),
        nodes: 0,
        keys: Default::default(),
        primary_keys: Default::default(),
        error: String::new(),
        messages: Default::default(),
    };
    let op = match op {
        KeyringOp::List => Ok(KeyOp::List),
        KeyringOp::Install(key) => gossip::key(key).map(KeyOp::Install),
        KeyringOp::Use(key) => gossip::key(key).map(KeyOp::Use),
        KeyringOp::Remove(key) => gossip::key(key).map(KeyOp::Remove),
    };
    let report = match op {
        Ok(op) => gossip.keyring(op).await,
        Err(error) => return KeyringView { error, ..view },
    };
    let nodes = report.nodes;
    if !report.faults.is_empty() {
        view.error = format!("{}/{nodes} nodes reported failure", report.faults.len());
    } else if report.answers != nodes {
        view.error = format!("{}/{nodes} nodes reported success", report.answers);
    }
    KeyringView {
        nodes,
        keys: report.keys,
        primary_keys: report.primary_keys,
        messages: report.faults,
        ..view
    }
}
