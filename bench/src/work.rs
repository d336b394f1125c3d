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
use crate::plot::{Group, Series, bars, lines};
use crate::report::{Figures, Report};
use crate::stat::quantile;
use std::net::SocketAddr;
use std::path::PathBuf;
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
    pub(crate) name: &'static str,
    /// How much there is of what is asked for, and its name: what that costs is drawn.
    pub(crate) size: Option<(usize, &'static str)>,
    pub(crate) ask: Ask,
    pub(crate) roles: &'static [Role],
    pub(crate) connections: Vec<usize>,
}

impl Work {
    /// How its rows are named.
    fn title(&self) -> String {
        match self.size {
            Some((size, unit)) => format!("{}, {size} {unit}", self.name),
            None => self.name.to_owned(),
        }
    }
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
    /// Asks etcd's gateway: a method, and the body for one of so many keys.
    Etcd(&'static str, fn(usize) -> String, usize),
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
            Self::Etcd(method, body, keys) => {
                request("POST", &format!("/v3/kv/{method}"), body(number % keys).as_bytes())
            }
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
            Self::Dns(_, _, code) => status == u16::from(*code),
            _ => status == 200,
        }
    }
}

/// A row: its labels and its numbers, the first of which is CPU time.
type Row = (Vec<String>, Vec<f64>);

/// Makes a picture ready for work of a size; work of smaller ones was done before.
pub(crate) type Prepare<'a> = &'a dyn Fn(&Picture, usize) -> Result<(), String>;

/// Who is measured.
pub(crate) struct Subject<'a> {
    pub(crate) name: String,
    /// What it does, smaller sizes first; rows of one name stand together.
    pub(crate) works: Vec<Work>,
    /// Starts so many servers.
    pub(crate) start: Box<dyn Fn(usize) -> Result<Picture, String> + 'a>,
    pub(crate) prepare: Prepare<'a>,
}

/// Measures every agent of the order, and the machine.
///
/// # Errors
///
/// If a picture does not come up or requests fail.
pub(crate) fn measure(
    order: &Order,
    verb: &'static str,
    works: &[Work],
    prepare: Prepare<'_>,
) -> Result<Report, String> {
    measure_all(order, verb, works, agents(order, works, prepare))
}

/// The agents of the order, at this work.
pub(crate) fn agents<'a>(
    order: &'a Order,
    works: &[Work],
    prepare: Prepare<'a>,
) -> Vec<Subject<'a>> {
    let subject = |binary: &'a PathBuf| Subject {
        name: order.name(binary),
        works: works.to_vec(),
        start: Box::new(move |servers| Picture::start_with(binary, None, servers)),
        prepare,
    };
    order.agents.iter().map(subject).collect()
}

/// Measures these, interleaved, and the machine at `works`.
///
/// # Errors
///
/// As [`measure`].
pub(crate) fn measure_all(
    order: &Order,
    verb: &'static str,
    works: &[Work],
    subjects: Vec<Subject<'_>>,
) -> Result<Report, String> {
    let mut best: Vec<Row> = Vec::new();
    let mut keep = |row: Row| match best.iter_mut().find(|(labels, _)| *labels == row.0) {
        Some((_, known)) if row.1[0] < known[0] => *known = row.1,
        Some(_) => {}
        None => best.push(row),
    };
    for round in 1..=order.rounds {
        for servers in &order.servers {
            for subject in &subjects {
                let name = &subject.name;
                eprintln!("{verb}, round {round} of {}: {servers} of {name}", order.rounds);
                one(subject, *servers, order)?.into_iter().for_each(&mut keep);
            }
        }
        eprintln!("{verb}, round {round} of {}: {MACHINE}", order.rounds);
        floor(order, works)?.into_iter().for_each(&mut keep);
    }
    Ok(report(order, verb, works, best))
}

