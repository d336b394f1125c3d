//! A whole server in one process for the targets that need one: raft in memory, store, edges.

use agent_core::gossip::{Config, Meta, Role};
use agent_core::model::check::Check;
use agent_core::model::command::Command;
use agent_core::model::kv::{Op, Put};
use agent_core::model::node::Node;
use agent_core::model::request::{self, Body, Kind, Request};
use agent_core::model::service::Service;
use agent_core::model::{catalog, check, query};
use agent_core::wire::frame;
use agent_linux::config;
use agent_linux::dns::Dns;
use agent_linux::endpoint::agent::{Agent, Answering, Op as LocalOp};
use agent_linux::endpoint::cache::Cache;
use agent_linux::endpoint::{Endpoint, Settings};
use agent_linux::gossip;
use agent_linux::http::{self, Http};
use agent_linux::raft::{Options, Raft, Server};
use agent_linux::rpc::{route, server};
use agent_linux::store::Store;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How long a request may block: no longer than a test has patience.
const BLOCK_MAX: Duration = Duration::from_millis(20);

/// Name of the threads that run the server's tasks.
const WORKER: &str = "world";

/// Set by a panic on one of them: nobody else would notice.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// A server that leads alone.
pub struct World {
    pub runtime: Runtime,
    pub endpoint: Endpoint,
    pub dns: Dns,
    pub http: SocketAddr,
    pub rpc: SocketAddr,
    pub gossip: SocketAddr,
    /// A raft node that another one leads for a while, to hear its calls.
    pub follower: Raft,
    /// A raft node that no call is meant for: it reads them whole before it refuses them. Its own
    /// peers, who know its random id, raft has to believe.
    pub stranger: Raft,
    _shutdown: watch::Sender<bool>,
    _gossip: gossip::Gossip,
}

/// Answers the one server of this process, which has some content.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some(WORKER) {
                PANICKED.store(true, Ordering::Relaxed);
            }
            before(info);
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(WORKER)
            .enable_all()
            .build()
            .expect("runtime");
        let parts = runtime.block_on(start());
        let (endpoint, dns, [http, rpc, gossip], [follower, stranger], shutdown, pool) = parts;
        World {
            runtime,
            endpoint,
            dns,
            http,
            rpc,
            gossip,
            follower,
            stranger,
            _shutdown: shutdown,
            _gossip: pool,
        }
    })
}

type Parts = (Endpoint, Dns, [SocketAddr; 3], [Raft; 2], watch::Sender<bool>, gossip::Gossip);

async fn start() -> Parts {
    let listen = || async { TcpListener::bind(("127.0.0.1", 0)).await.expect("listener") };
    let (http_listener, rpc_listener) = (listen().await, listen().await);
    let http_address = http_listener.local_addr().expect("address");
    let rpc_address = rpc_listener.local_addr().expect("address");
    let store = Arc::new(Store::new());
    let raft = Raft::open(Options::default(), store.clone()).await.expect("raft");
    let this = Server {
        id: raft.id(),
        node_id: "00000000-0000-4000-8000-000000000001".into(),
        name: "solo".into(),
        address: rpc_address,
    };
    raft.bootstrap(vec![this]).await.expect("bootstrap");
    let mut leadership = raft.leadership();
    leadership.wait_for(|now| now.established).await.expect("leads");
    let router = route::Router::new("dc1".into(), Default::default());
    let settings = Settings {
        hold_time: BLOCK_MAX,
        query_time_default: BLOCK_MAX,
        query_time_max: BLOCK_MAX,
        ..Default::default()
    };
    let endpoint = Endpoint::server("dc1".into(), store, raft.clone(), router, settings);
    fill(&endpoint).await;
    let limits = server::Limits::default();
    tokio::spawn(server::serve(rpc_listener, endpoint.clone(), Some(raft), limits));
    let (shutdown, stopped) = watch::channel(false);
    let http = Http {
        endpoint: Arc::new(Cache::new(endpoint.clone())),
        agent: Arc::new(Deaf),
        settings: http::Settings::new("dc1", "solo"),
    };
    tokio::spawn(http::serve(http_listener, Arc::new(http), stopped));
    let dns = Dns::new(endpoint.clone(), config::Dns::default(), "solo".into(), 7).expect("dns");
    let follower = Raft::open(Options::default(), Arc::new(Store::new())).await.expect("raft");
    let stranger = Raft::open(Options::default(), Arc::new(Store::new())).await.expect("raft");
    let pool = gossip::Gossip::start(gossip_options()).await.expect("gossip");
    let addresses = [http_address, rpc_address, pool.local_addr()];
    (endpoint, dns, addresses, [follower, stranger], shutdown, pool)
}

fn gossip_options() -> gossip::Options {
    gossip::Options {
        config: Config::lan(),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: SocketAddr::from(([127, 0, 0, 1], 0)),
        meta: Meta {
            role: Role::Server,
            rpc_port: 8300,
            bootstrap: true,
            raft_id: 1,
            ..Meta::client("solo", "dc1", [7; 16], "1.8.7:")
        },
        snapshot_path: None,
        rejoin_after_leave: false,
        keys: None,
    }
}

