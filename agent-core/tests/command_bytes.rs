//! The format of the raft log: every kind of command has one encoding on file, so that a change
//! that old logs could not be read after fails here.
//!
//! `tests/command_bytes.txt` has a line for each: its name and its bytes in hexadecimal. Where a
//! kind is appended, `REEVE_RECORD=1` writes the file anew; lines that were there must stay.
//!
//! Each list below is made by a step from every kind to the next: a new kind does not compile
//! before it has its place, and so its line.
#![cfg(feature = "alloc")]

use agent_core::model::check::{Check, Definition, Status};
use agent_core::model::command::Command;
use agent_core::model::coordinate::{Coordinate, Row};
use agent_core::model::kv::Put;
use agent_core::model::node::Node;
use agent_core::model::query::{Failover, PreparedQuery, Target, Template};
use agent_core::model::service::{Kind, Proxy, Service, ServiceAddress, Weights};
use agent_core::model::session::{Behavior, Session};
use agent_core::model::snapshot::Part;
use agent_core::model::txn::{Look, Subject, Verb};
use agent_core::model::{Stamp, autopilot, catalog, coordinate, kv, query, session, snapshot, txn};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Lists all kinds, from the first by steps.
fn kinds<T>(first: T, next: fn(&T) -> Option<T>) -> Vec<T> {
    std::iter::successors(Some(first), next).collect()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(text(name), text(value))])
}

const STAMP: Stamp = Stamp { create: 3, modify: 300 };

fn put() -> Put {
    Put { key: text("a/key"), value: b"\x00value\xff".to_vec(), flags: u64::MAX }
}

fn node() -> Node {
    Node {
        id: text("6b1f0c0e-0000-4000-8000-000000000001"),
        name: text("node"),
        address: text("10.0.0.1"),
        datacenter: text("dc1"),
        tagged_addresses: texts("lan", "10.0.0.1"),
        meta: texts("rack", "7"),
        stamp: STAMP,
    }
}

fn service() -> Service {
    let address = ServiceAddress { address: text("10.0.0.2"), port: 81 };
    Service {
        id: text("web-1"),
        name: text("web"),
        kind: Kind::ConnectProxy,
        tags: vec![text("v1"), text("blue")],
        address: text("10.0.0.3"),
        tagged_addresses: BTreeMap::from([(text("wan"), address)]),
        meta: texts("version", "2"),
        port: 65_535,
        weights: Weights { passing: 10, warning: 1 },
        enable_tag_override: true,
        proxy: Some(Box::new(Proxy {
            destination_service_name: text("app"),
            destination_service_id: text("app-1"),
            local_service_address: text("127.0.0.1"),
            local_service_port: 8080,
            config: text("{}"),
            upstreams: text("[]"),
        })),
        connect_native: true,
        stamp: STAMP,
    }
}

fn check() -> Check {
    Check {
        node: text("node"),
        id: text("service:web-1"),
        name: text("alive"),
        status: Status::Warning,
        notes: text("notes"),
        output: text("output"),
        service_id: text("web-1"),
        service_name: text("web"),
        service_tags: vec![text("v1")],
        kind: text("http"),
        definition: Definition {
            http: text("http://10.0.0.3/"),
            tls_skip_verify: true,
            header: BTreeMap::from([(text("x"), vec![text("1"), text("2")])]),
            method: text("GET"),
            body: text("body"),
            tcp: text("10.0.0.3:80"),
            interval_ns: 10_000_000_000,
            timeout_ns: -1,
            deregister_critical_service_after_ns: 60_000_000_000,
        },
        stamp: STAMP,
    }
}

fn register() -> catalog::Register {
    let (service, checks) = (Some(service()), vec![check()]);
    catalog::Register { node: node(), skip_node_update: true, service, checks }
}

fn deregister() -> catalog::Deregister {
    let (service_id, check_id) = (text("web-1"), text("service:web-1"));
    catalog::Deregister { node: text("node"), service_id, check_id }
}

fn next_kv(op: &kv::Op) -> Option<kv::Op> {
    match op {
        kv::Op::Set(_) => Some(kv::Op::Cas(put(), 300)),
        kv::Op::Cas(..) => Some(kv::Op::Acquire(put(), text("session"))),
        kv::Op::Acquire(..) => Some(kv::Op::Release(put(), text("session"))),
        kv::Op::Release(..) => Some(kv::Op::Delete(text("a/key"))),
        kv::Op::Delete(_) => Some(kv::Op::DeleteCas(text("a/key"), 300)),
        kv::Op::DeleteCas(..) => Some(kv::Op::DeleteTree(text("a/"))),
        kv::Op::DeleteTree(_) => Some(kv::Op::Reap(70_000)),
        kv::Op::Reap(_) => None,
    }
}

