//! HTTP over real sockets: one server that keeps its state in memory, and a stand-in that counts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use agent_core::model::request::{Error, Kind, Options, Request};
use agent_linux::config::cidr::Cidr;
use agent_linux::endpoint::agent::{Agent, Answering, Op, Reply};
use agent_linux::endpoint::cache::{Cache, Control};
use agent_linux::endpoint::{self, Endpoint, Saving};
use agent_linux::http::{
    self, Asking, AskingCache, Doing, Http, LineForm, Servers, Settings, Site,
};
use agent_linux::rpc::route::{self, Router};
use agent_linux::store::Store;
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// How long a test waits for an answer: machines may be slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// An HTTP edge; stops with the value.
struct Edge {
    at: SocketAddr,
    _stop: watch::Sender<bool>,
}

/// A whole answer.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// One connection to an edge.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn open(at: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(at).await.unwrap(), read: Vec::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads more; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("bytes");
        read.is_ok_and(|count| count > 0)
    }

    /// Reads one answer; nothing if the connection ends before.
    async fn answer(&mut self) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head: Vec<u8> = self.read.drain(..head_end).collect();
        let mut answer = Answer { head: String::from_utf8(head).unwrap(), body: Vec::new() };
        let length = answer.header("Content-Length").map_or(0, |text| text.parse().unwrap());
        while self.read.len() < length && self.more().await {}
        answer.body = self.read.drain(..length).collect();
        Some(answer)
    }

    async fn request(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        self.send(&[head.as_bytes(), body].concat()).await;
        self.answer().await.expect("an answer")
    }

    /// Waits until the other side ends the connection.
    async fn ended(&mut self) {
        while self.more().await {}
    }
}

impl Edge {
    async fn start(endpoint: Arc<dyn Servers>, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("dc1", "one");
        settings.server = true;
        change(&mut settings);
        let http = Http { endpoint, agent: Arc::new(Idle), settings };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(http::serve(listener, Arc::new(http), stopped));
        Self { at, _stop: stop }
    }

    /// Starts an edge before one server.
    async fn server() -> Self {
        let store = Arc::new(Store::new());
        let raft = support::solo::raft(&store).await;
        let router = Router::new("dc1".into(), route::Settings::default());
        let endpoint =
            Endpoint::server("dc1".into(), store, raft, router, endpoint::Settings::default());
        Self::start(Arc::new(Cache::new(endpoint)), |settings| {
            settings.site = Some(Site { path: "/ui/".into(), folder: None });
        })
        .await
    }

    async fn client(&self) -> Client {
        Client::open(self.at).await
    }

    async fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        self.client().await.request(method, target, body.as_bytes()).await
    }
}

/// An agent that knows no service.
struct Idle;

impl Agent for Idle {
    fn serve_local<'a>(&'a self, _token: &'a str, op: Op) -> Answering<'a> {
        Box::pin(async move {
            match op {
                Op::Leave => Ok(Reply::Done),
                _ => Err(Error::with(Kind::Invalid, "Missing service name")),
            }
        })
    }
}

/// Servers that never answer, and tell how many requests wait.
#[derive(Default)]
struct Silent(watch::Sender<usize>);

/// One waiting request.
struct Waiting<'a>(&'a Silent);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl Servers for Silent {
    fn serve_shared(&self, _: Request) -> Asking<'_> {
        Box::pin(async move {
            self.0.send_modify(|count| *count += 1);
            let _waiting = Waiting(self);
            std::future::pending().await
        })
    }

    fn serve_cached(&self, _: Request, _: Control) -> AskingCache<'_> {
        Box::pin(std::future::pending())
    }

    fn save(&self, _: Options) -> Doing<Saving> {
        Box::pin(std::future::pending())
    }

    fn restore(&self, _: Options, _: mpsc::Receiver<Bytes>) -> Doing<()> {
        Box::pin(std::future::pending())
    }
}

