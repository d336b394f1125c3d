//! Anti-entropy: makes the catalog agree with this node's services and checks.
//!
//! A full sync reads what the catalog has for the node and writes every difference: at start, when
//! a server joins, and every minute or more. In between a change is written at once. Nothing is
//! sent before a server is known, and nothing between two syncs if nothing changes.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/architecture/anti-entropy>.

use super::local::{Catalog, Local};
use super::plan::{Phase, Step};
use super::remote;
use agent_core::model::check::Check;
use agent_core::model::node::Node;
use agent_core::model::request::{
    Answer, Body, Error, Kind, Options, Outcome, Query, Reply, Request,
};
use agent_core::model::service::Service;
use agent_core::model::{catalog, health};
use agent_core::rand::Rng;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Time between two full syncs in a small pool.
const FULL_INTERVAL: Duration = Duration::from_secs(60);

/// Time before a failed sync is tried again, in a small pool.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// Time within which agents turn to a new server, in a small pool.
const SERVER_STAGGER: Duration = Duration::from_secs(3);

/// Quick tries after a failure, before the longer interval: a pool that comes up has no leader yet.
const QUICK_RETRIES: u32 = 3;

/// Writes under way at once: enough to share the flushes of the leader's log.
const WRITES_MAX: usize = 8;

/// Members up to which intervals are not stretched.
const SCALE_THRESHOLD: usize = 128;

/// Where requests go: the endpoint, or a test's own catalog.
pub trait Ask: Send + Sync + 'static {
    /// Serves one request.
    fn ask(&self, request: Request) -> impl Future<Output = Outcome> + Send;
}

impl Ask for crate::endpoint::Endpoint {
    async fn ask(&self, request: Request) -> Outcome {
        self.serve(request).await
    }
}

/// What is known of the pool.
pub struct Pool {
    /// Counts the members: the more, the longer the intervals.
    pub members: Box<dyn Fn() -> usize + Send + Sync>,
    /// A number that changes when a server joins; 0 while none is known.
    pub servers: watch::Receiver<u64>,
}

/// What ends a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wake {
    /// The next full sync is due.
    Full,
    /// Something changed here.
    Change,
    /// A server joined.
    Server,
    /// The agent stops.
    Stop,
}

/// One agent's syncing.
struct Syncer<A> {
    local: Arc<Local>,
    ask: Arc<A>,
    pool: Pool,
    rng: Rng,
}

/// Keeps the catalog in agreement until the agent stops.
pub async fn run<A: Ask>(
    local: Arc<Local>,
    ask: Arc<A>,
    pool: Pool,
    shutdown: watch::Receiver<bool>,
) {
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let aliases = remote::run(Arc::clone(&local), Arc::clone(&ask), shutdown.clone());
    let mut sync = Syncer { local, ask, pool, rng: Rng::new(seed) };
    tokio::join!(sync.keep(shutdown), aliases);
}

