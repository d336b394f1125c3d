//! The agent: the only room that knows all the others.
//!
//! ```text
//! run        start everything, wait for the end, stop everything in order
//! identity   the node's UUID
//! edge       listeners: RPC, HTTP, DNS               keyring    gossip keys of both pools
//! pool       gossip: what we tell, how we join      member     members in Serf's and raft's words
//! server     store, consensus, RPC, leader's loops   bootstrap  when to write the first membership
//! event      user events: fired, heard, kept        pid        the process id in a file
//! follow     what the pool's changes mean for routing, for raft and for the WAN pool
//! serve      requests to this very agent             describe   `/v1/agent/self`, `reeve info`
//! measure    gauges, as they stand                  host       the machine: `/v1/agent/host`
//! watch      watches of the configuration           exec       remote execution
//! reload     the configuration read anew
//! signal     SIGINT, SIGTERM, SIGHUP                 setting    what each part is told
//! notify     tells systemd
//!
//! local      services and checks of this node: requests served, rows kept
//! register   from a definition to rows, with the texts of refusals
//! maintenance  the checks that take an instance or the node out
//! state      rows, engine, sync flags: pure          plan    how the catalog differs: pure
//! keep disk  changes, on disk first, and their return at start
//! runner     runs the checks                         remote  alias checks of other nodes
//! sync       makes the catalog agree
//! ```
//!
//! Order of the start: listeners are bound first, so that an address in use changes nothing on
//! disk; then consensus is opened, for its id is part of what gossip tells; then gossip, then the
//! edges.

mod bootstrap;
mod coordinate;
mod describe;
mod disk;
pub mod edge;
mod event;
mod exec;
mod follow;
mod hash;
mod host;
pub mod identity;
mod keep;
mod keyring;
pub mod local;
mod maintenance;
mod measure;
mod member;
mod notify;
mod pid;
mod plan;
mod pool;
mod register;
mod reload;
mod remote;
pub mod runner;
mod serve;
mod server;
mod setting;
mod signal;
mod state;
pub mod sync;
mod watch;

pub use disk::Error as DiskError;
pub use plan::Role;

use crate::config::Config;
use crate::endpoint::{Endpoint, Limit, cache::Cache};
use crate::gossip::Gossip;
use crate::raft::{self, Raft};
use crate::rpc::route::Router;
use crate::{dns, http, lane, leader, memory, metrics, rpc};
use event::Events;
use local::Local;
use pid::PidFile;
use rustls::ServerConfig;
use signal::{Signals, Wish};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch as channel;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

/// Longest that a graceful leave may take before the agent stops anyway, as Consul's.
const LEAVE_TIME: Duration = Duration::from_secs(15);

/// Longest that open HTTP requests may take to finish once the agent stops.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Time after which the start is over: joined, synced, elected.
const START_TIME: Duration = Duration::from_secs(10);

/// Time between two times that a client gives memory back.
const SETTLE_INTERVAL: Duration = Duration::from_secs(60);

/// How an agent ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It left the pool first.
    Left,
    /// It stopped without a word, by a signal.
    Stopped,
}

