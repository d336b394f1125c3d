//! Which server a request goes to next.
//!
//! A client stays with one server, so that its blocking queries share one connection, turns to the
//! next one when a call fails, and picks anew every few minutes, so that servers which come back
//! get their share. A busy one stays with the leader (see `endpoint::lead`).
//! Source: <https://developer.hashicorp.com/consul/docs/architecture> and the behaviour
//! of Consul's client agents.

use super::client::{self, Pool};
use agent_core::model::request::{Error, Kind};
use agent_core::rand::Rng;
use agent_core::wire::frame::Channel;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How requests are routed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long to stay with one server, default 120 s; up to as much again is added by lot.
    pub rebalance: Duration,
    /// The address that connections come from, by default the system's choice.
    pub source: Option<IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rebalance: Duration::from_secs(120), source: None }
    }
}

/// Known servers of the datacentre and the connections to them.
pub struct Router {
    datacenter: String,
    settings: Settings,
    pool: Pool,
    state: Mutex<State>,
}

struct State {
    /// In the order in which they are tried; the first is the one to stay with.
    servers: Vec<SocketAddr>,
    rebalance_at: Instant,
    dice: Rng,
}

impl State {
    /// Sets when to pick anew: after `span`, and up to as much again by lot.
    fn put_off(&mut self, now: Instant, span: Duration) {
        let most = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.rebalance_at = now + span + Duration::from_millis(self.dice.below(most));
    }
}

impl Router {
    /// Starts without servers.
    pub fn new(datacenter: String, settings: Settings) -> Arc<Self> {
        let state = State {
            servers: Vec::new(),
            rebalance_at: Instant::now(),
            dice: Rng::new(RandomState::new().hash_one(0)),
        };
        let pool = Pool::new(Channel::Request, settings.source);
        Arc::new(Self { datacenter, settings, pool, state: Mutex::new(state) })
    }

    /// Tells the datacentre whose servers these are.
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Replaces the known servers. The one in use stays in use if it is still among them; new ones
    /// are shuffled in behind it.
    pub fn set_servers(&self, servers: Vec<SocketAddr>) {
        self.pool.retain(|address| servers.contains(address));
        let mut state = self.lock();
        let mut next: Vec<SocketAddr> =
            state.servers.iter().filter(|known| servers.contains(known)).copied().collect();
        let mut fresh: Vec<SocketAddr> =
            servers.into_iter().filter(|server| !next.contains(server)).collect();
        state.dice.shuffle(&mut fresh);
        next.append(&mut fresh);
        state.servers = next;
    }

    /// Tells the known servers, in the order in which they are tried.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.lock().servers.clone()
    }

    /// Tells the server to stay with, after picking anew if it is time.
    fn current(&self) -> Option<(SocketAddr, usize)> {
        let mut state = self.lock();
        let now = Instant::now();
        if now >= state.rebalance_at {
            state.put_off(now, self.settings.rebalance);
            let State { servers, dice, .. } = &mut *state;
            dice.shuffle(servers);
        }
        state.servers.first().map(|server| (*server, state.servers.len()))
    }

    /// Stays with this server, if it is known, until it is time to pick anew.
    pub fn stay_with(&self, server: SocketAddr) {
        let mut state = self.lock();
        let place = state.servers.iter().position(|known| *known == server);
        if let Some(place) = place {
            state.servers[..=place].rotate_right(1);
            state.put_off(Instant::now(), self.settings.rebalance);
        }
    }

    /// Puts a server that failed behind the others, if it is still the first.
    fn rotate(&self, failed: SocketAddr) {
        let mut state = self.lock();
        if state.servers.first() == Some(&failed) {
            state.servers.rotate_left(1);
        }
    }

    /// Sends an encoded request to any server and answers the encoded outcome.
    ///
    /// # Errors
    ///
    /// [`Kind::NoServers`] if none is known or none could be reached; the request was not sent.
    /// [`Kind::Unknown`] if the connection broke or time ran out after it was sent.
    pub async fn forward_any(&self, bytes: &[u8], deadline: Instant) -> Result<Vec<u8>, Error> {
        let mut tries = 0;
        loop {
            let Some((server, known)) = self.current() else {
                return Err(Error::new(Kind::NoServers));
            };
            tries += 1;
            let error = match self.pool.call(server, bytes, deadline).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            match error {
                client::Error::Connect(_) | client::Error::Busy => {
                    tracing::debug!(%server, "server did not take the request: {error}");
                    self.rotate(server);
                    if tries >= known || Instant::now() >= deadline {
                        let text = format!("rpc error getting client: failed to get conn: {error}");
                        return Err(Error::with(Kind::NoServers, text));
                    }
                }
                client::Error::TooLong(_) => {
                    return Err(Error::with(Kind::Invalid, error.to_string()));
                }
                client::Error::Broken | client::Error::Timeout => {
                    self.rotate(server);
                    return Err(Error::with(Kind::Unknown, error.to_string()));
                }
            }
        }
    }

    /// Sends an encoded request to one server and answers the encoded outcome.
    ///
    /// # Errors
    ///
    /// [`Kind::NoLeader`] if it could not be reached or was too busy; the request was not served,
    /// and retrying (with whoever leads then) may help. [`Kind::Unknown`] if the connection broke
    /// or time ran out after it was sent.
    pub async fn forward_to(
        &self,
        server: SocketAddr,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        self.pool.call(server, bytes, deadline).await.map_err(|error| match error {
            client::Error::Connect(_) | client::Error::Busy => {
                tracing::debug!(%server, "leader did not take the request: {error}");
                Error::new(Kind::NoLeader)
            }
            client::Error::TooLong(_) => Error::with(Kind::Invalid, error.to_string()),
            client::Error::Broken | client::Error::Timeout => {
                Error::with(Kind::Unknown, error.to_string())
            }
        })
    }
}
