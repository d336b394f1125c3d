//! What is asked of this very agent, whether it is a client or a server.
//!
//! These requests never travel: the edges parse them, `crate::agent` serves them through [`Agent`],
//! and the edges render what comes back. They are the other half of `model::request`.

use crate::config::definition::{CheckDefinition, ServiceDefinition};
use crate::metrics::Gauge;
use agent_core::gossip::UserEvent;
use agent_core::model::check::{Check, Status};
use agent_core::model::coordinate::Coordinate;
use agent_core::model::request::Error;
use agent_core::model::service::Service;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A request to this very agent.
#[derive(Clone, Debug)]
pub enum Op {
    /// Who the agent is and how it is set.
    Describe,
    /// The services registered with this agent, those that meet the filter.
    Services { filter: String },
    /// The checks registered with this agent, those that meet the filter.
    Checks { filter: String },
    /// One service; waits until its hash differs from `hash` (if not empty) or time is up.
    Service { id: String, hash: String, wait: Duration },
    /// Registers or replaces a service with its checks.
    RegisterService { definition: Box<ServiceDefinition>, replace_existing_checks: bool },
    /// Removes a service with its checks.
    DeregisterService { id: String },
    /// Sets or lifts a service's maintenance mode.
    MaintainService { id: String, change: Maintenance },
    /// Registers or replaces a check.
    RegisterCheck { definition: Box<CheckDefinition> },
    /// Removes a check.
    DeregisterCheck { id: String },
    /// Gives a TTL check its status.
    UpdateCheck { id: String, status: Status, output: String },
    /// The health of this agent's instances of a service.
    HealthByName { name: String },
    /// The health of one of this agent's instances.
    HealthById { id: String },
    /// The members of the LAN pool (or the WAN pool).
    Members { pool: Pool },
    /// Joins a pool through a member.
    Join { address: String, pool: Pool },
    /// Leaves the pools and stops the agent.
    Leave,
    /// Declares a failed member gone; with `prune` also forgets it.
    ForceLeave { node: String, prune: bool },
    /// Tells or changes the keys of gossip in the whole pool; for servers only.
    Keyring { op: KeyringOp, local_only: bool },
    /// Fires a user event, which has neither id nor time yet.
    FireEvent { event: Box<UserEvent>, datacenter: String },
    /// Lists user events of a name (if not empty) that this agent heard; waits until the list's
    /// index differs from `after` (if not 0) or time is up.
    ListEvents { name: String, after: u64, wait: Duration },
    /// Sets or lifts the node's maintenance mode.
    Maintain { change: Maintenance },
    /// Reads the configuration anew.
    Reload,
    /// What can be measured at this moment.
    Measure,
    /// The machine that the agent runs on.
    Host,
}

/// Which gossip pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// All agents of the datacentre.
    Lan,
    /// The servers of all datacentres.
    Wan,
}

/// What is to be done with the keys of gossip; keys are in base64, as they were given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyringOp {
    /// They are told.
    List,
    /// A key is added, to open with.
    Install(String),
    /// A key becomes the one that seals.
    Use(String),
    /// A key is taken out.
    Remove(String),
}

/// What one pool says about its keys.
#[derive(Clone, Debug)]
pub struct KeyringView {
    /// Which pool.
    pub pool: Pool,
    /// Of which datacentre.
    pub datacenter: String,
    /// Members asked.
    pub nodes: usize,
    /// Keys in base64, and how many members hold them.
    pub keys: BTreeMap<String, usize>,
    /// Keys that seal, and for how many members.
    pub primary_keys: BTreeMap<String, usize>,
    /// Why it was not done by all, or empty.
    pub error: String,
    /// Why single members did not do it.
    pub messages: BTreeMap<String, String>,
}

/// A change of maintenance mode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Maintenance {
    /// In maintenance, for this reason.
    On { reason: String },
    /// Back in service.
    Off,
}

/// What the agent answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It was done.
    Done,
    /// What the pools say about their keys.
    Keyring(Vec<KeyringView>),
    /// Who the agent is.
    Description(Box<Description>),
    /// Services by id.
    Services(BTreeMap<String, Arc<Service>>),
    /// Checks by id.
    Checks(BTreeMap<String, Arc<Check>>),
    /// A service and the hash of its definition.
    Service { service: Arc<Service>, hash: String },
    /// Instances with their checks; empty if there are none.
    Health(Vec<InstanceHealth>),
    /// Members of a pool.
    Members(Vec<MemberView>),
    /// The event that was fired.
    Event(Box<UserEvent>),
    /// Events, and the index of the list.
    Events { events: Vec<Arc<UserEvent>>, index: u64 },
    /// What was measured.
    Gauges(Vec<Gauge>),
    /// The machine, in Consul's shape.
    Host(serde_json::Value),
}

/// One of this agent's instances with its checks and the node's.
#[derive(Clone, Debug)]
pub struct InstanceHealth {
    /// The instance.
    pub service: Arc<Service>,
    /// Its own checks and the node's.
    pub checks: Vec<Arc<Check>>,
    /// The worst of them, or maintenance.
    pub status: AggregatedStatus,
}

/// The worst of an instance's checks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AggregatedStatus {
    /// All checks pass, or there are none.
    Passing,
    /// A check warns.
    Warning,
    /// A check is critical.
    Critical,
    /// The node or the instance is in maintenance.
    Maintenance,
}

/// Who the agent is and how it is set, in the shape of `/v1/agent/self`.
#[derive(Clone, Debug)]
pub struct Description {
    /// The datacentre.
    pub datacenter: String,
    /// The node's name.
    pub node_name: String,
    /// The node's UUID.
    pub node_id: String,
    /// Whether it is a server.
    pub server: bool,
    /// Settings under Consul's names; secrets hidden.
    pub debug_config: serde_json::Value,
    /// Where it is in the LAN pool, unless coordinates are switched off.
    pub place: Option<Coordinate>,
    /// The agent's own member of the LAN pool.
    pub member: MemberView,
    /// Sections of names and values, as `reeve info` prints them.
    pub stats: BTreeMap<String, BTreeMap<String, String>>,
    /// The node's metadata.
    pub meta: BTreeMap<String, String>,
}

/// A member as Serf's JSON shows it.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// The node's name; in the WAN pool `node.dc`.
    pub name: String,
    /// Gossip address.
    pub addr: std::net::SocketAddr,
    /// Serf's tags.
    pub tags: BTreeMap<String, String>,
    /// Serf's number: 1 alive, 2 leaving, 3 left, 4 failed.
    pub status: u8,
}

/// A future that an [`Agent`] answers with.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send + 'a>>;

/// Serves [`Op`]: the composition root implements it, the edges hold it as `Arc<dyn Agent>`.
pub trait Agent: Send + Sync {
    /// Serves one request on behalf of a token's holder.
    fn serve_local<'a>(&'a self, token: &'a str, op: Op) -> Answering<'a>;
}
