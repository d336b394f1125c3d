//! Parked blocking queries: how soon a change wakes them, and what they hold meanwhile.

use crate::Order;
use crate::client::{Http, request};
use crate::fleet::{Fleet, Taken};
use crate::floor::{self, Floor};
use crate::health::serve;
use crate::picture::{Picture, Role};
use crate::plot::{Series, lines};
use crate::process::Sample;
use crate::report::{Figures, Report};
use crate::stat::{best, median, quantile};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Numbers of watchers, unless told.
const WATCHERS: &[usize] = &[1, 100, 1000, 5000];
/// Changes that are made for each number of watchers.
const CHANGES: usize = 3;
/// How long all may take to wake.
const WAKE: Duration = Duration::from_secs(120);
/// CPU time per second, in nanoseconds, below which agents count as having parked everybody.
const QUIET_NS: u64 = 60_000_000;
/// How long that may take.
const PARK: Duration = Duration::from_secs(60);

/// What is watched.
#[derive(Clone, Copy)]
enum Subject {
    Prefix,
    Health,
}

impl Subject {
    const ALL: [Subject; 2] = [Subject::Prefix, Subject::Health];

    fn name(self) -> &'static str {
        match self {
            Self::Prefix => "KV prefix",
            Self::Health => "health, 10 instances",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Prefix => "/v1/kv/watched/?recurse",
            Self::Health => "/v1/health/service/web10?x",
        }
    }

    /// Changes what is watched.
    fn change(self, http: &mut Http, number: usize) -> Result<(), String> {
        match self {
            Self::Prefix => http.put("/v1/kv/watched/key", number.to_string().as_bytes()),
            Self::Health => {
                let body = format!(
                    r#"{{"Node":"host0","Address":"10.1.0.0","Service":{{"Service":"web10",
                    "ID":"web10-0","Port":{},"Tags":["v1"]}}}}"#,
                    1 + number
                );
                http.put("/v1/catalog/register", body.as_bytes())
            }
        }
        .map(|_| ())
    }
}

/// Measures every agent of the order.
///
/// # Errors
///
/// If a picture does not come up, or watchers do not wake.
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let labels = ["watched", "asked", "watchers", "agent"];
    let numbers = ["p50 ms", "last ms", "KiB/watcher asked", "KiB/watcher all", "woken"];
    let mut figures = Figures::new(&labels, &numbers);
    let mut rows: Vec<(Vec<String>, Vec<f64>)> = Vec::new();
    for binary in &order.agents {
        let name = order.name(binary);
        for subject in Subject::ALL {
            for role in [Role::Leader, Role::Client] {
                eprintln!("watch: {name}, {} at {}", subject.name(), role.name());
                rows.extend(one(binary, &name, subject, role, &order.sizes(WATCHERS))?);
            }
        }
    }
    eprintln!("watch: machine");
    rows.extend(machine(&order.sizes(WATCHERS))?);
    let mut plots = Vec::new();
    for (at, what) in [(1, "last"), (2, "memory")] {
        let mut series: Vec<Series> = Vec::new();
        for (labels, numbers) in &rows {
            let name = format!("{}: {} at {}", labels[3], labels[0], labels[1]);
            let point = (labels[2].parse().unwrap_or(f64::NAN), numbers[at]);
            match series.iter_mut().find(|known| known.name == name) {
                Some(known) => known.points.push(point),
                None => series.push(Series { name, points: vec![point] }),
            }
        }
        let (title, axis) = match at {
            1 => ("watch: from a write to the last wake-up", "ms"),
            _ => ("watch: private memory of the asked agent", "KiB per watcher"),
        };
        plots.push((format!("watch-{what}"), lines(title, ("watchers", axis), &series)));
    }
    rows.sort_by_key(|(labels, _)| {
        (labels[0].clone(), labels[1].clone(), labels[2].parse::<usize>().unwrap_or(0))
    });
    rows.into_iter().for_each(|(labels, numbers)| figures.push(labels, numbers));
    Ok(Report::plotted("watch", figures, plots))
}

type Row = (Vec<String>, Vec<f64>);

fn one(
    binary: &Path,
    name: &str,
    subject: Subject,
    role: Role,
    sizes: &[usize],
) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for watchers in sizes {
        // A fresh picture for each: memory that was held once is not given back by all agents.
        let picture = Picture::start(binary, None)?;
        serve(&picture, 10)?;
        let mut writer = Http::new(picture.one(Role::Follower).http());
        subject.change(&mut writer, 0)?;
        let numbers = park(&picture, subject, role, *watchers, &mut writer)?;
        eprintln!("  {watchers}: p50 {:.1} ms, last {:.1} ms", numbers[0], numbers[1]);
        let labels = [subject.name(), role.name(), &watchers.to_string(), name];
        rows.push((labels.map(str::to_string).to_vec(), numbers));
    }
    Ok(rows)
}

