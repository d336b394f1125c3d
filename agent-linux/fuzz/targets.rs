//! Every decoder of this crate that sees bytes from outside, as `fn(&[u8])`.

use super::replay::Target;
use super::world::{assert_calm, converse, geo, record_calls, rows, world};
use agent_core::health::Tail;
use agent_core::model::check::Check;
use agent_core::model::command::Command;
use agent_core::model::node::Node;
use agent_core::model::request::{self, Body, Outcome, Query, Request};
use agent_core::model::service::{Proxy, Service, ServiceAddress};
use agent_core::model::snapshot::{Op, Part};
use agent_core::model::{catalog, health, kv, query as queries, txn};
use agent_linux::archive::{self, Meta, Writer};
use agent_linux::check::{docker, grpc};
use agent_linux::config::Config;
use agent_linux::config::definition::{CheckDefinition, ServiceDefinition};
use agent_linux::config::source::Sources;
use agent_linux::dns::Transport;
use agent_linux::endpoint::filter::{Filter, Selectable};
use agent_linux::http::script;
use agent_linux::raft::{StateMachine, check_segment};
use agent_linux::store::{Store, Template, next_part};
use agent_linux::tls::{der, issue};
use base64::Engine as _;
use std::sync::Arc;

/// Those that only compute.
pub const PURE: &[Target] = &[
    Target { name: "hcl", run: hcl, seeds: none },
    Target { name: "definition", run: definition, seeds: none },
    Target { name: "certificate", run: certificate, seeds: certificates },
    Target { name: "filter", run: filter, seeds: expressions },
    Target { name: "template", run: template, seeds: templates },
    Target { name: "probe", run: probe, seeds: none },
    Target { name: "commit", run: commit, seeds: logs },
    Target { name: "restore", run: restore, seeds: snapshots },
    Target { name: "segment", run: segment, seeds: segments },
    Target { name: "archive", run: archive, seeds: archives },
    Target { name: "serve", run: serve, seeds: requests },
    Target { name: "dns", run: dns, seeds: questions },
    Target { name: "head", run: head, seeds: heads },
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

/// An authority's certificate, as `tls cert create` reads it.
pub fn certificate(data: &[u8]) {
    let Some(found) = der::subject(data) else { return };
    for part in [found.name, found.key, found.key_id.unwrap_or_default()] {
        assert!(part.len() <= data.len());
    }
}

fn certificates() -> Vec<Vec<u8>> {
    let issued = issue::authority(1_795_337_314, 10, &["a".into()]).expect("an authority");
    let lines = issued.certificate.lines().filter(|line| !line.starts_with('-'));
    let text: String = lines.collect();
    vec![base64::engine::general_purpose::STANDARD.decode(text).expect("base64")]
}

/// Filter expressions, and their evaluation against every kind of row.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let node = Arc::new(Node { meta: [("a".into(), "b".into())].into(), ..Node::default() });
    let proxy = Proxy { upstreams: "[{\"LocalBindPort\":1}]".into(), ..Proxy::default() };
    let service = Arc::new(Service {
        tags: vec!["b".into()],
        tagged_addresses: [("lan".into(), ServiceAddress::default())].into(),
        proxy: Some(Box::new(proxy)),
        ..Service::default()
    });
    let checks = vec![Arc::default()];
    fits(text, &*node);
    fits(text, &*service);
    fits(text, &Check::default());
    fits(text, &catalog::Instance { node: node.clone(), service: service.clone() });
    fits(text, &health::Instance { node, service, checks });
}

/// A row meets an expression or its opposite.
fn fits<T: Selectable>(text: &str, row: &T) {
    let Ok(filter) = Filter::<T>::parse(text) else { return };
    if let Ok(opposite) = Filter::<T>::parse(&format!("not ( {text} )")) {
        assert_ne!(filter.fits(row), opposite.fits(row), "{text}");
    }
}

/// The expressions that were tried on Consul.
fn expressions() -> Vec<Vec<u8>> {
    let tried = include_str!("../tests/recorded/filter.txt");
    let steps = tried.lines().filter_map(|line| line.split_once(" FILTER ")?.1.split_once(' '));
    steps.map(|(_, expression)| expression.into()).collect()
}

