//! One listener for requests and for raft.
//!
//! Bounds, and what happens at them: more than [`Limits::connections_per_ip_max`] connections from
//! one address: a new one is closed at once. No first byte within [`HANDSHAKE_TIMEOUT`], or a frame
//! that stops half-way for [`SILENCE_MAX`]: closed. More than [`Limits::requests_in_flight_max`]
//! requests: `Busy` for each further one, which the client takes elsewhere. A peer that does not
//! read its replies: no new requests are taken from it, and after ten seconds it is closed. An idle
//! connection costs a task and no buffer.
//!
//! Connections are served by [`lane`]s where there are any, those of raft where raft runs.

use super::connection::{Error, Inbox, Outbox};
use super::device::Terms;
use crate::lane::{self, Moved};
use crate::metrics;
use crate::raft::Raft;
use agent_core::model::request::{self, Outcome, Request};
use agent_core::wire::frame::{Channel, Kind, RAFT_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How long a new connection may take to name its channel.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a frame may stop half-way. Twice that with nothing at all in flight and the connection
/// is closed too: clients close earlier.
pub const SILENCE_MAX: Duration = Duration::from_secs(150);

/// How long to wait before accepting again after the system refused (no descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers requests: the endpoint.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers an encoded request with an encoded outcome.
    fn serve(self, bytes: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send + 'static;

    /// Answers a request of a device.
    fn ask(self, request: Request) -> impl Future<Output = Outcome> + Send + 'static {
        async move {
            let outcome = self.serve(request::emit(&request)).await;
            request::parse(&outcome).unwrap_or_else(|error: request::Damaged| {
                Err(request::Error::with(request::Kind::Unknown, error.to_string()))
            })
        }
    }

    /// Tells on what terms devices are served, nothing where they are not.
    fn terms(&self) -> Option<Terms> {
        None
    }
}

/// Bounds of the listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections from one address, default 100 as Consul's `rpc_max_conns_per_client`.
    pub connections_per_ip_max: u32,
    /// How long a new connection may take to name its channel, default [`HANDSHAKE_TIMEOUT`].
    pub handshake_time: Duration,
    /// Requests in flight on one connection, default 16,384: a client agent's blocking queries.
    pub requests_in_flight_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_ip_max: 100,
            handshake_time: HANDSHAKE_TIMEOUT,
            requests_in_flight_max: 16_384,
        }
    }
}

/// Serves until cancelled; connections end with it.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: H,
    raft: Option<Raft>,
    limits: Limits,
) {
    let (census, home) = (Arc::new(Census::default()), Handle::current());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    metrics::RPC_ACCEPT_CONN.count();
                    let max = limits.connections_per_ip_max;
                    let Some(seat) = Census::seat(&census, from.ip(), max) else {
                        tracing::debug!(%from, "rpc: too many connections from one address");
                        continue;
                    };
                    let raft = raft.clone().map(|raft| (raft, home.clone()));
                    let served = connection(stream, handler.clone(), raft, limits.clone());
                    let serving = async move {
                        let ended = served.await;
                        tracing::debug!(%from, "rpc connection ended: {ended}");
                        drop(seat);
                    };
                    connections.spawn_on(serving, &lane::next());
                }
                Err(error) => {
                    tracing::warn!("rpc: accept failed: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Counts connections per address.
#[derive(Default)]
struct Census(Mutex<HashMap<IpAddr, u32>>);

/// One counted connection.
struct Seat {
    census: Arc<Census>,
    ip: IpAddr,
}

impl Census {
    fn seat(census: &Arc<Self>, ip: IpAddr, max: u32) -> Option<Seat> {
        let mut seats = census.0.lock().expect("no holder panics");
        let taken = seats.entry(ip).or_default();
        if *taken >= max {
            return None;
        }
        *taken += 1;
        Some(Seat { census: Arc::clone(census), ip })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.census.0.lock().expect("no holder panics");
        if let Some(taken) = seats.get_mut(&self.ip) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.ip);
            }
        }
    }
}

