//! One way for every request, whoever carried it: the edges, RPC and the leader's own loops.
//!
//! ```text
//! serve      route: here, or the same bytes to a server, or from a follower to the leader
//! change     a command: authorise -> prepare (time and luck) -> propose -> applied
//! read       a query: consistency gate -> block(read) -> filter
//! far        a client's requests, which are passed on
//! block      waits on the scopes of a read until its index passes the client's
//! filter     boolean expressions over rows
//! cache      answers kept near those who ask
//! rule       who serves a request, and when it may be tried again
//! kv catalog health session query coordinate status operator txn   per subject: prepare, read
//! snapshot   the whole state, saved and restored
//! reader     finds how a query is read, subject by subject
//! near       sorts by distance from a node
//! channel    what RPC asks of an endpoint
//! limit      how often an agent may ask
//! meter      how long commands take
//! time       how long queries wait and calls may take
//! agent      what is asked of this very agent and never travels
//! ```
//!
//! A client agent is the same code whose endpoint always forwards; HTTP, DNS and RPC cannot tell.

pub mod agent;
mod block;
pub mod cache;
mod catalog;
mod channel;
pub mod coordinate;
mod far;
pub mod filter;
mod health;
mod kv;
mod lead;
mod limit;
mod meter;
mod near;
mod operator;
mod query;
mod reader;
mod rule;
mod session;
mod snapshot;
mod status;
mod time;
mod txn;

pub use limit::Limit;
pub use session::Timers;
pub use snapshot::Saving;

use crate::metrics::{self, Stopwatch};
use crate::raft::Raft;
use crate::rpc::route::Router;
use crate::store::Store;
use agent_core::model::autopilot::Health;
use agent_core::model::command::Command;
use agent_core::model::request::{
    self, Answer, Body, Consistency, Error, Kind, Meta, Outcome, Query, Reply, Request,
};
use agent_core::model::{
    catalog as rows, coordinate as places, session as sessions, snapshot as states,
};
use agent_core::rand::Rng;
use block::Gate;
use reader::{Read, reader};
use rule::{Turn, may_retry, whose};
use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// One state of everything that servers share.
pub type Tables = Arc<crate::store::Tables>;

/// First byte of a request that a follower passes to the leader: it is not to be passed on again,
/// or two servers that take each other for the leader would play ball.
const PASSED_ON: u8 = 0xfe;

/// Longest pause between two attempts while there is no leader.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How an endpoint behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a request is held while there is no leader; 7 s with a raft multiplier of 1.
    pub hold_time: Duration,
    /// Seed of the dice for jitter.
    pub seed: u64,
    /// Shortest TTL of a session.
    pub session_ttl_min: Duration,
    /// How long a blocking query waits unless told.
    pub query_time_default: Duration,
    /// How long a blocking query may wait, before jitter.
    pub query_time_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold_time: Duration::from_secs(7),
            seed: 0,
            session_ttl_min: Duration::from_secs(10),
            query_time_default: Duration::from_secs(300),
            query_time_max: Duration::from_secs(600),
        }
    }
}

/// Serves requests. Copies share everything, but for the limit.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>, Option<Arc<Limit>>);

struct Inner {
    datacenter: String,
    server: Option<Server>,
    router: Arc<Router>,
    settings: Settings,
    dice: Mutex<Rng>,
    /// What a client passes on.
    load: lead::Load,
}

/// What only a server has.
struct Server {
    store: Arc<Store>,
    raft: Raft,
    timers: Timers,
    places: coordinate::Places,
    /// How the servers do, while this one leads.
    health: Mutex<Option<Health>>,
    /// States that are being saved.
    shelf: snapshot::Shelf,
    /// Who is in the LAN pool.
    roll: OnceLock<status::Roll>,
}

/// Whether a request may still be passed to the leader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passing {
    Allowed,
    /// It came from a follower that took this server for the leader.
    Done,
}

