//! Every decoder of this crate that sees bytes from outside, as `fn(&[u8])`.
//!
//! What parses must survive being emitted and parsed again, and nothing may panic.

use super::replay::Target;
use agent_core::client::{Client, Profile};
use agent_core::gossip::meta::{Card, Meta};
use agent_core::gossip::news::News;
use agent_core::gossip::seal::frame::Thread;
use agent_core::gossip::seal::{
    DATAGRAM_BYTES_MAX, Key, Keyring, Nonces, Opened, Sealer, Strictness, query,
};
use agent_core::gossip::sync::{Frame, HEAD_BYTES, Purpose, Step};
use agent_core::gossip::{Config, Leaf, Pool, Role, UserEvent};
use agent_core::model::command::Command;
use agent_core::model::kv::{Op, Put};
use agent_core::model::request::{self, Answer, Body, Options, Outcome, Query, Reply, Request};
use agent_core::model::{autopilot, catalog, kv, snapshot};
use agent_core::time::{Duration, Instant, parse_go};
use agent_core::wire::event::{EVENT_BYTES_MAX, Event};
use agent_core::wire::frame;
use agent_core::wire::memory::{Heap, Lent};
use agent_core::wire::message::{self, Ask, Tell};
use agent_core::wire::packet::{Emitter, PACKET_BYTES_MAX, Packet};
use std::net::SocketAddr;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "packet", run: packet, seeds: packets },
    Target { name: "pool", run: pool, seeds: conversations },
    Target { name: "leaf", run: leaf, seeds: greetings },
    Target { name: "seal", run: seal, seeds: sealed },
    Target { name: "event", run: event, seeds: events },
    Target { name: "meta", run: meta, seeds: metas },
    Target { name: "frame", run: frame, seeds: frames },
    Target { name: "command", run: command, seeds: commands },
    Target { name: "request", run: request, seeds: requests },
    Target { name: "outcome", run: outcome, seeds: outcomes },
    Target { name: "ask", run: ask, seeds: asks },
    Target { name: "tell", run: tell, seeds: tells },
    Target { name: "client", run: client, seeds: dialogues },
    Target { name: "duration", run: duration, seeds: durations },
];

/// A gossip datagram: header, updates, broadcasts.
pub fn packet(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    let mut again = [0; 2 * PACKET_BYTES_MAX];
    let mut emitter = Emitter::new(&mut again, &packet.header).expect("a parsed header fits");
    let mut updates = Vec::new();
    for update in packet.updates() {
        if emitter.push_update(&update).is_ok() {
            updates.push(update);
        }
    }
    for broadcast in packet.broadcasts() {
        if let Some(news) = News::parse(broadcast) {
            let mut out = vec![0; broadcast.len()];
            assert_eq!(news.emit(&mut out), Some(broadcast.len()), "news keep their length");
            assert_eq!(out, broadcast, "news are emitted as they came");
        }
    }
    let length = emitter.finish();
    let second = Packet::parse(&again[..length]).expect("what was emitted parses");
    assert_eq!(second.header, packet.header);
    assert!(second.updates().eq(updates), "updates survive");
}

const NOW: Instant = Instant::from_micros(1_000_000);

fn here(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 8301))
}

fn described(last: u8) -> Meta {
    let node_id = std::array::from_fn(|at| last.wrapping_mul(at as u8 + 3));
    Meta {
        role: Role::Server,
        rpc_port: 8300,
        expect: 3,
        raft_id: u64::from(last),
        tags: vec![("k".into(), "v".into())],
        ..Meta::client(&format!("node{last}"), "dc1", node_id, "1.8.7:")
    }
}

fn member(last: u8) -> Pool {
    let (meta, seed) = (described(last), u64::from(last));
    Pool::new(Config::lan(), meta, here(last), 1, seed, NOW).expect("metadata fits")
}

/// A full member among peers that send anything at any time: steps of kind and a number, which
/// is milliseconds for a step of time and else the length of the bytes that follow.
pub fn pool(data: &[u8]) {
    let (mut pool, mut now, mut rest) = (member(2), NOW, data);
    while let [kind, low, high, tail @ ..] = rest {
        let number = u16::from_le_bytes([*low, *high]);
        let length = if kind % 5 == 1 { 0 } else { usize::from(number).min(tail.len()) };
        let (bytes, next) = tail.split_at(length);
        rest = next;
        match kind % 5 {
            0 => pool.handle_datagram(now, here(1), bytes),
            1 => {
                now = now + Duration::from_millis(u64::from(number));
                pool.handle_timeout(now);
            }
            2 => _ = pool.handle_sync_hello(now, here(1), bytes),
            3 => _ = pool.handle_sync_reply(now, here(1), bytes),
            _ => _ = pool.handle_sync_rest(now, bytes),
        }
        let mut out = [0; PACKET_BYTES_MAX];
        while pool.poll_transmit(now, &mut out).is_some() {}
        while pool.poll_event().is_some() {}
        assert!(pool.members().count() >= 1, "we are always in our own list");
    }
    assert_eq!(pool.stats().faults, 0, "foca took every call");
}

