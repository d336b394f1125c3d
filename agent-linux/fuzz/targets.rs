//! Every decoder of this crate that sees bytes from outside, as `fn(&[u8])`.

use super::replay::Target;
use super::world::{assert_calm, converse, record_calls, rows, world};
use agent_core::model::command::Command;
use agent_core::model::node::Node;
use agent_core::model::request::{self, Body, Outcome, Query, Request};
use agent_core::model::service::Service;
use agent_core::model::{catalog, health, kv};
use agent_linux::config::Config;
use agent_linux::config::definition::{CheckDefinition, ServiceDefinition};
use agent_linux::config::source::Sources;
use agent_linux::dns::Transport;
use agent_linux::endpoint::filter::Filter;
use agent_linux::raft::StateMachine;
use agent_linux::store::Store;

/// Those that only compute.
pub const PURE: &[Target] = &[
    Target { name: "hcl", run: hcl, seeds: none },
    Target { name: "definition", run: definition, seeds: none },
    Target { name: "filter", run: filter, seeds: none },
    Target { name: "commit", run: commit, seeds: logs },
    Target { name: "restore", run: restore, seeds: snapshots },
    Target { name: "serve", run: serve, seeds: requests },
    Target { name: "dns", run: dns, seeds: questions },
    Target { name: "raft", run: raft, seeds: calls },
];

/// Those that speak through a socket: slower.
pub const SOCKETS: &[Target] = &[
    Target { name: "http", run: http, seeds: none },
    Target { name: "rpc", run: rpc, seeds: frames },
    Target { name: "gossip", run: gossip, seeds: exchanges },
];

fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

/// Configuration: HCL, the merge, every check of a value.
pub fn hcl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let sources = Sources { dev: true, fragments: vec![text.into()], ..Default::default() };
    let _ = Config::load(sources);
}

/// Service and check definitions, as files and HTTP bodies hold them.
pub fn definition(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    if let Ok(service) = ServiceDefinition::from_json(value.clone()) {
        let again = ServiceDefinition::from_json(service.to_json());
        assert!(again.is_ok(), "what was read can be kept and read again: {again:?}");
    }
    if let Ok(check) = CheckDefinition::from_json(value) {
        let _ = check.validate();
        let again = CheckDefinition::from_json(check.to_json());
        assert!(again.is_ok(), "what was read can be kept and read again: {again:?}");
    }
}

/// Filter expressions, and their evaluation.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(filter) = Filter::<Service>::parse(text) {
        let _ =
            filter.fits(&Service { id: "a".into(), tags: vec!["b".into()], ..Default::default() });
    }
    if let Ok(filter) = Filter::<Node>::parse(text) {
        let _ = filter.fits(&Node::default());
    }
}

/// Log entries, applied in turn: records of a length (two bytes) and a command. Two stores that
/// apply the same must hold the same.
pub fn commit(data: &[u8]) {
    let (one, two) = (Store::new(), Store::new());
    let (mut rest, mut index) = (data, 0);
    while let [low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (entry, next) = tail.split_at(length);
        rest = next;
        if let Ok(command) = Command::parse(entry) {
            index += 1;
            assert_eq!(one.commit(index, &command), two.commit(index, &command));
        }
    }
    assert_eq!(written(&one), written(&two), "apply is pure");
}

fn written(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.freeze()(&mut bytes).expect("a vector takes everything");
    bytes
}

/// A snapshot, from a file or from the leader. What was taken is written as it came; bytes after
/// its end are not looked at.
pub fn restore(data: &[u8]) {
    let store = Store::new();
    if StateMachine::restore(&store, &mut &data[..]).is_ok() {
        assert!(data.starts_with(&written(&store)), "a snapshot is written as it was read");
    }
}

/// A request by RPC: decoded, authorised, served.
pub fn serve(data: &[u8]) {
    let world = world();
    let bytes = world.runtime.block_on(world.endpoint.serve_bytes(data));
    let outcome = request::parse::<Outcome>(&bytes);
    assert!(outcome.is_ok(), "an outcome for everything");
    assert_calm();
}

/// A DNS packet, over UDP and TCP.
pub fn dns(data: &[u8]) {
    let world = world();
    for transport in [Transport::Udp, Transport::Tcp] {
        if let Some(answer) = world.runtime.block_on(world.dns.answer(data, transport)) {
            assert!(answer.len() >= 12 && answer[..2] == data[..2], "an answer to this question");
            assert!(answer[2] & 0x80 != 0, "an answer, not a question");
        }
    }
    assert_calm();
}

/// A raft call that is damaged, or meant for somebody else.
pub fn raft(data: &[u8]) {
    let world = world();
    let _ = world.runtime.block_on(world.stranger.handle(data));
    assert_calm();
}

