//! HTTP/1.1 as bytes: what goes over one connection, in which order, and when it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use agent_core::model::command::Command;
use agent_core::model::kv::{Entry, Op as KvOp, Reply as KvReply};
use agent_core::model::request::{Answer, Body, Error, Kind, Meta, Options, Reply, Request};
use agent_linux::endpoint::Saving;
use agent_linux::endpoint::agent::{Agent, Answering, Op};
use agent_linux::endpoint::cache::Control;
use agent_linux::http::{self, Asking, AskingCache, Doing, Http, LineForm, Servers, Settings};
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

/// How long a test waits for an answer: machines may be slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps the last value that was put; what blocks waits until it is told to go on.
#[derive(Default)]
struct Keeper {
    value: Mutex<Vec<u8>>,
    waiting: watch::Sender<usize>,
    go_on: Notify,
}

/// A request that waits.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Servers for Keeper {
    fn serve_shared(&self, request: Request) -> Asking<'_> {
        Box::pin(async move {
            if let Body::Command(Command::Kv(KvOp::Set(put))) = request.body {
                *self.value.lock().unwrap() = put.value;
                return Ok(Answer { meta: Meta::default(), reply: Reply::Done });
            }
            if request.options.min_index > 0 {
                self.waiting.send_modify(|count| *count += 1);
                let _waiting = Waiting(&self.waiting);
                self.go_on.notified().await;
            }
            let value = self.value.lock().unwrap().clone();
            let entry = Entry { value, ..Entry::default() };
            let reply = Reply::Kv(KvReply::Entry(Some(Arc::new(entry))));
            Ok(Answer { meta: Meta::default(), reply })
        })
    }

    fn serve_cached(&self, _: Request, _: Control) -> AskingCache<'_> {
        Box::pin(async { Err(Error::new(Kind::NoServers)) })
    }

    fn save(&self, _: Options) -> Doing<Saving> {
        Box::pin(async { Err(Error::new(Kind::NoServers)) })
    }

    fn restore(&self, _: Options, _: mpsc::Receiver<Bytes>) -> Doing<()> {
        Box::pin(async { Err(Error::new(Kind::NoServers)) })
    }
}

impl Keeper {
    /// Waits until so many requests wait.
    async fn holds(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        timeout(PATIENCE, waiting.wait_for(|waiting| *waiting == count)).await.unwrap().unwrap();
    }
}

struct Idle;

impl Agent for Idle {
    fn serve_local<'a>(&'a self, _token: &'a str, _op: Op) -> Answering<'a> {
        Box::pin(async { Err(Error::with(Kind::Invalid, "nothing is asked of the agent")) })
    }
}

struct Edge {
    at: SocketAddr,
    keeper: Arc<Keeper>,
    lines: Arc<Mutex<Option<mpsc::Sender<Bytes>>>>,
    stop: watch::Sender<bool>,
}

impl Edge {
    async fn start() -> Self {
        let keeper = Arc::new(Keeper::default());
        let lines = Arc::new(Mutex::new(None));
        let mut settings = Settings::new("dc1", "one");
        let subscribed = lines.clone();
        settings.monitor = Some(Arc::new(move |_, _: LineForm| {
            let (sender, receiver) = mpsc::channel(8);
            *subscribed.lock().unwrap() = Some(sender);
            receiver
        }));
        let http = Http { endpoint: keeper.clone(), agent: Arc::new(Idle), settings };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(http::serve(listener, Arc::new(http), stopped));
        Self { at, keeper, lines, stop }
    }

    async fn open(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// Sends bytes and reads until the edge ends the connection.
    async fn all(&self, bytes: &[u8]) -> String {
        let mut stream = self.open().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }
}

/// Reads until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it ends");
    read.expect("nothing is lost");
    String::from_utf8(bytes).unwrap()
}

