//! The engine of the verbs that ask as fast as it goes: CPU time per request, summed over all
//! agents, beside the machine's floor.
//!
//! A verb is a list of [`Work`]. Rounds interleave the agents, and of every row the round with the
//! least CPU time counts: a machine that others use adds to it and never takes away.

use crate::Order;
use crate::client::{question, request};
use crate::fleet::{Fleet, Taken};
use crate::floor::Floor;
use crate::picture::{Agent, Picture, Role};
use crate::plot::{Group, bars};
use crate::report::{Figures, Report};
use crate::stat::quantile;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time for which a row runs before it counts.
const WARM: Duration = Duration::from_millis(400);
/// How long the last answers of a row may take.
const DRAIN: Duration = Duration::from_secs(10);
/// How the machine's own rows are named.
pub(crate) const MACHINE: &str = "machine";

/// One kind of request, asked of some roles over some numbers of connections.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) ask: Ask,
    pub(crate) roles: &'static [Role],
    pub(crate) connections: Vec<usize>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Writes a key of so many, with a value of 64 bytes.
    Put(usize),
    /// Reads a key of so many, with this behind the path.
    Get(usize, &'static str),
    /// A path.
    Path(String),
    /// A name, a record type, and the response code that is right.
    Dns(String, u16, u8),
    /// Registers a service of so many, each time on another port.
    Register(usize),
}

/// Bytes of a value.
const VALUE: [u8; 64] = [b'v'; 64];

impl Ask {
    /// Writes the request of a running number.
    fn emit(&self, number: usize) -> Vec<u8> {
        match self {
            Self::Put(keys) => request("PUT", &format!("/v1/kv/bench/{}", number % keys), &VALUE),
            Self::Get(keys, rest) => {
                request("GET", &format!("/v1/kv/bench/{}{rest}", number % keys), b"")
            }
            Self::Path(path) => request("GET", path, b""),
            Self::Dns(name, kind, _) => question(number as u16, name, *kind),
            Self::Register(services) => {
                let (id, port) = (number % services, 1 + number % 65_535);
                let body = format!(r#"{{"Name":"reg","ID":"reg{id}","Port":{port}}}"#);
                request("PUT", "/v1/agent/service/register", body.as_bytes())
            }
        }
    }

    fn is_right(&self, status: u16) -> bool {
        match self {
            Self::Put(_) | Self::Get(..) | Self::Path(_) | Self::Register(_) => status == 200,
            Self::Dns(_, _, code) => status == u16::from(*code),
        }
    }
}

/// A row: its labels and its numbers, the first of which is CPU time.
type Row = (Vec<String>, Vec<f64>);

/// Measures every agent of the order, and the machine.
///
/// # Errors
///
/// If a picture does not come up or requests fail.
pub(crate) fn measure(
    order: &Order,
    verb: &'static str,
    works: &[Work],
    prepare: &dyn Fn(&Picture) -> Result<(), String>,
) -> Result<Report, String> {
    let mut best: Vec<Row> = Vec::new();
    let mut keep = |row: Row| match best.iter_mut().find(|(labels, _)| *labels == row.0) {
        Some((_, known)) if row.1[0] < known[0] => *known = row.1,
        Some(_) => {}
        None => best.push(row),
    };
    for round in 1..=order.rounds {
        for binary in &order.agents {
            let name = order.name(binary);
            eprintln!("{verb}, round {round} of {}: {name}", order.rounds);
            one(binary, &name, order, works, prepare)?.into_iter().for_each(&mut keep);
        }
        eprintln!("{verb}, round {round} of {}: {MACHINE}", order.rounds);
        floor(order, works)?.into_iter().for_each(&mut keep);
    }
    Ok(report(order, verb, works, best))
}

fn one(
    binary: &Path,
    name: &str,
    order: &Order,
    works: &[Work],
    prepare: &dyn Fn(&Picture) -> Result<(), String>,
) -> Result<Vec<Row>, String> {
    let picture = Picture::start_with(binary, None, order.servers)?;
    prepare(&picture)?;
    let mut rows = Vec::new();
    for work in works {
        for role in work.roles {
            for connections in order.connections_of(work) {
                let agent = picture.one(*role);
                let cpu = || picture.cpu_ns();
                let numbers = run(agent.into(), &work.ask, connections, order.span(3), &cpu)?;
                eprintln!(
                    "  {} x{connections} at {}: {:.1} us",
                    work.name,
                    role.name(),
                    numbers[0]
                );
                rows.push((labels(work, role.name(), connections, name), numbers));
            }
        }
    }
    Ok(rows)
}

/// The same connections to a server that does nothing.
fn floor(order: &Order, works: &[Work]) -> Result<Vec<Row>, String> {
    let floor = Floor::start()?;
    let mut rows: Vec<Row> = Vec::new();
    for work in works {
        let (name, ask) = match &work.ask {
            Ask::Dns(name, kind, _) => ("UDP echo", Ask::Dns(name.clone(), *kind, 0)),
            Ask::Path(_) | Ask::Get(..) => ("empty hyper server", Ask::Path("/".into())),
            Ask::Put(_) | Ask::Register(_) => ("empty hyper server, PUT", Ask::Put(1000)),
        };
        for connections in order.connections_of(work) {
            let work = Work { name: name.into(), ..work.clone() };
            let labels = labels(&work, MACHINE, connections, MACHINE);
            if rows.iter().any(|(known, _)| *known == labels) {
                continue;
            }
            let cpu = || floor.cpu_ns();
            rows.push((labels, run(floor.place(), &ask, connections, order.span(3), &cpu)?));
        }
    }
    Ok(rows)
}

fn labels(work: &Work, asked: &str, connections: usize, agent: &str) -> Vec<String> {
    vec![work.name.clone(), asked.into(), connections.to_string(), agent.into()]
}

/// Where an agent is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) http: SocketAddr,
    pub(crate) dns: SocketAddr,
}