fn next_session(op: &session::Op) -> Option<session::Op> {
    match op {
        session::Op::Create(_) => Some(session::Op::Destroy(text("session"))),
        session::Op::Destroy(_) => None,
    }
}

fn a_session() -> Session {
    Session {
        id: text("session"),
        name: text("a lock"),
        node: text("node"),
        lock_delay_ns: 15_000_000_000,
        behavior: Behavior::Delete,
        ttl_ns: 10_000_000_000,
        ttl: text("10s"),
        node_checks: vec![text("serfHealth")],
        service_checks: vec![text("service:web-1")],
        checks: vec![text("old")],
        stamp: STAMP,
    }
}

fn next_autopilot(op: &autopilot::Op) -> Option<autopilot::Op> {
    match op {
        autopilot::Op::Begin(same) => Some(autopilot::Op::Set(same.clone())),
        autopilot::Op::Set(same) => Some(autopilot::Op::Cas(same.clone(), 300)),
        autopilot::Op::Cas(..) => None,
    }
}

fn configuration() -> autopilot::Configuration {
    autopilot::Configuration {
        cleanup_dead_servers: true,
        last_contact_ns: 200_000_000,
        max_trailing_logs: 250,
        min_quorum: 3,
        stabilization_ns: 10_000_000_000,
        redundancy_zone_tag: text("zone"),
        disable_upgrade_migration: true,
        upgrade_version_tag: text("version"),
        stamp: STAMP,
    }
}

fn next_prepared(op: &query::Op) -> Option<query::Op> {
    match op {
        query::Op::Create(same) => Some(query::Op::Update(same.clone())),
        query::Op::Update(_) => Some(query::Op::Delete(text("query"))),
        query::Op::Delete(_) => None,
    }
}

fn prepared() -> PreparedQuery {
    let kind = text("name_prefix_match");
    PreparedQuery {
        id: text("query"),
        name: text("web-"),
        session: text("session"),
        token: text("token"),
        template: Template { kind, regexp: text("^web-(.*)$"), remove_empty_tags: true },
        service: Target {
            service: text("${match(1)}"),
            failover: Failover { nearest: 2, datacenters: vec![text("dc2")] },
            only_passing: true,
            ignore_check_ids: vec![text("noise")],
            near: text("_agent"),
            tags: vec![text("!old")],
            node_meta: texts("rack", "7"),
            service_meta: texts("version", "2"),
            connect: true,
        },
        dns_ttl: text("10s"),
        stamp: STAMP,
    }
}

fn next_snapshot(op: &snapshot::Op) -> Option<snapshot::Op> {
    match op {
        snapshot::Op::Begin(id) => {
            let frames = b"frames".to_vec();
            Some(snapshot::Op::Stage(Part { id: id.clone(), number: 200, frames }))
        }
        snapshot::Op::Stage(part) => Some(snapshot::Op::Commit(part.id.clone())),
        snapshot::Op::Commit(id) => Some(snapshot::Op::Abandon(id.clone())),
        snapshot::Op::Abandon(_) => None,
    }
}

fn next_look(look: &Look) -> Option<Look> {
    let (node, id) = (text("node"), text("id"));
    match look {
        Look::Key(_) => Some(Look::Tree(text("a/"))),
        Look::Tree(_) => Some(Look::Index(text("a/key"), 300)),
        Look::Index(..) => Some(Look::Session(text("a/key"), text("session"))),
        Look::Session(..) => Some(Look::Absent(text("a/key"))),
        Look::Absent(_) => Some(Look::Node { name: node, id }),
        Look::Node { .. } => Some(Look::Service { node, id }),
        Look::Service { .. } => Some(Look::Check { node, id }),
        Look::Check { .. } => Some(Look::Unknown(Subject::Kv, text("frob"))),
        Look::Unknown(subject, verb) => {
            let next = match subject {
                Subject::Kv => Some(Subject::Node),
                Subject::Node => Some(Subject::Service),
                Subject::Service => Some(Subject::Check),
                Subject::Check => None,
            };
            next.map(|subject| Look::Unknown(subject, verb.clone()))
        }
    }
}

fn next_verb(verb: &Verb) -> Option<Verb> {
    match verb {
        Verb::Set => Some(Verb::Cas),
        Verb::Cas => Some(Verb::Delete),
        Verb::Delete => Some(Verb::DeleteCas),
        Verb::DeleteCas => None,
    }
}

