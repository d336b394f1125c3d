//! How the servers do, looked at every two seconds.

use super::{Pool, Settings};
use crate::endpoint::Endpoint;
use crate::gossip::{Member, MemberStatus};
use crate::metrics::unix_seconds;
use crate::raft::{Progress, Raft};
use agent_core::model::autopilot::{Configuration, Health, ServerHealth};
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks, as Consul's.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// Looks at the servers, and tells the endpoint.
pub(super) async fn run<M: Fn() -> Arc<Vec<Member>>>(
    endpoint: &Endpoint,
    raft: &Raft,
    mut pool: Pool<M>,
    settings: &Settings,
) {
    let mut before = Health::default();
    loop {
        let members = pool.take();
        let configuration = settings.autopilot(endpoint);
        let health = judge(&raft.progress(), &members, &configuration, &before, unix_seconds());
        before = health.clone();
        endpoint.set_health(Some(health));
        tokio::time::sleep(LOOK_TIME).await;
    }
}

/// Judges every server.
fn judge(
    progress: &[Progress],
    members: &[Member],
    configuration: &Configuration,
    before: &Health,
    now: u64,
) -> Health {
    let last = progress.iter().find(|server| server.leader).map_or((0, 0), |server| server.last);
    let servers: Vec<ServerHealth> = progress
        .iter()
        .map(|server| one(server, last, members, configuration, before, now))
        .collect();
    let healthy_voters = servers.iter().filter(|one| one.voter && one.healthy).count();
    let voters = servers.iter().filter(|one| one.voter).count();
    let tolerance = healthy_voters.saturating_sub(voters / 2 + 1);
    Health {
        healthy: servers.iter().all(|server| server.healthy),
        failure_tolerance: tolerance as u64,
        servers,
    }
}

/// Judges one server against the leader's last entry.
fn one(
    progress: &Progress,
    (term, index): (u64, u64),
    members: &[Member],
    configuration: &Configuration,
    before: &Health,
    now: u64,
) -> ServerHealth {
    let server = &progress.server;
    let member = members.iter().find(|member| member.meta.raft_id == server.id);
    let alive = member.is_some_and(|member| member.status == MemberStatus::Alive);
    let (last_term, last_index) = progress.last;
    let near = progress
        .silence
        .is_some_and(|silence| silence.as_nanos() <= u128::from(configuration.last_contact_ns));
    let current =
        last_term == term && last_index.saturating_add(configuration.max_trailing_logs) >= index;
    let healthy = alive && near && current;
    let known = before.servers.iter().find(|known| known.id == server.node_id);
    let build = member.map_or("", |member| member.meta.build.as_str());
    ServerHealth {
        id: server.node_id.clone(),
        name: server.name.clone(),
        address: server.address.to_string(),
        serf_status: member.map_or("none", |member| member.status.as_str()).into(),
        version: build.split(':').next().unwrap_or_default().into(),
        leader: progress.leader,
        last_contact_ms: progress
            .silence
            .map(|silence| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)),
        last_term,
        last_index,
        healthy,
        voter: progress.voter,
        stable_since: match known {
            Some(known) if known.healthy == healthy => known.stable_since,
            Some(_) | None => now,
        },
    }
}
