//! Members of the pool to nodes of the catalog.
//!
//! An alive member has a node with a passing `serfHealth`, a failed one a critical `serfHealth`,
//! one that left or was forgotten has no node. Only what differs is written.
//! Source: <https://developer.hashicorp.com/consul/docs/architecture/anti-entropy>.

use super::{Pool, Settings, ask};
use crate::endpoint::Endpoint;
use crate::gossip::{Member, MemberStatus, Role};
use crate::metrics::{self, Stopwatch};
use agent_core::model::catalog::{self, Deregister, NodeServices, Register};
use agent_core::model::check::{Check, SERF_HEALTH, Status};
use agent_core::model::command::Command;
use agent_core::model::node::Node;
use agent_core::model::service::Service;
use agent_core::model::{Map, health};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Time between two comparisons of everything.
const RECONCILE_TIME: Duration = Duration::from_secs(60);

/// Time until the next comparison of everything after a change could not be written.
const RETRY_TIME: Duration = Duration::from_secs(2);

/// How long the pool must know nothing of a node before the node goes. A server that just started
/// leads before it has heard of every member, and a node that goes takes its services with it.
const STRANGER_TIME: Duration = RECONCILE_TIME;

/// Changes that are proposed at once: enough to share the disk's flushes, few enough to leave room
/// for others in the log.
const PROPOSALS_MAX: usize = 64;

/// The name of the service that every server has.
const SERVER_SERVICE: &str = "consul";

/// What `serfHealth` says of an alive member, and of one that is not.
const ALIVE_OUTPUT: &str = "Agent alive and reachable";
const FAILED_OUTPUT: &str = "Agent not live or unreachable";

/// Keeps the catalog's nodes those that the pool sees.
pub(super) async fn run<M: Fn() -> Arc<Vec<Member>>>(
    endpoint: &Endpoint,
    own_raft_id: u64,
    mut pool: Pool<M>,
    settings: &Settings,
) {
    let mut before: Option<Arc<Vec<Member>>> = None;
    let mut full_at = Instant::now();
    let mut strangers = Strangers::default();
    loop {
        let members = pool.take();
        let now = Instant::now();
        let full = now >= full_at;
        if full {
            before = None;
            full_at = now + RECONCILE_TIME;
        }
        let Some(view) = View::of(endpoint) else { return };
        let mut commands =
            view.differences(&members, before.as_deref().map(Vec::as_slice), own_raft_id, settings);
        if full {
            let unknown = strangers.judge(view.unknown(&members), now);
            commands.extend(unknown.iter().filter_map(|name| view.gone(name)));
        }
        drop(view);
        let watch = Stopwatch::start();
        let all_done = write(endpoint, commands).await;
        watch.stop(&metrics::LEADER_RECONCILE);
        if !all_done {
            full_at = Instant::now() + RETRY_TIME;
        }
        before = Some(members);
        tokio::select! {
            () = pool.changed() => {}
            () = tokio::time::sleep_until(full_at) => {}
        }
    }
}

/// Nodes with a `serfHealth` of which the pool knows nothing, and since when.
#[derive(Default)]
struct Strangers(BTreeMap<String, Instant>);

impl Strangers {
    /// Takes those that are unknown `now`; tells which have been so for [`STRANGER_TIME`].
    fn judge(&mut self, unknown: BTreeSet<String>, now: Instant) -> Vec<String> {
        self.0.retain(|name, _| unknown.contains(name));
        for name in unknown {
            self.0.entry(name).or_insert(now);
        }
        let due = self.0.iter().filter(|(_, since)| now.duration_since(**since) >= STRANGER_TIME);
        due.map(|(name, _)| name.clone()).collect()
    }
}

/// Proposes all changes, those of one node in order, some nodes at once; tells whether all
/// succeeded.
async fn write(endpoint: &Endpoint, commands: Vec<Command>) -> bool {
    let mut proposals = JoinSet::new();
    let mut all_done = true;
    for of_one_node in commands.chunk_by(|one, next| node_of(one) == node_of(next)) {
        while proposals.len() >= PROPOSALS_MAX {
            all_done &= settled(proposals.join_next().await);
        }
        let (endpoint, commands) = (endpoint.clone(), of_one_node.to_vec());
        proposals.spawn(async move {
            for command in commands {
                let what = describe(&command);
                if let Err(error) = ask(&endpoint, command).await {
                    tracing::warn!(%error, "leader: failed: {what}");
                    return false;
                }
                tracing::info!("leader: {what}");
            }
            true
        });
    }
    while !proposals.is_empty() {
        all_done &= settled(proposals.join_next().await);
    }
    all_done
}