/// Reads until a text has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let (mut text, mut window) = (String::new(), [0; 4096]);
    while !text.ends_with(end) {
        let read = timeout(PATIENCE, stream.read(&mut window)).await.expect(end);
        let count = read.unwrap();
        assert!(count > 0, "the connection ended after {text:?}");
        text += std::str::from_utf8(&window[..count]).unwrap();
    }
    text
}

/// The status codes of answers that follow each other.
fn codes(text: &str) -> Vec<&str> {
    text.split("HTTP/1.").skip(1).map(|answer| &answer[2..5]).collect()
}

const CLOSE: &str = "GET /v1/kv/k?raw HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn requests_behind_each_other_are_answered_in_order() {
    let edge = Edge::start().await;
    let put = "PUT /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let text = format!(
        "{put}\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /nope HTTP/1.1\r\nHost: a\r\n\r\n{CLOSE}"
    );
    let whole = edge.all(text.as_bytes()).await;
    assert_eq!(codes(&whole), ["200", "200", "404", "200"], "{whole}");
    assert!(whole.ends_with("Connection: close\r\n\r\nabc"), "{whole}");
    // The same, a byte at a time.
    let mut stream = edge.open().await;
    stream.set_nodelay(true).unwrap();
    for byte in text.bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(codes(&rest(&mut stream).await), ["200", "200", "404", "200"]);
}

#[tokio::test]
async fn what_comes_behind_a_waiting_request_waits_too() {
    let edge = Edge::start().await;
    let mut stream = edge.open().await;
    let wait = "GET /v1/kv/k?raw&index=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(wait.as_bytes()).await.unwrap();
    edge.keeper.holds(1).await;
    stream.write_all(CLOSE.as_bytes()).await.unwrap();
    edge.keeper.go_on.notify_one();
    assert_eq!(codes(&rest(&mut stream).await), ["200", "200"]);
    // Who goes away leaves nothing behind, whatever else it sent.
    let mut stream = edge.open().await;
    stream.write_all(format!("{wait}{CLOSE}").as_bytes()).await.unwrap();
    edge.keeper.holds(1).await;
    drop(stream);
    edge.keeper.holds(0).await;
}

#[tokio::test]
async fn chunks_come_in_and_bodies_are_awaited_on_demand() {
    let edge = Edge::start().await;
    let chunked = "PUT /v1/kv/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let text = format!("{chunked}\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n{CLOSE}");
    assert!(edge.all(text.as_bytes()).await.ends_with("\r\n\r\nabcde"));
    let mut stream = edge.open().await;
    let expecting = format!("{chunked}Expect: 100-continue\r\n\r\n");
    stream.write_all(expecting.as_bytes()).await.unwrap();
    assert_eq!(until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(format!("1\r\nz\r\n0\r\n\r\n{CLOSE}").as_bytes()).await.unwrap();
    let answers = rest(&mut stream).await;
    assert!(codes(&answers) == ["200", "200"] && answers.ends_with("\r\n\r\nz"), "{answers}");
    // What would be too long is not even asked for, and the connection cannot go on.
    let long = "PUT /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\
                Expect: 100-continue\r\n\r\n";
    let refused = edge.all(long.as_bytes()).await;
    assert!(codes(&refused) == ["413"] && refused.contains("Connection: close\r\n"), "{refused}");
}

#[tokio::test]
async fn bodies_that_nobody_wants_are_read_over() {
    let edge = Edge::start().await;
    for body in [
        "Content-Length: 5\r\n\r\nGET /".to_owned(),
        format!("Content-Length: 200000\r\n\r\n{}", "x".repeat(200_000)),
        "Transfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n".to_owned(),
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{body}{CLOSE}");
        assert_eq!(codes(&edge.all(text.as_bytes()).await), ["200", "200"]);
    }
    // Up to a bound.
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{}",
        "x".repeat(300_000)
    );
    assert_eq!(codes(&edge.all(format!("{long}{CLOSE}").as_bytes()).await), ["200"]);
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_ends_the_connection() {
    let edge = Edge::start().await;
    for (fields, code) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", "400"),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"),
        ("X: a\r\n b\r\n\r\n", "400"),
        ("Host: b\r\n\r\n", "400"),
        ("Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n", "400"),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
    ] {
        let answers = edge
            .all(format!("PUT /v1/kv/k HTTP/1.1\r\nHost: a\r\n{fields}{CLOSE}").as_bytes())
            .await;
        assert_eq!(codes(&answers), [code], "{fields:?}: {answers}");
        assert!(answers.contains("Connection: close\r\n"), "{answers}");
    }
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n{CLOSE}", "X: 1\r\n".repeat(101));
    assert_eq!(codes(&edge.all(many.as_bytes()).await), ["431"]);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n{CLOSE}", "a".repeat(100_000));
    assert_eq!(codes(&edge.all(long.as_bytes()).await), ["431"]);
}