/// A template of a prepared query and a name that it is asked by: pattern, text and name, each on
/// a line of its own. What is filled in is bounded.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let settings = queries::Template {
        kind: "name_prefix_match".into(),
        regexp: next(),
        remove_empty_tags: true,
    };
    let service = queries::Target { service: next(), near: next(), ..Default::default() };
    let name = service.near.clone();
    let query = queries::PreparedQuery { template: settings, service, ..Default::default() };
    if let Ok(template) = Template::compile(&query)
        && let Ok(filled) = template.render(&query, &name)
    {
        assert!(filled.service.service.len() <= text.len() * (text.len() + 1), "bounded");
    }
}

fn templates() -> Vec<Vec<u8>> {
    [
        "^geo-(.*?)-([^-]+)$\n${match(2)}.${name.suffix}$$\ngeo-a-web",
        "\n${\"a${match(\"1\")}\\n\"} ${ (name.full) }\nx",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// What checked things answer: gRPC's health message, the frames of Docker's output.
pub fn probe(data: &[u8]) {
    let _ = grpc::status(data);
    let (mut frames, mut output) = (docker::Frames::default(), Tail::new(vec![0; 64].into()));
    for piece in data.chunks(5) {
        frames.push(piece, &mut output);
    }
    assert!(output.written() <= data.len() as u64, "nothing is added");
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

/// A segment of the raft log: as it is, and with every checksum put right, which no accident does.
pub fn segment(data: &[u8]) {
    let _ = check_segment(data);
    let mut bytes = data.to_vec();
    put_right(&mut bytes);
    if let Some(count) = check_segment(&bytes) {
        assert!(count <= bytes.len() as u64 / 4, "bounded");
    }
}

/// Puts the length and the checksums of a segment right, frame by frame.
fn put_right(bytes: &mut [u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    if bytes.len() < 48 {
        return;
    }
    bytes[32..40].copy_from_slice(&length);
    let crc = crc32fast::hash(&bytes[..44]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    let salt = u32::from_le_bytes(bytes[40..44].try_into().expect("four bytes"));
    let mut at = 48;
    while let Some(frame) = bytes.get_mut(at..).filter(|frame| frame.len() >= 24) {
        let length = u32::from_le_bytes(frame[..4].try_into().expect("four bytes")) as usize;
        let whole = (24 + length) / 8 * 8 + 8;
        if length == 0 || frame.len() < whole {
            return;
        }
        let mut crc = crc32fast::Hasher::new_with_initial(salt);
        crc.update(&frame[24..24 + length]);
        frame[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        let mut crc = crc32fast::Hasher::new_with_initial(salt);
        crc.update(&frame[..20]);
        crc.update(&(at as u64).to_le_bytes());
        frame[20..24].copy_from_slice(&crc.finalize().to_le_bytes());
        frame[24 + length..whole].fill(0xff);
        at += whole;
    }
}

/// A segment with two frames, of three entries and of none.
fn segments() -> Vec<Vec<u8>> {
    let mut bytes = b"reevelg1".to_vec();
    for number in [7, 1, 5, 0] {
        bytes.extend(u64::to_le_bytes(number));
    }
    bytes.extend([1, 2, 3, 4, 0, 0, 0, 0]);
    for (first, records) in [(5_u64, &["hint", "one", "", "three"][..]), (8, &["hint"])] {
        let mut body = Vec::new();
        for record in records {
            body.extend(u32::try_from(record.len()).expect("short").to_le_bytes());
            body.extend(record.bytes());
        }
        bytes.extend(u32::try_from(body.len()).expect("short").to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(first.to_le_bytes());
        bytes.extend(u32::try_from(records.len() - 1).expect("few").to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&body);
        bytes.resize(bytes.len() / 8 * 8 + 8, 0xff);
    }
    bytes.resize(1024, 0);
    put_right(&mut bytes);
    assert_eq!(check_segment(&bytes), Some(3), "a sound segment");
    vec![bytes]
}

/// A snapshot that an operator kept: the archive, its state cut into parts, and those staged. The
/// bytes are also tried as a state without an archive, which no checksum of it guards.
pub fn archive(data: &[u8]) {
    let mut parts = Vec::new();
    let read = archive::read(data, &mut |state| {
        for number in 0.. {
            match next_part(state, number)? {
                part if part.is_empty() => break,
                part => parts.push(part),
            }
        }
        Ok(())
    });
    if read.is_ok() {
        stage(&parts);
    }
    stage(&[data.to_vec()]);
}

/// Restores parts, and goes on with what came of them as with any state.
fn stage(parts: &[Vec<u8>]) {
    let store = Store::new();
    let id = "restore".to_string();
    let staged = (0..)
        .zip(parts)
        .map(|(number, frames)| Op::Stage(Part { id: id.clone(), number, frames: frames.clone() }));
    let steps = std::iter::once(Op::Begin(id.clone()))
        .chain(staged)
        .chain(std::iter::once(Op::Commit(id.clone())))
        .map(Command::Snapshot);
    for (index, command) in (1..).zip(steps.chain(rows())) {
        let before = store.tables().index();
        let _ = store.commit(index, &command);
        assert!(store.tables().index() > before, "indexes only rise");
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
    let from = std::net::Ipv4Addr::LOCALHOST.into();
    for transport in [Transport::Udp, Transport::Tcp] {
        if let Some(answer) = world.runtime.block_on(world.dns.answer(data, transport, from)) {
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

/// Requests as bytes: whole and in pieces of any length the same is read.
pub fn head(data: &[u8]) {
    let whole = script::read(data, usize::MAX);
    for piece in [1, 2, 7, 100] {
        assert_eq!(script::read(data, piece), whole, "in pieces of {piece}");
    }
}

fn heads() -> Vec<Vec<u8>> {
    let texts = [
        "GET /v1/kv/a?raw HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\nGET / HTTP/1.0\n\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc\r\nGET",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         1;a=b\r\nx\r\n0\r\nA: b\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n\
         0\r\n\r\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
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
    let look = txn::Look::Tree("a/".into());
    let more = [
        geo("00000000-0000-4000-8000-000000000001"),
        Command::Txn(vec![txn::Op::Look(look), txn::Op::Kv(kv::Op::Delete("a/b".into()))]),
        Command::Kv(kv::Op::DeleteTree("a/".into())),
        Command::Deregister(deregister),
    ];
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

fn archives() -> Vec<Vec<u8>> {
    let store = Store::new();
    for (index, command) in (1..).zip(rows()) {
        store.commit(index, &command).expect("applies");
    }
    let state = store.tables().parts().next_part().expect("a vector takes everything");
    let meta = Meta { size: state.len() as u64, ..Meta::default() };
    let mut writer = Writer::begin(&meta, 0).expect("a vector takes everything");
    let mut file = writer.add(&state).expect("as long as announced");
    file.extend(writer.end().expect("as long as announced"));
    vec![file, state]
}

fn requests() -> Vec<Vec<u8>> {
    let query = |query| Body::Query(query);
    let execute = queries::Execute { name: "geo-web".into(), limit: 1, ..Default::default() };
    let services = health::ServiceQuery { name: "web".into(), ..Default::default() };
    let mut bodies: Vec<Body> = rows().into_iter().map(Body::Command).collect();
    bodies.extend([
        query(Query::Kv(kv::Query::List("a/".into()))),
        query(Query::Kv(kv::Query::Get("a/b".into()))),
        query(Query::Catalog(catalog::Query::Datacenters)),
        query(Query::Catalog(catalog::Query::Nodes { node_meta: Default::default() })),
        query(Query::Health(health::Query::Service(services))),
        query(Query::Health(health::Query::Nodes)),
        query(Query::Health(health::Query::Instances)),
        query(Query::Prepared(queries::Query::Execute(execute))),
        query(Query::Prepared(queries::Query::List)),
        query(Query::Txn(vec![txn::Look::Key("a/b".into()), txn::Look::Absent("c".into())])),
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
        ("geo-web.query.consul", 33),
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
    use agent_core::gossip::{Config, Meta, Pool};
    use agent_core::time::Instant;
    let meta = Meta::client("other", "dc1", std::array::from_fn(|at| at as u8), "1.8.7:");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let pool = Pool::new(Config::lan(), meta, address, 1, 1, Instant::from_micros(1));
    let mut pool = pool.expect("metadata fits");
    [Purpose::Join, Purpose::Repair].map(|purpose| pool.sync_hello(purpose)).to_vec()
}