/// Tells which node a change is about.
fn node_of(command: &Command) -> &str {
    match command {
        Command::Register(wanted) => &wanted.node.name,
        Command::Deregister(unwanted) => &unwanted.node,
        Command::Kv(_)
        | Command::Session(_)
        | Command::Autopilot(_)
        | Command::Prepared(_)
        | Command::Coordinate(_)
        | Command::Snapshot(_)
        | Command::Txn(_) => "",
    }
}

fn settled(joined: Option<Result<bool, tokio::task::JoinError>>) -> bool {
    matches!(joined, Some(Ok(true)))
}

fn describe(command: &Command) -> String {
    match command {
        Command::Register(wanted) => {
            let health = match wanted.checks.first().map(|check| check.status) {
                Some(Status::Critical) => "failed, marking health critical",
                Some(Status::Passing | Status::Warning) | None => "joined, marking health alive",
            };
            format!("member {} {health}", wanted.node.name)
        }
        Command::Deregister(unwanted) => format!("deregistering member {}", unwanted.node),
        Command::Kv(_)
        | Command::Session(_)
        | Command::Autopilot(_)
        | Command::Prepared(_)
        | Command::Coordinate(_)
        | Command::Snapshot(_)
        | Command::Txn(_) => String::new(),
    }
}

/// What the catalog has, for comparison with the pool.
trait Catalog {
    /// A node and its instances.
    fn node(&self, name: &str) -> Option<NodeServices>;
    /// The node's `serfHealth`.
    fn health(&self, name: &str) -> Option<Arc<Check>>;
    /// Names of all nodes that have a `serfHealth`.
    fn with_health(&self) -> Vec<String>;
}

struct View<T>(T);

impl View<crate::endpoint::Tables> {
    fn of(endpoint: &Endpoint) -> Option<Self> {
        endpoint.tables().map(View)
    }
}

impl Catalog for View<crate::endpoint::Tables> {
    fn node(&self, name: &str) -> Option<NodeServices> {
        match self.0.catalog(&catalog::Query::Node(name.into())).value {
            catalog::Reply::Node(found) => found,
            catalog::Reply::Datacenters(_)
            | catalog::Reply::Nodes(_)
            | catalog::Reply::Services(_)
            | catalog::Reply::Instances(_) => None,
        }
    }

    fn health(&self, name: &str) -> Option<Arc<Check>> {
        match self.0.health(&health::Query::Node(name.into())).value {
            health::Reply::Checks(checks) => checks.into_iter().find(|c| c.id == SERF_HEALTH),
            health::Reply::Instances(_) | health::Reply::Nodes(_) => None,
        }
    }

    fn with_health(&self) -> Vec<String> {
        let all = health::Query::State { status: None, node_meta: Map::new() };
        match self.0.health(&all).value {
            health::Reply::Checks(checks) => checks
                .iter()
                .filter(|check| check.id == SERF_HEALTH)
                .map(|check| check.node.clone())
                .collect(),
            health::Reply::Instances(_) | health::Reply::Nodes(_) => Vec::new(),
        }
    }
}