#[tokio::test]
async fn old_clients_are_answered_in_their_version() {
    let edge = Edge::start().await;
    let answer = edge.all(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("Consul Agent"));
    let kept = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answers = edge.all(format!("{kept}GET / HTTP/1.0\r\n\r\n").as_bytes()).await;
    assert!(codes(&answers).len() == 2 && answers.contains("Connection: keep-alive\r\n"));
    // A stream has no chunks for them, and ends with the connection.
    let mut stream = edge.open().await;
    stream.write_all(b"GET /v1/agent/monitor HTTP/1.0\r\n\r\n").await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(!head.contains("chunked") && head.contains("Connection: close\r\n"), "{head}");
    let lines = edge.lines.lock().unwrap().take().expect("it is followed");
    lines.send("one\n".into()).await.unwrap();
    assert_eq!(until(&mut stream, "\n").await, "one\n");
    drop(lines);
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn the_end_of_a_stream_leaves_the_connection() {
    let edge = Edge::start().await;
    let mut stream = edge.open().await;
    stream.write_all(b"GET /v1/agent/monitor HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    let lines = edge.lines.lock().unwrap().take().expect("it is followed");
    lines.send("a line\n".into()).await.unwrap();
    drop(lines);
    assert_eq!(until(&mut stream, "0\r\n\r\n").await, "7\r\na line\n\r\n0\r\n\r\n");
    stream.write_all(CLOSE.as_bytes()).await.unwrap();
    assert_eq!(codes(&rest(&mut stream).await), ["200"]);
}

#[tokio::test]
async fn an_answer_to_head_tells_the_length_and_has_no_body() {
    let edge = Edge::start().await;
    let text = format!("HEAD /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n{CLOSE}");
    let answers = edge.all(text.as_bytes()).await;
    let (first, second) = answers.split_once("\r\n\r\n").unwrap();
    assert!(first.contains("Content-Length: ") && !first.contains("Content-Length: 0"), "{first}");
    assert!(second.starts_with("HTTP/1.1 200 OK\r\n"), "{second}");
}

#[tokio::test]
async fn a_long_answer_reaches_a_slow_reader_whole() {
    let edge = Edge::start().await;
    let value = "0123456789".repeat(50_000);
    let length = value.len();
    let put =
        format!("PUT /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{value}");
    let text = format!("{put}{}{CLOSE}", "GET /v1/kv/k?raw HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
    let mut stream = edge.open().await;
    stream.write_all(text.as_bytes()).await.unwrap();
    let answers = rest(&mut stream).await;
    assert_eq!(answers.matches(&value).count(), 21);
}

#[tokio::test]
async fn stopping_lets_a_request_under_way_end() {
    let edge = Edge::start().await;
    let mut idle = edge.open().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut idle, "Consul Agent").await;
    let mut busy = edge.open().await;
    busy.write_all(b"GET /v1/kv/k?index=1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    edge.keeper.holds(1).await;
    edge.stop.send(true).unwrap();
    assert_eq!(rest(&mut idle).await, "");
    edge.keeper.go_on.notify_one();
    let answer = rest(&mut busy).await;
    assert!(codes(&answer) == ["200"] && answer.contains("Connection: close\r\n"), "{answer}");
}