impl Endpoint {
    /// Serves as a server: from its own store, through its own raft node. Called within the
    /// runtime.
    pub fn server(
        datacenter: String,
        store: Arc<Store>,
        raft: Raft,
        router: Arc<Router>,
        settings: Settings,
    ) -> Self {
        tokio::spawn(block::wake_on_loss(store.clone(), raft.leadership()));
        let server = Server {
            store,
            raft,
            timers: Timers::default(),
            places: coordinate::Places::default(),
            health: Mutex::default(),
            shelf: snapshot::Shelf::default(),
            roll: OnceLock::new(),
        };
        Self::new(datacenter, Some(server), router, settings)
    }

    /// Serves as a client: every request goes to a server.
    pub fn client(datacenter: String, router: Arc<Router>, settings: Settings) -> Self {
        Self::new(datacenter, None, router, settings)
    }

    fn new(
        datacenter: String,
        server: Option<Server>,
        router: Arc<Router>,
        settings: Settings,
    ) -> Self {
        let dice = Mutex::new(Rng::new(settings.seed));
        let load = lead::Load::default();
        Self(Arc::new(Inner { datacenter, server, router, settings, dice, load }), None)
    }

    /// Tells the datacentre that this agent is in.
    pub fn datacenter(&self) -> &str {
        &self.0.datacenter
    }

    /// The state as this server has it now, `None` on a client.
    pub fn tables(&self) -> Option<Tables> {
        self.0.server.as_ref().map(|server| server.store.tables())
    }

    /// The timers of sessions, for the leader's loops; `None` on a client.
    pub fn timers(&self) -> Option<&Timers> {
        self.0.server.as_ref().map(|server| &server.timers)
    }

    /// Serves a request of this agent's own edges and loops.
    ///
    /// # Errors
    ///
    /// What the client is told. Nothing was changed, except for [`Kind::Unknown`].
    #[expect(clippy::manual_async_fn, reason = "an async fn would hold the request twice")]
    pub fn serve(&self, request: Request) -> impl Future<Output = Outcome> + Send + '_ {
        async move {
            self.admit()?;
            self.serve_admitted(&request).await
        }
    }

    /// Serves what counts against no limit, or did so already.
    async fn serve_admitted(&self, request: &Request) -> Outcome {
        if self.0.server.is_none() {
            self.note_load(request);
        }
        let outcome = self.0.carry(request, None, Passing::Allowed).await.decode()?;
        let oldest = request.options.max_stale_ms;
        let stale = request.options.consistency == Consistency::Stale;
        if stale && oldest > 0 && outcome.meta.last_contact_ms > oldest {
            let mut fresh = request.clone();
            fresh.options.consistency = Consistency::Default;
            return Box::pin(self.0.carry(&fresh, None, Passing::Allowed)).await.decode();
        }
        Ok(outcome)
    }

    /// Serves an encoded request that came by RPC; answers an encoded outcome.
    pub async fn serve_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        metrics::RPC_REQUEST.count();
        let (bytes, passing) = match bytes.split_first() {
            Some((&PASSED_ON, rest)) => (rest, Passing::Done),
            Some(_) | None => (bytes, Passing::Allowed),
        };
        match request::parse::<Request>(bytes) {
            Ok(request) => {
                let carried = self.0.carry(&request, Some(bytes), passing).await;
                if carried.error().is_some() {
                    metrics::RPC_REQUEST_ERROR.count();
                }
                carried.encode()
            }
            Err(damaged) => {
                let error = Error::with(Kind::Invalid, damaged.to_string());
                request::emit(&Outcome::Err(error))
            }
        }
    }
}

/// What came of a request: made here, or still encoded as another server sent it.
enum Carried {
    Here(Outcome),
    /// An encoded answer; errors are always decoded.
    Far(Vec<u8>),
}

impl Carried {
    fn decode(self) -> Outcome {
        match self {
            Self::Here(outcome) => outcome,
            Self::Far(bytes) => request::parse::<Outcome>(&bytes)
                .unwrap_or_else(|e| Err(Error::with(Kind::Unknown, e.to_string()))),
        }
    }

    fn encode(self) -> Vec<u8> {
        match self {
            Self::Here(outcome) => request::emit(&outcome),
            Self::Far(bytes) => bytes,
        }
    }

    fn error(&self) -> Option<&Error> {
        match self {
            Self::Here(outcome) => outcome.as_ref().err(),
            Self::Far(_) => None,
        }
    }
}

