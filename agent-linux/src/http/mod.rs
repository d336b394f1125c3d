//! The HTTP edge: Consul's API under `/v1/`, the page under `/ui/`.
//!
//! ```text
//! server      listener, limits on connections, one task for each
//! talk        one connection: request after request    wire   its socket, deadlines of a slow peer
//! script      requests from memory
//! head chunk  requests as bytes      emit  answers as bytes      connection  bodies in and out
//! route       the one table: path, methods, what to do; and the flow of one request
//! inside      reads by the agent's own parts              guard  what is shut off
//! page        the page, or a folder with another
//! ask         the servers or the cache, for a route
//! path        percent-decoding and cleaning
//! options     query parameters
//! body        JSON that clients send          view   JSON in Consul's shape     shelf  kept texts
//! reply       pages: status codes, headers, error texts      pack   compression
//! kv catalog registration health internal session query coordinate
//! status operator autopilot txn                               asked of the servers
//! agent service check event metric monitor                    asked of this very agent
//! snapshot                                                    the whole state of the servers
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
mod ask;
mod autopilot;
mod body;
mod catalog;
mod check;
mod chunk;
mod connect;
mod connection;
mod coordinate;
mod emit;
mod event;
mod guard;
mod head;
mod health;
mod inside;
mod internal;
mod keyring;
mod kv;
mod metric;
mod monitor;
mod operator;
mod options;
mod pack;
mod page;
mod path;
mod query;
mod registration;
mod reply;
mod route;
pub mod script;
mod server;
mod service;
mod session;
mod shelf;
mod snapshot;
mod status;
mod talk;
#[cfg(test)]
mod tests;
mod txn;
mod view;
mod wire;

pub use inside::inquire;
pub use server::{Listener, serve};

use crate::config::cidr::Cidr;
use crate::endpoint::Saving;
use crate::endpoint::agent::Agent;
use crate::endpoint::cache::{Cache, Cached, Control};
use crate::metrics::Naming;
use agent_core::model::request::{Error, Options, Outcome, Request};
use bytes::Bytes;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::Level;

/// Most bytes of a request line with its headers: a page of cookies fits, a flood does not.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a JSON body, as Consul has it.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// Time for the rest of a request head once its first byte has come.
const HEAD_READ_MAX: Duration = Duration::from_secs(10);
/// Time for a whole request body: 512 KiB over a very slow mobile link.
const BODY_READ_MAX: Duration = Duration::from_secs(120);
/// Time without any progress in writing a response.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// Lines of the log with their newlines; ends when the sender is dropped.
pub type Lines = mpsc::Receiver<Bytes>;

/// How lines of the log are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineForm {
    /// As Consul's.
    Text,
    /// As JSON objects.
    Json,
}

/// Subscribes to the log from a level up. It drops lines for a reader that does not keep up, and
/// forgets one that is gone.
pub type Monitor = Arc<dyn Fn(Level, LineForm) -> Lines + Send + Sync>;

/// Most connections of one client address, 0 for no limit; all clones share it, and it may change
/// while it is used. Connections that are there already stay.
#[derive(Clone)]
pub struct ConnectionsMax(Arc<AtomicUsize>);

impl ConnectionsMax {
    /// Starts with so many.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }

    /// Allows so many from now on.
    pub fn set(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// Tells how many are allowed.
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a page is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// Its path, from one slash to another: `/ui/`.
    pub path: String,
    /// The folder that its files are in; none for the agent's own page.
    pub folder: Option<PathBuf>,
}

/// How the edge is set.
#[derive(Clone)]
pub struct Settings {
    /// The agent's datacentre.
    pub datacenter: String,
    /// The agent's node name: default node of a session, meaning of `near=_agent`.
    pub node_name: String,
    /// Whether the agent is a server; a client's requests are one hop away from one.
    pub server: bool,
    /// Whether there are network coordinates.
    pub coordinates: bool,
    /// The page, if it is served.
    pub site: Option<Site>,
    /// Whether paths with characters that do not print are refused; default true.
    pub printable_only: bool,
    /// Whether JSON is indented without being asked, as under `-dev`.
    pub pretty: bool,
    /// Most bytes of a value in the key/value store; default 512 KiB.
    pub kv_value_bytes_max: usize,
    /// Most bytes of a transaction; default 512 KiB.
    pub txn_bytes_max: usize,
    /// Most connections of one client address; default 200.
    pub connections_per_client_max: ConnectionsMax,
    /// Time for a TLS handshake (`https_handshake_timeout`); default 5 s.
    pub tls_handshake_max: Duration,
    /// Age of stale answers that discovery accepts unasked (`discovery_max_stale`), zero for none.
    pub discovery_max_stale: Duration,
    /// Whether `?cached` is heeded (`http_config.use_cache`); default true.
    pub use_cache: bool,
    /// Headers added to every answer of the API (`http_config.response_headers`).
    pub response_headers: Vec<(String, String)>,
    /// Path prefixes that are refused (`http_config.block_endpoints`).
    pub block_endpoints: Vec<String>,
    /// Networks from which writes are taken (`http_config.allow_write_http_from`); empty for all.
    pub allow_write_from: Vec<Cidr>,
    /// How metrics are named.
    pub metrics: Naming,
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
            coordinates: true,
            site: None,
            printable_only: true,
            pretty: false,
            kv_value_bytes_max: 512 * 1024,
            txn_bytes_max: 512 * 1024,
            connections_per_client_max: ConnectionsMax::new(200),
            tls_handshake_max: Duration::from_secs(5),
            discovery_max_stale: Duration::ZERO,
            use_cache: true,
            response_headers: Vec::new(),
            block_endpoints: Vec::new(),
            allow_write_from: Vec::new(),
            metrics: Naming::default(),
            prometheus: false,
            monitor: None,
        }
    }
}

/// A future that [`Servers`] answer with.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A future that [`Servers`] answer with, perhaps from the cache.
pub type AskingCache<'a> = Pin<Box<dyn Future<Output = Result<Cached, Error>> + Send + 'a>>;

/// Whoever answers for the shared state: `endpoint::cache::Cache`, or a stand-in under test.
pub trait Servers: Send + Sync {
    /// Serves one request; dropping the future gives it up.
    fn serve_shared(&self, request: Request) -> Asking<'_>;

    /// Serves one read from the cache if it can; dropping the future gives it up.
    fn serve_cached(&self, request: Request, control: Control) -> AskingCache<'_>;

    /// Saves the whole state.
    fn save(&self, options: Options) -> Doing<Saving>;

    /// Restores the whole state from an archive that comes in pieces.
    fn restore(&self, options: Options, archive: mpsc::Receiver<Bytes>) -> Doing<()>;
}

/// A longer piece of work of [`Servers`].
pub type Doing<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

impl Servers for Cache {
    fn serve_shared(&self, request: Request) -> Asking<'_> {
        self.endpoint().serve_boxed(request)
    }

    fn serve_cached(&self, request: Request, control: Control) -> AskingCache<'_> {
        Box::pin(self.serve(request, control))
    }

    fn save(&self, options: Options) -> Doing<Saving> {
        let endpoint = self.endpoint().clone();
        Box::pin(async move { endpoint.save(options).await })
    }

    fn restore(&self, options: Options, archive: mpsc::Receiver<Bytes>) -> Doing<()> {
        let endpoint = self.endpoint().clone();
        Box::pin(async move { endpoint.restore(options, archive).await })
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
