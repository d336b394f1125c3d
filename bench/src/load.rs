//! CPU time per request, summed over all agents: the figure that a shared machine disturbs least.

use crate::Order;
use crate::client::{A, Dns, Http, SRV};
use crate::picture::{Agent, Picture, Role};
use crate::process::cpu_ns;
use crate::report::Figures;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Instances of the service that is asked for.
const INSTANCES: usize = 10;
/// Keys that are written and read in turn.
const KEYS: usize = 1000;
/// Bytes of a value.
const VALUE: [u8; 64] = [b'v'; 64];

/// One kind of request.
struct Work {
    name: &'static str,
    ask: Ask,
}

#[derive(Clone, Copy)]
enum Ask {
    Put,
    /// A key, with this behind the path.
    Get(&'static str),
    /// A path.
    Path(&'static str),
    /// A name, a record type, and the response code that is right.
    Dns(&'static str, u16, u8),
}

const WORK: &[Work] = &[
    Work { name: "KV PUT", ask: Ask::Put },
    Work { name: "KV GET", ask: Ask::Get("") },
    Work { name: "KV GET stale", ask: Ask::Get("?stale") },
    Work { name: "KV GET consistent", ask: Ask::Get("?consistent") },
    Work { name: "health service", ask: Ask::Path("/v1/health/service/web?passing") },
    Work { name: "DNS service SRV", ask: Ask::Dns("web.service.consul", SRV, 0) },
    Work { name: "DNS service A", ask: Ask::Dns("web.service.consul", A, 0) },
    Work { name: "DNS node A", ask: Ask::Dns("client1.node.consul", A, 0) },
    Work { name: "DNS NXDOMAIN", ask: Ask::Dns("nobody.service.consul", A, 3) },
];

/// Measures every agent of the order; rounds interleave the agents and the best round counts.
///
/// # Errors
///
/// If a picture does not come up or requests fail.
pub(crate) fn measure(order: &Order) -> Result<Figures, String> {
    let numbers = ["CPU us/request", "requests/s", "p50 ms", "p99 ms", "failed"];
    let mut figures = Figures::new(&["request", "asked", "agent"], &numbers);
    let mut best: Vec<(Vec<String>, Vec<f64>)> = Vec::new();
    for _ in 0..order.rounds {
        for binary in &order.agents {
            for (labels, numbers) in one(binary, order)? {
                match best.iter_mut().find(|(known, _)| *known == labels) {
                    Some((_, known)) if numbers[0] < known[0] => *known = numbers,
                    Some(_) => {}
                    None => best.push((labels, numbers)),
                }
            }
        }
    }
    best.sort_by_key(|(labels, _)| {
        let place = WORK.iter().position(|work| work.name == labels[0]);
        (place, labels[1].clone(), labels[2].clone())
    });
    best.into_iter().for_each(|(labels, numbers)| figures.push(labels, numbers));
    Ok(figures)
}

type Row = (Vec<String>, Vec<f64>);

fn one(binary: &Path, order: &Order) -> Result<Vec<Row>, String> {
    let name = binary.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or("an agent needs a path")?;
    let picture = Picture::start(binary, None)?;
    prepare(&picture)?;
    let mut rows = Vec::new();
    for work in WORK {
        for role in [Role::Leader, Role::Client] {
            let agent = picture.one(role);
            let result = run(&picture, agent, work.ask, order)?;
            eprintln!("{name}: {} on the {}: {:.0} us", work.name, role.name(), result[0]);
            let labels = vec![work.name.into(), role.name().into(), name.clone()];
            rows.push((labels, result));
        }
    }
    Ok(rows)
}

/// Registers the service on the client and waits until it is seen.
fn prepare(picture: &Picture) -> Result<(), String> {
    let mut http = Http::new(picture.one(Role::Client).http());
    for number in 0..INSTANCES {
        let port = 18080 + number;
        let body = format!(r#"{{"Name":"web","ID":"web{number}","Port":{port},"Tags":["v1"]}}"#);
        http.put("/v1/agent/service/register", body.as_bytes())?;
    }
    for number in 0..KEYS {
        http.put(&format!("/v1/kv/bench/{number}"), &VALUE)?;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let list = http.get("/v1/health/service/web?passing")?;
        let list: serde_json::Value =
            serde_json::from_slice(&list).map_err(|error| error.to_string())?;
        match list.as_array().map_or(0, Vec::len) {
            INSTANCES => return Ok(()),
            seen if Instant::now() > deadline => return Err(format!("{seen} instances seen")),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Asks with every connection at once; answers the row's numbers.
fn run(picture: &Picture, agent: &Agent, ask: Ask, order: &Order) -> Result<Vec<f64>, String> {
    let cpu = || -> u64 { picture.agents.iter().map(|agent| cpu_ns(agent.pid())).sum() };
    let stop = AtomicBool::new(false);
    let (start, before) = (Instant::now(), cpu());
    let mut spans: Vec<u64> = Vec::new();
    let mut failed = 0;
    std::thread::scope(|scope| {
        let stop = &stop;
        let first = |at: usize| at * KEYS / order.connections;
        let threads: Vec<_> = (0..order.connections)
            .map(|at| scope.spawn(move || worker(agent, ask, first(at), stop)))
            .collect();
        std::thread::sleep(order.span(3));
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            let (some, bad) = thread.join().unwrap_or((Vec::new(), 1));
            spans.extend(some);
            failed += bad;
        }
    });
    let (seconds, used) = (start.elapsed().as_secs_f64(), cpu() - before);
    spans.sort_unstable();
    let at = |share: f64| -> f64 {
        let place = (spans.len() as f64 * share) as usize;
        spans.get(place.min(spans.len().saturating_sub(1))).map_or(f64::NAN, |us| *us as f64 / 1e3)
    };
    let count = spans.len().max(1) as f64;
    let failed = failed as f64;
    Ok(vec![used as f64 / 1e3 / count, spans.len() as f64 / seconds, at(0.5), at(0.99), failed])
}

/// One connection's work: how long each answer took, in microseconds, and how many failed.
fn worker(agent: &Agent, ask: Ask, first: usize, stop: &AtomicBool) -> (Vec<u64>, usize) {
    let mut http = Http::new(agent.http());
    let Ok(mut dns) = Dns::new(agent.dns()) else { return (Vec::new(), 1) };
    let (mut spans, mut failed, mut number) = (Vec::new(), 0, first);
    while !stop.load(Ordering::Relaxed) {
        number = (number + 1) % KEYS;
        let start = Instant::now();
        let good = match ask {
            Ask::Put => http.put(&format!("/v1/kv/bench/{number}"), &VALUE).is_ok(),
            Ask::Get(options) => http.get(&format!("/v1/kv/bench/{number}{options}")).is_ok(),
            Ask::Path(path) => http.get(path).is_ok(),
            Ask::Dns(name, kind, code) => dns.ask(name, kind).is_ok_and(|(seen, _)| seen == code),
        };
        match good {
            true => spans.push(start.elapsed().as_micros() as u64),
            false => failed += 1,
        }
    }
    (spans, failed)
}