fn one(subject: &Subject<'_>, servers: usize, order: &Order) -> Result<Vec<Row>, String> {
    let picture = (subject.start)(servers)?;
    let (mut rows, mut ready) = (Vec::new(), 0);
    for work in &subject.works {
        if let Some((size, _)) = work.size.filter(|(size, _)| *size > ready) {
            (subject.prepare)(&picture, size)?;
            ready = size;
        }
        for role in work.roles {
            for connections in order.connections_of(work) {
                let agent = picture.one(*role);
                let cpu = || picture.cpu_ns();
                let numbers = run(agent.into(), &work.ask, connections, order.span(3), &cpu)?;
                let (title, asked) = (work.title(), role.name());
                eprintln!("  {title} x{connections} at {asked}: {:.1} us", numbers[0]);
                let connections = connections.to_string();
                let labels = [&title, asked, &connections, &servers.to_string(), &subject.name];
                rows.push((labels.map(str::to_owned).to_vec(), numbers));
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
            _ => ("empty hyper server, PUT", Ask::Put(1000)),
        };
        for connections in order.connections_of(work) {
            let labels = [name, MACHINE, &connections.to_string(), "-", MACHINE];
            let labels = labels.map(str::to_owned).to_vec();
            if rows.iter().any(|(known, _)| *known == labels) {
                continue;
            }
            let cpu = || floor.cpu_ns();
            rows.push((labels, run(floor.place(), &ask, connections, order.span(3), &cpu)?));
        }
    }
    Ok(rows)
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
        _ => Fleet::http(place.http, connections)?,
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
    let columns = ["request", "asked", "connections", "servers", "agent"];
    let mut figures = Figures::new(&columns, &numbers);
    rows.sort_by_key(|(labels, _)| {
        let place = works.iter().position(|work| work.title() == labels[0]);
        let number = |at: usize| labels[at].parse::<usize>().unwrap_or(0);
        (place.unwrap_or(works.len()), labels[1].clone(), number(2), number(3))
    });
    let peer = order.peer();
    let mut groups: Vec<Group> = Vec::new();
    for (labels, mut numbers) in rows.clone() {
        let same = |row: &&Row| row.0[..4] == labels[..4] && Some(&row.0[4]) == peer.as_ref();
        let beside = rows.iter().find(same).map_or(f64::NAN, |(_, numbers)| numbers[0]);
        let mut group = format!("{}, {} x{}", labels[0], labels[1], labels[2]);
        if order.servers.len() > 1 {
            group += &format!(", {} servers", labels[3]);
        }
        let bar = (labels[4].clone(), numbers[0]);
        match groups.iter_mut().find(|known| known.name == group) {
            Some(known) => known.bars.push(bar),
            None => groups.push(Group { name: group, bars: vec![bar] }),
        }
        numbers.push(numbers[0] / beside);
        figures.push(labels, numbers);
    }
    let plot = bars(&format!("{verb}: CPU time per request, all agents"), "µs", &groups);
    let mut plots = vec![(format!("{verb}-cpu"), plot)];
    plots.extend(growth(verb, works, &rows));
    Report::plotted(verb, figures, plots)
}

/// Draws what each kind of request costs over its sizes, if there are several: a line for every
/// agent and number of servers.
fn growth(verb: &str, works: &[Work], rows: &[Row]) -> Vec<(String, String)> {
    let mut drawings: Vec<(String, &str, Vec<Series>)> = Vec::new();
    for (labels, numbers) in rows {
        let Some(work) = works.iter().find(|work| work.title() == labels[0]) else { continue };
        let Some((size, unit)) = work.size else { continue };
        let title = format!("{}, {} x{}", work.name, labels[1], labels[2]);
        let name = format!("{}, {} servers", labels[4], labels[3]);
        let at = drawings.iter().position(|(known, ..)| *known == title);
        let at = at.unwrap_or_else(|| {
            drawings.push((title, unit, Vec::new()));
            drawings.len() - 1
        });
        let (lines, point) = (&mut drawings[at].2, (size as f64, numbers[0]));
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Series { name, points: vec![point] }),
        }
    }
    drawings.retain(|(_, _, lines)| lines.iter().any(|line| line.points.len() > 1));
    let draw = |(title, unit, series): (String, &str, Vec<Series>)| {
        let file = format!("{verb}-growth-{title}").to_lowercase();
        let file = file.replace(|c: char| !c.is_ascii_alphanumeric(), "-").replace("--", "-");
        let title = format!("{title}: CPU time per request, all agents");
        (file, lines(&title, (unit, "µs"), &series))
    };
    drawings.into_iter().map(draw).collect()
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
