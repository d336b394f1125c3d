//! Servers of the pool to the raft configuration.
//!
//! A server that joins is added (it learns first, then votes), one that leaves is removed, and a
//! failed one is removed once another joined and enough others are left, as Consul's autopilot
//! does. Source: <https://developer.hashicorp.com/consul/docs/agent/config> (`autopilot`).

use super::{Pool, Settings};
use crate::gossip::{Member, MemberStatus, Role};
use crate::raft::{Error, Raft, Server};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks without a change: retries what failed.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// A change of the raft configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Add(Server),
    /// With the reason.
    Remove(Server, &'static str),
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
struct Memory {
    /// Servers that were seen in the pool under this leadership.
    seen: BTreeSet<u64>,
    /// Whether a server was added since dead ones were last cleaned up.
    joined: bool,
}

/// Keeps the raft configuration the servers that the pool sees.
pub(super) async fn run<M: Fn() -> Arc<Vec<Member>>>(
    raft: &Raft,
    mut pool: Pool<M>,
    settings: &Settings,
) {
    let mut memory = Memory::default();
    loop {
        let members = pool.take();
        let (_, configuration) = raft.configuration();
        for step in steps(&mut memory, &members, &configuration, raft.id(), settings) {
            if take(raft, &step).await == Taken::Added {
                memory.joined = true;
            }
        }
        let dead = dead(&memory, &members, &raft.configuration().1, settings);
        memory.joined = false;
        for server in dead {
            take(raft, &Step::Remove(server, "failed")).await;
        }
        tokio::select! {
            () = pool.changed() => {}
            () = tokio::time::sleep(LOOK_TIME) => {}
        }
    }
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Added,
    Removed,
    Failed,
}

async fn take(raft: &Raft, step: &Step) -> Taken {
    let done: Result<Taken, Error> = match step {
        Step::Add(server) => {
            let (name, address) = (&server.name, server.address);
            tracing::info!(name, %address, "leader: adding server to raft");
            raft.add_server(server.clone()).await.map(|()| Taken::Added)
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

/// What brings the configuration nearer to the pool. First go those who left or came back with an
/// empty disk, so that they do not count against the quorum while the new ones learn.
fn steps(
    memory: &mut Memory,
    members: &[Member],
    configuration: &[(Server, bool)],
    own: u64,
    settings: &Settings,
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
        let settled = configuration.iter().any(|(old, voter)| old == new && *voter);
        if !settled {
            steps.push(Step::Add(new.clone()));
        }
    }
    memory.seen.extend(pool.iter().map(|(_, server)| server.id));
    steps
}

/// The failed servers that may be removed: only after another joined, and only a minority.
fn dead(
    memory: &Memory,
    members: &[Member],
    configuration: &[(Server, bool)],
    settings: &Settings,
) -> Vec<Server> {
    if !settings.cleanup_dead_servers || !memory.joined {
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
    if dead.len() >= voters.div_ceil(2) || dead.len() * 2 >= voters || left < settings.quorum_min {
        return Vec::new();
    }
    dead
}

#[cfg(test)]
mod tests;
