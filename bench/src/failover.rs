//! What a loss costs: the leader is killed until a write is accepted, a client until it counts as
//! failed, a server is started with what is on its disk.

use crate::Order;
use crate::client::Http;
use crate::kv::fill;
use crate::picture::{Picture, Role};
use crate::plot::{Group, bars};
use crate::report::{Figures, Report};
use crate::stat::{best, median, worst};
use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(5);
/// How long one may take to be answered.
const PATIENCE: Duration = Duration::from_secs(60);

/// Leader killed → write accepted through another server.
///
/// # Errors
///
/// If servers do not come back.
pub(crate) fn failover(order: &Order) -> Result<Report, String> {
    each(order, "failover", "leader killed, write accepted", &|binary, rounds| {
        let mut picture = Picture::start(binary, None)?;
        repeat(rounds, || {
            let at = picture.place(Role::Leader);
            let others: Vec<SocketAddr> = picture
                .agents
                .iter()
                .filter(|agent| agent.role == Role::Follower)
                .map(|agent| agent.http())
                .collect();
            picture.kill(at);
            let span = accepted(&others)?;
            picture.restart(at)?;
            picture.settle()?;
            // All three must be able to lead again: what was missed is caught up.
            sleep(Duration::from_secs(2));
            Ok(span)
        })
    })
}

/// Writes through every server at once until one accepts.
fn accepted(servers: &[SocketAddr]) -> Result<Duration, String> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let (done, first) = std::sync::mpsc::channel();
        for server in servers {
            let done = done.clone();
            scope.spawn(move || {
                while start.elapsed() < PATIENCE {
                    let mut http = Http::new(*server).within(PATIENCE);
                    if http.put("/v1/kv/bench/failover", b"1").is_ok() {
                        // Only the first is asked for.
                        let _ = done.send(start.elapsed());
                        return;
                    }
                    sleep(PAUSE);
                }
            });
        }
        drop(done);
        first.recv().map_err(|_| format!("no write accepted within {PATIENCE:?}"))
    })
}

/// Client killed → failed in the members of a server.
///
/// # Errors
///
/// If it never is, or does not come back.
pub(crate) fn detect(order: &Order) -> Result<Report, String> {
    each(order, "detect", "client killed, failed in members", &|binary, rounds| {
        let mut picture = Picture::start(binary, None)?;
        repeat(rounds, || {
            let at = picture.place(Role::Client);
            let mut http = Http::new(picture.one(Role::Leader).http());
            picture.kill(at);
            let span = until(|| {
                let members = http.get("/v1/agent/members").ok()?;
                let members: serde_json::Value = serde_json::from_slice(&members).ok()?;
                let failed = |member: &serde_json::Value| {
                    member["Name"] == "client1" && member["Status"] == 4
                };
                members.as_array()?.iter().any(failed).then_some(())
            })?;
            picture.restart(at)?;
            picture.settle()?;
            Ok(span)
        })
    })
}

/// A lone server with 1,000,000 keys is started again: until its first answer, and until it leads.
///
/// # Errors
///
/// If it does not come back.
pub(crate) fn start(order: &Order) -> Result<Report, String> {
    let keys = order.sizes(&[1_000_000]).into_iter().max().unwrap_or(0);
    let what = format!("server with {keys} keys started, key answered (stale)");
    each(order, "start", &what, &|binary, rounds| {
        let mut picture = Picture::start_with(binary, None, 1)?;
        eprintln!("  writing {keys} keys");
        fill(&picture, keys)?;
        repeat(rounds, || {
            let at = picture.place(Role::Leader);
            picture.stop(at)?;
            picture.restart(at)?;
            let mut http = Http::new(picture.agents[at].http());
            let path = format!("/v1/kv/bench/{}?stale", keys.saturating_sub(1));
            let span = until(|| http.get(&path).ok().map(|_| ()))?;
            picture.settle()?;
            Ok(span)
        })
    })
}

/// Asks until there is an answer; tells how long that took.
fn until(mut probe: impl FnMut() -> Option<()>) -> Result<Duration, String> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if probe().is_some() {
            return Ok(start.elapsed());
        }
        sleep(PAUSE);
    }
    Err(format!("not within {PATIENCE:?}"))
}

/// Repeats a loss; answers milliseconds.
fn repeat(
    rounds: usize,
    mut once: impl FnMut() -> Result<Duration, String>,
) -> Result<Vec<f64>, String> {
    let mut spans = Vec::new();
    for round in 1..=rounds {
        let span = once()?.as_secs_f64() * 1e3;
        eprintln!("  {round} of {rounds}: {span:.0} ms");
        spans.push(span);
    }
    Ok(spans)
}

/// Loses something of an agent's picture so many times; answers milliseconds.
type Losing<'a> = dyn Fn(&Path, usize) -> Result<Vec<f64>, String> + 'a;

/// Measures milliseconds of one kind with every agent of the order.
fn each(order: &Order, verb: &'static str, what: &str, one: &Losing<'_>) -> Result<Report, String> {
    let numbers = ["median ms", "best ms", "worst ms", "rounds"];
    let mut figures = Figures::new(&["event", "agent"], &numbers);
    let mut group = Group { name: what.into(), bars: Vec::new() };
    for binary in &order.agents {
        let name = order.name(binary);
        eprintln!("{verb}: {name}");
        let mut spans = one(binary, order.rounds.max(3) as usize)?;
        let middle = median(&mut spans);
        group.bars.push((name.clone(), middle));
        let numbers = vec![middle, best(&spans), worst(&spans), spans.len() as f64];
        figures.push(vec![what.into(), name], numbers);
    }
    let plot = bars(&format!("{verb}: median"), "ms", &[group]);
    Ok(Report::plotted(verb, figures, vec![(verb.into(), plot)]))
}
