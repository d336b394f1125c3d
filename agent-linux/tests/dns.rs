//! DNS over real sockets, before one server that keeps its state in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use agent_core::model::catalog::Register;
use agent_core::model::check::{Check, Status};
use agent_core::model::command::Command;
use agent_core::model::node::Node;
use agent_core::model::request::{Body, Options, Request};
use agent_core::model::service::Service;
use agent_core::time::Duration as Time;
use agent_linux::config;
use agent_linux::dns::{self, Dns};
use agent_linux::endpoint::cache::Cache;
use agent_linux::endpoint::{self, Endpoint};
use agent_linux::rpc::route::{self, Router};
use agent_linux::store::Store;
use domain::base::{MessageBuilder, Rtype};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::Record;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a test waits for an answer: machines may be slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// A DNS edge and the endpoint behind it; stops with the value.
struct Edge {
    at: SocketAddr,
    endpoint: Endpoint,
    _stop: watch::Sender<bool>,
}

fn settings() -> config::Dns {
    config::Dns {
        recursor_timeout: Time::from_millis(300),
        service_ttl: [("web".into(), Time::from_secs(7)), ("d*".into(), Time::from_secs(9))].into(),
        ..config::Dns::default()
    }
}

/// A pair of sockets on one port.
async fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..64 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both");
}

async fn start(settings: config::Dns) -> Edge {
    let store = Arc::new(Store::new());
    let raft = support::solo::raft(&store).await;
    let router = Router::new("dc1".into(), route::Settings::default());
    let endpoint =
        Endpoint::server("dc1".into(), store, raft, router, endpoint::Settings::default());
    let (udp, tcp) = sockets().await;
    let at = udp.local_addr().unwrap();
    let dns = Dns::new(endpoint.clone(), settings, "one".into(), 1).unwrap();
    let dns = dns.with_cache(Cache::new(endpoint.clone()));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(dns::serve(udp, tcp, Arc::new(dns), stopped));
    Edge { at, endpoint, _stop: stop }
}

impl Edge {
    async fn register(&self, node: &str, address: &str, service: &str, own: &str, status: Status) {
        let service = Service {
            id: format!("{service}-id"),
            name: service.into(),
            address: own.into(),
            port: 80,
            tags: vec!["v1".into()],
            ..Service::default()
        };
        let check = Check {
            node: node.into(),
            id: "c".into(),
            name: "c".into(),
            status,
            service_id: service.id.clone(),
            ..Check::default()
        };
        let node = Node { name: node.into(), address: address.into(), ..Node::default() };
        let register =
            Register { node, skip_node_update: false, service: Some(service), checks: vec![check] };
        let body = Body::Command(Command::Register(Box::new(register)));
        self.endpoint.serve(Request { options: Options::default(), body }).await.unwrap();
    }

    async fn exchange(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.at).await.unwrap();
        socket.send(packet).await.unwrap();
        let mut room = vec![0; 65_535];
        let len = timeout(PATIENCE, socket.recv(&mut room)).await.ok()?.unwrap();
        room.truncate(len);
        Some(room)
    }

    async fn ask(&self, name: &str, rtype: Rtype) -> Message {
        let reply = self.exchange(&question(name, rtype)).await.expect("an answer");
        Message::from_vec(&reply).unwrap()
    }
}

fn question(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name.parse::<domain::base::Name<Vec<u8>>>().unwrap(), rtype)).unwrap();
    builder.finish()
}

fn lines(records: &[Record]) -> Vec<String> {
    let line = |r: &Record| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data);
    let mut lines: Vec<_> = records.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_is_registered_is_found() {
    let edge = start(settings()).await;
    edge.register("n1", "10.0.0.1", "web", "", Status::Passing).await;
    edge.register("n2", "10.0.0.2", "web", "10.1.1.2", Status::Warning).await;
    edge.register("n3", "10.0.0.3", "web", "", Status::Critical).await;
    edge.register("ext", "db.node.consul", "db", "", Status::Passing).await;
    edge.register("db", "10.0.0.9", "other", "", Status::Passing).await;
    for (name, rtype, answers) in [
        (
            "Web.service.consul",
            Rtype::A,
            vec!["Web.service.consul. 7 A 10.0.0.1", "Web.service.consul. 7 A 10.1.1.2"],
        ),
        (
            "v1.web.service.dc1.consul",
            Rtype::SRV,
            vec![
                "v1.web.service.dc1.consul. 7 SRV 1 1 80 0a010102.addr.dc1.consul.",
                "v1.web.service.dc1.consul. 7 SRV 1 1 80 n1.node.dc1.consul.",
            ],
        ),
        ("n3.node.consul", Rtype::A, vec!["n3.node.consul. 0 A 10.0.0.3"]),
        (
            "db.service.consul",
            Rtype::A,
            vec!["db.node.consul. 9 A 10.0.0.9", "db.service.consul. 9 CNAME db.node.consul."],
        ),
        (
            "3.0.0.10.in-addr.arpa",
            Rtype::PTR,
            vec!["3.0.0.10.in-addr.arpa. 0 PTR n3.node.dc1.consul."],
        ),
        (
            "2.1.1.10.in-addr.arpa",
            Rtype::PTR,
            vec!["2.1.1.10.in-addr.arpa. 0 PTR web.service.dc1.consul."],
        ),
    ] {
        let message = edge.ask(name, rtype).await;
        assert_eq!(lines(&message.answers), answers, "{name}");
        assert_eq!(message.metadata.id, 7);
    }
    for (name, code) in [
        ("nobody.service.consul", ResponseCode::NXDomain),
        ("web.service.dc9.consul", ResponseCode::NXDomain),
        ("n1.node.dc9.consul", ResponseCode::NXDomain),
        ("www.example.com", ResponseCode::ServFail),
        ("9.9.9.9.in-addr.arpa", ResponseCode::ServFail),
        ("n3.node.consul", ResponseCode::NoError),
    ] {
        let message = edge.ask(name, Rtype::AAAA).await;
        assert_eq!(message.metadata.response_code, code, "{name}");
        assert_eq!(message.answers.len(), 0, "{name}");
    }
}

