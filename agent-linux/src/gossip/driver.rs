//! The task that owns the datagram socket and the clock, and what all tasks share; `event` is what
//! it does about what the engine tells, `view` what others are shown of the pool.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant as Clock, SystemTime, UNIX_EPOCH};

use agent_core::gossip::seal::{DATAGRAM_BYTES_MAX, Opened};
use agent_core::gossip::{EVENTS_MAX, Pool, UserEvent};
use agent_core::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

use super::alarm::{self, Alarm};
use super::engine::{Engine, Told};
use super::keyring::{self, Questions, Seal};
use super::partial::{self, Partial};
use super::snapshot::{MEMBERS_MAX, Snapshot};
use super::{Config, Kind, Member, Meta, Options, stream};
use crate::{lane, metrics};

pub(super) use event::Changed;

mod event;
mod view;

/// How often a free port for both UDP and TCP is looked for, if any port will do.
const BIND_ATTEMPTS: usize = 16;

/// Most datagrams read in a row before timers get their turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// Least time between two writes of the snapshot.
const SNAPSHOT_PERIOD: std::time::Duration = std::time::Duration::from_millis(500);

/// Other members up to which the snapshot is written without waiting.
const SNAPSHOT_FIRST: usize = 8;

/// The first generation counts from 2024, in quarters of a second: it lasts until 2058.
const GENERATION_EPOCH_SECS: u64 = 1_704_067_200;

/// What the handle and all tasks of one pool share.
pub(super) struct Inner {
    pub(super) local_addr: SocketAddr,
    /// Which pool, for the log.
    pub(super) name: &'static str,
    /// Seals and opens, in a pool with keys.
    pub(super) seal: Option<Seal>,
    pub(super) questions: Questions,
    engine: Mutex<Engine>,
    socket: AsyncFd<UdpSocket>,
    origin: Clock,
    /// Rings when the driver should look at the pool again.
    wake: Notify,
    /// Rises with every change of the members.
    pub(super) version: watch::Sender<u64>,
    /// Rises with every change of those that are servers.
    pub(super) servers_version: watch::Sender<u64>,
    /// User events, as they are heard.
    pub(super) users: broadcast::Sender<UserEvent>,
    /// For the first who follows them: what is heard before it does, by a quick return.
    early: Mutex<Option<broadcast::Receiver<UserEvent>>>,
    cached: Mutex<(u64, Arc<Vec<Member>>)>,
    left: watch::Sender<bool>,
    pub(super) stopped: watch::Sender<bool>,
    dirty: AtomicBool,
    /// Whether events were told that the snapshot does not know of.
    heard: AtomicBool,
    /// Whether an earlier run heard events of the pool, and this one did not yet ask for more.
    pub(super) returning: AtomicBool,
    renewed: AtomicU64,
    snapshot: Option<Mutex<Snapshot>>,
    saved_at: Mutex<Clock>,
    tasks: Mutex<JoinSet<()>>,
}

/// What was asked is for those who know the whole pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PartialView;

impl std::fmt::Display for PartialView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not with gossip_lan.view = \"partial\": ask a server")
    }
}

/// Locks, also after a panic elsewhere: the pool keeps no promise across calls that a panic breaks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn start(options: Options) -> io::Result<Arc<Inner>> {
    let (socket, listener) = bind(options.bind).await?;
    let local_addr = listener.local_addr()?;
    let alarm = Alarm::new()?;
    let mut advertise = options.advertise;
    if advertise.port() == 0 {
        advertise.set_port(local_addr.port());
    }
    let mut snapshot = options.snapshot_path.map(Snapshot::open).transpose()?;
    let generation = next_generation(snapshot.as_ref());
    let origin = Clock::now();
    let node = options.meta.node();
    let name = match options.config.kind {
        Kind::Lan => "lan",
        Kind::Wan => "wan",
    };
    let seed = seed(node, local_addr);
    let mut engine = engine(options.config, options.meta, advertise, generation, seed)
        .map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
    let (mut back, mut told) = (Vec::new(), 0);
    if let Some(snapshot) = &mut snapshot {
        if snapshot.left() && !options.rejoin_after_leave {
            snapshot.forget();
        }
        back = snapshot.members().to_vec();
        back.retain(|address| *address != advertise);
        told = snapshot.events();
        engine.resume_events(told);
    }
    let (users, early) = broadcast::channel(EVENTS_MAX);
    let inner = Arc::new(Inner {
        local_addr,
        name,
        seal: options.keys.map(|keys| Seal::new(keys, node, uuid::Uuid::new_v4().as_u64_pair().0)),
        questions: Questions::default(),
        engine: Mutex::new(engine),
        socket,
        origin,
        wake: Notify::new(),
        version: watch::Sender::new(1),
        servers_version: watch::Sender::new(1),
        users,
        early: Mutex::new(Some(early)),
        cached: Mutex::new((0, Arc::default())),
        left: watch::Sender::new(false),
        stopped: watch::Sender::new(false),
        dirty: AtomicBool::new(true),
        heard: AtomicBool::new(false),
        returning: AtomicBool::new(told > 0 && !back.is_empty()),
        renewed: AtomicU64::new(u64::from(generation)),
        snapshot: snapshot.map(Mutex::new),
        saved_at: Mutex::new(origin),
        tasks: Mutex::new(JoinSet::new()),
    });
    // Serf counts the agent itself, too.
    metrics::SERF_MEMBER_JOIN.count();
    inner.save_snapshot();
    inner.spawn_all(listener, alarm, back);
    Ok(inner)
}