/// All operations of a transaction that are about one thing, and the first about the next.
fn next_txn(op: &txn::Op) -> Option<txn::Op> {
    match op {
        txn::Op::Look(look) => Some(match next_look(look) {
            Some(look) => txn::Op::Look(look),
            None => txn::Op::Kv(kv::Op::Set(put())),
        }),
        txn::Op::Kv(op) => Some(match next_kv(op) {
            Some(op) => txn::Op::Kv(op),
            None => txn::Op::Node(Verb::Set, Box::new(node())),
        }),
        txn::Op::Node(verb, row) => Some(match next_verb(verb) {
            Some(verb) => txn::Op::Node(verb, row.clone()),
            None => txn::Op::Service(Verb::Set, text("node"), Box::new(service())),
        }),
        txn::Op::Service(verb, node, row) => Some(match next_verb(verb) {
            Some(verb) => txn::Op::Service(verb, node.clone(), row.clone()),
            None => txn::Op::Check(Verb::Set, Box::new(check())),
        }),
        txn::Op::Check(verb, row) => next_verb(verb).map(|verb| txn::Op::Check(verb, row.clone())),
    }
}

fn next_coordinate(op: &coordinate::Op) -> Option<coordinate::Op> {
    match op {
        coordinate::Op::Set(_) => None,
    }
}

fn rows() -> Vec<Row> {
    let vec = [0.001, -0.002, 0.0, 0.5, 0.0, 0.0, 0.0, 1e-9];
    let place = Coordinate { vec, error: 0.25, adjustment: -0.125, height: 1e-5 };
    vec![Row { node: text("node"), segment: text("alpha"), place }]
}

/// Every kind of command after its name.
fn commands() -> Vec<(String, Command)> {
    let mut all: Vec<(String, Command)> = Vec::new();
    let mut subject = Some(Command::Register(Box::new(register())));
    while let Some(first) = subject {
        let (name, kinds, next) = examples(first);
        for (at, command) in kinds.into_iter().enumerate() {
            all.push((format!("{name}.{at}"), command));
        }
        subject = next;
    }
    all
}

/// All kinds of one subject, its name, and the first command of the next subject.
fn examples(first: Command) -> (&'static str, Vec<Command>, Option<Command>) {
    match first {
        Command::Register(_) => {
            let empty = Command::Register(Box::default());
            ("register", vec![first, empty], Some(Command::Deregister(deregister())))
        }
        Command::Deregister(_) => {
            ("deregister", vec![first], Some(Command::Kv(kv::Op::Set(put()))))
        }
        Command::Kv(op) => {
            let kinds = kinds(op, next_kv).into_iter().map(Command::Kv).collect();
            ("kv", kinds, Some(Command::Session(session::Op::Create(a_session()))))
        }
        Command::Session(op) => {
            let kinds = kinds(op, next_session).into_iter().map(Command::Session).collect();
            ("session", kinds, Some(Command::Autopilot(autopilot::Op::Begin(configuration()))))
        }
        Command::Autopilot(op) => {
            let kinds = kinds(op, next_autopilot).into_iter().map(Command::Autopilot).collect();
            let next = query::Op::Create(Box::new(prepared()));
            ("autopilot", kinds, Some(Command::Prepared(next)))
        }
        Command::Prepared(op) => {
            let kinds = kinds(op, next_prepared).into_iter().map(Command::Prepared).collect();
            ("prepared", kinds, Some(Command::Snapshot(snapshot::Op::Begin(text("restore")))))
        }
        Command::Snapshot(op) => {
            let kinds = kinds(op, next_snapshot).into_iter().map(Command::Snapshot).collect();
            let next = txn::Op::Look(Look::Key(text("a/key")));
            ("snapshot", kinds, Some(Command::Txn(vec![next])))
        }
        Command::Txn(mut ops) => {
            let ops = kinds(ops.remove(0), next_txn).into_iter();
            let kinds = ops.map(|op| Command::Txn(vec![op])).collect();
            ("txn", kinds, Some(Command::Coordinate(coordinate::Op::Set(rows()))))
        }
        Command::Coordinate(op) => {
            let kinds = kinds(op, next_coordinate).into_iter().map(Command::Coordinate).collect();
            ("coordinate", kinds, None)
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[test]
fn every_kind_of_command_is_written_as_it_ever_was() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command_bytes.txt");
    let mut written = String::new();
    for (name, command) in commands() {
        let _ = writeln!(written, "{name} {}", hexadecimal(&command.emit()));
    }
    if std::env::var_os("REEVE_RECORD").is_some() {
        std::fs::write(&path, written).expect("written");
        return;
    }
    let on_file = std::fs::read_to_string(&path).expect("the file of encodings");
    for (written, on_file) in written.lines().zip(on_file.lines()) {
        assert_eq!(written, on_file);
    }
    assert_eq!(written.lines().count(), on_file.lines().count());
}

#[test]
fn every_kind_of_command_is_read_back_and_none_that_is_cut() {
    for (name, command) in commands() {
        let bytes = command.emit();
        assert_eq!(Command::parse(&bytes).as_ref(), Ok(&command), "{name}");
        for end in 0..bytes.len() {
            assert!(Command::parse(&bytes[..end]).is_err(), "{name} cut at {end}");
        }
    }
}