fn park(
    picture: &Picture,
    subject: Subject,
    role: Role,
    watchers: usize,
    writer: &mut Http,
) -> Result<Vec<f64>, String> {
    let asked = picture.one(role);
    let memory = || -> (f64, f64) {
        let all: Vec<u64> =
            picture.agents.iter().map(|agent| Sample::of(agent.pid()).anon_kib).collect();
        (Sample::of(asked.pid()).anon_kib as f64, all.iter().sum::<u64>() as f64)
    };
    let cpu = || picture.cpu_ns();
    quiet(&cpu);
    let before = memory();
    let mut fleet = Fleet::http(asked.http(), watchers)?;
    let mut index = Vec::new();
    let all: Vec<usize> = (0..watchers).collect();
    // Everybody asks once without waiting, for the index.
    for batch in all.chunks(200) {
        for line in batch {
            fleet.send(*line, &request("GET", subject.path(), b""))?;
        }
        collect(&mut fleet, batch.len(), &mut index)?;
    }
    let mut known = vec![0; watchers];
    index.iter().for_each(|taken| known[taken.line] = taken.answer.index.unwrap_or(0));
    let (mut wakes, mut held) = (Wakes::default(), (f64::NAN, f64::NAN));
    for change in 1..=CHANGES {
        for (line, index) in known.iter().enumerate() {
            let path = format!("{}&index={index}&wait=9m", subject.path());
            fleet.send(line, &request("GET", &path, b""))?;
        }
        quiet(&cpu);
        if change == 1 {
            held = memory();
        }
        let start = Instant::now();
        subject.change(writer, change)?;
        let woken = wakes.collect(&mut fleet, start)?;
        woken.iter().for_each(|taken| known[taken.line] = taken.answer.index.unwrap_or(0));
    }
    let per = |held: f64, before: f64| (held - before) / watchers as f64;
    let memory = [per(held.0, before.0), per(held.1, before.1)];
    let (p50, last) = wakes.best();
    Ok(vec![p50, last, memory[0], memory[1], watchers as f64])
}

/// How soon a server answers that has nothing else to do: what the kernel and this program take.
fn machine(sizes: &[usize]) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for watchers in sizes {
        let floor = Floor::start()?;
        let mut fleet = Fleet::http(floor.place().http, *watchers)?;
        let mut bell = Http::new(floor.place().http);
        let mut wakes = Wakes::default();
        for _ in 0..CHANGES {
            for line in 0..*watchers {
                fleet.send(line, &request("GET", floor::PARK, b""))?;
            }
            quiet(&|| floor.cpu_ns());
            let start = Instant::now();
            bell.get(floor::RING)?;
            wakes.collect(&mut fleet, start)?;
        }
        let (p50, last) = wakes.best();
        eprintln!("  {watchers}: p50 {p50:.1} ms, last {last:.1} ms");
        let labels = ["empty hyper server", "machine", &watchers.to_string(), "machine"];
        let numbers = vec![p50, last, f64::NAN, f64::NAN, *watchers as f64];
        rows.push((labels.map(str::to_string).to_vec(), numbers));
    }
    Ok(rows)
}

/// Milliseconds from changes to the answers, of each change the median and the last.
#[derive(Default)]
struct Wakes {
    p50: Vec<f64>,
    last: Vec<f64>,
}

impl Wakes {
    /// Takes an answer on every connection, to a change made at `start`.
    fn collect(&mut self, fleet: &mut Fleet, start: Instant) -> Result<Vec<Taken>, String> {
        let mut woken = Vec::new();
        collect(fleet, fleet.len(), &mut woken)?;
        let spans = woken.iter().map(|taken| (taken.at - start).as_secs_f64() * 1e3);
        let mut spans: Vec<f64> = spans.collect();
        self.p50.push(median(&mut spans));
        self.last.push(quantile(&mut spans, 1.0));
        Ok(woken)
    }

    fn best(&self) -> (f64, f64) {
        (best(&self.p50), best(&self.last))
    }
}

/// Waits for so many answers, each a 200.
fn collect(fleet: &mut Fleet, count: usize, taken: &mut Vec<Taken>) -> Result<(), String> {
    let deadline = Instant::now() + WAKE;
    while taken.len() < count {
        fleet.wait(Duration::from_millis(100), taken)?;
        if Instant::now() > deadline {
            return Err(format!("{} of {count} answered", taken.len()));
        }
    }
    match taken.iter().find(|taken| taken.answer.status != 200) {
        Some(bad) => Err(format!("{} for a watcher", bad.answer.status)),
        None => Ok(()),
    }
}

/// Waits until the agents do next to nothing, so that all who were to park have.
fn quiet(cpu_ns: &dyn Fn() -> u64) {
    let (step, deadline) = (Duration::from_millis(500), Instant::now() + PARK);
    let mut before = cpu_ns();
    while Instant::now() < deadline {
        sleep(step);
        let now = cpu_ns();
        if now - before < QUIET_NS / 2 {
            return;
        }
        before = now;
    }
}
