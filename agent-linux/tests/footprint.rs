//! What one more connection costs in memory: bytes of the heap that live while a thousand wait.
//!
//! The server runs in this process behind a counting allocator; clients are bare sockets, which
//! have nothing on the heap. What the kernel holds for a socket is not counted.
#![allow(clippy::unwrap_used)]

mod support;

use agent_core::model::request::{Error, Kind};
use agent_core::wire::frame::{Channel, HEADER_BYTES, Header, Kind as FrameKind};
use agent_linux::endpoint::agent::{Agent, Answering, Op};
use agent_linux::endpoint::{self, Endpoint, cache::Cache};
use agent_linux::http::{self, Http, Settings};
use agent_linux::metrics::QUERIES_BLOCKING;
use agent_linux::rpc::route::{self, Router};
use agent_linux::rpc::server::{Handler, Limits};
use agent_linux::store::Store;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use support::{PATIENCE, eventually};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Connections that are measured together.
const CONNECTIONS: usize = 1_000;

/// Most bytes of a blocking query that waits, its connection included.
const WATCHER_BYTES_MAX: i64 = 4 * 1024;

/// Most bytes of one that waits at a client agent, which has passed it on to a server.
const PASSED_ON_BYTES_MAX: i64 = 4 * 1024;

/// Most bytes of a connection between two HTTP requests.
const KEPT_BYTES_MAX: i64 = 2 * 1024;

/// Most bytes of a connection of an agent or a device to a server's RPC port.
const RPC_BYTES_MAX: i64 = 3 * 1024;

/// Counts what lives.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

/// Blocks of a size, as many as live; longer ones count with the longest.
static BLOCKS: [AtomicI64; BLOCK_BYTES_MAX] = [const { AtomicI64::new(0) }; BLOCK_BYTES_MAX];

/// Sizes that are told apart, in bytes.
const BLOCK_BYTES_MAX: usize = 32 * 1024;

/// One measurement at a time.
static TURN: Mutex<()> = Mutex::new(());

fn add(bytes: usize, sign: i64) {
    BLOCKS[bytes.min(BLOCK_BYTES_MAX - 1)].fetch_add(sign, Ordering::Relaxed);
    LIVE.fetch_add(sign * i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
}

// SAFETY: everything is left to the system's allocator.
#[expect(unsafe_code, reason = "an allocator")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An agent of which nothing is asked.
struct Idle;

impl Agent for Idle {
    fn serve_local<'a>(&'a self, _token: &'a str, _op: Op) -> Answering<'a> {
        Box::pin(async { Err(Error::with(Kind::Invalid, "nothing is asked of the agent")) })
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().unwrap()
}

/// A server's HTTP edge on a thread of its own; dropping it waits until all of it is gone, so that
/// it does not disturb the next measurement.
struct Edge {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// Starts an edge of a server, or of a client of the server at `server`; tells where it listens.
fn edge(server: Option<SocketAddr>) -> (SocketAddr, Edge) {
    let (tell, told) = std::sync::mpsc::channel();
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::spawn(move || {
        let runtime = runtime(2);
        runtime.block_on(async {
            let router = Router::new("dc1".into(), route::Settings::default());
            let settings = endpoint::Settings::default();
            let endpoint = if let Some(server) = server {
                router.set_servers(vec![server]);
                Endpoint::client("dc1".into(), router, settings)
            } else {
                let store = Arc::new(Store::new());
                let raft = support::solo::raft(&store).await;
                Endpoint::server("dc1".into(), store, raft, router, settings)
            };
            let mut settings = Settings::new("dc1", "one");
            settings.server = true;
            settings.connections_per_client_max.set(0);
            let http =
                Http { endpoint: Arc::new(Cache::new(endpoint)), agent: Arc::new(Idle), settings };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            http::serve(listener, Arc::new(http), stopped).await;
        });
    });
    (told.recv().unwrap(), Edge { stop, thread: Some(thread) })
}

fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

/// Reads an answer until its end has come; tells its index.
fn answer(stream: &mut TcpStream, end: &str) -> u64 {
    let (mut bytes, mut window) = (Vec::new(), [0; 2048]);
    while !bytes.ends_with(end.as_bytes()) {
        let count = stream.read(&mut window).unwrap();
        assert!(count > 0, "the connection ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&window[..count]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("X-Consul-Index: "));
    line.map_or(0, |index| index.parse().unwrap())
}

/// Measures what each of many sockets adds once it has done what `with` does.
fn each(mut with: impl FnMut(&mut TcpStream), at: SocketAddr, settled: impl Fn()) -> i64 {
    support::raise_file_limit();
    let mut sockets = Vec::with_capacity(CONNECTIONS);
    // What is made once is made before.
    let mut warm: Vec<_> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
    warm.iter_mut().for_each(&mut with);
    settled();
    let blocks = || BLOCKS.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>();
    let (blocks_before, before) = (blocks(), LIVE.load(Ordering::SeqCst));
    for _ in 0..CONNECTIONS {
        let mut socket = TcpStream::connect(at).unwrap();
        with(&mut socket);
        sockets.push(socket);
    }
    settled();
    let each = (LIVE.load(Ordering::SeqCst) - before) / i64::try_from(CONNECTIONS).unwrap();
    // What it consists of, for whoever is to make it smaller.
    for (bytes, (now, before)) in blocks().iter().zip(blocks_before.iter()).enumerate() {
        if now - before >= CONNECTIONS as i64 / 2 {
            let share = (now - before) as f64 / CONNECTIONS as f64;
            println!("  {share:.1} blocks of {bytes} bytes");
        }
    }
    drop((sockets, warm));
    eventually(PATIENCE, "all connections are gone", || {
        let left = LIVE.load(Ordering::SeqCst) - before;
        if left <= 0 { Ok(()) } else { Err(format!("{left} bytes are left")) }
    });
    each
}

/// What clients say about themselves.
const FIELDS: &str = "Host: 127.0.0.1:8500\r\nUser-Agent: Go-http-client/1.1\r\n\
                      Accept: */*\r\nAccept-Encoding: gzip\r\n";

#[test]
fn a_query_that_waits_costs_little() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, _edge) = edge(None);
    let mut first = TcpStream::connect(at).unwrap();
    send(&mut first, &format!("PUT /v1/kv/k HTTP/1.1\r\n{FIELDS}Content-Length: 1\r\n\r\nx"));
    answer(&mut first, "true");
    send(&mut first, &format!("GET /v1/kv/k HTTP/1.1\r\n{FIELDS}\r\n"));
    let index = answer(&mut first, "}]");
    let asked = Cell::new(0);
    let cost = each(
        |socket| {
            send(socket, &format!("GET /v1/kv/k?index={index}&wait=10m HTTP/1.1\r\n{FIELDS}\r\n"));
            asked.set(asked.get() + 1);
        },
        at,
        || {
            eventually(PATIENCE, "all queries wait", || match QUERIES_BLOCKING.get() {
                count if count >= asked.get() => Ok(()),
                count => Err(format!("{count} of {}", asked.get())),
            });
        },
    );
    println!("a query that waits: {cost} bytes");
    assert!(cost > 300, "{cost} bytes cannot hold it: nothing was measured");
    assert!(cost <= WATCHER_BYTES_MAX, "{cost} bytes for a query that waits");
}

/// Takes requests and answers none of them: a server of which the client's part is measured.
/// Tells where it listens and counts what it took.
fn silent_server() -> (SocketAddr, Arc<AtomicI64>) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = std::io::BufReader::new(stream);
        let (mut channel, mut head, mut body) = ([0], [0; HEADER_BYTES], [0; 2048]);
        stream.read_exact(&mut channel).unwrap();
        while stream.read_exact(&mut head).is_ok() {
            let header = Header::parse(&head, body.len() as u32).unwrap();
            stream.read_exact(&mut body[..header.length as usize]).unwrap();
            count.fetch_add(i64::from(header.kind == FrameKind::Request), Ordering::SeqCst);
        }
    });
    (at, taken)
}

