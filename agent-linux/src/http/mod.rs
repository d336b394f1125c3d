//! The HTTP edge: Consul's API under `/v1/`, the page under `/ui/`.
//!
//! ```text
//! server      listener, limits on connections, one task for each
//! connection  bodies in and out, deadlines of a slow peer
//! route       the one table: path, methods, what to do; and the flow of one request
//! path        percent-decoding and cleaning
//! options     query parameters
//! body        JSON that clients send          view   JSON in Consul's shape
//! reply       pages: status codes, headers, error texts, compression
//! kv catalog registration health session status operator      asked of the servers
//! agent service check metric monitor                          asked of this very agent
//! acl connect                                                 what is switched off
//! ```
//!
//! Each subject is pairs of pure functions: one turns a [`Call`](route::Call) into a
//! `model::request::Request` or an `endpoint::agent::Op`, the other turns what came back into a
//! [`Page`](reply::Page). Nothing else in this module waits or touches a socket but `server`.
//!
//! Source of the shapes: <https://developer.hashicorp.com/consul/api-docs>.

mod acl;
mod agent;
mod body;
mod catalog;
mod check;
mod connect;
mod connection;
mod health;
mod kv;
mod metric;
mod monitor;
mod operator;
mod options;
mod path;
mod registration;
mod reply;
mod route;
mod server;
mod service;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod view;

pub use server::{Listener, serve};

use crate::config::cidr::Cidr;
use crate::endpoint::Endpoint;
use crate::endpoint::agent::Agent;
use agent_core::model::request::{Outcome, Request};
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::Level;

/// Most bytes of a request line with its headers: a page of cookies fits, a flood does not.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a JSON body: Consul's limit for a transaction.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// Time for the rest of a request head once its first byte has come.
const HEAD_READ_MAX: Duration = Duration::from_secs(10);
/// Time for a whole request body: 512 KiB over a very slow mobile link.
const BODY_READ_MAX: Duration = Duration::from_secs(120);
/// Time without any progress in writing a response.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// Lines of the log with their newlines; ends when the sender is dropped.
pub type Lines = mpsc::Receiver<Bytes>;

/// Subscribes to the log from a level up. It drops lines for a reader that does not keep up, and
/// forgets one that is gone.
pub type Monitor = Arc<dyn Fn(Level) -> Lines + Send + Sync>;

/// How the edge is set.
#[derive(Clone)]
pub struct Settings {
    /// The agent's datacentre.
    pub datacenter: String,
    /// The agent's node name: default node of a session, meaning of `near=_agent`.
    pub node_name: String,
    /// Whether the agent is a server; a client's requests are one hop away from one.
    pub server: bool,
    /// Whether `/ui/` is served.
    pub ui: bool,
    /// Whether JSON is indented without being asked, as under `-dev`.
    pub pretty: bool,
    /// Most bytes of a value in the key/value store; default 512 KiB.
    pub kv_value_bytes_max: usize,
    /// Most connections of one client address; default 200, 0 for no limit.
    pub connections_per_client_max: usize,
    /// Age of stale answers that discovery accepts unasked (`discovery_max_stale`), zero for none.
    pub discovery_max_stale: Duration,
    /// Headers added to every answer of the API (`http_config.response_headers`).
    pub response_headers: Vec<(String, String)>,
    /// Path prefixes that are refused (`http_config.block_endpoints`).
    pub block_endpoints: Vec<String>,
    /// Networks from which writes are taken (`http_config.allow_write_http_from`); empty for all.
    pub allow_write_from: Vec<Cidr>,
    /// Whether `/v1/agent/metrics` also speaks Prometheus (`prometheus_retention_time` above 0).
    pub prometheus: bool,
    /// Where `/v1/agent/monitor` gets its lines from.
    pub monitor: Option<Monitor>,
}

impl Settings {
    /// Settings with Consul's defaults.
    pub fn new(datacenter: impl Into<String>, node_name: impl Into<String>) -> Self {
        Self {
            datacenter: datacenter.into(),
            node_name: node_name.into(),
            server: false,
            ui: false,
            pretty: false,
            kv_value_bytes_max: 512 * 1024,
            connections_per_client_max: 200,
            discovery_max_stale: Duration::ZERO,
            response_headers: Vec::new(),
            block_endpoints: Vec::new(),
            allow_write_from: Vec::new(),
            prometheus: false,
            monitor: None,
        }
    }
}

/// A future that [`Servers`] answer with.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Whoever answers for the shared state: `endpoint::Endpoint`, or a stand-in under test.
pub trait Servers: Send + Sync {
    /// Serves one request; dropping the future gives it up.
    fn serve_shared(&self, request: Request) -> Asking<'_>;
}

impl Servers for Endpoint {
    fn serve_shared(&self, request: Request) -> Asking<'_> {
        Box::pin(self.serve(request))
    }
}

/// What every connection shares.
pub struct Http {
    /// Answers for the shared state.
    pub endpoint: Arc<dyn Servers>,
    /// Answers for this very agent.
    pub agent: Arc<dyn Agent>,
    /// How the edge is set.
    pub settings: Settings,
}
