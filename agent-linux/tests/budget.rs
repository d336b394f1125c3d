//! Instructions that the inner loops take, held against `budget.txt`: more than a tenth above
//! fails, more than a tenth below asks for the new figure.
//!
//! Instructions are counted by valgrind, which a loaded machine does not disturb, twice with
//! different numbers of turns: the difference is what the turns took. The build is the one of the
//! tests, so a figure says nothing about speed; what it tells is that more is done than before.
//!
//! `REEVE_BUDGET=check cargo test -p agent-linux --test budget` does so; `write` in place of
//! `check` writes the file anew. Without it nothing is counted: it takes half a minute.

use agent_core::gossip::identity::{Identity, node_key};
use agent_core::gossip::{Config, Meta, Pool};
use agent_core::model::catalog::Register;
use agent_core::model::check::{Check, Status};
use agent_core::model::command::Command;
use agent_core::model::health::{Query as HealthQuery, Reply as HealthReply, ServiceQuery};
use agent_core::model::kv::{Op, Put, Query as KvQuery};
use agent_core::model::node::Node;
use agent_core::model::request::{self, Body, Options, Query, Request};
use agent_core::model::service::Service;
use agent_core::time::Instant;
use agent_core::wire::packet::{Emitter, Header, Message, PACKET_BYTES_MAX, Packet, State, Update};
use agent_linux::endpoint::filter::Filter;
use agent_linux::store::Store;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command as Program, ExitCode};

/// Turns of the two runs.
const TURNS: (u64, u64) = (20, 120);

/// Part by which a figure may be off.
const TOLERANCE: f64 = 0.1;

/// Keys in the store.
const KEYS: usize = 1000;

