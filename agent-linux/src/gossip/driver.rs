//! The task that owns the datagram socket and the clock, and what all tasks share.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant as Clock, SystemTime, UNIX_EPOCH};

use agent_core::gossip::{Change, Event, Pool, Status};
use agent_core::time::Instant;
use agent_core::wire::packet::PACKET_BYTES_MAX;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::snapshot::Snapshot;
use super::{Kind, Member, MemberStatus, Options, Stats, stream};

/// How often a free port for both UDP and TCP is looked for, if any port will do.
const BIND_ATTEMPTS: usize = 16;

/// Most datagrams read in a row before timers get their turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// Least time between two writes of the snapshot.
const SNAPSHOT_PERIOD: std::time::Duration = std::time::Duration::from_millis(500);

/// Members up to which the snapshot is written without waiting.
const SNAPSHOT_FIRST: usize = 8;

/// The first generation counts from 2024, in quarters of a second: it lasts until 2058.
const GENERATION_EPOCH_SECS: u64 = 1_704_067_200;

/// What the handle and all tasks of one pool share.
pub(super) struct Inner {
    pub(super) local_addr: SocketAddr,
    /// Which pool, for the log.
    name: &'static str,
    pool: Mutex<Pool>,
    socket: UdpSocket,
    origin: Clock,
    /// Rings when the driver should look at the pool again.
    wake: Notify,
    pub(super) version: watch::Sender<u64>,
    cached: Mutex<(u64, Arc<Vec<Member>>)>,
    left: watch::Sender<bool>,
    pub(super) stopped: watch::Sender<bool>,
    dirty: AtomicBool,
    renewed: AtomicU64,
    snapshot: Option<Mutex<Snapshot>>,
    saved_at: Mutex<Clock>,
    tasks: Mutex<JoinSet<()>>,
}

/// Locks, also after a panic elsewhere: the pool keeps no promise across calls that a panic breaks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn start(options: Options) -> io::Result<Arc<Inner>> {
    let (socket, listener) = bind(options.bind).await?;
    let local_addr = socket.local_addr()?;
    let mut advertise = options.advertise;
    if advertise.port() == 0 {
        advertise.set_port(local_addr.port());
    }
    let mut snapshot = options.snapshot_path.map(Snapshot::open).transpose()?;
    let generation = next_generation(snapshot.as_ref());
    let origin = Clock::now();
    let seed = seed(options.meta.node(), local_addr);
    let now = Instant::default();
    let name = match options.config.kind {
        Kind::Lan => "lan",
        Kind::Wan => "wan",
    };
    let pool = Pool::new(options.config, options.meta, advertise, generation, seed, now)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut back = Vec::new();
    if let Some(snapshot) = &mut snapshot {
        if snapshot.left() && !options.rejoin_after_leave {
            snapshot.forget_members();
        }
        back = snapshot.members().to_vec();
        back.retain(|address| *address != advertise);
    }
    let inner = Arc::new(Inner {
        local_addr,
        name,
        pool: Mutex::new(pool),
        socket,
        origin,
        wake: Notify::new(),
        version: watch::Sender::new(1),
        cached: Mutex::new((0, Arc::default())),
        left: watch::Sender::new(false),
        stopped: watch::Sender::new(false),
        dirty: AtomicBool::new(true),
        renewed: AtomicU64::new(u64::from(generation)),
        snapshot: snapshot.map(Mutex::new),
        saved_at: Mutex::new(origin),
        tasks: Mutex::new(JoinSet::new()),
    });
    inner.save_snapshot();
    {
        let mut tasks = lock(&inner.tasks);
        tasks.spawn(run(Arc::clone(&inner)));
        tasks.spawn(stream::listen(Arc::clone(&inner), listener));
        if !back.is_empty() {
            tasks.spawn(stream::rejoin(Arc::clone(&inner), back));
        }
    }
    Ok(inner)
}