/// Makes the engine that the metadata tells of.
fn engine(
    config: Config,
    meta: Meta,
    advertise: SocketAddr,
    generation: u32,
    seed: u64,
) -> Result<Engine, String> {
    if meta.leaf {
        let leaf = Partial::new(config, meta, advertise, generation, seed);
        return leaf.map(|leaf| Engine::Leaf(Box::new(leaf))).map_err(|error| error.to_string());
    }
    let pool = Pool::new(config, meta, advertise, generation, seed, Instant::default());
    pool.map(|pool| Engine::Full(Box::new(pool))).map_err(|error| error.to_string())
}

/// Binds UDP and TCP to one port.
async fn bind(address: SocketAddr) -> io::Result<(AsyncFd<UdpSocket>, TcpListener)> {
    let mut attempt = 1;
    loop {
        let listener = lane::listen(address)?;
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(socket) => {
                socket.set_nonblocking(true)?;
                return Ok((alarm::watch(socket)?, listener));
            }
            Err(error) if address.port() != 0 || attempt >= BIND_ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

/// Takes the generation from the clock, but always above the last one on disk.
fn next_generation(snapshot: Option<&Snapshot>) -> u32 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = clock.as_millis() as u64;
    let quarters = millis.saturating_sub(GENERATION_EPOCH_SECS * 1000) / 250;
    let clock = u32::try_from(quarters).unwrap_or(u32::MAX);
    let stored = snapshot.map_or(0, Snapshot::generation);
    clock.max(stored.saturating_add(1))
}

/// Mixes what differs between agents and between starts; the dice need no secrecy.
fn seed(node: u64, address: SocketAddr) -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    node ^ u64::from(address.port()).rotate_left(48) ^ clock.as_nanos() as u64
}

/// Drives the pool until it is stopped.
async fn run(inner: Arc<Inner>, mut alarm: Alarm) {
    let mut stopped = inner.stopped.subscribe();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    loop {
        inner.flush(&mut buffer);
        let due = lock(&inner.engine).poll_timeout().map(|(at, _)| at);
        let until = due.map(|at| inner.origin + std::time::Duration::from_micros(at.micros()));
        alarm.set(until);
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            readable = inner.socket.readable() => match readable {
                Ok(_) => inner.read(&mut buffer),
                Err(error) => tracing::warn!(%error, "socket not readable"),
            },
            () = inner.wake.notified() => {}
            () = alarm.ring() => {}
        }
        // Also after a turn of datagrams: a flood must not hold up the clock.
        let now = inner.now();
        lock(&inner.engine).handle_timeout(now);
    }
}