impl<A: Ask> Syncer<A> {
    /// Syncs in full, then changes as they come, until it is time for the next full one.
    async fn keep(&mut self, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            known = self.pool.servers.wait_for(|servers| *servers > 0) => {
                if known.is_err() { return }
            }
        }
        let mut dirty = self.local.watch_dirty();
        let mut failures = 0;
        // From here on whoever registers waits for the catalog, which is trusted to take it.
        self.local.set_settled(0, Catalog::Takes);
        loop {
            let result = self.full().await;
            let mut next = Instant::now();
            next += match result {
                Ok(()) => {
                    failures = 0;
                    self.stagger(FULL_INTERVAL, FULL_INTERVAL)
                }
                Err(error) => {
                    tracing::warn!(%error, "the catalog cannot be brought up to date");
                    self.local.set_settled(*dirty.borrow(), Catalog::Refuses);
                    failures += 1;
                    if failures <= QUICK_RETRIES {
                        self.stagger(Duration::ZERO, SERVER_STAGGER)
                    } else {
                        self.stagger(RETRY_INTERVAL, RETRY_INTERVAL)
                    }
                }
            };
            loop {
                match self.wake(next, &mut dirty, &mut shutdown).await {
                    Wake::Stop => return,
                    Wake::Full => break,
                    Wake::Server => {
                        let soon = Instant::now() + self.stagger(Duration::ZERO, SERVER_STAGGER);
                        next = next.min(soon);
                    }
                    Wake::Change => {
                        if let Err(error) = self.push().await {
                            tracing::warn!(%error, "the catalog cannot be told of a change");
                            self.local.set_settled(*dirty.borrow(), Catalog::Refuses);
                            let soon = self.stagger(RETRY_INTERVAL, RETRY_INTERVAL);
                            next = next.min(Instant::now() + soon);
                        }
                    }
                }
            }
        }
    }

    /// Waits for something to do.
    async fn wake(
        &mut self,
        next: Instant,
        dirty: &mut watch::Receiver<u64>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Wake {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => Wake::Stop,
            Ok(()) = dirty.changed() => Wake::Change,
            Ok(()) = self.pool.servers.changed() => Wake::Server,
            () = sleep_until(next) => Wake::Full,
        }
    }

    /// Reads what the catalog has and writes every difference.
    async fn full(&self) -> Result<(), Error> {
        let name = self.local.with(|state, _| state.node.name.clone());
        let (node, services) = self.catalog(&name).await?;
        let checks = self.checks(&name).await?;
        let role = self.local.settings.role;
        self.local.with(|state, _| state.compare(role, node.as_deref(), &services, &checks));
        self.push().await
    }

    /// Writes what is not known to agree, several steps at once. Stops at the first failure that
    /// another try may mend.
    async fn push(&self) -> Result<(), Error> {
        let count = *self.local.watch_dirty().borrow();
        let mut steps = self.local.with(|state, _| state.changes());
        let rest = steps.iter().position(|step| step.phase > Phase::Services);
        let checks = steps.split_off(rest.unwrap_or(steps.len()));
        for phase in [steps, checks] {
            self.push_phase(phase).await?;
        }
        self.local.set_settled(count, Catalog::Takes);
        Ok(())
    }

    /// Writes the steps of one phase.
    async fn push_phase(&self, steps: Vec<Step>) -> Result<(), Error> {
        let mut steps = steps.into_iter();
        let mut writes = JoinSet::new();
        let mut result = Ok(());
        loop {
            while writes.len() < WRITES_MAX
                && result.is_ok()
                && let Some(step) = steps.next()
            {
                writes.spawn(write(Arc::clone(&self.local), Arc::clone(&self.ask), step));
            }
            match writes.join_next().await {
                Some(Ok(written)) => result = result.and(written),
                Some(Err(_)) => {
                    result = Err(Error::with(Kind::Failed, "a write to the catalog was cut off"));
                }
                None => return result,
            }
        }
    }

    /// Reads the node and its services.
    async fn catalog(&self, name: &str) -> Result<(Option<Arc<Node>>, Vec<Arc<Service>>), Error> {
        let query = Query::Catalog(catalog::Query::Node(name.to_owned()));
        match self.query(query).await?.reply {
            Reply::Catalog(catalog::Reply::Node(found)) => Ok(match found {
                Some(found) => (Some(found.node), found.services),
                None => (None, Vec::new()),
            }),
            _ => Err(Error::with(Kind::Failed, "the catalog answered something else")),
        }
    }

    /// Reads the node's checks.
    async fn checks(&self, name: &str) -> Result<Vec<Arc<Check>>, Error> {
        let query = Query::Health(health::Query::Node(name.to_owned()));
        match self.query(query).await?.reply {
            Reply::Health(health::Reply::Checks(checks)) => Ok(checks),
            _ => Err(Error::with(Kind::Failed, "the catalog answered something else")),
        }
    }

    /// Asks one question.
    async fn query(&self, query: Query) -> Result<Answer, Error> {
        self.ask.ask(Request { options: Options::default(), body: Body::Query(query) }).await
    }

    /// Makes a time: `base`, and up to `random` more for each doubling of the pool.
    fn stagger(&mut self, base: Duration, random: Duration) -> Duration {
        let random = random * scale((self.pool.members)());
        let micros = u64::try_from(random.as_micros()).unwrap_or(u64::MAX);
        base + Duration::from_micros(self.rng.below(micros))
    }
}

/// Does one step and notes that it is done, or that trying again is no use.
async fn write<A: Ask>(local: Arc<Local>, ask: Arc<A>, step: Step) -> Result<(), Error> {
    let options = Options { token: step.token.clone(), ..Options::default() };
    let request = Request { options, body: Body::Command(step.command.clone()) };
    match ask.ask(request).await {
        Ok(_) => {}
        Err(error) if is_final(&error) => {
            tracing::warn!(%error, "the catalog refuses a service or check of this node");
        }
        Err(error) => return Err(error),
    }
    local.with(|state, _| state.settle(&step));
    Ok(())
}

/// Tells how much to stretch random times: 1 up to 128 members, then one more each doubling.
fn scale(members: usize) -> u32 {
    if members <= SCALE_THRESHOLD {
        return 1;
    }
    // ceil(log2(members) - 7) + 1 in whole numbers.
    members.next_power_of_two().ilog2() - SCALE_THRESHOLD.ilog2() + 1
}

/// Tells whether trying again is no use.
fn is_final(error: &Error) -> bool {
    match error.kind {
        Kind::Invalid | Kind::NotFound | Kind::Denied => true,
        Kind::NoLeader
        | Kind::NoServers
        | Kind::NoPath
        | Kind::NotReady
        | Kind::Failed
        | Kind::Unknown
        | Kind::Limited => false,
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
