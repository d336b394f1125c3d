//! Pooled connections that carry many calls at once.
//!
//! One connection per far address and channel. A call writes one frame (requests gather until the
//! connection's task runs, raft's calls go at once) and waits for the reply of its id; dropping the
//! call's future sends a cancel frame, so an abandoned blocking query ends on the server too. A
//! connection without calls closes after [`IDLE_TIMEOUT`]; one with calls is pinged, so that a dead
//! peer is noticed within [`SILENCE_MAX`].

use super::connection::{Inbox, Outbox};
use agent_core::wire::frame::{Channel, Kind, RAFT_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use agent_core::wire::message::ASK_BYTES_MAX;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection without calls stays open.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a connection with calls is pinged.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long a connection with calls may be silent before it counts as dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(40);

/// Why a call was not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The far side could not be reached; the request was not sent.
    Connect(String),
    /// The far side has too many calls in flight; the request was not taken up.
    Busy,
    /// The request is longer than the far side takes; it was not sent.
    TooLong(usize),
    /// The connection broke; the request may or may not have been served.
    Broken,
    /// Time ran out; the request may or may not have been served.
    Timeout,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(text) => f.write_str(text),
            Self::Busy => f.write_str("server has too many requests in flight"),
            Self::TooLong(bytes) => write!(f, "request of {bytes} bytes is too long"),
            Self::Broken => f.write_str("connection broke before the reply"),
            Self::Timeout => f.write_str("timed out waiting for the reply"),
        }
    }
}

impl std::error::Error for Error {}

/// Connections of one channel, at most one per address.
pub struct Pool {
    channel: Channel,
    source: Option<IpAddr>,
    slots: Mutex<HashMap<SocketAddr, Arc<Slot>>>,
}

/// The connection to one address, and the turn to make it.
#[derive(Default)]
struct Slot {
    live: Mutex<Option<Arc<Connection>>>,
    /// Held while connecting; remembers the last failure, so that those who waited share it.
    turn: tokio::sync::Mutex<Option<(Instant, String)>>,
}

impl Slot {
    fn live(&self) -> Option<Arc<Connection>> {
        let mut live = self.live.lock().expect("no holder panics");
        if live.as_ref().is_some_and(|connection| connection.lock().closed) {
            *live = None;
        }
        live.clone()
    }
}

impl Pool {
    /// Starts without connections; they come from the address `source`, if there is one.
    pub fn new(channel: Channel, source: Option<IpAddr>) -> Self {
        Self { channel, source, slots: Mutex::default() }
    }

    /// Sends a request and waits for its reply, until `deadline` at most.
    ///
    /// # Errors
    ///
    /// [`Error`] tells whether the request was sent.
    pub async fn call(
        &self,
        address: SocketAddr,
        body: &[u8],
        deadline: std::time::Instant,
    ) -> Result<Vec<u8>, Error> {
        let length_max = match self.channel {
            Channel::Request => REQUEST_BYTES_MAX,
            Channel::Raft => RAFT_BYTES_MAX,
            Channel::Device => ASK_BYTES_MAX,
        };
        if body.len() > length_max as usize {
            return Err(Error::TooLong(body.len()));
        }
        let deadline = Instant::from_std(deadline);
        let connection = match tokio::time::timeout_at(deadline, self.connection(address)).await {
            Ok(connection) => connection?,
            Err(_) => return Err(Error::Connect(format!("dial tcp {address}: i/o timeout"))),
        };
        let call = connection.call(body)?;
        tokio::time::timeout_at(deadline, call.reply()).await.unwrap_or(Err(Error::Timeout))
    }

    /// Forgets connections to addresses that `keep` refuses; calls in flight still end.
    pub fn retain(&self, keep: impl Fn(&SocketAddr) -> bool) {
        self.slots.lock().expect("no holder panics").retain(|address, _| keep(address));
    }

    async fn connection(&self, address: SocketAddr) -> Result<Arc<Connection>, Error> {
        let slot = {
            let mut slots = self.slots.lock().expect("no holder panics");
            Arc::clone(slots.entry(address).or_default())
        };
        if let Some(connection) = slot.live() {
            return Ok(connection);
        }
        // A task of its own: the attempt goes on when this caller's time runs out.
        let (channel, source, asked) = (self.channel, self.source, Instant::now());
        let attempt = tokio::spawn(async move {
            let mut turn = slot.turn.lock().await;
            if let Some(connection) = slot.live() {
                return Ok(connection);
            }
            if let Some((at, text)) = &*turn
                && *at >= asked
            {
                return Err(Error::Connect(text.clone()));
            }
            match Connection::open(address, source, channel).await {
                Ok(connection) => {
                    *slot.live.lock().expect("no holder panics") = Some(Arc::clone(&connection));
                    *turn = None;
                    Ok(connection)
                }
                Err(text) => {
                    *turn = Some((Instant::now(), text.clone()));
                    Err(Error::Connect(text))
                }
            }
        });
        attempt.await.unwrap_or(Err(Error::Broken))
    }
}

/// One connection and the calls in flight on it.
struct Connection {
    channel: Channel,
    outbox: Outbox,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<u32, oneshot::Sender<Result<Vec<u8>, Error>>>,
    next_id: u32,
    closed: bool,
}