impl Inner {
    pub(super) fn now(&self) -> Instant {
        Instant::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    /// Starts the tasks; `back` are members of before a restart.
    fn spawn_all(self: &Arc<Self>, listener: TcpListener, alarm: Alarm, back: Vec<SocketAddr>) {
        self.spawn(run(Arc::clone(self), alarm));
        if self.is_leaf() {
            // Nobody opens streams to a leaf.
            drop(listener);
            if !back.is_empty() {
                self.spawn(partial::rejoin(Arc::clone(self), back));
            }
            return;
        }
        self.spawn(stream::listen(Arc::clone(self), listener));
        if !back.is_empty() {
            self.spawn(stream::rejoin(Arc::clone(self), back));
        }
    }

    /// Calls the engine and lets the driver send what came of it.
    fn drive_engine<T>(&self, call: impl FnOnce(&mut Engine, Instant) -> T) -> T {
        let now = self.now();
        let answer = call(&mut lock(&self.engine), now);
        self.wake.notify_one();
        answer
    }

    /// Calls the full member, if it is one.
    ///
    /// # Errors
    ///
    /// [`PartialView`] for a leaf.
    pub(super) fn drive<T>(
        &self,
        call: impl FnOnce(&mut Pool, Instant) -> T,
    ) -> Result<T, PartialView> {
        self.drive_engine(|engine, now| match engine {
            Engine::Full(pool) => Ok(call(pool, now)),
            Engine::Leaf(_) => Err(PartialView),
        })
    }

    /// Calls the leaf, if it is one.
    pub(super) fn drive_leaf<T>(&self, call: impl FnOnce(&mut Partial) -> T) -> Option<T> {
        self.drive_engine(|engine, _| match engine {
            Engine::Full(_) => None,
            Engine::Leaf(leaf) => Some(call(leaf)),
        })
    }

    /// Tells whether the view is partial.
    pub(super) fn is_leaf(&self) -> bool {
        matches!(*lock(&self.engine), Engine::Leaf(_))
    }

    /// Reads what the socket holds, up to a turn's worth.
    fn read(&self, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.try_io(Interest::READABLE, |socket| socket.recv_from(buffer)) {
                Ok((len, from)) => {
                    metrics::MEMBERLIST_UDP_RECEIVED.add(len as u64);
                    self.receive(from, &mut buffer[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A peer's port that was closed answers by ICMP; the probe will tell.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => {
                    tracing::warn!(%error, "receive failed");
                    return;
                }
            }
        }
    }

    /// Takes a datagram, opened if the pool is sealed.
    fn receive(&self, from: SocketAddr, bytes: &mut [u8]) {
        let now = self.now();
        let Some(seal) = &self.seal else {
            return lock(&self.engine).handle_datagram(now, from, bytes);
        };
        match seal.with(|sealer| sealer.open_datagram(bytes)) {
            Ok(Opened::Gossip(body)) => lock(&self.engine).handle_datagram(now, from, body),
            Ok(Opened::Query(body)) => {
                let own = *lock(&self.engine).identity();
                if let Some(answer) = keyring::handle(self, seal, own, body) {
                    self.send(&answer, from);
                }
            }
            Err(why) => seal.tell_drop(self.name, from, why),
        }
    }

    /// Sends bytes as they are. A full socket or a dead route loses datagrams, as networks do.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) {
        match self.socket.get_ref().send_to(bytes, to) {
            Ok(sent) => metrics::MEMBERLIST_UDP_SENT.add(sent as u64),
            Err(error) => tracing::trace!(%error, %to, "send failed"),
        }
    }

    /// Sends what the pool wants sent, and acts on its events.
    fn flush(self: &Arc<Self>, buffer: &mut [u8]) {
        let mut events = Vec::new();
        {
            let now = self.now();
            let mut engine = lock(&self.engine);
            while let Some(transmit) = engine.poll_transmit(now, buffer) {
                let len = match &self.seal {
                    Some(seal) => seal.with(|sealer| sealer.seal_datagram(buffer, transmit.len)),
                    None => Some(transmit.len),
                };
                if let Some(len) = len {
                    self.send(&buffer[..len], transmit.to);
                }
            }
            while let Some(event) = engine.poll_event() {
                events.push(event);
            }
        }
        let mut changed = Changed::Nobody;
        for event in events {
            changed = changed.max(self.handle_told(event));
        }
        self.changed(changed);
        // The first members are kept at once: an agent that is killed soon after must find back.
        let due = lock(&self.saved_at).elapsed() >= SNAPSHOT_PERIOD;
        let few = lock(&self.engine).known() <= SNAPSHOT_FIRST;
        if (due || few) && self.dirty.swap(false, Ordering::Relaxed)
            || due && self.heard.swap(false, Ordering::Relaxed)
        {
            self.save_snapshot();
        }
    }

    /// Runs a task until it ends or the pool is shut down.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        if !*self.stopped.borrow() {
            tasks.spawn(task);
        }
    }

    /// Tells whoever follows the members.
    pub(super) fn changed(&self, who: Changed) {
        if who == Changed::Nobody {
            return;
        }
        self.dirty.store(true, Ordering::Relaxed);
        self.version.send_modify(|version| *version += 1);
        if who == Changed::Servers {
            self.servers_version.send_modify(|version| *version += 1);
        }
    }

    /// Follows user events: the first to ask from the start, everybody else from now on.
    pub(super) fn events(&self) -> broadcast::Receiver<UserEvent> {
        let early = lock(&self.early).take();
        early.unwrap_or_else(|| self.users.subscribe())
    }

    pub(super) fn gossip_period(&self) -> std::time::Duration {
        lock(&self.engine).config().gossip_period.to_core()
    }

    /// Writes generation, time of events and living members to disk, if there is a file for them.
    fn save_snapshot(&self) {
        let Some(snapshot) = &self.snapshot else { return };
        *lock(&self.saved_at) = Clock::now();
        let left = *self.left.borrow();
        let mut snapshot = lock(snapshot);
        let (living, told) = {
            let engine = lock(&self.engine);
            (engine.living(snapshot.members(), MEMBERS_MAX), engine.events_told())
        };
        let generation = self.renewed.load(Ordering::Relaxed) as u32;
        if let Err(error) = snapshot.save(generation, told, left, living) {
            tracing::warn!(%error, "snapshot not written");
        }
    }

    pub(super) async fn leave(&self) {
        let mut left = self.left.subscribe();
        let timeout = self.drive_engine(|engine, now| {
            engine.leave(now);
            engine.config().leave_timeout
        });
        self.changed(Changed::Servers);
        let wait = timeout.to_core() + std::time::Duration::from_secs(1);
        // The guard that `wait_for` answers must be gone before the value is written below.
        let late = tokio::time::timeout(wait, left.wait_for(|left| *left)).await.is_err();
        if late {
            tracing::warn!("leaving took too long");
        }
        self.left.send_replace(true);
        self.save_snapshot();
    }

    pub(super) async fn shutdown(&self) {
        self.stopped.send_replace(true);
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
        if self.dirty.swap(false, Ordering::Relaxed) | self.heard.swap(false, Ordering::Relaxed) {
            self.save_snapshot();
        }
    }
}