/// Why an agent could not start.
#[derive(Debug)]
pub enum Error {
    /// The node's identity or the data directory.
    Identity(identity::Error),
    /// A listener.
    Listen(edge::Error),
    /// The raft log.
    Raft(raft::Error),
    /// What is kept of services and checks.
    Local(local::OpenError),
    /// Gossip, signals, the pid file.
    Io(io::Error),
    /// A setting that no other part could check.
    Setting(String),
    /// Nobody of those named by `-join` answered.
    Join(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Raft(error) => error.fmt(f),
            Self::Local(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Setting(text) => f.write_str(text),
            Self::Join(text) => write!(f, "Error joining LAN: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// A running agent, as its edges and loops share it.
pub struct Agent {
    config: channel::Sender<Arc<Config>>,
    node_id: Uuid,
    gossip: Gossip,
    wan: Option<Gossip>,
    local: Arc<Local>,
    events: Events,
    router: Arc<Router>,
    endpoint: Endpoint,
    /// How often this agent may ask servers.
    limit: Arc<Limit>,
    http_connections: http::ConnectionsMax,
    raft: Option<Raft>,
    /// Rises whenever a server joins, 0 while none is known.
    servers: channel::Sender<u64>,
    left: AtomicBool,
    stopping: channel::Sender<bool>,
    /// What HTTPS presents, if it is served.
    certificates: Option<channel::Sender<Arc<ServerConfig>>>,
}

/// Runs an agent until it is told to stop.
///
/// # Errors
///
/// [`Error`] if it could not start; whatever had been started is stopped again.
pub async fn run(config: Config) -> Result<Exit, Error> {
    let mut signals = Signals::listen().map_err(Error::Io)?;
    let listeners = edge::bind(&config).await.map_err(Error::Listen)?;
    let data_dir = config.data_dir.as_deref();
    let node_id = identity::load(data_dir, config.node_id.as_deref()).map_err(Error::Identity)?;
    let pid_file = PidFile::write(&config).map_err(Error::Io)?;
    println!("==> Starting Consul agent...\n{}", config.banner(&node_id.to_string()));
    let (agent, mut tasks) = start(Arc::new(config), node_id, listeners).await?;
    let end = match agent.join_at_start().await {
        Ok(()) => {
            notify::tell(notify::State::Ready);
            Ok(wait(&agent, &mut signals, &mut tasks).await)
        }
        Err(error) => Err(error),
    };
    notify::tell(notify::State::Stopping);
    agent.stop();
    let _ = timeout(DRAIN_TIME, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
    agent.gossip.shutdown().await;
    if let Some(wan) = &agent.wan {
        wan.shutdown().await;
    }
    if let Some(raft) = &agent.raft {
        raft.shutdown().await;
    }
    drop(pid_file);
    end
}

/// Builds every part and starts its tasks.
async fn start(
    config: Arc<Config>,
    node_id: Uuid,
    mut listeners: edge::Listeners,
) -> Result<(Arc<Agent>, JoinSet<()>), Error> {
    let opened = match config.server {
        true => Some(server::open(&config).await.map_err(Error::Raft)?),
        false => None,
    };
    let raft_id = opened.as_ref().map_or(0, |(_, raft)| raft.id());
    let meta = pool::meta(&config, node_id, raft_id);
    let gossip = pool::start_lan(&config, meta.clone()).await.map_err(Error::Io)?;
    let wan = pool::start_wan(&config, meta).await.map_err(Error::Io)?;
    let router = Router::new(
        config.datacenter.clone(),
        rpc::route::Settings { source: setting::source(&config), ..Default::default() },
    );
    let settings = crate::endpoint::Settings {
        hold_time: config.rpc_hold_timeout.to_core(),
        seed: seed(),
        query_time_default: config.default_query_time.to_core(),
        query_time_max: config.max_query_time.to_core(),
        session_ttl_min: config.session_ttl_min.to_core(),
    };
    let endpoint = match &opened {
        Some((store, raft)) => Endpoint::server(
            config.datacenter.clone(),
            store.clone(),
            raft.clone(),
            router.clone(),
            settings,
        ),
        None => Endpoint::client(config.datacenter.clone(), router.clone(), settings),
    };
    let local = Local::open(
        config.data_dir.as_deref(),
        setting::node(&config, node_id),
        setting::local_settings(&config),
        setting::configured(&config).map_err(|error| Error::Setting(error.to_string()))?,
    )
    .map_err(Error::Local)?;
    let limit = Arc::new(Limit::new(config.limits.rpc_rate, config.limits.rpc_max_burst));
    let agent = Arc::new(Agent {
        config: channel::Sender::new(config.clone()),
        node_id,
        gossip,
        wan,
        local,
        events: Events::default(),
        router,
        endpoint: endpoint.limited(limit.clone()),
        limit,
        http_connections: http::ConnectionsMax::new(config.limits.http_max_conns_per_client),
        raft: opened.map(|(_, raft)| raft),
        servers: channel::Sender::new(0),
        left: AtomicBool::new(false),
        stopping: channel::Sender::new(false),
        certificates: listeners.certificates.take(),
    });
    let tasks = agent.clone().spawn(&config, &endpoint, listeners)?;
    Ok((agent, tasks))
}

/// Gives memory of the program back: on a server what the start needed, on a client, which may be a
/// board, again and again what was used for once.
async fn settle_memory(role: Role) {
    tokio::time::sleep(START_TIME).await;
    loop {
        if let Err(error) = memory::release_program() {
            tracing::debug!("memory of the program was not given back: {error}");
        }
        match role {
            Role::Server => return,
            Role::Client => tokio::time::sleep(SETTLE_INTERVAL).await,
        }
    }
}

/// Rolls dice that differ from process to process.
fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

impl Agent {
    /// Tells the configuration in force.
    fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Starts the tasks of every part.
    fn spawn(
        self: Arc<Self>,
        config: &Arc<Config>,
        endpoint: &Endpoint,
        listeners: edge::Listeners,
    ) -> Result<JoinSet<()>, Error> {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().until_stopped(self.clone().follow_servers()));
        tasks.spawn(self.clone().until_stopped(self.clone().follow_events()));
        tasks.spawn(self.clone().until_stopped(settle_memory(setting::role(config))));
        let (measured, sinks) = (self.clone(), setting::sinks(config));
        let measuring = metrics::run(sinks, move || measure::at_interval(&measured));
        tasks.spawn(self.clone().until_stopped(measuring));
        let gossip = self.gossip.clone();
        let known = sync::Pool {
            members: Box::new(move || pool::size(&gossip)),
            servers: self.servers.subscribe(),
        };
        let asked = Arc::new(self.endpoint.clone());
        tasks.spawn(sync::run(self.local.clone(), asked, known, self.stopping.subscribe()));
        tasks.spawn(self.clone().until_stopped(coordinate::run(self.clone(), seed())));
        tasks.spawn(runner::run(self.local.clone(), self.stopping.subscribe()));
        if let (Some(raft), Some(listener)) = (&self.raft, listeners.rpc) {
            self.spawn_server(&mut tasks, config, endpoint, raft, listener);
        }
        let cache = Cache::new(self.endpoint.clone());
        let edge = Arc::new(http::Http {
            endpoint: Arc::new(cache.clone()),
            agent: self.clone(),
            settings: setting::http_settings(config, &self.http_connections),
        });
        let watching = watch::run(edge.clone(), self.config.subscribe());
        tasks.spawn(self.clone().until_stopped(watching));
        for listener in listeners.http {
            tasks.spawn(http::serve(listener, edge.clone(), self.stopping.subscribe()));
        }
        let dns = dns::Dns::new(
            self.endpoint.clone(),
            config.dns.clone(),
            config.node_name.clone(),
            seed(),
        )
        .map_err(|error| Error::Setting(format!("domain: {error}")))?;
        let dns = Arc::new(dns.with_cache(cache));
        for (udp, tcp) in listeners.dns {
            let serving = dns::serve(udp, tcp, dns.clone(), self.stopping.subscribe());
            tasks.spawn_on(serving, &lane::next());
        }
        Ok(tasks)
    }

    /// Starts what only a server runs.
    fn spawn_server(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        config: &Arc<Config>,
        endpoint: &Endpoint,
        raft: &Raft,
        listener: tokio::net::TcpListener,
    ) {
        let limits = setting::rpc_limits(config);
        let serving = rpc::server::serve(listener, endpoint.clone(), Some(raft.clone()), limits);
        tasks.spawn(self.clone().until_stopped(serving));
        let first = server::bootstrap(
            config.clone(),
            self.gossip.clone(),
            raft.clone(),
            self.router.clone(),
        );
        tasks.spawn(self.clone().until_stopped(first));
        if let Some(wan) = &self.wan {
            tasks.spawn(self.clone().until_stopped(self.clone().flood_wan(wan.clone())));
            if let Some(places) = endpoint.places() {
                places.set_chart(coordinate::chart(wan.clone(), &config.datacenter));
            }
        }
        let gossip = self.gossip.clone();
        endpoint.set_roll(Box::new(move || member::roll(&gossip.members())));
        let (gossip, changed) = (self.gossip.clone(), self.gossip.subscribe());
        let pool = leader::Pool::new(move || gossip.members(), changed);
        let (gossip, changed) = (self.gossip.clone(), self.gossip.subscribe_servers());
        let servers = leader::Pool::new(move || Arc::new(gossip.server_members()), changed);
        let settings = leader::Settings::new(config);
        let leading = leader::run(endpoint.clone(), raft.clone(), pool, servers, settings);
        tasks.spawn(self.clone().until_stopped(leading));
    }

    /// Runs a task until the agent stops.
    async fn until_stopped(self: Arc<Self>, task: impl Future<Output = ()>) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = task => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    /// Joins as `-join` and `-retry-join` say: the former now or never, the latter in the
    /// background.
    async fn join_at_start(self: &Arc<Self>) -> Result<(), Error> {
        let config = self.config();
        if !config.start_join.is_empty() {
            let joined = pool::join(&self.gossip, &config.start_join, config.ports.serf_lan)
                .await
                .map_err(Error::Join)?;
            tracing::info!(agents = joined, "(LAN) joined");
        }
        if !config.retry_join.is_empty() {
            tokio::spawn(self.clone().until_stopped(self.clone().retry_join()));
        }
        Ok(())
    }

    /// Joins through the members of `retry_join`, over and over until one answers.
    async fn retry_join(self: Arc<Self>) {
        let config = self.config();
        let mut tries = 0;
        loop {
            match pool::join(&self.gossip, &config.retry_join, config.ports.serf_lan).await {
                Ok(joined) => {
                    tracing::info!(agents = joined, "Join LAN completed. Synced with agents");
                    return;
                }
                Err(error) => tracing::warn!("Join LAN failed, will retry: {error}"),
            }
            tries += 1;
            if config.retry_max > 0 && tries >= config.retry_max {
                tracing::error!("max join retry exhausted, exiting");
                self.stop();
                return;
            }
            tokio::time::sleep(config.retry_interval.to_core()).await;
        }
    }

    /// Leaves the pools, a leader handing its place on first.
    async fn leave(&self) {
        if self.left.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::info!("agent: leaving the pool");
        if let Some(raft) = &self.raft {
            server::resign(raft).await;
        }
        if let Some(wan) = &self.wan {
            wan.leave().await;
        }
        self.gossip.leave().await;
        if let Some(raft) = &self.raft {
            let drain = self.config().leave_drain_time.to_core();
            server::removed(raft, drain).await;
        }
    }

    /// Tells every task to end.
    fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

/// Waits until a signal, the API or a failed join ends the agent.
async fn wait(agent: &Arc<Agent>, signals: &mut Signals, tasks: &mut JoinSet<()>) -> Exit {
    let mut stopping = agent.stopping.subscribe();
    loop {
        let wish = tokio::select! {
            wish = signals.next() => wish,
            _ = stopping.wait_for(|stop| *stop) => {
                return if agent.left.load(Ordering::Acquire) { Exit::Left } else { Exit::Stopped };
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("a part of the agent failed: {error}");
                }
                continue;
            }
        };
        tracing::info!(signal = wish.as_str(), "Caught");
        let config = agent.config();
        let leave = match wish {
            Wish::Reload => {
                if let Err(error) = agent.reload().await {
                    tracing::error!("reload failed, the old configuration stays: {error}");
                }
                continue;
            }
            Wish::Interrupt => !config.skip_leave_on_interrupt,
            Wish::Terminate => config.leave_on_terminate,
        };
        if !leave {
            tracing::info!("Graceful shutdown disabled. Exiting");
            return Exit::Stopped;
        }
        tracing::info!("Gracefully shutting down agent...");
        tokio::select! {
            left = timeout(LEAVE_TIME, agent.leave()) => match left {
                Ok(()) => tracing::info!("Graceful exit completed"),
                Err(_) => {
                    tracing::error!("timeout on graceful leave. Exiting");
                    return Exit::Stopped;
                }
            },
            _ = signals.next() => return Exit::Stopped,
        }
        return Exit::Left;
    }
}