#[test]
fn a_query_that_waits_at_a_client_costs_little() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (server, taken) = silent_server();
    let (at, _edge) = edge(Some(server));
    let asked = Cell::new(0);
    let cost = each(
        |socket| {
            let path = "/v1/health/service/web?passing&index=7&wait=10m";
            send(socket, &format!("GET {path} HTTP/1.1\r\n{FIELDS}\r\n"));
            asked.set(asked.get() + 1);
        },
        at,
        || {
            eventually(PATIENCE, "all queries wait", || match taken.load(Ordering::SeqCst) {
                count if count >= asked.get() => Ok(()),
                count => Err(format!("{count} of {}", asked.get())),
            });
        },
    );
    println!("a query that waits at a client: {cost} bytes");
    assert!(cost > 300, "{cost} bytes cannot hold it: nothing was measured");
    assert!(cost <= PASSED_ON_BYTES_MAX, "{cost} bytes for a query that waits at a client");
}

#[test]
fn a_connection_between_requests_costs_little() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, _edge) = edge(None);
    let cost = each(
        |socket| {
            send(socket, &format!("GET /v1/status/leader HTTP/1.1\r\n{FIELDS}\r\n"));
            answer(socket, "\"");
        },
        at,
        || {},
    );
    println!("a connection between requests: {cost} bytes");
    assert!(cost > 100, "{cost} bytes cannot hold it: nothing was measured");
    assert!(cost <= KEPT_BYTES_MAX, "{cost} bytes for a connection between requests");
}

/// Answers with what it was asked.
#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn serve(self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

/// Measures idle connections of a channel, each after a ping.
fn idle(channel: Channel) -> i64 {
    let runtime = runtime(1);
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let at = listener.local_addr().unwrap();
    let limits = Limits { connections_per_ip_max: u32::MAX, ..Limits::default() };
    runtime.spawn(agent_linux::rpc::server::serve(listener, Echo, None, limits));
    each(
        |socket| {
            socket.write_all(&[channel.emit()]).unwrap();
            socket.write_all(&Header::new(FrameKind::Ping, 1, 0).emit()).unwrap();
            socket.read_exact(&mut [0; HEADER_BYTES]).unwrap();
        },
        at,
        || {},
    )
}

#[test]
fn an_idle_rpc_connection_costs_little() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for channel in [Channel::Request, Channel::Device] {
        let cost = idle(channel);
        println!("an idle connection, {channel:?}: {cost} bytes");
        assert!(cost > 100, "{cost} bytes cannot hold it: nothing was measured");
        assert!(cost <= RPC_BYTES_MAX, "{cost} bytes for an idle connection, {channel:?}");
    }
}