impl Silent {
    /// Waits until so many requests wait.
    async fn waits_for(&self, count: usize) {
        let mut counts = self.0.subscribe();
        timeout(PATIENCE, counts.wait_for(|have| *have == count)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_key_lives_and_dies_over_one_connection() {
    let edge = Edge::server().await;
    let mut client = edge.client().await;
    let put = client.request("PUT", "/v1/kv/a%2Fb?flags=7", b"hello").await;
    assert_eq!((put.status(), put.text()), (200, "true"));
    assert_eq!(put.header("Content-Type"), Some("application/json"));
    assert_eq!(put.header("Vary"), Some("Accept-Encoding"));
    assert_eq!(put.header("X-Consul-Index"), None);
    let got = client.request("GET", "/v1/kv/a/b", b"").await;
    let index = got.header("X-Consul-Index").unwrap();
    assert_eq!(got.header("X-Consul-Knownleader"), Some("true"));
    assert_eq!(got.header("X-Consul-Lastcontact"), Some("0"));
    assert_eq!(
        got.text(),
        format!(
            r#"[{{"LockIndex":0,"Key":"a/b","Flags":7,"Value":"aGVsbG8=","CreateIndex":{index},"#
        ) + &format!(r#""ModifyIndex":{index}}}]"#)
    );
    let raw = client.request("GET", "/v1/kv/a/b?raw", b"").await;
    assert_eq!(raw.text(), "hello");
    assert_eq!(raw.header("Content-Type"), Some("text/plain"));
    assert_eq!(raw.header("Content-Security-Policy"), Some("sandbox"));
    let gone = client.request("DELETE", "/v1/kv/a/b?cas=1", b"").await;
    assert_eq!(gone.text(), "false");
    assert_eq!(client.request("DELETE", "/v1/kv/a/b", b"").await.text(), "true");
    let absent = client.request("GET", "/v1/kv/a/b", b"").await;
    assert_eq!((absent.status(), absent.text()), (404, ""));
    assert_ne!(absent.header("X-Consul-Index"), Some("0"));
}

#[tokio::test]
async fn a_blocking_read_wakes_with_the_write() {
    let edge = Edge::server().await;
    edge.ask("PUT", "/v1/kv/k", "one").await;
    let first = edge.ask("GET", "/v1/kv/k", "").await;
    let index = first.header("X-Consul-Index").unwrap().to_owned();
    let mut waiting = edge.client().await;
    waiting
        .send(format!("GET /v1/kv/k?raw&index={index} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await;
    let started = Instant::now();
    edge.ask("PUT", "/v1/kv/k", "two").await;
    let second = waiting.answer().await.unwrap();
    assert_eq!(second.text(), "two");
    assert!(started.elapsed() < PATIENCE);
    assert_ne!(second.header("X-Consul-Index"), Some(index.as_str()));
    let timed = edge.ask("GET", "/v1/kv/k?raw&index=999999&wait=10ms", "").await;
    assert_eq!((timed.status(), timed.text()), (200, "two"));
}

#[tokio::test]
async fn the_catalog_answers_what_was_registered() {
    let edge = Edge::server().await;
    let body = r#"{"Node":"ext","Address":"1.2.3.4","Service":{"Service":"web","Port":80},
                   "Check":{"Name":"c","ServiceID":"web","Status":"passing"}}"#;
    assert_eq!(edge.ask("PUT", "/v1/catalog/register", body).await.text(), "true");
    let services = edge.ask("GET", "/v1/catalog/services", "").await;
    assert_eq!(services.text(), r#"{"web":[]}"#);
    assert_eq!(services.header("X-Consul-Effective-Consistency"), Some("leader"));
    let health = edge.ask("GET", "/v1/health/service/web?passing&cached", "").await;
    assert_eq!(health.header("X-Cache"), Some("MISS"));
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!(health[0]["Checks"][0]["Status"], "passing");
    let bad = edge.ask("GET", "/v1/catalog/nodes?filter=Nope==1", "").await;
    assert_eq!(bad.status(), 500);
    assert!(bad.text().contains("Selector \"Nope\" is not valid"), "{}", bad.text());
    assert_eq!(bad.header("X-Consul-Index"), Some("1"));
    let elsewhere = edge.ask("GET", "/v1/kv/a?dc=nodc", "").await;
    assert_eq!((elsewhere.status(), elsewhere.text()), (500, "No path to datacenter"));
}

#[tokio::test]
async fn a_session_holds_a_lock() {
    let edge = Edge::server().await;
    edge.ask("PUT", "/v1/catalog/register", r#"{"Node":"one","Address":"1.2.3.4"}"#).await;
    let made = edge.ask("PUT", "/v1/session/create", r#"{"Checks":[],"TTL":"10s"}"#).await;
    let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
    let id = made["ID"].as_str().unwrap();
    let lock = edge.ask("PUT", &format!("/v1/kv/lock?acquire={id}"), "x").await;
    assert_eq!(lock.text(), "true");
    let renewed = edge.ask("PUT", &format!("/v1/session/renew/{id}"), "").await;
    assert!(renewed.text().starts_with(&format!(r#"[{{"ID":"{id}""#)), "{}", renewed.text());
    assert_eq!(edge.ask("PUT", &format!("/v1/session/destroy/{id}"), "").await.text(), "true");
    let gone = edge.ask("PUT", &format!("/v1/session/renew/{id}"), "").await;
    assert_eq!((gone.status(), gone.text()), (404, &*format!("Session id '{id}' not found")));
    let bad = edge.ask("PUT", "/v1/session/create", r#"{"TTL":"5s"}"#).await;
    assert_eq!(bad.status(), 500);
    let want = "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]";
    assert_eq!(bad.text(), want);
}

#[tokio::test]
async fn methods_and_paths_are_answered_as_consul_does() {
    let edge = Edge::start(Arc::new(Silent::default()), |_| {}).await;
    for (method, target, status, allow, text) in [
        ("POST", "/v1/kv/a", 405, Some("OPTIONS,GET,PUT,DELETE"), "method POST not allowed"),
        ("OPTIONS", "/v1/kv/a", 200, Some("OPTIONS,GET,PUT,DELETE"), ""),
        ("OPTIONS", "/v1/agent/self", 200, Some("OPTIONS,GET"), ""),
        ("GET", "/v1/nope", 404, None, ""),
        ("GET", "/v1/event/nope", 404, None, ""),
        ("GET", "/", 200, None, "Consul Agent"),
        ("GET", "/ui/", 404, None, ""),
        ("GET", "/v1/acl/tokens", 401, None, "ACL support disabled"),
        ("GET", "/v1/kv/%01", 400, None, ""),
        ("GET", "/v1/kv/a%zz", 400, None, "400 Bad Request"),
        ("GET", "/v1/kv/a?%zz", 500, None, ""),
        ("GET", "/v1/kv/a?index=x", 400, None, "Invalid index"),
        ("PUT", "/v1/agent/leave", 200, None, ""),
        ("PUT", "/v1/agent/service/register", 400, None, "Request decode failed: EOF"),
        ("GET", "/v1/agent/monitor?loglevel=zz", 400, None, "Bad request: Unknown log level: zz"),
        (
            "GET",
            "/v1/connect/ca/roots",
            500,
            None,
            "Connect must be enabled in order to use this endpoint",
        ),
        (
            "GET",
            "/v1/agent/metrics?format=prometheus",
            415,
            None,
            "Prometheus is not enabled since its retention time is not positive",
        ),
    ] {
        let answer = edge.ask(method, target, "").await;
        assert_eq!((answer.status(), answer.text()), (status, text), "{method} {target}");
        assert_eq!(answer.header("Allow"), allow, "{method} {target}");
    }
    let mut client = edge.client().await;
    client.send(b"HEAD /v1/kv/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    client.ended().await;
    let head = String::from_utf8(client.read).unwrap();
    assert!(head.starts_with("HTTP/1.1 405") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("Content-Length: 23\r\n"), "{head}");
    let moved = edge.ask("GET", "/v1/kv//a/b?raw", "").await;
    assert_eq!((moved.status(), moved.header("Location")), (301, Some("/v1/kv/a/b?raw")));
    assert_eq!(moved.text(), "<a href=\"/v1/kv/a/b?raw\">Moved Permanently</a>.\n\n");
    assert_eq!(edge.ask("GET", "/v1/kv", "").await.header("Location"), Some("/v1/kv/"));
}

#[tokio::test]
async fn the_page_is_served_where_it_is_enabled() {
    let edge = Edge::server().await;
    assert_eq!(edge.ask("GET", "/", "").await.header("Location"), Some("/ui/"));
    let page = edge.ask("GET", "/ui/dc1/services", "").await;
    assert!(page.text().starts_with("<!DOCTYPE html>"));
    let mut client = edge.client().await;
    client.send(b"GET /ui/app.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let script = client.answer().await.unwrap();
    assert_eq!(script.header("Content-Encoding"), Some("gzip"));
    assert_eq!(script.body[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn the_page_is_served_under_the_path_that_is_set() {
    let edge = Edge::start(Arc::new(Silent::default()), |settings| {
        settings.site = Some(Site { path: "/a/b/".into(), folder: None });
    })
    .await;
    for from in ["/", "/a/b"] {
        assert_eq!(edge.ask("GET", from, "").await.header("Location"), Some("/a/b/"), "{from}");
    }
    assert_eq!(edge.ask("GET", "/ui/", "").await.status(), 404);
    let page = edge.ask("GET", "/a/b/dc1/services", "").await;
    assert!(page.text().contains("src=\"/a/b/app.js\""), "{}", page.text());
    assert!(!page.text().contains("/ui/"), "{}", page.text());
    let script = edge.ask("GET", "/a/b/app.js", "").await;
    assert_eq!(script.header("Content-Type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(edge.ask("POST", "/a/b/", "").await.status(), 405);
}

#[tokio::test]
async fn a_folder_is_served_in_place_of_the_page() {
    let folder = std::env::temp_dir().join(format!("reeve-site-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("index.html"), "page at {{.ContentPath}}").unwrap();
    std::fs::write(folder.join("own.css"), "body {}").unwrap();
    std::fs::write(folder.join("robots.txt"), "none").unwrap();
    let edge = Edge::start(Arc::new(Silent::default()), |settings| {
        settings.site = Some(Site { path: "/ui/".into(), folder: Some(folder.clone()) });
        settings.response_headers.push(("X-Own".into(), "yes".into()));
    })
    .await;
    let style = edge.ask("GET", "/ui/own.css", "").await;
    assert_eq!((style.status(), style.text()), (200, "body {}"));
    assert_eq!(style.header("Content-Type"), Some("text/css; charset=utf-8"));
    assert_eq!(style.header("X-Own"), Some("yes"));
    for path in ["/ui/", "/ui/dc1/services", "/ui/sub/", "/ui/app.js"] {
        assert_eq!(edge.ask("GET", path, "").await.text(), "page at /ui/", "{path}");
    }
    let sub = edge.ask("GET", "/ui/sub?a=b", "").await;
    assert_eq!((sub.status(), sub.header("Location")), (301, Some("sub/?a=b")));
    assert_eq!(edge.ask("GET", "/robots.txt", "").await.text(), "none");
    let outside = edge.ask("GET", "/ui/..%2f..%2fetc/passwd", "").await;
    assert_eq!((outside.status(), outside.header("Location")), (301, Some("/etc/passwd")));
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(edge.ask("GET", "/ui/", "").await.status(), 404);
}

#[tokio::test]
async fn paths_that_do_not_print_are_refused_unless_they_are_allowed() {
    for (printable_only, status) in [(true, 400), (false, 401)] {
        let edge = Edge::start(Arc::new(Silent::default()), |settings| {
            settings.printable_only = printable_only;
        })
        .await;
        let answer = edge.ask("GET", "/v1/acl/policy/a%01", "").await;
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn blocked_endpoints_are_forbidden() {
    let edge = Edge::start(Arc::new(Silent::default()), |settings| {
        settings.block_endpoints.push("/v1/agent/leave".into());
        settings.response_headers.push(("X-Own".into(), "yes".into()));
    })
    .await;
    let answer = edge.ask("PUT", "/v1/agent/leave", "").await;
    let want = "Endpoint is blocked by agent configuration";
    assert_eq!((answer.status(), answer.text()), (403, want));
    assert_eq!(answer.header("X-Own"), Some("yes"));
}

#[tokio::test]
async fn writes_are_taken_from_allowed_networks_only() {
    for (network, status) in [("10.0.0.0/8", 403), ("127.0.0.0/8", 200)] {
        let edge = Edge::start(Arc::new(Silent::default()), |settings| {
            settings.allow_write_from.extend(Cidr::parse(network));
        })
        .await;
        assert_eq!(edge.ask("PUT", "/v1/agent/leave", "").await.status(), status);
        assert_eq!(edge.ask("GET", "/v1/acl/list", "").await.status(), 401);
    }
}

#[tokio::test]
async fn the_log_is_streamed_as_it_is_written() {
    let (lines, followed) = mpsc::channel(8);
    let followed = Mutex::new(Some(followed));
    let edge = Edge::start(Arc::new(Silent::default()), |settings| {
        settings.monitor = Some(Arc::new(move |level, form| {
            assert_eq!((level, form), (tracing::Level::WARN, LineForm::Json));
            followed.lock().unwrap().take().unwrap()
        }));
    })
    .await;
    let mut client = edge.client().await;
    client.send(b"GET /v1/agent/monitor?loglevel=warn&logjson HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.answer().await.unwrap();
    assert_eq!((head.status(), head.header("Transfer-Encoding")), (200, Some("chunked")));
    for line in ["one\n", "two\n"] {
        lines.send(line.into()).await.unwrap();
        while !client.read.ends_with(b"\n\r\n") {
            assert!(client.more().await);
        }
        assert_eq!(client.read, format!("4\r\n{line}\r\n").as_bytes());
        client.read.clear();
    }
    drop(client);
    timeout(PATIENCE, lines.closed()).await.unwrap();
}

#[tokio::test]
async fn values_are_taken_up_to_their_limit() {
    let edge = Edge::server().await;
    let full = "x".repeat(512 * 1024);
    assert_eq!(edge.ask("PUT", "/v1/kv/big", &full).await.text(), "true");
    let over = edge.ask("PUT", "/v1/kv/big", &(full.clone() + "x")).await;
    assert_eq!(over.status(), 413);
    assert_eq!(
        over.text(),
        "Request body(524289 bytes) too large, max size: 524288 bytes. See \
         https://www.consul.io/docs/agent/options.html#kv_max_value_size."
    );
    let mut chunked = edge.client().await;
    chunked
        .send(b"PUT /v1/kv/big HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n")
        .await;
    // The edge may answer and close before it has taken everything.
    let _ = chunked.stream.write_all(&vec![b'x'; 0x10_0000]).await;
    assert_eq!(chunked.answer().await.map(|answer| answer.status()), Some(413));
}

#[tokio::test]
async fn oversized_and_broken_heads_end_the_connection() {
    let edge = Edge::start(Arc::new(Silent::default()), |_| {}).await;
    let mut client = edge.client().await;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    let _ = client.stream.write_all(head.as_bytes()).await;
    client.ended().await;
    let mut client = edge.client().await;
    client.send(b"GARBAGE\r\n\r\n").await;
    assert_eq!(client.answer().await.map(|answer| answer.status()), Some(400));
    client.ended().await;
    let mut client = edge.client().await;
    client.send(b"\xff\x00\x01 / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.ended().await;
    assert_eq!(edge.ask("GET", "/", "").await.text(), "Consul Agent");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_question_with_it() {
    let silent = Arc::new(Silent::default());
    let edge = Edge::start(silent.clone(), |_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = edge.client().await;
        client.send(b"GET /v1/kv/a?index=1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    silent.waits_for(5).await;
    clients.truncate(2);
    silent.waits_for(2).await;
    drop(clients);
    silent.waits_for(0).await;
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_no_more() {
    let silent = Arc::new(Silent::default());
    let edge = Edge::start(silent.clone(), |settings| {
        settings.connections_per_client_max.set(3);
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = edge.client().await;
        assert_eq!(client.request("GET", "/", b"").await.status(), 200);
        held.push(client);
    }
    let mut fourth = edge.client().await;
    fourth.ended().await;
    held.pop();
    // The place of the connection just closed comes free soon, not at once.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = edge.client().await;
        let _ = client.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        if client.answer().await.is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "the place never came free");
    }
}

#[tokio::test]
async fn idle_connections_stay_and_slow_heads_go() {
    tokio::time::pause();
    let edge = Edge::start(Arc::new(Silent::default()), |_| {}).await;
    let mut idle = edge.client().await;
    assert_eq!(idle.request("GET", "/", b"").await.status(), 200);
    let mut slow = edge.client().await;
    slow.send(b"GET / HT").await;
    // Time stands still but for its timers: they fire as soon as nothing else is to be done.
    slow.ended().await;
    assert_eq!(idle.request("GET", "/", b"").await.status(), 200);
}

#[tokio::test]
async fn many_idle_connections_do_no_harm() {
    let edge = Edge::start(Arc::new(Silent::default()), |settings| {
        settings.connections_per_client_max.set(0);
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(edge.client().await);
    }
    assert_eq!(edge.ask("GET", "/", "").await.status(), 200);
    for client in &mut idle {
        assert_eq!(client.request("GET", "/v1/acl/list", b"").await.status(), 401);
    }
}

#[tokio::test]
async fn stopping_ends_connections() {
    let Edge { at, _stop: stop } = Edge::start(Arc::new(Silent::default()), |_| {}).await;
    let mut client = Client::open(at).await;
    assert_eq!(client.request("GET", "/", b"").await.status(), 200);
    stop.send(true).unwrap();
    client.ended().await;
}
