//! What operators ask of consensus.

use super::Server as ThisServer;
use crate::raft;
use agent_core::model::autopilot::Health;
use agent_core::model::operator::{Peer, Query, Reply, Server};
use agent_core::model::request::{self, Error, Kind};
use std::sync::PoisonError;

impl super::Endpoint {
    /// Tells how the servers do; `None` where this one does not lead.
    pub fn health(&self) -> Option<Health> {
        self.0.server.as_ref()?.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how the servers do, or that this one no longer knows.
    pub fn set_health(&self, health: Option<Health>) {
        if let Some(server) = &self.0.server {
            *server.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
        }
    }
}

/// Answers an operator. Removing a peer is for the leader.
pub(super) async fn answer(server: &ThisServer, query: &Query) -> Result<request::Reply, Error> {
    let reply = match query {
        Query::RaftConfiguration => configuration(&server.raft),
        Query::RemovePeer(peer) => remove(&server.raft, peer).await?,
        Query::Autopilot => {
            let tables = server.store.tables();
            let found = tables.autopilot().cloned();
            Reply::Autopilot(found.ok_or_else(|| Error::new(Kind::NotReady))?)
        }
        Query::Health => {
            let health = server.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Reply::Health(health.ok_or_else(|| Error::new(Kind::NotReady))?)
        }
    };
    Ok(request::Reply::Operator(reply))
}

/// Shows the configuration. Its index is always 0, as from Consul 1.8.
fn configuration(raft: &raft::Raft) -> Reply {
    let leader = raft.leader().map(|leader| leader.id);
    let (_, mut servers) = raft.configuration();
    servers.sort_by_key(|(server, _)| server.address);
    let row = |(server, voter): (raft::Server, bool)| Server {
        leader: leader == Some(server.id),
        id: server.node_id,
        node: if server.name.is_empty() { "(unknown)".into() } else { server.name },
        address: server.address.to_string(),
        voter,
    };
    Reply::RaftConfiguration { servers: servers.into_iter().map(row).collect(), index: 0 }
}

async fn remove(raft: &raft::Raft, peer: &Peer) -> Result<Reply, Error> {
    let (_, servers) = raft.configuration();
    let found = servers.into_iter().find(|(server, _)| match peer {
        Peer::Address(address) => server.address.to_string() == *address,
        Peer::Id(id) => server.node_id == *id,
    });
    let Some((server, _)) = found else {
        let (what, which) = match peer {
            Peer::Address(address) => ("address", address),
            Peer::Id(id) => ("id", id),
        };
        let text = format!("{what} {which:?} was not found in the Raft configuration");
        return Err(Error::with(Kind::Invalid, text));
    };
    match raft.remove_server(server.id).await {
        Ok(()) => Ok(Reply::Removed),
        Err(raft::Error::NotLeader) => Err(Error::new(Kind::NoLeader)),
        Err(raft::Error::Timeout) => {
            Err(Error::with(Kind::Unknown, "the change was not confirmed in time"))
        }
        Err(
            error @ (raft::Error::Disk(_)
            | raft::Error::Initialized
            | raft::Error::Quorum
            | raft::Error::Change(_)
            | raft::Error::Stopped(_)),
        ) => Err(Error::with(Kind::Failed, error.to_string())),
    }
}
