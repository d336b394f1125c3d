//! `reeve-device FILE`: a device on Linux. One thread, one loop.

use agent_arm::device::{Event, Start};
use agent_arm::posix::Sockets;
use agent_arm::posix::config::{CHECKS_MAX, Check, Config, Probe, parse_uuid};
use agent_arm::posix::http::Http;
use agent_arm::posix::keyring::{self, Ring};
use agent_arm::posix::probe::Run;
use agent_core::client::{self, Profile, Service};
use agent_core::gossip::seal::Drops;
use agent_core::gossip::{Config as Pool, leaf};
use agent_core::health::{Pace, Plan, Thresholds};
use agent_core::time::{Duration, Instant};
use rustix::event::{PollFd, Timespec, poll};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Contacts, checks, bytes of an output, bytes of a message.
type Device = agent_arm::Device<'static, 16, CHECKS_MAX, 256, 2048>;

/// The first generation counts from 2024, in quarters of a second, as that of other agents.
const GENERATION_EPOCH_SECS: u64 = 1_704_067_200;

/// Longest wait when nothing is due; shorter while a script may end without a word.
const WAIT_MAX: Duration = Duration::from_secs(1);
const WAIT_RUNNING: Duration = Duration::from_millis(100);

/// Time between two attempts to join while nobody is known.
const JOIN_PERIOD: Duration = Duration::from_secs(5);