/// A node, a service with a check, a key.
pub fn rows() -> Vec<Command> {
    let node = Node { name: "web1".into(), address: "10.0.0.1".into(), ..Default::default() };
    let service = Service {
        id: "web-1".into(),
        name: "web".into(),
        tags: vec!["v1".into()],
        port: 80,
        ..Default::default()
    };
    let check = Check {
        node: "web1".into(),
        id: "c".into(),
        name: "alive".into(),
        status: check::Status::Passing,
        service_id: "web-1".into(),
        ..Default::default()
    };
    let register = catalog::Register {
        node,
        service: Some(service),
        checks: vec![check],
        ..Default::default()
    };
    let put = Put { key: "a/b".into(), value: b"value".to_vec(), flags: 1 };
    vec![Command::Register(Box::new(register)), Command::Kv(Op::Set(put))]
}

/// A template of a prepared query, under an id or none yet.
pub fn geo(id: &str) -> Command {
    let query = query::PreparedQuery {
        id: id.into(),
        name: "geo-".into(),
        template: query::Template { kind: "name_prefix_match".into(), ..Default::default() },
        service: query::Target { service: "${name.suffix}".into(), ..Default::default() },
        ..Default::default()
    };
    Command::Prepared(query::Op::Create(Box::new(query)))
}

async fn fill(endpoint: &Endpoint) {
    for command in rows().into_iter().chain([geo("")]) {
        let request = Request { options: Default::default(), body: Body::Command(command) };
        endpoint.serve(request).await.expect("content");
    }
}

/// An agent that refuses everything.
struct Deaf;

impl Agent for Deaf {
    fn serve_local<'a>(&'a self, _token: &'a str, _op: LocalOp) -> Answering<'a> {
        Box::pin(async { Err(request::Error::with(Kind::Invalid, "deaf")) })
    }
}

/// Answers what a leader says to the follower of this world: votes, appends, with content.
pub fn record_calls() -> &'static [Vec<u8>] {
    static CALLS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CALLS.get_or_init(|| {
        let world = world();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("listener");
        let address = listener.local_addr().expect("address");
        let (sender, calls) = std::sync::mpsc::channel();
        // It ends with the last connection; the listener goes with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || relay(stream, &sender));
            }
        });
        world.runtime.block_on(lead(address));
        calls.try_iter().collect()
    })
}

/// Leads the follower for as long as a few commands take.
async fn lead(follower: SocketAddr) {
    let raft = Raft::open(Options::default(), Arc::new(Store::new())).await.expect("raft");
    let server = |id: u64, name: &str, address: SocketAddr| {
        let node_id = format!("00000000-0000-4000-8000-{id:012x}");
        Server { id, node_id, name: name.into(), address }
    };
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let own = server(raft.id(), "leader", nobody);
    let other = server(world_follower().id(), "follower", follower);
    raft.bootstrap(vec![own, other]).await.expect("bootstrap");
    let mut leadership = raft.leadership();
    // Either may win; the calls of a candidate are worth having too.
    let wait = leadership.wait_for(|now| now.established);
    if tokio::time::timeout(Duration::from_secs(5), wait).await.is_ok() {
        for command in rows() {
            let _ = raft.propose(command.emit()).await;
        }
    }
    raft.shutdown().await;
}

fn world_follower() -> &'static Raft {
    &world().follower
}

/// Hands each call to the follower and its answer back; keeps the calls.
fn relay(mut stream: TcpStream, calls: &std::sync::mpsc::Sender<Vec<u8>>) {
    let mut channel = [0];
    if stream.read_exact(&mut channel).is_err() {
        return;
    }
    let mut head = [0; frame::HEADER_BYTES];
    while stream.read_exact(&mut head).is_ok() {
        let header = frame::Header::parse(&head, frame::RAFT_BYTES_MAX).expect("a frame");
        let mut body = vec![0; header.length as usize];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let (kind, answer) = match header.kind {
            frame::Kind::Request => {
                let answer = world().runtime.block_on(world_follower().handle(&body));
                let _ = calls.send(body);
                (frame::Kind::Reply, answer)
            }
            frame::Kind::Ping => (frame::Kind::Pong, Vec::new()),
            _ => continue,
        };
        let reply = frame::Header::new(kind, header.id, answer.len() as u32).emit();
        if stream.write_all(&[&reply[..], &answer].concat()).is_err() {
            return;
        }
    }
}

/// Fails when a task of the server panicked since the world began.
pub fn assert_calm() {
    assert!(!PANICKED.load(Ordering::Relaxed), "a task of the server panicked");
}

/// Says bytes to a listener; it must answer or close, and soon once nothing more can come.
pub fn converse(address: SocketAddr, data: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address) else { panic!("{address} does not listen") };
    let patience = |stream: &TcpStream, time: u64| {
        stream.set_read_timeout(Some(Duration::from_millis(time))).expect("timeout");
    };
    let _ = stream.write_all(data);
    patience(&stream, 5);
    let mut answer = [0; 16 * 1024];
    while matches!(stream.read(&mut answer), Ok(1..)) {}
    let _ = stream.shutdown(std::net::Shutdown::Write);
    patience(&stream, 10_000);
    loop {
        match stream.read(&mut answer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("{address} keeps a connection that was closed");
            }
            Err(_) => break,
        }
    }
    assert_calm();
}
