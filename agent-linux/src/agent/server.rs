//! What only a server runs: its store and consensus, RPC, the leader's loops, the first
//! configuration.

use super::bootstrap::{Decision, decide};
use super::{member, setting};
use crate::config::Config;
use crate::gossip::Gossip;
use crate::raft::{self, Raft};
use crate::rpc::route::Router;
use crate::store::Store;
use agent_core::model::request::{self, Body, Options, Outcome, Query, Reply, Request};
use agent_core::model::status;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for one server to tell how far its log goes.
const ASK_TIME: Duration = Duration::from_secs(2);

/// Longest pause before a look at the pool, should no change of it be heard.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Time between two looks whether the leader has taken this server out.
const REMOVED_PAUSE: Duration = Duration::from_millis(50);

/// Opens the store and the raft node over it.
///
/// # Errors
///
/// What raft says of the data directory.
pub(super) async fn open(config: &Config) -> Result<(Arc<Store>, Raft), raft::Error> {
    let store = Arc::new(Store::new());
    let options = raft::Options {
        data_dir: config.data_dir.clone(),
        raft_multiplier: config.raft.multiplier,
        compaction: raft::Compaction {
            every: config.raft.snapshot_threshold,
            look: Some(config.raft.snapshot_interval.to_core()).filter(|look| !look.is_zero()),
            keep: config.raft.trailing_logs,
        },
        source: setting::source(config),
    };
    let raft = Raft::open(options, store.clone()).await?;
    Ok((store, raft))
}

/// Writes the first configuration when it is this server's turn; returns once the log is not empty
/// or another cluster was found.
pub(super) async fn bootstrap(
    config: Arc<Config>,
    gossip: Gossip,
    raft: Raft,
    router: Arc<Router>,
) {
    let mut changed = gossip.subscribe_servers();
    let mut told = String::new();
    while raft.last_log_index() == 0 {
        let members = gossip.server_members();
        let candidates = member::candidates(&members, &config.datacenter);
        let alone = config.bootstrap || config.dev;
        let expect = if alone { 1 } else { config.bootstrap_expect as u32 };
        match decide(raft.id(), expect, &candidates) {
            Decision::Wait => {}
            Decision::Conflict(text) => {
                if told != text {
                    tracing::error!("not bootstrapping: {text}");
                    told = text;
                }
            }
            Decision::Begin(servers) => match all_empty(&router, raft.id(), &servers).await {
                Ok(true) => begin(&raft, servers).await,
                Ok(false) => {
                    tracing::info!("existing raft peers reported; waiting to be added to them");
                    return;
                }
                Err(text) => tracing::info!("not bootstrapping yet: {text}"),
            },
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(LOOK_PAUSE) => {}
        }
    }
}

/// Starts the cluster.
async fn begin(raft: &Raft, servers: Vec<raft::Server>) {
    let names: Vec<String> = servers.iter().map(|server| server.name.clone()).collect();
    tracing::info!(servers = names.join(","), "found expected number of peers, bootstrapping");
    if let Err(error) = raft.bootstrap(servers).await {
        tracing::error!("failed to bootstrap: {error}");
    }
}

/// Asks every other server whether its log is empty.
async fn all_empty(router: &Router, own: u64, servers: &[raft::Server]) -> Result<bool, String> {
    let request = Request {
        options: Options::default(),
        body: Body::Query(Query::Status(status::Query::Log)),
    };
    let bytes = request::emit(&request);
    for server in servers.iter().filter(|server| server.id != own) {
        let deadline = Instant::now() + ASK_TIME;
        let answer = router
            .forward_to(server.address, &bytes, deadline)
            .await
            .map_err(|error| format!("server {}: {error}", server.name))?;
        let outcome: Outcome =
            request::parse(&answer).map_err(|error| format!("server {}: {error}", server.name))?;
        match outcome.map(|answer| answer.reply) {
            Ok(Reply::Status(status::Reply::Log { last: 0, voters: 0 })) => {}
            Ok(Reply::Status(status::Reply::Log { .. })) => return Ok(false),
            Ok(_) => return Err(format!("server {} answered something else", server.name)),
            Err(error) => return Err(format!("server {}: {error}", server.name)),
        }
    }
    Ok(true)
}

/// Takes a leader out of consensus, if others are left to go on; another server's place is given up
/// by the leader once gossip says that it left.
pub(super) async fn resign(raft: &Raft) {
    let voters = raft.configuration().1.iter().filter(|(_, voter)| *voter).count();
    if raft.is_leader()
        && voters > 1
        && let Err(error) = raft.remove_server(raft.id()).await
    {
        tracing::warn!("could not leave consensus: {error}");
    }
}

/// Waits until this server is no longer in the raft configuration, for `time` at most.
pub(super) async fn removed(raft: &Raft, time: Duration) {
    let deadline = tokio::time::Instant::now() + time;
    let listed = || raft.configuration().1.iter().any(|(server, _)| server.id == raft.id());
    let alone = raft.configuration().1.len() <= 1;
    while !alone && listed() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(REMOVED_PAUSE).await;
    }
}