impl From<&Agent> for Place {
    fn from(agent: &Agent) -> Place {
        Place { http: agent.http(), dns: agent.dns() }
    }
}

/// Asks over every connection, each time the one before is answered; answers the row's numbers.
fn run(
    place: Place,
    ask: &Ask,
    connections: usize,
    span: Duration,
    cpu: &dyn Fn() -> u64,
) -> Result<Vec<f64>, String> {
    let mut fleet = match ask {
        Ask::Dns(..) => Fleet::dns(place.dns, connections)?,
        Ask::Put(_) | Ask::Get(..) | Ask::Path(_) | Ask::Register(_) => {
            Fleet::http(place.http, connections)?
        }
    };
    let mut number = 0;
    let warm = drive(&mut fleet, ask, WARM, &mut number)?;
    if warm.spans.is_empty() {
        return Err(format!("{ask:?} is not answered: {}", warm.trouble));
    }
    let (start, before) = (Instant::now(), cpu());
    let mut seen = drive(&mut fleet, ask, span, &mut number)?;
    let (seconds, used) = (start.elapsed().as_secs_f64(), cpu() - before);
    if seen.failed > 0 {
        eprintln!("  {} failed: {}", seen.failed, seen.trouble);
    }
    let count = seen.spans.len().max(1) as f64;
    let at = [quantile(&mut seen.spans, 0.5), quantile(&mut seen.spans, 0.99)];
    Ok(vec![used as f64 / 1e3 / count, count / seconds, at[0], at[1], seen.failed as f64])
}

/// What came of asking.
#[derive(Default)]
struct Seen {
    /// How long each right answer took, in milliseconds.
    spans: Vec<f64>,
    failed: usize,
    /// What was wrong with the last that failed.
    trouble: String,
}

fn drive(fleet: &mut Fleet, ask: &Ask, span: Duration, number: &mut usize) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut sent = vec![None; fleet.len()];
    for (line, sent) in sent.iter_mut().enumerate() {
        *number += 1;
        fleet.send(line, &ask.emit(*number))?;
        *sent = Some(Instant::now());
    }
    let (end, mut open) = (Instant::now() + span, fleet.len());
    let mut taken: Vec<Taken> = Vec::new();
    while open > 0 && Instant::now() < end + DRAIN {
        fleet.wait(Duration::from_millis(50), &mut taken)?;
        for Taken { line, answer, at } in taken.drain(..) {
            let Some(since) = sent[line].take() else { continue };
            match ask.is_right(answer.status) {
                true => seen.spans.push((at - since).as_secs_f64() * 1e3),
                false => {
                    seen.failed += 1;
                    let body = String::from_utf8_lossy(&answer.body);
                    seen.trouble = format!("{} {}", answer.status, body.trim());
                }
            }
            if at >= end {
                open -= 1;
                continue;
            }
            *number += 1;
            fleet.send(line, &ask.emit(*number))?;
            sent[line] = Some(Instant::now());
        }
    }
    seen.failed += open;
    Ok(seen)
}

fn report(order: &Order, verb: &'static str, works: &[Work], mut rows: Vec<Row>) -> Report {
    let numbers = ["CPU us/request", "requests/s", "p50 ms", "p99 ms", "failed", "CPU ratio"];
    let columns = ["request", "asked", "connections", "agent"];
    let mut figures = Figures::new(&columns, &numbers);
    rows.sort_by_key(|(labels, _)| {
        let place = works.iter().position(|work| work.name == labels[0]);
        let connections = labels[2].parse::<usize>().unwrap_or(0);
        (place.unwrap_or(works.len()), labels[1].clone(), connections)
    });
    let peer = order.peer();
    let mut groups: Vec<Group> = Vec::new();
    for (labels, mut numbers) in rows.clone() {
        let same = |row: &&Row| row.0[..3] == labels[..3] && Some(&row.0[3]) == peer.as_ref();
        let beside = rows.iter().find(same).map_or(f64::NAN, |(_, numbers)| numbers[0]);
        let group = format!("{}, {} x{}", labels[0], labels[1], labels[2]);
        let bar = (labels[3].clone(), numbers[0]);
        match groups.iter_mut().find(|known| known.name == group) {
            Some(known) => known.bars.push(bar),
            None => groups.push(Group { name: group, bars: vec![bar] }),
        }
        numbers.push(numbers[0] / beside);
        figures.push(labels, numbers);
    }
    let plot = bars(&format!("{verb}: CPU time per request, all agents"), "µs", &groups);
    Report { verb, figures, plots: vec![(format!("{verb}-cpu"), plot)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_differ_by_their_number() {
        let text = |ask: &Ask, number| String::from_utf8_lossy(&ask.emit(number)).into_owned();
        assert!(text(&Ask::Put(10), 13).starts_with("PUT /v1/kv/bench/3 HTTP/1.1\r\n"));
        assert!(text(&Ask::Get(10, "?stale"), 4).starts_with("GET /v1/kv/bench/4?stale "));
        let (first, second) = (text(&Ask::Register(5), 1), text(&Ask::Register(5), 6));
        assert!(first.contains("\"reg1\"") && second.contains("\"reg1\"") && first != second);
    }

    #[test]
    fn a_dns_code_is_right_only_when_expected() {
        assert!(Ask::Dns("x".into(), 1, 3).is_right(3));
        assert!(!Ask::Dns("x".into(), 1, 0).is_right(3));
        assert!(!Ask::Path("/".into()).is_right(404));
    }
}