/// Time between two lines about datagrams that were dropped: anybody can send them.
const DROP_PERIOD: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: reeve-device FILE");
        return ExitCode::from(2);
    };
    let config = match fs::read_to_string(&file) {
        Err(error) => Err(error.to_string()),
        Ok(text) => Config::parse(&text).map_err(|error| error.to_string()),
    };
    match config.and_then(|config| run(&*Box::leak(Box::new(config)))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reeve-device: {file}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the device for ever.
fn run(config: &'static Config) -> Result<(), String> {
    let origin = std::time::Instant::now();
    let (node_id, generation) = identity(config)?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Start {
        config: Pool::lan(),
        profile: profile(config, node_id),
        address: config.bind,
        generation,
        seed: clock.as_nanos() as u64 ^ u64::from(std::process::id()) << 40,
    };
    let mut device = Device::new(start, Instant::default()).map_err(|error| error.to_string())?;
    let ring = keyring::load(config.data_dir.as_deref(), config.encrypt)
        .map_err(|error| format!("data_dir: keyring: {error}"))?;
    if let Some(ring) = &ring {
        device.seal(ring.clone(), start.seed);
    }
    let bound = |error| format!("bind_addr {}: {error}", config.bind);
    let sockets = Sockets::bind(config.bind).map_err(bound)?;
    let http = match config.http {
        None => None,
        Some(at) => Some(Http::bind(at).map_err(|error| format!("http_addr {at}: {error}"))?),
    };
    println!("{} of {} at {}", config.node_name, config.datacenter, config.bind);
    let (runs, drops) = (BTreeMap::new(), Drops::default());
    let (join_at, joins, drops_at) = (None, 0, Instant::default());
    let ring = None;
    let mut agent = Agent { config, device, http, ring, runs, join_at, joins, drops, drops_at };
    agent.drive(sockets, origin)
}

/// Everything but the sockets that a device has.
struct Agent {
    config: &'static Config,
    device: Device,
    http: Option<Http>,
    /// The keys that are kept.
    ring: Option<Ring>,
    /// Checks that run, by their place.
    runs: BTreeMap<usize, Run>,
    /// When to try to join, while nobody is known, and how often that was done.
    join_at: Option<Instant>,
    joins: u32,
    /// What was dropped when it was told last, and when to tell again at the earliest.
    drops: Drops,
    drops_at: Instant,
}

impl Agent {
    fn drive(&mut self, mut sockets: Sockets, origin: std::time::Instant) -> Result<(), String> {
        self.join_at = Some(Instant::default());
        loop {
            let now = Instant::from_micros(origin.elapsed().as_micros() as u64);
            if self.join_at.is_some_and(|at| at <= now) {
                self.join(now);
            }
            if let Some(http) = &mut self.http {
                http.step(now, self.config, &mut self.device);
            }
            self.step_runs(now);
            sockets.step(now, &mut self.device);
            self.keep_ring();
            self.tell_drops(now);
            let busy = self.heed_events(now);
            if !busy {
                self.wait(now, &sockets)?;
            }
        }
    }

    /// Asks those of the configuration to take us in. Tells when nobody answered for a while, each
    /// time after twice as many attempts.
    fn join(&mut self, now: Instant) {
        self.join_at = Some(now + JOIN_PERIOD);
        self.joins = self.joins.saturating_add(1);
        if self.joins > 1 && self.joins.is_power_of_two() {
            let hint = match self.device.ring() {
                Some(_) => "is encrypt the pool's key?",
                None => "is the pool sealed, so that encrypt is wanted?",
            };
            println!("no member answers; {hint}");
        }
        for address in &self.config.join {
            self.device.join(*address);
        }
    }

    /// Acts on events; true if there were any, so that there may be more to do at once.
    fn heed_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.device.poll_event(now) {
            any = true;
            match event {
                Event::Gossip(leaf::Event::Joined) => {
                    (self.join_at, self.joins) = (None, 0);
                    println!("joined the pool");
                }
                Event::Gossip(leaf::Event::Alone) => {
                    self.join_at = Some(now);
                    println!("no member answers; joining again");
                }
                Event::Gossip(leaf::Event::Renewed { generation }) => {
                    println!("the pool held this device to be gone; back again");
                    keep_generation(self.config, generation);
                }
                Event::Gossip(leaf::Event::Servers) => {}
                Event::Run(at) => {
                    let check = &self.config.checks[at];
                    self.runs.insert(at, Run::start(&check.probe, check.timeout, now));
                }
                Event::Expired(at) => {
                    println!("check {:?}: TTL expired", self.config.checks[at].id)
                }
                Event::Overdue(at) => {
                    println!("check {:?}: critical for too long", self.config.checks[at].id);
                }
                Event::Client(event) => {
                    if let Some(http) = &mut self.http {
                        http.handle_event(&event);
                    }
                    tell(self.config, &event);
                }
            }
        }
        any
    }

    /// Keeps the keys of a sealed pool when they changed.
    fn keep_ring(&mut self) {
        let ring = self.device.ring();
        let Some(folder) = self.config.data_dir.as_ref().filter(|_| self.ring.as_ref() != ring)
        else {
            return;
        };
        self.ring = ring.cloned();
        if let Some(ring) = &self.ring
            && let Err(error) = keyring::keep(folder, ring)
        {
            println!("data_dir {folder}: keyring not kept: {error}");
        }
    }

    /// Tells what a sealed pool drops: a wrong key, most likely.
    fn tell_drops(&mut self, now: Instant) {
        let drops = self.device.drops();
        if drops == self.drops || now < self.drops_at {
            return;
        }
        (self.drops, self.drops_at) = (drops, now + DROP_PERIOD);
        let Drops { plaintext, unknown_key, forged, replayed, malformed } = drops;
        println!(
            "gossip dropped so far: not sealed {plaintext}, sealed with another key {unknown_key}, \
             forged {forged}, replayed {replayed}, malformed {malformed}"
        );
    }

    fn step_runs(&mut self, now: Instant) {
        let device = &mut self.device;
        self.runs.retain(|at, run| match run.step(now) {
            None => true,
            Some((status, output)) => {
                device.handle_result(now, *at, status, &output);
                false
            }
        });
    }

    /// Waits until something can be done.
    fn wait(&self, now: Instant, sockets: &Sockets) -> Result<(), String> {
        let most = if self.runs.is_empty() { WAIT_MAX } else { WAIT_RUNNING };
        let device = self.device.poll_timeout().map(|(at, _)| at);
        let runs = self.runs.values().map(Run::due).min();
        let due = [device, runs, self.join_at].into_iter().flatten().min();
        let micros = due.map_or(most, |at| at.since(now)).min(most).micros();
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        sockets.poll_fds(&mut fds);
        if let Some(http) = &self.http {
            http.poll_fds(&mut fds);
        }
        for run in self.runs.values() {
            run.poll_fds(&mut fds);
        }
        let wait = Timespec {
            tv_sec: (micros / 1_000_000) as i64,
            tv_nsec: (micros % 1_000_000 * 1_000) as _,
        };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(format!("poll: {error}")),
        }
    }
}