/// A member without an allocator, told the same kind of steps as [`pool`], but for streams.
pub fn leaf(data: &[u8]) {
    let (mut leaf, mut now, mut rest) = (small(2), NOW, data);
    while let [kind, low, high, tail @ ..] = rest {
        let number = u16::from_le_bytes([*low, *high]);
        let length = if kind % 2 == 1 { 0 } else { usize::from(number).min(tail.len()) };
        let (bytes, next) = tail.split_at(length);
        rest = next;
        if kind % 2 == 1 {
            now = now + Duration::from_millis(u64::from(number));
            leaf.handle_timeout(now);
        } else {
            leaf.handle_datagram(now, here(1), bytes);
        }
        let mut out = [0; PACKET_BYTES_MAX];
        while let Some(transmit) = leaf.poll_transmit(now, &mut out) {
            assert!(Packet::parse(&out[..transmit.len]).is_ok(), "it sends what others can read");
        }
        while leaf.poll_event().is_some() {}
        assert!(leaf.contacts().count() <= 8, "constant memory");
    }
}

fn small(last: u8) -> Leaf<8> {
    let node_id = described(last).node_id;
    let card = Card {
        name: "leaf",
        role: Role::Client,
        dc: "dc1",
        node_id,
        build: "1.8.7:",
        protocol: 2,
        rpc_port: 0,
        wan_port: 0,
        expect: 0,
        bootstrap: false,
        non_voter: false,
        raft_id: 0,
        tags: &[],
        leaf: true,
    };
    Leaf::new(Config::lan(), &card, here(last), 1, 7, NOW).expect("the card fits")
}

/// A full member takes a leaf in; answers the leaf's input as steps for [`leaf`].
fn greetings() -> Vec<Vec<u8>> {
    let (mut pool, mut leaf, mut now) = (member(1), small(2), NOW);
    let (mut steps, mut out) = (Vec::new(), [0; PACKET_BYTES_MAX]);
    leaf.join(here(1));
    for _ in 0..40 {
        now = now + Duration::from_millis(100);
        pool.handle_timeout(now);
        leaf.handle_timeout(now);
        steps.extend([1, 100, 0]);
        while let Some(transmit) = leaf.poll_transmit(now, &mut out) {
            pool.handle_datagram(now, here(2), &out[..transmit.len]);
        }
        while let Some(transmit) = pool.poll_transmit(now, &mut out) {
            leaf.handle_datagram(now, here(1), &out[..transmit.len]);
            steps.push(0);
            steps.extend(u16::try_from(transmit.len).expect("a packet").to_le_bytes());
            steps.extend(&out[..transmit.len]);
        }
    }
    assert!(leaf.contacts().count() == 1, "they met");
    vec![steps]
}

fn sealer(node: u64) -> Sealer<2, 4> {
    let key = Key::new(&[7; 16]).expect("16 bytes");
    Sealer::new(Keyring::new(key), Nonces::new(node, 1), Strictness::FULL)
}

/// A sealed datagram, a sealed frame of push/pull, and a key's text.
pub fn seal(data: &[u8]) {
    let mut sealer = sealer(1);
    let before = sealer.drops().total();
    if let Some(Ok(key)) = std::str::from_utf8(data).ok().map(Key::parse) {
        assert!(matches!(key.as_bytes().len(), 16 | 24 | 32));
    }
    if let Some(message) = query::Message::parse(data) {
        let mut out = vec![0; 4096];
        assert!(sealer.seal_query(&message, &mut out).is_some(), "what parsed fits");
        if let query::Message::Ask { op, .. } = message {
            let _ = sealer.obey(&op);
        }
    }
    if sealer.open_datagram(&mut data.to_vec()).is_ok() {
        assert!(sealer.open_datagram(&mut data.to_vec()).is_err(), "opened once");
    }
    assert!(sealer.drops().total() > before);
    let Some((head, body)) = data.split_first_chunk::<HEAD_BYTES>() else { return };
    for frame in [Frame::Hello, Frame::Reply, Frame::Rest] {
        if let Ok(head) = frame.check(*head) {
            let _ = sealer.open_frame(frame, head, body.to_vec(), &mut Thread::default());
        }
    }
}