/// Connects, from an address of our own where it is of the same kind.
async fn dial(address: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) else {
        return TcpStream::connect(address).await;
    };
    let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

impl Connection {
    async fn open(
        address: SocketAddr,
        source: Option<IpAddr>,
        channel: Channel,
    ) -> Result<Arc<Self>, String> {
        let opening = async {
            let mut stream = dial(address, source).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&[channel.emit()]).await?;
            std::io::Result::Ok(stream)
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("dial tcp {address}: {error}")),
            Err(_) => return Err(format!("dial tcp {address}: i/o timeout")),
        };
        let (read, write) = stream.into_split();
        let length_max = match channel {
            Channel::Request => REPLY_BYTES_MAX,
            Channel::Raft => RAFT_BYTES_MAX,
            Channel::Device => u32::from(u16::MAX),
        };
        let connection =
            Arc::new(Self { channel, outbox: Outbox::new(write), calls: Mutex::default() });
        tokio::spawn(Arc::clone(&connection).run(Inbox::new(read, length_max), address));
        Ok(connection)
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().expect("no holder panics")
    }

    fn call(self: Arc<Self>, body: &[u8]) -> Result<Call, Error> {
        let (sender, receiver) = oneshot::channel();
        let mut calls = self.lock();
        if calls.closed {
            return Err(Error::Connect("connection was closing".into()));
        }
        loop {
            calls.next_id = calls.next_id.wrapping_add(1);
            if !calls.waiting.contains_key(&calls.next_id) {
                break;
            }
        }
        let id = calls.next_id;
        calls.waiting.insert(id, sender);
        drop(calls);
        match self.channel {
            Channel::Request => self.outbox.gather(Kind::Request, id, body),
            Channel::Raft | Channel::Device => self.outbox.send(Kind::Request, id, body),
        }
        Ok(Call { connection: self, id, receiver: Some(receiver) })
    }

    /// Hands out replies until the connection ends; then every call in flight is broken.
    async fn run(self: Arc<Self>, mut inbox: Inbox, address: SocketAddr) {
        let drain = self.outbox.drain();
        tokio::pin!(drain);
        let check = tokio::time::sleep(PING_INTERVAL);
        tokio::pin!(check);
        let mut watch = Watch { reads: 0, heard: Instant::now(), used: Instant::now() };
        let ended = loop {
            tokio::select! {
                frame = inbox.next() => match frame {
                    Ok((header, body)) => {
                        if let Err(kind) = self.take(header.kind, header.id, body) {
                            break format!("unexpected {kind:?} frame");
                        }
                    }
                    Err(error) => break error.to_string(),
                },
                error = &mut drain => break error.to_string(),
                () = &mut check => {
                    if let Err(reason) = self.check(&mut watch, inbox.reads()) {
                        break reason.into();
                    }
                    check.as_mut().reset(Instant::now() + PING_INTERVAL);
                }
            }
        };
        tracing::debug!(%address, "rpc connection ended: {ended}");
        self.outbox.close();
        let mut calls = self.lock();
        calls.closed = true;
        for (_, caller) in calls.waiting.drain() {
            let _ = caller.send(Err(Error::Broken));
        }
    }

    fn take(&self, kind: Kind, id: u32, body: Vec<u8>) -> Result<(), Kind> {
        let answer = match kind {
            Kind::Reply => Ok(body),
            Kind::Busy => Err(Error::Busy),
            Kind::Pong => return Ok(()),
            Kind::Request | Kind::Cancel | Kind::Ping => return Err(kind),
        };
        // A call that was cancelled meanwhile is no longer there.
        if let Some(caller) = self.lock().waiting.remove(&id) {
            let _ = caller.send(answer);
        }
        Ok(())
    }

    /// Looks after a connection every [`PING_INTERVAL`].
    fn check(&self, watch: &mut Watch, reads: u64) -> Result<(), &'static str> {
        let now = Instant::now();
        if reads != watch.reads {
            (watch.reads, watch.heard) = (reads, now);
        }
        let mut calls = self.lock();
        if !calls.waiting.is_empty() {
            watch.used = now;
            drop(calls);
            if now - watch.heard > SILENCE_MAX {
                return Err("the far side is silent");
            }
            self.outbox.send(Kind::Ping, 0, &[]);
            return Ok(());
        }
        watch.heard = now;
        if now - watch.used > IDLE_TIMEOUT {
            calls.closed = true;
            return Err("idle");
        }
        Ok(())
    }
}

/// What the regular check of a connection remembers.
struct Watch {
    reads: u64,
    heard: Instant,
    used: Instant,
}

/// A call in flight; dropping it cancels it on the far side.
struct Call {
    connection: Arc<Connection>,
    id: u32,
    receiver: Option<oneshot::Receiver<Result<Vec<u8>, Error>>>,
}

impl Call {
    async fn reply(mut self) -> Result<Vec<u8>, Error> {
        let receiver = self.receiver.as_mut().expect("taken only here, after the answer");
        let answer = receiver.await.unwrap_or(Err(Error::Broken));
        self.receiver = None;
        answer
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.receiver.is_some() && self.connection.lock().waiting.remove(&self.id).is_some() {
            self.connection.outbox.send(Kind::Cancel, self.id, &[]);
        }
    }
}