impl Inner {
    /// Serves a request here or elsewhere; while there is no leader, tries again until it was held
    /// long enough.
    async fn carry(&self, request: &Request, bytes: Option<&[u8]>, passing: Passing) -> Carried {
        if let Err(error) = self.authorise(request) {
            return Carried::Here(Err(error));
        }
        let held_until = Instant::now() + self.settings.hold_time;
        loop {
            let carried = self.attempt(request, bytes, passing).await;
            let again = passing == Passing::Allowed
                && self.server.is_some()
                && carried.error().is_some_and(|error| may_retry(error, request))
                && Instant::now() < held_until;
            if !again {
                return carried;
            }
            drop(carried);
            Box::pin(tokio::time::sleep(self.roll(RETRY_PAUSE))).await;
        }
    }

    /// Whether the token's holder may ask this. The authorizer enters here; without access control
    /// everybody may ask everything.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the seam for access control"
    )]
    fn authorise(&self, _request: &Request) -> Result<(), Error> {
        Ok(())
    }

    /// Tries once; the request is encoded, unless it came so, only to be passed on.
    async fn attempt(&self, request: &Request, bytes: Option<&[u8]>, passing: Passing) -> Carried {
        let encoded = || bytes.map_or_else(|| Cow::Owned(request::emit(request)), Cow::Borrowed);
        let Some(server) = &self.server else {
            let deadline = Instant::now() + self.call_time(request);
            return self.carried(Box::pin(self.router.forward_any(&encoded(), deadline)).await);
        };
        let datacenter = &request.options.datacenter;
        if !datacenter.is_empty() && *datacenter != self.datacenter {
            return Carried::Here(Err(Error::new(Kind::NoPath)));
        }
        let leader = match whose(server, request) {
            Turn::Here => return Carried::Here(self.serve_here(server, request).await),
            Turn::Of(leader) => leader,
            Turn::Nobody => return Carried::Here(Err(Error::new(Kind::NoLeader))),
        };
        if passing == Passing::Done {
            return Carried::Here(Err(Error::new(Kind::NoLeader)));
        }
        let bytes = encoded();
        let mut passed_on = Vec::with_capacity(bytes.len() + 1);
        passed_on.push(PASSED_ON);
        passed_on.extend_from_slice(&bytes);
        let deadline = Instant::now() + self.call_time(request);
        let sent = Box::pin(self.router.forward_to(leader, &passed_on, deadline)).await;
        // A leader that cannot be reached is none.
        self.carried(sent.map_err(|error| match error.kind {
            Kind::NoServers => Error::new(Kind::NoLeader),
            Kind::Invalid
            | Kind::NotFound
            | Kind::Denied
            | Kind::NoLeader
            | Kind::NoPath
            | Kind::NotReady
            | Kind::Failed
            | Kind::Unknown
            | Kind::Limited => error,
        }))
    }

    /// What another server sent: an answer is passed on as it is, an error travelled one hop more.
    #[expect(clippy::unused_self, reason = "reads as one step of an attempt")]
    fn carried(&self, sent: Result<Vec<u8>, Error>) -> Carried {
        match sent {
            Ok(bytes) if request::is_answer(&bytes) => Carried::Far(bytes),
            Ok(bytes) => match request::parse::<Outcome>(&bytes) {
                Ok(outcome) => Carried::Here(outcome.map_err(Error::hop)),
                Err(e) => Carried::Here(Err(Error::with(Kind::Unknown, e.to_string()))),
            },
            Err(error) => {
                metrics::CLIENT_RPC_FAILED.count();
                Carried::Here(Err(error))
            }
        }
    }

    /// Serves a request from this server's own state. All but reads are boxed: a read that waits,
    /// of which there are thousands, would else have room for any of the others.
    async fn serve_here(&self, server: &Server, request: &Request) -> Outcome {
        match &request.body {
            Body::Command(command) => Box::pin(self.change(server, command)).await,
            Body::Query(Query::Status(query)) => Ok(self.untimed(status::answer(server, query))),
            Body::Query(Query::Operator(query)) => {
                Box::pin(operator::answer(server, query)).await.map(|reply| self.untimed(reply))
            }
            Body::Query(Query::Snapshot(query)) => {
                if *query == states::Query::Take {
                    let gate = Gate::of(request.options.consistency, &server.raft);
                    Box::pin(gate.pass()).await?;
                }
                let (index, reply) = Box::pin(snapshot::answer(server, query)).await?;
                Ok(Answer { meta: self.meta(index), reply: Reply::Snapshot(reply) })
            }
            Body::Query(Query::Catalog(rows::Query::Datacenters)) => {
                let names = vec![self.datacenter.clone()];
                Ok(self.untimed(Reply::Catalog(rows::Reply::Datacenters(names))))
            }
            Body::Query(Query::Session(sessions::Query::Renew(id))) => {
                let watch = Stopwatch::start();
                let renewed = Box::pin(session::renew(server, id)).await;
                watch.stop(&metrics::SESSION_RENEW);
                renewed.map(|reply| self.untimed(reply))
            }
            Body::Query(Query::Coordinate(
                query @ (places::Query::Update(_) | places::Query::Datacenters),
            )) => {
                coordinate::answer(server, &self.datacenter, query).map(|reply| self.untimed(reply))
            }
            Body::Query(Query::Prepared(query)) => {
                Box::pin(self.prepared(server, request, query)).await
            }
            Body::Query(query) => self.read(server, request, query).await,
        }
    }

    /// An answer that nobody can block on.
    fn untimed(&self, reply: Reply) -> Answer {
        Answer { meta: self.meta(0), reply }
    }

    fn meta(&self, index: u64) -> Meta {
        let Some(server) = &self.server else {
            return Meta { index, known_leader: false, last_contact_ms: 0 };
        };
        let last_contact = match server.raft.is_leader() {
            true => Duration::ZERO,
            false => server.raft.last_contact().unwrap_or(Duration::ZERO),
        };
        Meta {
            index,
            known_leader: server.raft.knows_leader(),
            last_contact_ms: u64::try_from(last_contact.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Settles what needs time or luck, proposes, and tells what applying it gave.
    async fn change(&self, server: &Server, command: &Command) -> Outcome {
        let mut command = command.clone();
        let settled = match &mut command {
            Command::Register(registration) => catalog::prepare(registration, &self.datacenter)?,
            Command::Deregister(deregistration) => catalog::prepare_removal(deregistration)?,
            Command::Kv(op) => kv::prepare(op, &server.store)?,
            Command::Autopilot(_) | Command::Coordinate(_) | Command::Snapshot(_) => {
                Prepared::Propose
            }
            Command::Prepared(op) => query::prepare(op, &server.store)?,
            Command::Txn(ops) => txn::prepare(ops, &server.store, &self.datacenter)?,
            Command::Session(op) => {
                session::prepare(op, &server.store, self.settings.session_ttl_min)?
            }
        };
        let reply = match settled {
            Prepared::Answer(reply) => reply,
            Prepared::Propose => {
                let watch = Stopwatch::start();
                let reply = server.raft.propose(command.emit()).await;
                watch.stop(meter::sample_of(&command));
                reply??
            }
        };
        if let Command::Session(op) = &command {
            session::note(server, op);
        }
        Ok(self.untimed(reply))
    }

    async fn read(&self, server: &Server, request: &Request, query: &Query) -> Outcome {
        metrics::RPC_QUERY.count();
        let filter = match request.options.filter.as_str() {
            "" => None,
            text => Some(text),
        };
        let read = near::sorted(reader(query, filter)?, &request.options.near);
        let gate = Gate::of(request.options.consistency, &server.raft);
        let wait = self.wait(request);
        let seen = block::block(&server.store, &gate, wait, read).await?;
        let (meta, mut reply) = (self.meta(seen.index), seen.value);
        if let Reply::Txn(reply) = &mut reply {
            reply.freshness = Some(meta);
        }
        Ok(Answer { meta, reply })
    }
}

/// What preparing a command came to.
enum Prepared {
    /// It goes to the log.
    Propose,
    /// It is answered already.
    Answer(Reply),
}

#[cfg(test)]
mod tests;
