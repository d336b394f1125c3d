//! Threads of a server: consensus has one, connections have one for each processor.
//!
//! The runtime that an agent starts in runs what belongs together and is woken by itself: consensus
//! with its peers, gossip, the leader's loops. On a server it has one thread, so that an entry on
//! its way is handed from task to task and not from thread to thread. What others ask (HTTP, DNS,
//! RPC) runs on *lanes*: threads with a runtime each that share nothing, so that a request that is
//! answered from memory wakes no other thread, and a long one keeps no heartbeat waiting.
//!
//! A client has one thread and no lanes. Here are, too, the sockets that requests come by: how they
//! are listened on, and how they go to a lane.

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

/// Lanes at most.
const LANES_MAX: usize = 8;

/// The runtime of everything else, and those of the lanes.
struct Lanes {
    rest: Handle,
    lanes: Vec<Handle>,
}

static LANES: OnceLock<Lanes> = OnceLock::new();

/// Makes the runtime that an agent starts in.
///
/// # Errors
///
/// The system's, for threads and descriptors.
pub(crate) fn runtime(is_server: bool) -> io::Result<Runtime> {
    let mut builder = if is_server {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1);
        builder
    } else {
        Builder::new_current_thread()
    };
    builder.enable_all().build()
}

/// Does what may take long on the runtime of consensus: the rest of it moves to another thread
/// until that is done.
pub(crate) fn at_length<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

/// Answers the lane whose turn it is; the caller's own runtime where one thread does everything.
/// Called within the runtime that the agent started in. Lanes belong to the process and end with
/// it, as what a request has started may outlive its connection.
pub(crate) fn next() -> Handle {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let rest = Handle::current();
    if rest.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return rest;
    }
    let lanes = &LANES.get_or_init(|| Lanes { rest: rest.clone(), lanes: start() }).lanes;
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % lanes.len().max(1);
    lanes.get(turn).cloned().unwrap_or(rest)
}

fn start() -> Vec<Handle> {
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
    let lanes: io::Result<_> = (0..count).map(|_| lane()).collect();
    lanes.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot start threads for requests, they share those of the rest");
        Vec::new()
    })
}

/// Starts a lane.
fn lane() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let serve = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("lane".into()).spawn(serve)?;
    Ok(handle)
}

/// Connections that the kernel keeps until they are accepted, as Go's programs ask it to: with the
/// 128 of Rust's, a pool of thousands that turns to its servers at once is mostly turned away, and
/// comes back by back-off. The kernel's own `somaxconn` may be less.
const BACKLOG: u32 = 4096;

/// Listens on a TCP address.
///
/// # Errors
///
/// The system's; nothing is held then.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket that can go from one runtime to another.
pub(crate) trait Moved: Sized {
    /// Has the runtime that this is called within tell when the socket is ready.
    ///
    /// # Errors
    ///
    /// The system's; the socket is closed.
    fn moved(self) -> io::Result<Self>;
}

impl Moved for TcpStream {
    fn moved(self) -> io::Result<Self> {
        self.into_std().and_then(Self::from_std)
    }
}

impl Moved for TcpListener {
    fn moved(self) -> io::Result<Self> {
        self.into_std().and_then(Self::from_std)
    }
}

impl Moved for UdpSocket {
    fn moved(self) -> io::Result<Self> {
        self.into_std().and_then(Self::from_std)
    }
}

/// How busy the agent's runtimes are, taken together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Tasks that live.
    pub(crate) tasks: usize,
    /// Threads that run them.
    pub(crate) threads: usize,
}

/// Counts the tasks and threads of all runtimes, whichever the caller runs on.
pub(crate) fn load() -> Load {
    let of = |handle: &Handle| {
        let metrics = handle.metrics();
        Load { tasks: metrics.num_alive_tasks(), threads: metrics.num_workers() }
    };
    let Some(Lanes { rest, lanes }) = LANES.get() else { return of(&Handle::current()) };
    lanes.iter().map(of).fold(of(rest), |sum, lane| Load {
        tasks: sum.tasks + lane.tasks,
        threads: sum.threads + lane.threads,
    })
}
