//! Reeve's footprint and speed, beside its peers: any binary with Consul's command line is
//! measured.
//!
//! ```text
//! footprint board            idle: memory, threads, files, CPU, traffic; ceilings of boards
//! size                       files, flash and RAM of what was built, by target
//! kv health dns register     CPU time per request: lists of work for the engine in `work`
//! watch                      parked blocking queries
//! pool                       thousands of devices in one process; many client agents
//! failover                   failover, detect, start: what a loss costs
//! store                      engines for raft's log
//!
//! order     the command line             picture  starts, kills and stops the agents
//! fleet     many connections, one thread client   HTTP and DNS as bytes
//! floor     the machine's own figures    lab      namespaces: whose traffic is whose
//! process   what /proc says              stat     medians and quantiles
//! report    tables, JSON, folders        plot     SVG
//! ```

mod board;
mod client;
mod dns;
mod failover;
mod fleet;
mod floor;
mod footprint;
mod health;
mod kv;
mod lab;
mod order;
mod picture;
mod plot;
mod pool;
mod pool_clients;
mod pool_crowd;
mod pool_yard;
mod process;
mod register;
mod report;
mod size;
mod stat;
mod store;
mod watch;
mod work;

pub(crate) use order::Order;

use report::Report;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::ExitCode;

/// A verb: its name, what it measures, how, and whether it is part of `all`.
struct Verb {
    name: &'static str,
    about: &'static str,
    run: fn(&Order) -> Result<Report, String>,
    in_all: bool,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "footprint",
        about: "memory, threads, files, CPU and traffic of an idle picture",
        run: |order| footprint::measure(order).map(|figures| Report::plain("footprint", figures)),
        in_all: true,
    },
    Verb { name: "kv", about: "key/value requests", run: kv::run, in_all: true },
    Verb { name: "health", about: "health of a service", run: health::run, in_all: true },
    Verb { name: "dns", about: "DNS over UDP", run: dns::run, in_all: true },
    Verb { name: "register", about: "registrations on a client", run: register::run, in_all: true },
    Verb {
        name: "watch",
        about: "parked blocking queries: wake-up and memory",
        run: watch::run,
        in_all: true,
    },
    Verb {
        name: "failover",
        about: "leader killed until a write is accepted",
        run: failover::failover,
        in_all: true,
    },
    Verb {
        name: "detect",
        about: "client killed until it counts as failed",
        run: failover::detect,
        in_all: true,
    },
    Verb {
        name: "start",
        about: "a server with many keys started until it answers",
        run: failover::start,
        in_all: true,
    },
    Verb {
        name: "size",
        about: "what was built, by target: files, and the firmware's flash and RAM; fails over \
                their ceilings",
        run: |order| size::measure(order).map(|figures| Report::plain("size", figures)),
        in_all: true,
    },
    Verb { name: "pool", about: "10,000 devices", run: pool::devices, in_all: false },
    Verb { name: "clients", about: "many client agents", run: pool::clients, in_all: false },
    Verb { name: "store", about: "engines for raft's log", run: store::run, in_all: true },
    Verb {
        name: "board",
        about: "file and idle memory of a client and of the reeve-device beside it; fails over \
                their ceilings",
        run: |order| board::measure(order).map(|figures| Report::plain("board", figures)),
        in_all: false,
    },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let parsed = order::parse(lexopt::Parser::from_env()).map_err(|error| error.to_string());
    let (verb, mut order) = parsed?;
    let Some(verb) = verb else {
        print!("{}", order::usage(VERBS.iter().map(|verb| (verb.name, verb.about))));
        return Ok(());
    };
    if verb == floor::VERB {
        return floor::serve();
    }
    if verb == pool_crowd::VERB {
        raise_files();
        return pool_crowd::serve();
    }
    let verbs: Vec<&Verb> =
        VERBS.iter().filter(|known| known.name == verb || verb == "all" && known.in_all).collect();
    if verbs.is_empty() {
        return Err(format!("unknown verb {verb}; `bench --help` lists them"));
    }
    order.complete(verb != "board" && verb != "size")?;
    if order.agents.is_empty() && verb != "store" && verb != "size" {
        return Err("nothing to measure: give --agent PATH".into());
    }
    picture::sweep();
    lab::sweep();
    raise_files();
    let heading = order.heading();
    let mut missed = Vec::new();
    for verb in verbs {
        let report = match (verb.run)(&order) {
            Ok(report) => report,
            Err(error) => {
                missed.push(format!("{}: {error}", verb.name));
                continue;
            }
        };
        missed.extend(report.missed.iter().map(|error| format!("{}: {error}", verb.name)));
        println!("{}: {heading}\n\n{}", verb.name, report.figures.text());
        if let Some(path) = &order.json {
            std::fs::write(path, report.figures.json())
                .map_err(|error| format!("{path:?}: {error}"))?;
        }
        if let Some(folder) = &order.out {
            report.write(folder, &heading)?;
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\nbench: ")) }
}

/// Allows this program and what it starts as many open files as the system does: a parked watcher
/// is one here and one there.
fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    for most in [1 << 17, limit.maximum.unwrap_or(1 << 17)] {
        let raised = Rlimit { current: Some(most), maximum: Some(most) };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return;
        }
    }
}