/// An inner loop: its name, and what makes one turn of it.
type Loop = (&'static str, fn() -> Box<dyn FnMut(u64)>);

const LOOPS: &[Loop] = &[
    ("store-kv-put", kv_put),
    ("store-kv-get", kv_get),
    ("store-health-10", health),
    ("wire-request", request),
    ("wire-packet-16", packet),
    ("gossip-datagram-16", datagram),
    ("filter-parse", filter_parse),
    ("filter-fits", filter_fits),
];

fn main() -> ExitCode {
    // As a part of the whole, libtest's flags come along and mean nothing here.
    let words: Vec<String> = std::env::args().collect();
    if let [_, flag, name, turns] = words.as_slice()
        && flag == "--turns"
    {
        let (_, make) = LOOPS.iter().find(|(known, _)| known == name).expect("a known loop");
        let mut turn = make();
        (0..turns.parse().expect("a number")).for_each(&mut *turn);
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let Ok(wish) = std::env::var("REEVE_BUDGET") else {
        println!("skipped: set REEVE_BUDGET=check to count instructions");
        return ExitCode::SUCCESS;
    };
    if Program::new("valgrind").arg("--version").output().is_err() {
        println!("no valgrind to count instructions with");
        return ExitCode::FAILURE;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/budget.txt");
    let counts: BTreeMap<&str, u64> = LOOPS.iter().map(|(name, _)| (*name, count(name))).collect();
    if wish == "write" {
        let lines: String =
            counts.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
        std::fs::write(path, lines).expect("the budget is written");
        return ExitCode::SUCCESS;
    }
    let faults = compare(&std::fs::read_to_string(path).expect("the budget is read"), &counts);
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tells what is wrong with the budget or the counts.
fn compare(budget: &str, counts: &BTreeMap<&str, u64>) -> Vec<String> {
    let lines = budget.lines().filter_map(|line| line.split_once(' '));
    let known: BTreeMap<&str, f64> =
        lines.filter_map(|(name, count)| Some((name, count.trim().parse().ok()?))).collect();
    let mut faults = Vec::new();
    for (name, count) in counts {
        let Some(budget) = known.get(name) else {
            faults.push(format!("{name}: {count} instructions, no budget"));
            continue;
        };
        let part = *count as f64 / budget - 1.0;
        println!("{name}: {count} instructions, budget {budget}, {:+.1} %", part * 100.0);
        if part > TOLERANCE {
            faults.push(format!("{name}: {count} instructions, over its budget of {budget}"));
        } else if part < -TOLERANCE {
            faults
                .push(format!("{name}: {count} instructions, write that down: REEVE_BUDGET=write"));
        }
    }
    faults
}

/// Counts the instructions of one turn.
fn count(name: &str) -> u64 {
    let run = |turns: u64| -> u64 {
        let output = Program::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--turns", name, &turns.to_string()])
            .output()
            .expect("valgrind runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        let line = text.lines().find_map(|line| line.split_once("Collected :"));
        let (_, number) = line.unwrap_or_else(|| panic!("valgrind counts nothing: {text}"));
        number.trim().parse().expect("a number of instructions")
    };
    (run(TURNS.1) - run(TURNS.0)) / (TURNS.1 - TURNS.0)
}

fn put(key: usize, value: u64) -> Command {
    let value = format!("{value:064}").into_bytes();
    Command::Kv(Op::Set(Put { key: format!("app/{key}"), value, flags: 0 }))
}

/// A store with keys, and a service of ten instances on two nodes.
fn store() -> Store {
    let store = Store::new();
    let mut index = 0;
    let mut commit = |command: &Command| {
        index += 1;
        store.commit(index, command).expect("nothing forbids it");
    };
    (0..KEYS).for_each(|key| commit(&put(key, 0)));
    for number in 0..10 {
        let (host, id) = (format!("host{}", number % 2), format!("web-{number}"));
        let check = Check {
            node: host.clone(),
            id: id.clone(),
            service_id: id.clone(),
            status: Status::Passing,
            ..Check::default()
        };
        commit(&Command::Register(Box::new(Register {
            node: Node { name: host, address: "10.0.0.1".into(), ..Node::default() },
            service: Some(Service { id, name: "web".into(), port: 80, ..Service::default() }),
            checks: vec![check],
            ..Register::default()
        })));
    }
    store
}

fn kv_put() -> Box<dyn FnMut(u64)> {
    let store = store();
    Box::new(move |turn| {
        let command = put(turn as usize * 7 % KEYS, turn + 1);
        black_box(store.commit(KEYS as u64 + 100 + turn, &command).expect("nothing forbids it"));
    })
}

fn kv_get() -> Box<dyn FnMut(u64)> {
    let store = store();
    Box::new(move |turn| {
        let query = KvQuery::Get(format!("app/{}", turn as usize * 7 % KEYS));
        black_box(store.tables().kv(&query));
    })
}

fn service_query() -> HealthQuery {
    let worst = Some(Status::Passing);
    HealthQuery::Service(ServiceQuery { name: "web".into(), worst, ..ServiceQuery::default() })
}

fn health() -> Box<dyn FnMut(u64)> {
    let (store, query) = (store(), service_query());
    Box::new(move |_| {
        black_box(store.tables().health(&query));
    })
}

fn request() -> Box<dyn FnMut(u64)> {
    Box::new(|turn| {
        let body = Body::Query(Query::Kv(KvQuery::Get(format!("app/{turn}"))));
        let bytes = request::emit(&Request { options: Options::default(), body });
        black_box(request::parse::<Request>(&bytes).expect("what was emitted"));
    })
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 8301))
}

fn identity(number: u64) -> Identity {
    Identity::new(address(number), 1, node_key(uuid(number)))
}

fn uuid(number: u64) -> [u8; 16] {
    ((u128::from(number) << 64) | 1).to_be_bytes()
}

/// Writes a gossip packet with claims about sixteen members.
fn emit(pool: u32, target: Identity, first: u64, out: &mut [u8]) -> usize {
    let message = Message::Ping(first as u8);
    let header = Header { pool, source: identity(1), incarnation: 0, target, message };
    let mut emitter = Emitter::new(out, &header).expect("room");
    for number in first..first + 16 {
        let update = Update { identity: identity(number), incarnation: 0, state: State::Alive };
        emitter.push_update(&update).expect("room");
    }
    emitter.finish()
}

fn packet() -> Box<dyn FnMut(u64)> {
    let mut out = [0; PACKET_BYTES_MAX];
    Box::new(move |turn| {
        let length = emit(7, identity(2), 2 + turn * 16, &mut out);
        let packet = Packet::parse(&out[..length]).expect("what was emitted");
        black_box(packet.updates().count());
    })
}

fn meta(number: u64) -> Meta {
    Meta::client(&format!("node{number}"), "dc1", uuid(number), "1.8.7:")
}

/// A member hears of sixteen others that it did not know.
fn datagram() -> Box<dyn FnMut(u64)> {
    let (config, start) = (Config::lan(), Instant::from_micros(0));
    let label = config.label("dc1");
    let pool = Pool::new(config, meta(2), address(2), 1, 7, start);
    let mut pool = pool.expect("fit metadata");
    let mut out = [0; PACKET_BYTES_MAX];
    Box::new(move |turn| {
        let length = emit(label, identity(2), 3 + turn * 16, &mut out);
        pool.handle_datagram(start, address(1), &out[..length]);
        while pool.poll_transmit(start, &mut out).is_some() {}
        while pool.poll_event().is_some() {}
    })
}

const EXPRESSION: &str = "Service.Service == web and (Node.Node matches `host[01]` or \"v1\" in \
                          Service.Tags) and Service.Port != 81";

type Instances = Filter<agent_core::model::health::Instance>;

fn filter_parse() -> Box<dyn FnMut(u64)> {
    Box::new(|_| {
        black_box(Instances::parse(EXPRESSION).expect("an expression"));
    })
}

fn filter_fits() -> Box<dyn FnMut(u64)> {
    let seen = store().tables().health(&service_query());
    let HealthReply::Instances(instances) = seen.value else { panic!("not instances") };
    let filter = Instances::parse(EXPRESSION).expect("an expression");
    Box::new(move |_| {
        assert_eq!(instances.iter().filter(|instance| filter.fits(instance)).count(), 10);
    })
}