fn sealed() -> Vec<Vec<u8>> {
    let mut sealer = sealer(2);
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    bytes[0] = agent_core::wire::packet::VERSION;
    let len = sealer.seal_datagram(&mut bytes, 60).expect("room");
    bytes.truncate(len);
    let key = query::Op::key(&[9; 32]);
    let target = *member(1).identity();
    let ask = query::Message::Ask { target, id: 5, op: query::Op::Install(key.clone()) };
    let keys = [key].into_iter().collect();
    let answer = query::Answer { id: 5, node: 1, fault: None, keys };
    let answer = query::Message::Answer(answer);
    let mut reader = self::sealer(3);
    let [ask, answer] = [ask, answer].map(|message| {
        let mut out = [0; 256];
        let len = sealer.seal_query(&message, &mut out).expect("room");
        match reader.open_datagram(&mut out[..len]) {
            Ok(Opened::Query(plain)) => plain.to_vec(),
            other => panic!("not a query: {other:?}"),
        }
    });
    let hello = member(1).sync_hello(Purpose::Join);
    let frame = sealer.seal_frame(Frame::Hello, hello, &mut Thread::default());
    let text = b"MDEyMzQ1Njc4OWFiY2RlZg==".to_vec();
    vec![bytes, frame.expect("nonces"), ask, answer, text]
}

/// A user event.
pub fn event(data: &[u8]) {
    if let Some(event) = Event::parse(data) {
        let mut out = [0; EVENT_BYTES_MAX];
        let length = event.emit(&mut out).expect("what parsed can be emitted");
        assert_eq!(&out[..length], data, "events are emitted as they came");
    }
}

fn events() -> Vec<Vec<u8>> {
    let full = Event { time: 2, name: "n", node: "^n", service: "s", tag: "t", ..Event::default() };
    [full, Event { name: "n", payload: b"p", ..Event::default() }]
        .map(|event| {
            let mut out = [0; EVENT_BYTES_MAX];
            let length = event.emit(&mut out).expect("short");
            out[..length].to_vec()
        })
        .to_vec()
}

/// Metadata of a member.
pub fn meta(data: &[u8]) {
    if let Ok(meta) = Meta::parse(data) {
        let bytes = meta.emit().expect("what parsed can be emitted");
        assert_eq!(Meta::parse(&bytes).as_ref(), Ok(&meta));
    }
}

/// A stream frame's header, and a push/pull frame's head.
pub fn frame(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<{ frame::HEADER_BYTES }>() {
        for max in [0, frame::REQUEST_BYTES_MAX, frame::RAFT_BYTES_MAX, u32::MAX] {
            if let Ok(header) = frame::Header::parse(bytes, max) {
                assert_eq!(header.emit(), *bytes);
                assert!(header.length <= max);
            }
        }
    }
    if let Some(head) = data.first_chunk::<HEAD_BYTES>() {
        for frame in [Frame::Hello, Frame::Reply, Frame::Rest] {
            let _ = frame.check(*head);
        }
    }
}

/// An entry of the raft log.
pub fn command(data: &[u8]) {
    if let Ok(command) = Command::parse(data) {
        assert_eq!(Command::parse(&command.emit()), Ok(command));
    }
}

/// What RPC carries to a server.
pub fn request(data: &[u8]) {
    if let Ok(message) = request::parse::<Request>(data) {
        assert_eq!(request::parse::<Request>(&request::emit(&message)), Ok(message));
    }
}

/// What RPC carries back.
pub fn outcome(data: &[u8]) {
    if let Ok(message) = request::parse::<Outcome>(data) {
        assert_eq!(request::parse::<Outcome>(&request::emit(&message)), Ok(message));
    }
}

/// What a device says: a board and a server read it alike, lists that a board cannot hold apart.
pub fn ask(data: &[u8]) {
    let mut out = vec![0; 2 * data.len() + 64];
    if let Ok(lent) = message::parse::<Ask<Lent<'_>>>(data) {
        let length = message::emit(&lent, &mut out).expect("what parsed can be emitted");
        assert_eq!(message::parse(&out[..length]), Ok(lent));
        message::parse::<Ask<Heap>>(data).expect("a server reads what a board reads");
    }
    if let Ok(heap) = message::parse::<Ask<Heap>>(data) {
        let length = message::emit(&heap, &mut out).expect("what parsed can be emitted");
        assert_eq!(message::parse(&out[..length]), Ok(heap));
    }
}