/// Anything on the HTTP port.
pub fn http(data: &[u8]) {
    converse(world().http, data);
}

/// Anything on the RPC port.
pub fn rpc(data: &[u8]) {
    converse(world().rpc, data);
}

/// Anything on the gossip port's streams.
pub fn gossip(data: &[u8]) {
    converse(world().gossip, data);
}

fn logs() -> Vec<Vec<u8>> {
    let mut log = Vec::new();
    let deregister = catalog::Deregister { node: "web1".into(), ..Default::default() };
    let more = [Command::Kv(kv::Op::DeleteTree("a/".into())), Command::Deregister(deregister)];
    for command in rows().iter().chain(&more) {
        let bytes = command.emit();
        log.extend(u16::try_from(bytes.len()).expect("small").to_le_bytes());
        log.extend(bytes);
    }
    vec![log]
}

fn snapshots() -> Vec<Vec<u8>> {
    let store = Store::new();
    let empty = written(&store);
    for (index, command) in (1..).zip(rows()) {
        store.commit(index, &command).expect("applies");
    }
    vec![empty, written(&store)]
}

fn requests() -> Vec<Vec<u8>> {
    let query = |query| Body::Query(query);
    let services = health::ServiceQuery { name: "web".into(), ..Default::default() };
    let mut bodies: Vec<Body> = rows().into_iter().map(Body::Command).collect();
    bodies.extend([
        query(Query::Kv(kv::Query::List("a/".into()))),
        query(Query::Kv(kv::Query::Get("a/b".into()))),
        query(Query::Catalog(catalog::Query::Datacenters)),
        query(Query::Catalog(catalog::Query::Nodes { node_meta: Default::default() })),
        query(Query::Health(health::Query::Service(services))),
    ]);
    let filter = "Node.Meta.a == b".to_string();
    let options = request::Options { min_index: 1, wait_ms: 1, filter, ..Default::default() };
    let mut all: Vec<Vec<u8>> = Vec::new();
    for body in bodies {
        let plain = Request { options: Default::default(), body: body.clone() };
        all.push(request::emit(&plain));
        all.push(request::emit(&Request { options: options.clone(), body }));
    }
    all
}

fn questions() -> Vec<Vec<u8>> {
    let question = |name: &str, kind: u8| {
        let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            packet.push(label.len() as u8);
            packet.extend(label.bytes());
        }
        packet.extend([0, 0, kind, 0, 1, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        packet
    };
    [
        ("web.service.consul", 33),
        ("v1.web.service.dc1.consul", 1),
        ("_web._tcp.service.consul", 33),
        ("web1.node.consul", 255),
        ("0a000001.addr.consul", 1),
        ("1.0.0.10.in-addr.arpa", 12),
        ("consul", 6),
        ("nobody.service.consul", 28),
        ("example.com", 1),
    ]
    .map(|(name, kind)| question(name, kind))
    .to_vec()
}

fn calls() -> Vec<Vec<u8>> {
    record_calls().to_vec()
}

fn frames() -> Vec<Vec<u8>> {
    use agent_core::wire::frame::{Channel, Header, Kind};
    let channel = |channel: Channel, kind: Kind, body: &[u8]| {
        let header = Header::new(kind, 7, body.len() as u32).emit();
        [&[channel.emit()][..], &header, body].concat()
    };
    let mut all: Vec<Vec<u8>> = Vec::new();
    for body in requests() {
        all.push(channel(Channel::Request, Kind::Request, &body));
    }
    all.push(channel(Channel::Request, Kind::Ping, &[]));
    all.push(channel(Channel::Request, Kind::Cancel, &[]));
    all.push(channel(Channel::Raft, Kind::Request, &record_calls()[0]));
    all
}

fn exchanges() -> Vec<Vec<u8>> {
    use agent_core::gossip::sync::Purpose;
    use agent_core::gossip::{Config, Meta, Pool, Role};
    use agent_core::time::Instant;
    let meta = Meta {
        name: "other".into(),
        role: Role::Client,
        dc: "dc1".into(),
        node_id: std::array::from_fn(|at| at as u8),
        build: "1.8.7:".into(),
        protocol: 2,
        rpc_port: 0,
        wan_port: 0,
        expect: 0,
        bootstrap: false,
        non_voter: false,
        raft_id: 0,
        tags: Vec::new(),
    };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let pool = Pool::new(Config::lan(), meta, address, 1, 1, Instant::from_micros(1));
    let mut pool = pool.expect("metadata fits");
    [Purpose::Join, Purpose::Repair].map(|purpose| pool.sync_hello(purpose)).to_vec()
}