#[tokio::test]
async fn only_passing_leaves_warnings_out() {
    let edge = start(config::Dns { only_passing: true, ..settings() }).await;
    edge.register("n1", "10.0.0.1", "web", "", Status::Passing).await;
    edge.register("n2", "10.0.0.2", "web", "", Status::Warning).await;
    let message = edge.ask("web.service.consul", Rtype::A).await;
    assert_eq!(lines(&message.answers), ["web.service.consul. 7 A 10.0.0.1"]);
}

#[tokio::test]
async fn answers_from_the_cache_follow_what_is_registered() {
    let edge = start(config::Dns { use_cache: true, ..settings() }).await;
    let found = async |name: &str, count: usize| {
        while edge.ask(name, Rtype::A).await.answers.len() != count {
            tokio::task::yield_now().await;
        }
    };
    edge.register("n1", "10.0.0.1", "web", "", Status::Passing).await;
    timeout(PATIENCE, found("web.service.consul", 1)).await.expect("the first");
    edge.register("n2", "10.0.0.2", "web", "", Status::Passing).await;
    timeout(PATIENCE, found("web.service.consul", 2)).await.expect("the second, too");
    timeout(PATIENCE, found("n2.node.consul", 1)).await.expect("a node");
}

#[tokio::test]
async fn a_connection_takes_many_questions_at_once_and_large_answers() {
    let edge = start(settings()).await;
    for n in 1..=60 {
        edge.register(&format!("n{n}"), &format!("10.0.0.{n}"), "web", "", Status::Passing).await;
    }
    let over_udp = edge.ask("web.service.consul", Rtype::A).await;
    assert_eq!(over_udp.answers.len(), 3);
    let mut stream = TcpStream::connect(edge.at).await.unwrap();
    let packet = question("web.service.consul", Rtype::A);
    let mut framed = u16::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(&packet);
    stream.write_all(&framed.repeat(20)).await.unwrap();
    for _ in 0..20 {
        let len = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; usize::from(len)];
        timeout(PATIENCE, stream.read_exact(&mut reply)).await.unwrap().unwrap();
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 60);
    }
}

#[tokio::test]
async fn bad_input_is_refused_or_ends_the_connection_and_the_edge_lives() {
    let edge = start(settings()).await;
    let good = question("web.service.consul", Rtype::A);
    let reply = edge.exchange(&good[..good.len() - 1]).await.unwrap();
    assert_eq!((reply.len(), reply[3]), (12, 1), "a cut question is malformed");
    let reply = edge.exchange(&[0; 12]).await.unwrap();
    assert_eq!((reply.len(), reply[3]), (12, 1), "so is none");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for junk in [&[][..], &[1, 2, 3], &[0xff; 4096], &vec![0; 60_000]] {
        socket.send_to(junk, edge.at).await.unwrap();
    }
    let mut stream = TcpStream::connect(edge.at).await.unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    let end = timeout(PATIENCE, stream.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "a question that is too long ends the connection");
    let _half_open = TcpStream::connect(edge.at).await.unwrap();
    let message = edge.ask("web.service.consul", Rtype::A).await;
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
}

/// Answers every question with one address, or with a refusal.
async fn recursor(rcode: u8) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut room = vec![0; 4096];
        loop {
            let (len, from) = socket.recv_from(&mut room).await.unwrap();
            let mut reply = room[..len].to_vec();
            reply[2] |= 0x80;
            reply[3] = rcode;
            if rcode == 0 {
                reply[7] = 1;
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    (at, task)
}

#[tokio::test]
async fn names_of_others_are_asked_of_the_recursors_in_order() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (refusing, _first) = recursor(5).await;
    let (good, _second) = recursor(0).await;
    let recursors = vec![silent.local_addr().unwrap(), refusing, good];
    let edge = start(config::Dns { recursors, ..settings() }).await;
    let message = edge.ask("www.example.com", Rtype::A).await;
    assert_eq!(lines(&message.answers), ["www.example.com. 60 A 192.0.2.1"]);
    assert_eq!(message.metadata.id, 7);
    edge.register("ext", "www.example.com", "web", "", Status::Passing).await;
    let message = edge.ask("web.service.consul", Rtype::A).await;
    assert!(message.metadata.recursion_available);
    assert_eq!(
        lines(&message.answers),
        ["web.service.consul. 7 CNAME www.example.com.", "www.example.com. 7 A 192.0.2.1"]
    );
    let message = edge.ask("web.service.consul", Rtype::SRV).await;
    assert_eq!(lines(&message.answers), ["web.service.consul. 7 SRV 1 1 80 www.example.com."]);
    assert_eq!(lines(&message.additionals), ["www.example.com. 7 A 192.0.2.1"]);
}

#[tokio::test]
async fn without_an_answer_from_anybody_it_fails() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let recursors = vec![silent.local_addr().unwrap()];
    let edge = start(config::Dns { recursors, ..settings() }).await;
    let slow = edge.ask("www.example.com", Rtype::A);
    let fast = edge.ask("nobody.service.consul", Rtype::A);
    let (slow, fast) = tokio::join!(slow, fast);
    assert_eq!(slow.metadata.response_code, ResponseCode::ServFail);
    assert!(slow.metadata.recursion_available);
    assert_eq!(fast.metadata.response_code, ResponseCode::NXDomain);
}