/// Serves one connection and tells why it ended.
async fn connection<H: Handler>(
    stream: TcpStream,
    handler: H,
    raft: Option<(Raft, Handle)>,
    limits: Limits,
) -> String {
    let mut stream = match stream.moved() {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    let channel = match tokio::time::timeout(limits.handshake_time, stream.read_u8()).await {
        Err(_) => return "no handshake in time".into(),
        Ok(Err(error)) => return error.to_string(),
        Ok(Ok(byte)) => Channel::parse(byte),
    };
    if let Err(error) = stream.set_nodelay(true) {
        return error.to_string();
    }
    // Boxed, so that a connection has no room for what the other channels need, and no request has
    // a place in the state of its connection.
    match (channel, raft) {
        (Some(Channel::Request), _) => {
            let session = Session::new(stream, REQUEST_BYTES_MAX, REPLY_BYTES_MAX, limits);
            Box::pin(session.run(move |bytes| Box::pin(handler.clone().serve(bytes)))).await
        }
        (Some(Channel::Raft), Some((raft, home))) => {
            metrics::RPC_RAFT_HANDOFF.count();
            let mut served = JoinSet::new();
            served.spawn_on(peer(stream, raft, limits), &home);
            let ended = served.join_next().await.and_then(Result::ok);
            ended.unwrap_or_else(|| "it was cancelled".into())
        }
        (Some(Channel::Raft), None) => "raft is not served here".into(),
        (Some(Channel::Device), _) => Box::pin(super::device::run(stream, handler)).await,
        (None, _) => "unknown channel byte".into(),
    }
}

/// Serves a connection of a raft peer, and tells why it ended.
async fn peer(stream: TcpStream, raft: Raft, limits: Limits) -> String {
    let stream = match stream.moved() {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    let session = Session::new(stream, RAFT_BYTES_MAX, RAFT_BYTES_MAX, limits);
    let serve = move |bytes: Vec<u8>| {
        let raft = raft.clone();
        Box::pin(async move { raft.handle(&bytes).await })
    };
    session.run(serve).await
}

/// The state of one connection.
struct Session {
    inbox: Inbox,
    shared: Arc<Shared>,
    limits: Limits,
}

/// What the tasks of a connection share.
struct Shared {
    outbox: Outbox,
    reply_bytes_max: u32,
    running: Mutex<HashMap<u32, AbortHandle>>,
}

impl Shared {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u32, AbortHandle>> {
        self.running.lock().expect("no holder panics")
    }

    fn reply(&self, id: u32, body: Vec<u8>) {
        self.outbox.send(Kind::Reply, id, &self.fitting(body));
    }

    /// The reply, or in its place that it is too long.
    fn fitting(&self, body: Vec<u8>) -> Vec<u8> {
        if body.len() <= self.reply_bytes_max as usize {
            return body;
        }
        let text = format!("reply of {} bytes is too long to send", body.len());
        let outcome: Outcome = Err(request::Error::with(request::Kind::Failed, text));
        request::emit(&outcome)
    }
}

/// Ends what runs for a connection, however the connection ends.
struct AbortAll(Arc<Shared>);

impl Drop for AbortAll {
    fn drop(&mut self) {
        self.0.outbox.close();
        for (_, task) in self.0.running().drain() {
            task.abort();
        }
    }
}

impl Session {
    fn new(stream: TcpStream, length_max: u32, reply_bytes_max: u32, limits: Limits) -> Self {
        let (read, write) = stream.into_split();
        let shared =
            Shared { outbox: Outbox::new(write), reply_bytes_max, running: Mutex::default() };
        Self { inbox: Inbox::new(read, length_max), shared: Arc::new(shared), limits }
    }

    async fn run<F: Future<Output = Vec<u8>> + Send + 'static>(
        mut self,
        serve: impl Fn(Vec<u8>) -> Pin<Box<F>>,
    ) -> String {
        let shared = Arc::clone(&self.shared);
        let _end = AbortAll(Arc::clone(&shared));
        let drain = shared.outbox.drain();
        tokio::pin!(drain);
        let check = tokio::time::sleep(SILENCE_MAX);
        tokio::pin!(check);
        let mut silent = (0, false);
        loop {
            tokio::select! {
                frame = Self::next(&mut self.inbox, &shared.outbox) => {
                    let (header, body) = match frame {
                        Ok(frame) => frame,
                        Err(error) => return error.to_string(),
                    };
                    let taken = self.take(header.kind, header.id, body, &serve).await;
                    if taken.is_err() || !self.inbox.has_frame() {
                        shared.outbox.flush();
                    }
                    if let Err(reason) = taken {
                        return reason.into();
                    }
                }
                error = &mut drain => return error.to_string(),
                () = &mut check => {
                    let reads = self.inbox.reads();
                    let quiet = reads == silent.0 && shared.running().is_empty();
                    if quiet && (self.inbox.is_partial() || silent.1) {
                        return "silent for too long".into();
                    }
                    silent = (reads, quiet);
                    check.as_mut().reset(Instant::now() + SILENCE_MAX);
                }
            }
        }
    }

    /// Waits for a frame, but not before replies have room.
    async fn next(
        inbox: &mut Inbox,
        outbox: &Outbox,
    ) -> Result<(agent_core::wire::frame::Header, Vec<u8>), Error> {
        outbox.room().await;
        inbox.next().await
    }

    async fn take<F: Future<Output = Vec<u8>> + Send + 'static>(
        &self,
        kind: Kind,
        id: u32,
        body: Vec<u8>,
        serve: &impl Fn(Vec<u8>) -> Pin<Box<F>>,
    ) -> Result<(), &'static str> {
        match kind {
            Kind::Request => self.start(id, serve(body)).await,
            Kind::Cancel => {
                if let Some(task) = self.shared.running().remove(&id) {
                    task.abort();
                }
                Ok(())
            }
            Kind::Ping => {
                self.shared.outbox.send(Kind::Pong, id, &[]);
                Ok(())
            }
            Kind::Reply | Kind::Pong | Kind::Busy => Err("a client sent what only servers send"),
        }
    }

    /// Answers a request: here if the answer is there at once, else in a task of its own.
    async fn start<F: Future<Output = Vec<u8>> + Send + 'static>(
        &self,
        id: u32,
        mut work: Pin<Box<F>>,
    ) -> Result<(), &'static str> {
        if let Poll::Ready(reply) = poll_once(&mut work).await {
            self.shared.outbox.put(Kind::Reply, id, &self.shared.fitting(reply));
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        // Held over the spawn, so that the task cannot end before it is listed.
        let mut running = self.shared.running();
        if running.contains_key(&id) {
            return Err("request id reused while in flight");
        }
        if running.len() >= self.limits.requests_in_flight_max {
            drop(running);
            self.shared.outbox.send(Kind::Busy, id, &[]);
            return Ok(());
        }
        let task = tokio::spawn(async move {
            let reply = work.await;
            shared.running().remove(&id);
            shared.reply(id, reply);
        });
        running.insert(id, task.abort_handle());
        Ok(())
    }
}

/// Polls a future once.
async fn poll_once<T>(work: &mut Pin<Box<impl Future<Output = T>>>) -> Poll<T> {
    poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await
}