/// Binds UDP and TCP to one port.
async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempt = 1;
    loop {
        let listener = TcpListener::bind(address).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((socket, listener)),
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
async fn run(inner: Arc<Inner>) {
    let mut stopped = inner.stopped.subscribe();
    let mut buffer = vec![0; PACKET_BYTES_MAX + 1];
    // Sends never wait; this waits once, so that the first of them finds a registered socket.
    if let Err(error) = inner.socket.writable().await {
        tracing::warn!(%error, "socket not writable");
    }
    loop {
        inner.flush(&mut buffer);
        let due = lock(&inner.pool).poll_timeout().map(|(at, _)| at);
        let until = due.map(|at| inner.origin + std::time::Duration::from_micros(at.micros()));
        let sleep = async {
            match until {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            readable = inner.socket.readable() => match readable {
                Ok(()) => inner.read(&mut buffer),
                Err(error) => tracing::warn!(%error, "socket not readable"),
            },
            () = inner.wake.notified() => {}
            () = sleep => {}
        }
        // Also after a turn of datagrams: a flood must not hold up the clock.
        let now = inner.now();
        lock(&inner.pool).handle_timeout(now);
    }
}

impl Inner {
    pub(super) fn now(&self) -> Instant {
        Instant::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    /// Calls the pool and lets the driver send what came of it.
    pub(super) fn drive<T>(&self, call: impl FnOnce(&mut Pool, Instant) -> T) -> T {
        let now = self.now();
        let answer = call(&mut lock(&self.pool), now);
        self.wake.notify_one();
        answer
    }

    /// Reads what the socket holds, up to a turn's worth.
    fn read(&self, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.try_recv_from(buffer) {
                Ok((len, from)) => {
                    let now = self.now();
                    lock(&self.pool).handle_datagram(now, from, &buffer[..len]);
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

    /// Sends what the pool wants sent, and acts on its events.
    fn flush(self: &Arc<Self>, buffer: &mut [u8]) {
        let mut events = Vec::new();
        {
            let now = self.now();
            let mut pool = lock(&self.pool);
            while let Some(transmit) = pool.poll_transmit(now, buffer) {
                // A full socket or a dead route loses datagrams, as networks do.
                if let Err(error) = self.socket.try_send_to(&buffer[..transmit.len], transmit.to) {
                    tracing::trace!(%error, to = %transmit.to, "send failed");
                }
            }
            while let Some(event) = pool.poll_event() {
                events.push(event);
            }
        }
        let mut changed = false;
        for event in events {
            changed |= self.handle_event(event);
        }
        if changed {
            self.changed();
        }
        // The first members are kept at once: an agent that is killed soon after must find back.
        let due = self.members().len() <= SNAPSHOT_FIRST
            || lock(&self.saved_at).elapsed() >= SNAPSHOT_PERIOD;
        if due && self.dirty.swap(false, Ordering::Relaxed) {
            self.save_snapshot();
        }
    }

    /// Acts on one event; true if the list of members changed.
    fn handle_event(self: &Arc<Self>, event: Event) -> bool {
        let pool = self.name;
        match event {
            Event::Member { name, address, change } => {
                match change {
                    Change::Joined => tracing::info!("{pool}: member joined: {name} {address}"),
                    Change::Updated => tracing::debug!("{pool}: member update: {name} {address}"),
                    Change::Leaving => tracing::debug!("{pool}: member leaving: {name} {address}"),
                    Change::Left => tracing::info!("{pool}: member left: {name} {address}"),
                    Change::Failed => tracing::info!("{pool}: member failed: {name} {address}"),
                    Change::Reaped => tracing::info!("{pool}: member reaped: {name} {address}"),
                }
                return true;
            }
            Event::Conflict { name, holder, claimant } => {
                let holder = holder.map_or_else(|| "this agent".into(), |at| at.to_string());
                tracing::error!(
                    "{pool}: name conflict for '{name}': {holder} keeps it, {claimant} is ignored"
                );
            }
            Event::Refused { from, why } => tracing::warn!("{pool}: refused {from}: {why}"),
            Event::SyncDue { peer } => stream::spawn_repair(self, peer),
            Event::Renewed { generation } => {
                tracing::warn!(generation, "the pool held this agent to be gone; back again");
                self.renewed.store(u64::from(generation), Ordering::Relaxed);
                self.dirty.store(true, Ordering::Relaxed);
                return true;
            }
            Event::LeaveDone => {
                self.left.send_replace(true);
                return true;
            }
        }
        false
    }

    /// Runs a task until it ends or the pool is shut down.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        if !*self.stopped.borrow() {
            tasks.spawn(task);
        }
    }

    /// Marks the list of members as changed.
    pub(super) fn changed(&self) {
        self.dirty.store(true, Ordering::Relaxed);
        self.version.send_modify(|version| *version += 1);
    }

    /// Tells the members; the list is built anew only after a change.
    pub(super) fn members(&self) -> Arc<Vec<Member>> {
        let version = *self.version.borrow();
        let mut cached = lock(&self.cached);
        if cached.0 != version {
            let members = lock(&self.pool)
                .members()
                .map(|view| Member {
                    name: view.meta.name.clone(),
                    addr: view.identity.address.socket(),
                    status: status(view.status),
                    meta: view.meta.clone(),
                })
                .collect();
            *cached = (version, Arc::new(members));
        }
        Arc::clone(&cached.1)
    }

    pub(super) fn stats(&self) -> Stats {
        let members = self.members();
        let count = |status| members.iter().filter(|member| member.status == status).count();
        let pool = lock(&self.pool);
        let (intent_queue, event_queue) = pool.backlog();
        let counters = pool.stats();
        Stats {
            members: members.len(),
            failed: count(MemberStatus::Failed),
            left: count(MemberStatus::Left),
            health_score: pool.health_score(),
            member_time: *self.version.borrow(),
            intent_queue,
            event_queue,
            received: counters.received,
            sent: counters.sent,
            malformed: counters.malformed,
            refused: counters.refused,
        }
    }

    /// Writes generation and living members to disk, if there is a file for them.
    fn save_snapshot(&self) {
        let Some(snapshot) = &self.snapshot else { return };
        *lock(&self.saved_at) = Clock::now();
        let left = *self.left.borrow();
        let members = self.members();
        let living = members.iter().skip(1).filter(|m| m.status == MemberStatus::Alive);
        let living = living.map(|member| member.addr).collect();
        let generation = self.renewed.load(Ordering::Relaxed) as u32;
        if let Err(error) = lock(snapshot).save(generation, left, living) {
            tracing::warn!(%error, "snapshot not written");
        }
    }

    pub(super) async fn leave(&self) {
        let mut left = self.left.subscribe();
        let timeout = self.drive(|pool, now| {
            pool.leave(now);
            pool.config().leave_timeout
        });
        self.changed();
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
        if self.dirty.swap(false, Ordering::Relaxed) {
            self.save_snapshot();
        }
    }
}

const fn status(status: Status) -> MemberStatus {
    match status {
        Status::Alive => MemberStatus::Alive,
        Status::Leaving => MemberStatus::Leaving,
        Status::Left => MemberStatus::Left,
        Status::Failed => MemberStatus::Failed,
    }
}
