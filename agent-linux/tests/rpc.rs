//! The request channel between agents: routing, cancelling, and what rude peers get.
#![allow(clippy::unwrap_used)]

mod support;

use agent_core::model::request::{
    self, Answer, Body, Consistency, Error, Kind, Options, Query, Reply, Request,
};
use agent_core::model::{kv, status};
use agent_core::wire::frame::{self, Channel, Header, Kind as FrameKind, REQUEST_BYTES_MAX};
use agent_linux::endpoint::{self, Endpoint};
use agent_linux::rpc::route::{Router, Settings};
use agent_linux::rpc::server::{Handler, Limits, serve};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Error as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

/// Answers what it is asked, with its name; `wait` never ends, `later` yields first.
#[derive(Clone)]
struct Echo {
    name: &'static str,
    waiting: Arc<AtomicUsize>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Echo {
    async fn serve(self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.starts_with(b"wait") {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waiting = Waiting(self.waiting);
            return std::future::pending().await;
        }
        if bytes.starts_with(b"later") {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }
}

struct Server {
    address: SocketAddr,
    waiting: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = Arc::new(AtomicUsize::new(0));
        let echo = Echo { name, waiting: Arc::clone(&waiting) };
        let task = tokio::spawn(serve(listener, echo, None, limits));
        Self { address, waiting, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn soon() -> Instant {
    Instant::now() + DEADLINE
}

fn router(servers: &[&Server]) -> Arc<Router> {
    let router = Router::new("dc1".into(), Settings::default());
    router.set_servers(servers.iter().map(|server| server.address).collect());
    router
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_of_any_size_find_their_callers() {
    let server = Server::start("!", Limits::default()).await;
    let router = router(&[&server]);
    let calls: Vec<_> = (0..200_usize)
        .map(|count| {
            let router = Arc::clone(&router);
            tokio::spawn(async move {
                let mut body = format!("{}{count}", if count % 2 == 0 { "later" } else { "" });
                body.push_str(&"x".repeat(count * 2000));
                let reply = router.forward_any(body.as_bytes(), soon()).await.unwrap();
                body.push('!');
                assert!(reply == body.as_bytes(), "reply {count} is of another call");
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

/// What a board does: the frames of agent-core over embedded-io, with lent buffers only.
#[tokio::test]
async fn a_client_without_an_allocator_is_understood() {
    let server = Server::start("!", Limits::default()).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = FromTokio::new(stream);
    stream.write_all(&[Channel::Request.emit()]).await.unwrap();
    frame::write(&mut stream, FrameKind::Request, 7, b"from a board").await.unwrap();
    let header = frame::read_header(&mut stream, REQUEST_BYTES_MAX).await.unwrap().unwrap();
    assert_eq!(header, Header::new(FrameKind::Reply, 7, 13));
    let mut small = [0; 4];
    let refused = frame::read_body(&mut stream, header, &mut small).await.unwrap_err();
    assert_eq!(refused.kind(), embedded_io_async::ErrorKind::OutOfMemory);
    let mut buffer = [0; 64];
    let body = frame::read_body(&mut stream, header, &mut buffer).await.unwrap();
    assert_eq!(body, b"from a board!");
}

#[tokio::test]
async fn connections_come_from_the_agents_own_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own: IpAddr = "127.9.8.7".parse().unwrap();
    let settings = Settings { source: Some(own), ..Settings::default() };
    let router = Router::new("dc1".into(), settings);
    router.set_servers(vec![address]);
    let call = tokio::spawn(async move { router.forward_any(b"x", soon()).await });
    let (_, from) = tokio::time::timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(from.ip(), own);
    call.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_ends_on_the_server_too() {
    let server = Server::start("", Limits::default()).await;
    let router = router(&[&server]);
    let call = {
        let router = Arc::clone(&router);
        tokio::spawn(async move { router.forward_any(b"wait", soon()).await })
    };
    until("the call to arrive", || server.waiting.load(Ordering::SeqCst) == 1).await;
    call.abort();
    until("the call to end", || server.waiting.load(Ordering::SeqCst) == 0).await;
    let reply = router.forward_any(b"still there", soon()).await;
    assert_eq!(reply, Ok(b"still there".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_a_server_and_turns_to_the_next() {
    let none = Router::new("dc1".into(), Settings::default());
    assert_eq!(none.forward_any(b"", soon()).await, Err(Error::new(Kind::NoServers)));
    let (a, b) =
        (Server::start("a", Limits::default()).await, Server::start("b", Limits::default()).await);
    let router = router(&[&a, &b]);
    let first = router.forward_any(b"", soon()).await.unwrap();
    for _ in 0..20 {
        assert_eq!(router.forward_any(b"", soon()).await.unwrap(), first);
    }
    let (dead, alive, other) = match first.as_slice() {
        b"a" => (a, b, b"b".as_slice()),
        _ => (b, a, b"a".as_slice()),
    };
    let gone = dead.address;
    drop(dead);
    until("the server to stop", || refuses(gone)).await;
    // A call that is on the connection when it breaks may fail, no later one may.
    let failed = turn(&router, |outcome| outcome.as_deref() == Ok(other)).await;
    assert!(failed <= 1, "{failed} calls failed");
    assert_eq!(router.forward_any(b"", soon()).await.unwrap(), other);
    drop(alive);
    let is_alone = |outcome: &Outcome| matches!(outcome, Err(e) if e.kind == Kind::NoServers);
    turn(&router, is_alone).await;
    let error = router.forward_any(b"", soon()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NoServers);
    assert!(error.text.starts_with("rpc error getting client: failed to get conn: dial tcp"));
    let error = router.forward_to(gone, b"", soon()).await.unwrap_err();
    assert_eq!(error, Error::new(Kind::NoLeader));
}

type Outcome = Result<Vec<u8>, Error>;

/// Knows who leads, and counts what else it is asked.
#[derive(Clone)]
struct Informed {
    leader: SocketAddr,
    served: Arc<AtomicUsize>,
}

impl Handler for Informed {
    async fn serve(self, bytes: Vec<u8>) -> Vec<u8> {
        let request: Request = request::parse(&bytes).unwrap();
        let reply = match request.body {
            Body::Query(Query::Status(status::Query::Leader)) => {
                status::Reply::Leader(self.leader.to_string())
            }
            _ => {
                self.served.fetch_add(1, Ordering::SeqCst);
                status::Reply::Peers(Vec::new())
            }
        };
        let meta = request::Meta::default();
        request::emit(&request::Outcome::Ok(Answer { meta, reply: Reply::Status(reply) }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_client_turns_to_the_leader() {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses: Vec<_> = listeners.iter().map(|at| at.local_addr().unwrap()).collect();
    let servers: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let served = Arc::new(AtomicUsize::new(0));
            let informed = Informed { leader: addresses[2], served: Arc::clone(&served) };
            (tokio::spawn(serve(listener, informed, None, Limits::default())), served)
        })
        .collect();
    let router = Router::new("dc1".into(), Settings::default());
    router.set_servers(addresses[..1].to_vec());
    router.set_servers(addresses.clone());
    let client = Endpoint::client("dc1".into(), Arc::clone(&router), endpoint::Settings::default());
    let read = |consistency| {
        let options = Options { consistency, ..Options::default() };
        let query = kv::Query::Get("a".into());
        client.serve_boxed(Request { options, body: Body::Query(Query::Kv(query)) })
    };
    // Where it is with any of them: stale reads are served by all.
    router.stay_with(addresses[0]);
    for _ in 0..1000 {
        read(Consistency::Stale).await.unwrap();
    }
    assert_eq!(servers[2].1.load(Ordering::SeqCst), 0, "any server answers stale reads");
    let end = soon();
    while servers[2].1.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < end, "the leader was asked nothing");
        read(Consistency::Default).await.unwrap();
    }
    assert_eq!(router.servers()[0], addresses[2]);
    for (task, _) in servers {
        task.abort();
    }
}

/// Calls any server until an outcome is as wanted; tells how many calls failed before.
async fn turn(router: &Router, wanted: impl Fn(&Outcome) -> bool) -> usize {
    let (end, mut failed) = (soon(), 0);
    loop {
        let outcome = router.forward_any(b"", soon()).await;
        if wanted(&outcome) {
            return failed;
        }
        assert!(Instant::now() < end, "the last outcome: {outcome:?}");
        failed += usize::from(outcome.is_err());
    }
}

fn refuses(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_deadline() {
    let server = Server::start("", Limits::default()).await;
    let router = router(&[&server]);
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = router.forward_any(b"wait", deadline).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unknown);
    until("the call to end", || server.waiting.load(Ordering::SeqCst) == 0).await;
    let long = vec![0; REQUEST_BYTES_MAX as usize + 1];
    assert_eq!(router.forward_any(&long, soon()).await.unwrap_err().kind, Kind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed_are_refused_not_queued() {
    let limits = Limits { requests_in_flight_max: 2, ..Limits::default() };
    let server = Server::start("", limits).await;
    let router = router(&[&server]);
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let router = Arc::clone(&router);
            tokio::spawn(async move { router.forward_any(b"wait", soon()).await })
        })
        .collect();
    until("both to arrive", || server.waiting.load(Ordering::SeqCst) == 2).await;
    let error = router.forward_any(b"wait", soon()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NoServers);
    // What can be answered at once still is.
    assert_eq!(router.forward_any(b"now", soon()).await, Ok(b"now".to_vec()));
    for call in calls {
        call.abort();
    }
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    matches!(
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await,
        Ok(Ok(_)) | Ok(Err(_))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rude_peers_are_closed_and_others_are_served() {
    let server = Server::start("", Limits { connections_per_ip_max: 4, ..Limits::default() }).await;
    let too_long = Header::new(FrameKind::Request, 1, REQUEST_BYTES_MAX + 1).emit();
    let reply = Header::new(FrameKind::Reply, 1, 0).emit();
    let request = [Channel::Request.emit()];
    let rude: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[Channel::Raft.emit(), 1, 2, 3],
        &[&request[..], &too_long].concat(),
        &[&request[..], &reply].concat(),
        &[&request[..], &[0xff; 64]].concat(),
    ];
    for bytes in rude {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        assert!(is_closed(&mut stream).await, "{bytes:?}");
    }
    // One that never says what it wants.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let start = Instant::now();
    assert!(is_closed(&mut silent).await);
    assert!(start.elapsed() < Duration::from_secs(15));

    // A fifth connection from one address is one too many.
    let mut seated = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let ping = Header::new(FrameKind::Ping, 9, 0).emit();
        stream.write_all(&ping).await.unwrap();
        let mut pong = [0; 9];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, Header::new(FrameKind::Pong, 9, 0).emit());
        seated.push(stream);
    }
    let mut fifth = TcpStream::connect(server.address).await.unwrap();
    assert!(is_closed(&mut fifth).await);
    seated.clear();
    let router = router(&[&server]);
    until("a seat", || is_served(&router)).await;
    assert_eq!(router.forward_any(b"hello", soon()).await, Ok(b"hello".to_vec()));
}

/// Asks from a thread of its own whether a call gets through.
fn is_served(router: &Arc<Router>) -> bool {
    let router = Arc::clone(router);
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current()
            .block_on(async move { router.forward_any(b"", soon()).await.is_ok() })
    })
}
