//! What only the leader does, as long as its leadership is established.
//!
//! ```text
//! member     members of the LAN pool -> nodes, serfHealth, the servers' own service
//! server     servers of the pool -> the raft configuration
//! session    ends sessions whose TTL ran out
//! grave      lets deleted keys be forgotten
//! ```
//!
//! Every change goes through the endpoint, as anybody's would. A new leader starts all of it anew.

mod grave;
mod member;
mod server;
mod session;

use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::gossip::Member;
use crate::raft::Raft;
use agent_core::model::command::Command;
use agent_core::model::request::{Body, Options, Outcome, Request};
use std::sync::Arc;
use tokio::sync::watch;

/// How the leader behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The datacentre: members of others are none of its business.
    pub datacenter: String,
    /// Whether failed servers leave the raft configuration once another takes their place.
    pub cleanup_dead_servers: bool,
    /// Voters that a cleanup leaves at least, 0 for no floor.
    pub quorum_min: usize,
}

impl Settings {
    /// Takes what concerns the leader from the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            datacenter: config.datacenter.clone(),
            cleanup_dead_servers: config.autopilot.cleanup_dead_servers,
            quorum_min: usize::try_from(config.autopilot.min_quorum).unwrap_or(usize::MAX),
        }
    }
}

/// Reads the pool: all members, and a number that rises when one of them changes.
struct Pool<M> {
    members: M,
    changed: watch::Receiver<u64>,
}

impl<M: Fn() -> Arc<Vec<Member>>> Pool<M> {
    /// Takes the members; a change after this ends the next [`changed`](Self::changed).
    fn take(&mut self) -> Arc<Vec<Member>> {
        self.changed.mark_unchanged();
        (self.members)()
    }

    /// Waits for a change; for ever once the pool is gone.
    async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Leads whenever this server is the leader, until raft stops.
pub async fn run<M>(
    endpoint: Endpoint,
    raft: Raft,
    members: M,
    changed: watch::Receiver<u64>,
    settings: Settings,
) where
    M: Fn() -> Arc<Vec<Member>> + Clone,
{
    let mut leadership = raft.leadership();
    loop {
        let term = match leadership.wait_for(|now| now.is_self && now.established).await {
            Ok(now) => now.term,
            Err(_) => return,
        };
        tracing::info!(term, "leader: cluster leadership acquired");
        let pool = || Pool { members: members.clone(), changed: changed.clone() };
        tokio::select! {
            _ = leadership.wait_for(|now| !now.is_self || now.term != term) => {}
            () = member::run(&endpoint, raft.id(), pool(), &settings) => {}
            () = server::run(&raft, pool(), &settings) => {}
            () = session::run(&endpoint) => {}
            () = grave::run(&endpoint) => {}
        }
        tracing::info!(term, "leader: cluster leadership lost");
        if let Some(timers) = endpoint.timers() {
            timers.clear();
        }
    }
}

/// Asks for a change in the leader's own name.
async fn ask(endpoint: &Endpoint, command: Command) -> Outcome {
    endpoint.serve(Request { options: Options::default(), body: Body::Command(command) }).await
}

#[cfg(test)]
mod tests;