impl<T> View<T>
where
    Self: Catalog,
{
    /// What must be written so that the catalog shows the pool: for the members that changed since
    /// `before`, or for all without it.
    fn differences(
        &self,
        members: &[Member],
        before: Option<&[Member]>,
        own_raft_id: u64,
        settings: &Settings,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        let known: BTreeMap<&str, &Member> =
            before.unwrap_or(&[]).iter().map(|member| (member.name.as_str(), member)).collect();
        let own = |member: &Member| member.meta.raft_id == own_raft_id;
        let here = members.iter().filter(|member| member.meta.dc == settings.datacenter);
        for member in here.filter(|member| known.get(member.name.as_str()) != Some(member)) {
            match member.status {
                MemberStatus::Alive | MemberStatus::Leaving => commands.extend(self.alive(member)),
                MemberStatus::Failed => commands.extend(self.failed(member)),
                MemberStatus::Left if own(member) => {}
                MemberStatus::Left => commands.extend(self.gone(&member.name)),
            }
        }
        let here = names(members);
        let before = before.unwrap_or(&[]).iter();
        for member in before.filter(|member| !here.contains(&member.name.to_lowercase())) {
            commands.extend(self.gone(&member.name));
        }
        commands
    }

    /// Names of the nodes with a `serfHealth` that are no members.
    fn unknown(&self, members: &[Member]) -> BTreeSet<String> {
        let here = names(members);
        let all = self.with_health().into_iter();
        all.filter(|name| !here.contains(&name.to_lowercase())).collect()
    }

    /// The pool decides who has a name: a node of that name with another id (its disk was wiped, or
    /// the machine replaced) is declared dead first, as the catalog guards the names of the living.
    fn alive(&self, member: &Member) -> Vec<Command> {
        let found = self.node(&member.name);
        let service = server_service(member);
        let id = uuid::Uuid::from_bytes(member.meta.node_id).to_string();
        let known = found.as_ref().is_some_and(|found| found.node.id == id);
        let address = member.addr.ip().to_string();
        let same_service = service.as_ref().is_none_or(|wanted| {
            found
                .iter()
                .flat_map(|found| &found.services)
                .any(|service| Service { stamp: service.stamp, ..wanted.clone() } == **service)
        });
        let passing =
            self.health(&member.name).is_some_and(|check| check.status == Status::Passing);
        let same_address = found.as_ref().is_some_and(|found| found.node.address == address);
        if known && same_address && same_service && passing {
            return Vec::new();
        }
        let replaced = found.as_ref().is_some_and(|found| found.node.id != id);
        let mut commands: Vec<Command> =
            if replaced { self.failed(member).into_iter().collect() } else { Vec::new() };
        let registration = Register {
            node: node(member, id),
            // What the agent itself told about its node is not overwritten.
            skip_node_update: known && same_address,
            service,
            checks: vec![serf_health(&member.name, Status::Passing)],
        };
        commands.push(Command::Register(Box::new(registration)));
        commands
    }

    fn failed(&self, member: &Member) -> Option<Command> {
        let found = self.node(&member.name)?;
        let critical =
            self.health(&member.name).is_some_and(|check| check.status == Status::Critical);
        if critical {
            return None;
        }
        let registration = Register {
            node: Node::clone(&found.node),
            skip_node_update: true,
            service: None,
            checks: vec![serf_health(&member.name, Status::Critical)],
        };
        Some(Command::Register(Box::new(registration)))
    }

    fn gone(&self, name: &str) -> Option<Command> {
        let found = self.node(name)?;
        let node = found.node.name.clone();
        Some(Command::Deregister(Deregister { node, ..Deregister::default() }))
    }
}

/// The members' names, as the catalog compares them.
fn names(members: &[Member]) -> BTreeSet<String> {
    members.iter().map(|member| member.name.to_lowercase()).collect()
}

/// The node of a member as far as gossip knows it; the agent completes it.
fn node(member: &Member, id: String) -> Node {
    let ip = member.addr.ip();
    let family = if matches!(ip, IpAddr::V4(_)) { "ipv4" } else { "ipv6" };
    let tagged = ["lan".into(), format!("lan_{family}"), "wan".into(), format!("wan_{family}")];
    Node {
        id,
        name: member.name.clone(),
        address: ip.to_string(),
        datacenter: member.meta.dc.clone(),
        tagged_addresses: tagged.into_iter().map(|tag: String| (tag, ip.to_string())).collect(),
        meta: [("consul-network-segment".into(), String::new())].into(),
        ..Node::default()
    }
}

fn serf_health(node: &str, status: Status) -> Check {
    let output = if status == Status::Passing { ALIVE_OUTPUT } else { FAILED_OUTPUT };
    Check {
        node: node.into(),
        id: SERF_HEALTH.into(),
        name: "Serf Health Status".into(),
        status,
        output: output.into(),
        ..Check::default()
    }
}

/// The service that a server has, with the metadata that Consul's tools read.
fn server_service(member: &Member) -> Option<Service> {
    if member.meta.role != Role::Server {
        return None;
    }
    let version = member.meta.build.split(':').next().unwrap_or_default();
    let meta = [
        ("non_voter", if member.meta.non_voter { "true" } else { "false" }),
        ("raft_version", "3"),
        ("serf_protocol_current", "2"),
        ("serf_protocol_max", "5"),
        ("serf_protocol_min", "1"),
        ("version", version),
    ];
    Some(Service {
        id: SERVER_SERVICE.into(),
        name: SERVER_SERVICE.into(),
        port: member.meta.rpc_port,
        meta: meta.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        ..Service::default()
    })
}

#[cfg(test)]
mod tests;
