//! A pool of thousands: `pool` runs devices in this process, `clients` runs client agents, each
//! against three servers of the measured binary.

use crate::Order;
use crate::lab::Space;
use crate::picture::{Picture, Role};
use crate::pool_clients::{Breed, Clients};
use crate::pool_crowd::{Crowd, Progress};
use crate::pool_yard::DEVICE_BYTES;
use crate::process::{Sample, cpu_ns};
use crate::report::{Figures, Report};
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Devices, unless told.
const DEVICES: usize = 10_000;
/// Client processes, unless told.
const CLIENTS: usize = 100;
/// How long the pool has to be whole.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long failures may take to be seen.
const FAILURE_PATIENCE: Duration = Duration::from_secs(180);
/// Within this the devices are started.
const START: Duration = Duration::from_secs(10);
/// Client processes that are started in a second: with many more, starts are what is measured.
const STARTS_PER_SEC: usize = 50;
/// Pause between two looks at all members.
const LOOK: Duration = Duration::from_millis(500);
/// Time before memory is read, unless told.
const SETTLE_SECS: u64 = 20;
/// How long CPU time is counted, unless told.
const SPAN_SECS: u64 = 30;
/// Members whose power is cut at once.
const CUT: usize = 10;

/// Measures devices; agents that do not speak to them are passed over with a word. Failures that
/// are not all seen in time are missed.
///
/// # Errors
///
/// If the servers do not start, or the pool is not whole in time.
pub(crate) fn devices(order: &Order) -> Result<Report, String> {
    let columns = [
        "devices",
        "all seen s",
        "registered s",
        "server MB",
        "KB/member",
        "KB/connection",
        "server CPU %",
        "device CPU us/s",
        "device bytes",
        "failures seen s",
        "device late ms",
    ];
    let mut report = Report::plain("pool", Figures::new(&["agent"], &columns));
    let _space = alone();
    for binary in &order.agents {
        let name = order.name(binary);
        if name.starts_with("Consul") {
            eprintln!("bench: pool: {name} does not speak to devices; see the verb clients");
            continue;
        }
        for count in order.sizes(&[DEVICES]) {
            let (numbers, missed) = devices_of(order, binary, count)?;
            report.figures.push(vec![name.clone()], numbers);
            report.missed.extend(missed);
        }
    }
    Ok(report)
}

/// Moves to a network of its own, where that is allowed.
fn alone() -> Option<Space> {
    let space = Space::alone();
    space.inspect_err(|why| eprintln!("bench: on the machine's own loopback: {why}")).ok()
}

/// Answers the numbers, and why the last of them is missing if it is.
fn devices_of(
    order: &Order,
    binary: &Path,
    count: usize,
) -> Result<(Vec<f64>, Option<String>), String> {
    let picture = Picture::start(binary, None)?;
    let alive = |agent| Breed::Full.alive(binary, agent);
    let servers = Servers::of(&picture, &alive);
    let settle = Duration::from_secs(order.settle.unwrap_or(SETTLE_SECS));
    sleep(settle);
    let alone = servers.rss_kib();
    let [_, _, network, _] = servers.addresses[0].octets();
    let first = Ipv4Addr::new(127, 192 | (network & 63), 0, 0);
    let began = Instant::now();
    let mut crowd = Crowd::start(count, first, &servers.addresses, START)?;
    // The picture's own client is a member, too.
    let all = count + picture.agents.len();
    let seen = servers.until_alive(all, began, PATIENCE)?;
    eprintln!("pool: all {count} seen after {seen:.1?}");
    sleep(settle);
    let pooled = servers.rss_kib();
    let began = Instant::now();
    crowd.call()?;
    until((began, PATIENCE), "all devices are registered", || {
        let Progress { joined, registered, late } = crowd.progress()?;
        let text =
            format!("{joined} joined, {registered} registered of {count}, up to {late:?} late");
        Ok((registered == count).then_some(()).ok_or(text))
    })?;
    let registered = began.elapsed();
    eprintln!("  registered after {registered:.1?}");
    sleep(settle);
    let connected = servers.rss_kib();
    let span = order.span(SPAN_SECS);
    let before = (servers.cpu_ns(), crowd.cpu_ns());
    crowd.progress()?;
    sleep(span);
    let used = (servers.cpu_ns() - before.0, crowd.cpu_ns() - before.1);
    let began = Instant::now();
    let cut = CUT.min(count);
    crowd.cut(count - cut)?;
    let failed = servers.until_alive(all - cut, began, FAILURE_PATIENCE);
    let late = crowd.progress()?.late;
    let missed = failed.as_ref().err().map(|error| format!("{count} devices: {error}"));
    let failed = failed.map_or(f64::NAN, |failed| failed.as_secs_f64());
    let per = |kib: f64, base: f64, each: f64| (kib - base).max(0.0) / each;
    let shares = count as f64 / servers.addresses.len() as f64;
    let numbers = vec![
        count as f64,
        seen.as_secs_f64(),
        registered.as_secs_f64(),
        connected / 1024.0,
        per(pooled, alone, count as f64),
        per(connected, pooled, shares),
        used.0 as f64 / span.as_nanos() as f64 / servers.pids.len() as f64 * 100.0,
        used.1 as f64 / 1000.0 / span.as_secs_f64() / count as f64,
        DEVICE_BYTES as f64,
        failed,
        late.as_secs_f64() * 1000.0,
    ];
    Ok((numbers, missed))
}

