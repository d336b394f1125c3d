//! What only the leader does, as long as its leadership is established.
//!
//! ```text
//! member     members of the LAN pool -> nodes, serfHealth, the servers' own service
//! server     servers of the pool -> the raft configuration
//! session    ends sessions whose TTL ran out
//! health     how the servers do
//! coordinate writes down where nodes are
//! grave      lets deleted keys be forgotten
//! stage      gives up restores that their senders left
//! ```
//!
//! Every change goes through the endpoint, as anybody's would. A new leader starts all of it anew,
//! and so does one whose whole state was replaced.

mod coordinate;
mod grave;
mod health;
mod member;
mod server;
mod session;
mod stage;

use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::gossip::Member;
use crate::raft::Raft;
use agent_core::model::autopilot::Configuration;
use agent_core::model::command::Command;
use agent_core::model::request::{Body, Options, Outcome, Request};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How the leader behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The datacentre: members of others are none of its business.
    pub datacenter: String,
    /// How to look after the servers until an operator says otherwise.
    pub autopilot: Configuration,
    /// Time between two writes of coordinates.
    pub coordinate_period: Duration,
}

impl Settings {
    /// Takes what concerns the leader from the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            datacenter: config.datacenter.clone(),
            autopilot: Configuration {
                cleanup_dead_servers: config.autopilot.cleanup_dead_servers,
                min_quorum: config.autopilot.min_quorum,
                last_contact_ns: nanos(config.autopilot.last_contact_threshold),
                max_trailing_logs: config.autopilot.max_trailing_logs,
                stabilization_ns: nanos(config.autopilot.server_stabilization_time),
                ..Configuration::default()
            },
            coordinate_period: if config.dev { coordinate::PERIOD_DEV } else { coordinate::PERIOD },
        }
    }

    /// Tells how the servers are looked after at present.
    fn autopilot(&self, endpoint: &Endpoint) -> Configuration {
        let tables = endpoint.tables();
        let written = tables.and_then(|tables| tables.autopilot().cloned());
        written.unwrap_or_else(|| self.autopilot.clone())
    }
}

/// Counts nanoseconds.
fn nanos(span: agent_core::time::Duration) -> u64 {
    u64::try_from(span.to_core().as_nanos()).unwrap_or(u64::MAX)
}

/// Reads members of the pool: their list, and a number that rises when one of them changes.
#[derive(Clone, Debug)]
pub struct Pool<M> {
    members: M,
    changed: watch::Receiver<u64>,
}

impl<M: Fn() -> Arc<Vec<Member>>> Pool<M> {
    /// Reads what `members` lists, again whenever `changed` has risen.
    pub const fn new(members: M, changed: watch::Receiver<u64>) -> Self {
        Self { members, changed }
    }

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

/// Leads whenever this server is the leader, until raft stops; follows the whole pool, and by
/// themselves those of its members that are servers.
pub async fn run<M, S>(
    endpoint: Endpoint,
    raft: Raft,
    pool: Pool<M>,
    servers: Pool<S>,
    settings: Settings,
) where
    M: Fn() -> Arc<Vec<Member>> + Clone,
    S: Fn() -> Arc<Vec<Member>> + Clone,
{
    let mut leadership = raft.leadership();
    loop {
        let term = match leadership.wait_for(|now| now.is_self && now.established).await {
            Ok(now) => now.term,
            Err(_) => return,
        };
        tracing::info!(term, "leader: cluster leadership acquired");
        let epoch = endpoint.epoch();
        tokio::select! {
            _ = leadership.wait_for(|now| !now.is_self || now.term != term) => {}
            () = member::run(&endpoint, raft.id(), pool.clone(), &settings) => {}
            () = server::run(&endpoint, &raft, servers.clone(), &settings) => {}
            () = health::run(&endpoint, &raft, servers.clone(), &settings) => {}
            () = session::run(&endpoint) => {}
            () = grave::run(&endpoint) => {}
            () = stage::run(&endpoint) => {}
            () = coordinate::run(&endpoint, &settings) => {}
            () = endpoint.replaced(epoch) => {
                tracing::info!(term, "leader: state was replaced");
                continue;
            }
        }
        tracing::info!(term, "leader: cluster leadership lost");
        if let Some(timers) = endpoint.timers() {
            timers.clear();
        }
        endpoint.set_health(None);
    }
}

/// Asks for a change in the leader's own name.
async fn ask(endpoint: &Endpoint, command: Command) -> Outcome {
    endpoint.serve(Request { options: Options::default(), body: Body::Command(command) }).await
}

#[cfg(test)]
mod tests;
