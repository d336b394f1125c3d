//! Servers of the pool to the raft configuration.
//!
//! A server that joins is added: it learns, and votes once it was healthy for as long as autopilot
//! is told. One that leaves is removed, and a failed one is removed once another votes in its stead
//! and enough others are left. Source: <https://developer.hashicorp.com/consul/docs/agent/config>
//! (`autopilot`).

use super::{Pool, Settings, ask};
use crate::endpoint::Endpoint;
use crate::gossip::{Member, MemberStatus, Role};
use crate::metrics::unix_millis;
use crate::raft::{Error, Raft, Server};
use agent_core::model::autopilot::{Health, Op};
use agent_core::model::command::Command;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks without a change: retries what failed.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// The same while a server waits to vote.
const WAITING_LOOK_TIME: Duration = Duration::from_secs(1);

/// A change of the raft configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// As one that learns.
    Add(Server),
    /// To one that votes.
    Promote(Server),
    /// With the reason.
    Remove(Server, &'static str),
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
struct Memory {
    /// Servers that were seen in the pool under this leadership.
    seen: BTreeSet<u64>,
    /// Whether a server began to vote since dead ones were last cleaned up.
    joined: bool,
}

/// Keeps the raft configuration the servers that the pool sees.
pub(super) async fn run<M: Fn() -> Arc<Vec<Member>>>(
    endpoint: &Endpoint,
    raft: &Raft,
    mut pool: Pool<M>,
    settings: &Settings,
) {
    begin(endpoint, settings).await;
    let mut memory = Memory::default();
    loop {
        let members = pool.take();
        let (_, configuration) = raft.configuration();
        let current = Settings { autopilot: settings.autopilot(endpoint), ..settings.clone() };
        let stable = stable(&endpoint.health().unwrap_or_default(), &current, unix_millis());
        for step in steps(&mut memory, &members, &configuration, raft.id(), &current, &stable) {
            memory.joined |= take(raft, &step).await == Taken::Promoted;
        }
        let (_, configuration) = raft.configuration();
        for server in dead(&memory, &members, &configuration, &current) {
            memory.joined = false;
            take(raft, &Step::Remove(server, "failed")).await;
        }
        let waiting = configuration.iter().any(|(_, voter)| !voter);
        let pause = if waiting { WAITING_LOOK_TIME } else { LOOK_TIME };
        tokio::select! {
            () = pool.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Writes what the configuration file says, if no leader has before.
async fn begin(endpoint: &Endpoint, settings: &Settings) {
    let is_known = endpoint.tables().is_some_and(|tables| tables.autopilot().is_some());
    let command = Command::Autopilot(Op::Begin(settings.autopilot.clone()));
    if !is_known && let Err(error) = ask(endpoint, command).await {
        tracing::warn!(%error, "leader: autopilot's configuration not written");
    }
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Added,
    Promoted,
    Removed,
    Failed,
}

async fn take(raft: &Raft, step: &Step) -> Taken {
    let done: Result<Taken, Error> = match step {
        Step::Add(server) => {
            let (name, address) = (&server.name, server.address);
            tracing::info!(name, %address, "leader: adding server to raft");
            raft.add_learner(server).await.map(|()| Taken::Added)
        }
        Step::Promote(server) => {
            let (name, address) = (&server.name, server.address);
            tracing::info!(name, %address, "leader: promoting server to voter");
            raft.add_server(server.clone()).await.map(|()| Taken::Promoted)
        }
        Step::Remove(server, reason) => {
            let (name, address) = (&server.name, server.address);
            tracing::info!(name, %address, reason, "leader: removing server from raft");
            raft.remove_server(server.id).await.map(|()| Taken::Removed)
        }
    };
    done.unwrap_or_else(|error| {
        tracing::warn!(?error, ?step, "leader: raft configuration not changed");
        Taken::Failed
    })
}

/// The place in consensus that a server's metadata tells.
fn server(member: &Member) -> Server {
    Server {
        id: member.meta.raft_id,
        node_id: uuid::Uuid::from_bytes(member.meta.node_id).to_string(),
        name: member.name.clone(),
        address: SocketAddr::new(member.addr.ip(), member.meta.rpc_port),
    }
}

/// The pool's servers in the leader's datacentre.
fn servers<'a>(
    members: &'a [Member],
    settings: &'a Settings,
) -> impl Iterator<Item = (&'a Member, Server)> {
    members
        .iter()
        .filter(|member| member.meta.role == Role::Server && member.meta.raft_id != 0)
        .filter(|member| member.meta.dc == settings.datacenter)
        .map(|member| (member, server(member)))
}

/// Node UUIDs of the servers that have been healthy for as long as a voter must have been.
fn stable(health: &Health, settings: &Settings, unix_millis: u64) -> BTreeSet<String> {
    let least = settings.autopilot.stabilization_ns / 1_000_000;
    let healthy = health.servers.iter().filter(|server| server.healthy);
    healthy
        .filter(|server| unix_millis.saturating_sub(server.stable_since * 1000) >= least)
        .map(|server| server.id.clone())
        .collect()
}

/// What brings the configuration nearer to the pool. First go those who left or came back with an
/// empty disk, so that they do not count against the quorum while the new ones learn.
fn steps(
    memory: &mut Memory,
    members: &[Member],
    configuration: &[(Server, bool)],
    own: u64,
    settings: &Settings,
    stable: &BTreeSet<String>,
) -> Vec<Step> {
    let pool: Vec<(&Member, Server)> = servers(members, settings).collect();
    let alive: Vec<&Server> = pool
        .iter()
        .filter(|(member, _)| member.status == MemberStatus::Alive)
        .map(|(_, server)| server)
        .collect();
    let mut steps = Vec::new();
    for (old, _) in configuration.iter().filter(|(old, _)| old.id != own) {
        let listed = pool.iter().find(|(_, server)| server.id == old.id);
        let replaced = alive.iter().any(|new| {
            new.id != old.id && (new.node_id == old.node_id || new.address == old.address)
        });
        match listed {
            Some((member, _)) if member.status == MemberStatus::Left => {
                steps.push(Step::Remove(old.clone(), "left"));
            }
            _ if replaced => steps.push(Step::Remove(old.clone(), "replaced")),
            None if memory.seen.contains(&old.id) => {
                steps.push(Step::Remove(old.clone(), "forgotten"));
            }
            Some(_) | None => {}
        }
    }
    for new in alive {
        match configuration.iter().find(|(old, _)| old == new) {
            Some((_, true)) => {}
            Some((_, false)) if stable.contains(&new.node_id) => {
                steps.push(Step::Promote(new.clone()));
            }
            Some((_, false)) => {}
            None => steps.push(Step::Add(new.clone())),
        }
    }
    memory.seen.extend(pool.iter().map(|(_, server)| server.id));
    steps
}

/// The failed servers that may be removed: only after another began to vote, and only a minority.
/// Until then one that comes back still counts towards a quorum.
fn dead(
    memory: &Memory,
    members: &[Member],
    configuration: &[(Server, bool)],
    settings: &Settings,
) -> Vec<Server> {
    if !settings.autopilot.cleanup_dead_servers || !memory.joined {
        return Vec::new();
    }
    let failed: BTreeSet<u64> = servers(members, settings)
        .filter(|(member, _)| member.status == MemberStatus::Failed)
        .map(|(_, server)| server.id)
        .collect();
    let dead: Vec<Server> = configuration
        .iter()
        .filter(|(server, voter)| *voter && failed.contains(&server.id))
        .map(|(server, _)| server.clone())
        .collect();
    let voters = configuration.iter().filter(|(_, voter)| *voter).count();
    let left = voters - dead.len();
    if dead.len() >= voters.div_ceil(2)
        || dead.len() * 2 >= voters
        || (left as u64) < settings.autopilot.min_quorum
    {
        return Vec::new();
    }
    dead
}

#[cfg(test)]
mod tests;