/// Measures client agents, those with a partial view where the agent knows that, and Serf's agents
/// where it is on the PATH. A pool that is not whole in time is missed, and the next one begun.
///
/// # Errors
///
/// None.
pub(crate) fn clients(order: &Order) -> Result<Report, String> {
    let columns = [
        "clients",
        "all seen s",
        "by all s",
        "client RSS MB",
        "client PSS MB",
        "client CPU %",
        "server MB",
        "server CPU %",
        "failures seen s",
    ];
    let mut report = Report::plain("clients", Figures::new(&["agent", "view"], &columns));
    let _space = alone();
    for binary in &order.agents {
        let name = order.name(binary);
        let breeds: &[Breed] = if name.starts_with("Consul") {
            &[Breed::Full]
        } else {
            &[Breed::Full, Breed::Partial]
        };
        for breed in breeds {
            clients_of(order, (&name, binary), *breed, &mut report);
        }
    }
    if let Some(serf) = order.peer_on_path("serf") {
        clients_of(order, ("Serf", &serf), Breed::Serf, &mut report);
    }
    Ok(report)
}

fn clients_of(order: &Order, (name, binary): (&str, &Path), breed: Breed, report: &mut Report) {
    for count in order.sizes(&[CLIENTS]) {
        let pool = format!("{count} of {name}, {} view", breed.view());
        eprintln!("clients: {pool}");
        match so_many_clients(order, binary, count, breed) {
            Ok(numbers) => {
                eprintln!("  all seen after {} s, by all after {} s", numbers[1], numbers[2]);
                report.figures.push(vec![name.to_owned(), breed.view().to_owned()], numbers);
            }
            Err(error) => {
                eprintln!("  {error}");
                report.missed.push(format!("{pool}: {error}"));
            }
        }
    }
}

fn so_many_clients(
    order: &Order,
    binary: &Path,
    count: usize,
    breed: Breed,
) -> Result<Vec<f64>, String> {
    let picture = breed.picture(binary)?;
    let alive = move |agent| breed.alive(binary, agent);
    let servers = Servers::of(&picture, &alive);
    let began = Instant::now();
    let span = Duration::from_secs(count.div_ceil(STARTS_PER_SEC) as u64);
    let mut clients = Clients::start(binary, &picture, count, span, breed)?;
    let all = count + picture.agents.len();
    let seen = servers.until_alive(all, began, PATIENCE)?;
    // A few of them speak for all: asking thousands would be the load.
    let some = Servers { addresses: clients.some(), pids: Vec::new(), alive: &alive };
    let by_all = some.until_alive(all, began, PATIENCE)?;
    sleep(Duration::from_secs(order.settle.unwrap_or(SETTLE_SECS)));
    let span = order.span(SPAN_SECS);
    let before = (servers.cpu_ns(), clients.cpu_ns());
    sleep(span);
    let used = (servers.cpu_ns() - before.0, clients.cpu_ns().saturating_sub(before.1));
    let samples = clients.samples();
    let mean = |of: fn(&Sample) -> u64| {
        samples.iter().map(of).sum::<u64>() as f64 / samples.len().max(1) as f64 / 1024.0
    };
    let (rss, pss, server) = (mean(|s| s.rss_kib), mean(|s| s.pss_kib), servers.rss_kib());
    let began = Instant::now();
    let cut = clients.kill(CUT);
    let failed = servers.until_alive(all - cut, began, FAILURE_PATIENCE)?;
    let share = |ns: u64, of: usize| ns as f64 / span.as_nanos() as f64 / of as f64 * 100.0;
    Ok(vec![
        count as f64,
        seen.as_secs_f64(),
        by_all.as_secs_f64(),
        rss,
        pss,
        share(used.1, count),
        server / 1024.0,
        share(used.0, servers.pids.len()),
        failed.as_secs_f64(),
    ])
}

/// Who is asked for members.
struct Servers<'a> {
    addresses: Vec<Ipv4Addr>,
    pids: Vec<u32>,
    /// Asks one of them how many are alive.
    alive: &'a dyn Fn(Ipv4Addr) -> Result<usize, String>,
}

impl<'a> Servers<'a> {
    fn of(picture: &Picture, alive: &'a dyn Fn(Ipv4Addr) -> Result<usize, String>) -> Servers<'a> {
        let servers = || picture.agents.iter().filter(|agent| agent.role != Role::Client);
        let addresses = servers().map(|agent| agent.address).collect();
        Servers { addresses, pids: servers().map(|agent| agent.pid()).collect(), alive }
    }

    /// Waits until each of them sees so many members alive; answers how long after `began`.
    fn until_alive(
        &self,
        wanted: usize,
        began: Instant,
        patience: Duration,
    ) -> Result<Duration, String> {
        for address in &self.addresses {
            until((began, patience), "all members are seen", || {
                let seen = (self.alive)(*address)?;
                Ok((seen == wanted)
                    .then_some(())
                    .ok_or(format!("{address} sees {seen} of {wanted}")))
            })?;
        }
        Ok(began.elapsed())
    }

    /// Resident memory of the largest, in KiB.
    fn rss_kib(&self) -> f64 {
        let largest = self.pids.iter().map(|pid| Sample::of(*pid).rss_kib).max();
        largest.unwrap_or(0) as f64
    }

    fn cpu_ns(&self) -> u64 {
        self.pids.iter().map(|pid| cpu_ns(*pid)).sum()
    }
}

/// Asks until it is so; the inner error says how far it is.
fn until(
    (began, patience): (Instant, Duration),
    what: &str,
    mut probe: impl FnMut() -> Result<Result<(), String>, String>,
) -> Result<(), String> {
    loop {
        let Err(why) = probe()? else { return Ok(()) };
        if began.elapsed() > patience {
            return Err(format!("{what}: {why} after {patience:?}"));
        }
        sleep(LOOK);
    }
}