/// What a server answers a device.
pub fn tell(data: &[u8]) {
    let mut out = vec![0; 2 * data.len() + 64];
    if let Ok(lent) = message::parse::<Tell<Lent<'_>>>(data) {
        let length = message::emit(&lent, &mut out).expect("what parsed can be emitted");
        assert_eq!(message::parse(&out[..length]), Ok(lent));
        message::parse::<Tell<Heap>>(data).expect("a server reads what a board reads");
    }
    if let Ok(heap) = message::parse::<Tell<Heap>>(data) {
        let length = message::emit(&heap, &mut out).expect("what parsed can be emitted");
        assert_eq!(message::parse(&out[..length]), Ok(heap));
    }
}

/// A device's client and a server that sends anything at any time; steps as for [`pool`].
pub fn client(data: &[u8]) {
    let profile = Profile {
        node: "n",
        node_id: [1; 16],
        datacenter: "dc1",
        address: "10.0.0.2",
        token: "",
        meta: &[("k", "v")],
        servers: &[here(1)],
        services: &[agent_core::client::Service { id: "s", name: "s", ..Default::default() }],
        checks: &[],
    };
    let mut client = Client::<'_, 1, 16, 192>::new(profile, 1, NOW).expect("fits");
    let (mut now, mut rest) = (NOW, data);
    while let [kind, low, high, tail @ ..] = rest {
        let number = u16::from_le_bytes([*low, *high]);
        let length = if kind % 6 == 0 { usize::from(number).min(tail.len()) } else { 0 };
        let (bytes, next) = tail.split_at(length);
        rest = next;
        match kind % 6 {
            0 => assert!(client.handle_bytes(now, bytes) <= bytes.len()),
            1 => {
                now = now + Duration::from_millis(u64::from(number));
                client.handle_timeout(now);
            }
            2 => client.handle_connected(now),
            3 => client.handle_closed(now),
            4 => client.offer_server(now, here(*low)),
            _ => _ = client.get(now, "k"),
        }
        let mut out = [0; 64];
        let mut sent = 0;
        while let Some(count) = client.poll_transmit_stream(now, &mut out) {
            sent += count;
            assert!(sent <= 193, "one frame at a time");
        }
        while client.poll_event().is_some() {}
        assert!(client.servers().count() <= agent_core::client::SERVERS_MAX);
    }
}

/// Go's text form of a duration.
pub fn duration(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse_go(text);
    }
}

/// Two members meet; answers the second's input as steps for [`pool`], and each datagram alone.
fn meeting() -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut one, mut two) = (member(1), member(2));
    let (mut steps, mut datagrams) = (Vec::new(), Vec::new());
    let step = |steps: &mut Vec<u8>, kind: u8, bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("small frames");
        steps.push(kind);
        steps.extend(length.to_le_bytes());
        steps.extend(bytes);
    };
    let hello = one.sync_hello(Purpose::Join)[HEAD_BYTES..].to_vec();
    step(&mut steps, 2, &hello);
    let (reply, _) = two.handle_sync_hello(NOW, here(1), &hello).expect("hello is taken");
    let step_after = one.handle_sync_reply(NOW, here(2), &reply[HEAD_BYTES..]);
    let Ok(Step::Rest(rest)) = step_after else { panic!("so is the reply") };
    step(&mut steps, 4, &rest[HEAD_BYTES..]);
    two.handle_sync_rest(NOW, &rest[HEAD_BYTES..]).expect("and the rest");
    let event = UserEvent { name: "n".into(), ..UserEvent::default() };
    one.fire(NOW, event).expect("short");
    let hello = one.sync_hello(Purpose::Repair)[HEAD_BYTES..].to_vec();
    step(&mut steps, 2, &hello);
    let mut now = NOW;
    for _ in 0..40 {
        now = now + Duration::from_millis(100);
        one.handle_timeout(now);
        two.handle_timeout(now);
        steps.extend([1, 100, 0]);
        let mut out = [0; PACKET_BYTES_MAX];
        while let Some(transmit) = one.poll_transmit(now, &mut out) {
            step(&mut steps, 0, &out[..transmit.len]);
            two.handle_datagram(now, here(1), &out[..transmit.len]);
            datagrams.push(out[..transmit.len].to_vec());
        }
        while let Some(transmit) = two.poll_transmit(now, &mut out) {
            one.handle_datagram(now, here(2), &out[..transmit.len]);
            datagrams.push(out[..transmit.len].to_vec());
        }
    }
    (steps, datagrams)
}

fn packets() -> Vec<Vec<u8>> {
    meeting().1
}