/// Writes what happened on the way to the servers.
fn tell(config: &Config, event: &client::Event<'_>) {
    match event {
        client::Event::NoServer => println!("no server is known yet"),
        client::Event::Connected { server } => println!("connected to server {server}"),
        client::Event::Registered => println!("registered"),
        client::Event::Lost { server, why } => {
            println!("server {server}: {}; trying again", why.as_str());
        }
        client::Event::Refused { item, reason, text } => {
            let what = match item {
                client::Item::Node => format!("node {:?}", config.node_name),
                client::Item::Service(at) => format!("service {:?}", config.services[*at].id),
                client::Item::Check(at) => format!("check {:?}", config.checks[*at].id),
                client::Item::Lookup => "look-up".into(),
            };
            println!("{what} refused: {}: {text}", reason.as_str());
        }
        client::Event::Answer(_) | client::Event::Unanswered => {}
    }
}

/// Lends the configuration as a profile; it lives as long as the process.
fn profile(config: &'static Config, node_id: [u8; 16]) -> Profile<'static> {
    fn pairs(map: &'static [(String, String)]) -> &'static [(&'static str, &'static str)] {
        map.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>().leak()
    }
    let services: Vec<Service<'static>> = config
        .services
        .iter()
        .map(|service| Service {
            id: &service.id,
            name: &service.name,
            tags: service.tags.iter().map(String::as_str).collect::<Vec<_>>().leak(),
            address: &service.address,
            port: service.port,
            meta: pairs(&service.meta),
        })
        .collect();
    let checks: Vec<client::Check<'static>> = config
        .checks
        .iter()
        .map(|check| client::Check {
            id: &check.id,
            name: &check.name,
            service_id: &check.service_id,
            kind: check.probe.kind(),
            notes: &check.notes,
            plan: plan(check),
        })
        .collect();
    Profile {
        node: &config.node_name,
        node_id,
        datacenter: &config.datacenter,
        address: config.bind.ip().to_string().leak(),
        token: &config.token,
        meta: pairs(&config.meta),
        servers: &config.servers,
        services: services.leak(),
        checks: checks.leak(),
    }
}

fn plan(check: &Check) -> Plan {
    let pace = match check.probe {
        Probe::Ttl(ttl) => Pace::Ttl(ttl),
        Probe::Tcp(_) | Probe::Http(..) | Probe::Script(_) | Probe::Gpio(_) => {
            Pace::Every(check.interval)
        }
    };
    let status = check.status;
    Plan { pace, thresholds: Thresholds::default(), status, critical_max: Duration::ZERO }
}

/// Tells the node's ID and a generation above all before: from the configuration, the clock, and
/// the data folder.
fn identity(config: &Config) -> Result<([u8; 16], u32), String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let quarters = (clock.as_millis() as u64).saturating_sub(GENERATION_EPOCH_SECS * 1000) / 250;
    let mut generation = u32::try_from(quarters).unwrap_or(u32::MAX);
    let mut node_id = config.node_id;
    if let Some(folder) = &config.data_dir {
        let wrong = |error: std::io::Error| format!("data_dir {folder}: {error}");
        fs::create_dir_all(folder).map_err(wrong)?;
        let (ids, generations) = (Path::new(folder).join("node-id"), generation_path(folder));
        if node_id.is_none() {
            node_id = match fs::read_to_string(&ids) {
                Ok(text) => Some(
                    parse_uuid(text.trim())
                        .ok_or_else(|| format!("{}: not a UUID", ids.display()))?,
                ),
                Err(_) => {
                    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(wrong)?;
                    fs::write(&ids, &text).map_err(wrong)?;
                    parse_uuid(text.trim())
                }
            };
        }
        let before = fs::read_to_string(&generations).unwrap_or_default();
        let before = before.trim().parse::<u32>().unwrap_or(0);
        generation = generation.max(before.saturating_add(1));
        fs::write(&generations, generation.to_string()).map_err(wrong)?;
    }
    Ok((node_id.ok_or("node_id: no UUID to be had")?, generation))
}

fn generation_path(folder: &str) -> std::path::PathBuf {
    Path::new(folder).join("generation")
}

fn keep_generation(config: &Config, generation: u32) {
    if let Some(folder) = &config.data_dir
        && let Err(error) = fs::write(generation_path(folder), generation.to_string())
    {
        println!("data_dir {folder}: generation not kept: {error}");
    }
}