fn conversations() -> Vec<Vec<u8>> {
    vec![meeting().0]
}

fn metas() -> Vec<Vec<u8>> {
    vec![described(1).emit().expect("fits")]
}

fn frames() -> Vec<Vec<u8>> {
    let header = frame::Header::new(frame::Kind::Request, 7, 300).emit();
    vec![header.to_vec(), member(1).sync_hello(Purpose::Repair)]
}

fn commands() -> Vec<Vec<u8>> {
    let put = Put { key: "a/b".into(), value: b"value".to_vec(), flags: 42 };
    let register = catalog::Register {
        node: agent_core::model::node::Node { name: "n".into(), ..Default::default() },
        service: Some(agent_core::model::service::Service::default()),
        checks: vec![agent_core::model::check::Check::default()],
        ..Default::default()
    };
    [
        Command::Kv(Op::Set(put.clone())),
        Command::Kv(Op::Cas(put.clone(), 9)),
        Command::Kv(Op::Acquire(put, "session".into())),
        Command::Kv(Op::DeleteTree("a/".into())),
        Command::Register(Box::new(register)),
        Command::Deregister(catalog::Deregister { node: "n".into(), ..Default::default() }),
        Command::Autopilot(autopilot::Op::Cas(autopilot::Configuration::default(), 9)),
        Command::Snapshot(snapshot::Op::Begin("restore".into())),
        Command::Snapshot(snapshot::Op::Stage(snapshot::Part {
            id: "restore".into(),
            number: 1,
            frames: b"frames".to_vec(),
        })),
    ]
    .iter()
    .map(Command::emit)
    .collect()
}

fn requests() -> Vec<Vec<u8>> {
    let query = Body::Query(Query::Kv(kv::Query::List("a/".into())));
    let options = Options { filter: "Meta.a == b".into(), min_index: 7, ..Default::default() };
    let command = Command::parse(&commands()[0]).expect("own bytes");
    vec![
        request::emit(&Request { options: options.clone(), body: query }),
        request::emit(&Request { options, body: Body::Command(command) }),
    ]
}

fn outcomes() -> Vec<Vec<u8>> {
    let entry = kv::Entry { key: "a".into(), value: b"b".to_vec(), ..Default::default() };
    let reply = Reply::Kv(kv::Reply::Entries(vec![std::sync::Arc::new(entry)]));
    let answer: Outcome = Ok(Answer { meta: Default::default(), reply });
    let error: Outcome = Err(request::Error::new(request::Kind::NoLeader).hop());
    vec![request::emit(&answer), request::emit(&error)]
}

fn asks() -> Vec<Vec<u8>> {
    [
        &b"\x00\x01\xac\x02\x03dc1\x01n0123456789abcdef\x03::1\x00\x01\x01k\x01v"[..],
        b"\x01\x02a1\x01a\x02\x01x\x01y\x00\x90\x3f\x00",
        b"\x02\x01c\x01C\x02a1\x03tcp\x00\x02\x02no",
        b"\x03",
        b"\x04\x02a1\x00",
        b"\x05\x03k/1",
        b"\x06\x01k\x02\x00\xff\x80\x01",
        b"\x07\x03web\x00\x01\x03",
        b"\x08",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn tells() -> Vec<Vec<u8>> {
    [
        &b"\x00\x01\x3c\x03dc1"[..],
        b"\x01",
        b"\x02\x02\x05taken",
        b"\x03",
        b"\x04\x01v\x01\xac\x02",
        b"\x05\x01\x01n\x01i\x03::1\x50\x00\x09",
        b"\x06\x0c1.2.3.4:8300",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// A server that welcomes a device and does what it asks; steps for [`client`].
fn dialogues() -> Vec<Vec<u8>> {
    let mut steps = vec![1, 0, 0, 2, 0, 0];
    let answers = tells();
    for (id, body) in [(1, 0), (2, 1), (3, 1), (4, 4), (5, 6)] {
        let body = &answers[body];
        let kind = frame::Kind::Reply;
        let header = frame::Header::new(kind, id, u32::try_from(body.len()).expect("short"));
        let bytes = [&header.emit()[..], body].concat();
        steps.push(0);
        steps.extend(u16::try_from(bytes.len()).expect("short").to_le_bytes());
        steps.extend(bytes);
        steps.extend([5, 0, 0]);
    }
    vec![steps]
}

fn durations() -> Vec<Vec<u8>> {
    ["1h2m3.5s", "-100ms", "0", "9223372036s", "1.5us", "3ns"].map(Vec::from).to_vec()
}
