//! The command line: which agents, how long, how much, and where the results go.

use crate::work::Work;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const OPTIONS: &str = "\
options
  --agent PATH     an agent with Consul's command line; may be given several times.
                   NAME=PATH names it in the results. `consul` on the PATH is added by itself,
                   and in kv `etcd`, in clients `serf`
  --alone          adds none by itself
  --device PATH    board: measures only this reeve-device, in the agent's pool
  --built DIR      size: where the builds are: target
  --seconds N      how long to measure: footprint 60, others 3 a row
  --settle N       how long to wait before memory is read: footprint 20, board 80
  --connections N  instead of the numbers of connections that a verb has
  --sizes N,N...   how many keys, instances or watchers, instead of those that a verb has
  --servers N,N... how many servers of kv, health, dns and register: 3
  --rounds N       how often to repeat, agents interleaved; the best round counts: 1;
                   failover, detect, start: losses, at least 3
  --out DIR        writes text, JSON and plots (SVG) there
  --json FILE      writes the figures there
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) agents: Vec<PathBuf>,
    /// How the agents are named in the results.
    names: Vec<String>,
    alone: bool,
    pub(crate) device: Option<PathBuf>,
    pub(crate) built: Option<PathBuf>,
    seconds: Option<u64>,
    pub(crate) settle: Option<u64>,
    connections: Option<usize>,
    pub(crate) sizes: Vec<usize>,
    pub(crate) servers: Vec<usize>,
    pub(crate) rounds: u32,
    pub(crate) json: Option<PathBuf>,
    pub(crate) out: Option<PathBuf>,
}

impl Order {
    fn new() -> Order {
        Order {
            agents: Vec::new(),
            names: Vec::new(),
            alone: false,
            device: None,
            built: None,
            seconds: None,
            settle: None,
            connections: None,
            sizes: Vec::new(),
            servers: vec![3],
            rounds: 1,
            json: None,
            out: None,
        }
    }

    /// How long to measure, if the command line does not say.
    pub(crate) fn span(&self, default: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default))
    }

    /// How many of something, fewest first, if the command line does not say.
    pub(crate) fn sizes(&self, default: &[usize]) -> Vec<usize> {
        let mut sizes = if self.sizes.is_empty() { default.to_vec() } else { self.sizes.clone() };
        sizes.sort_unstable();
        sizes
    }

    /// Over how many connections something is asked.
    pub(crate) fn connections_of(&self, work: &Work) -> Vec<usize> {
        self.connections.map_or_else(|| work.connections.clone(), |given| vec![given])
    }

    /// How an agent is named in the results.
    pub(crate) fn name(&self, binary: &Path) -> String {
        let at = self.agents.iter().position(|agent| agent == binary);
        let name = at.and_then(|at| self.names.get(at));
        name.cloned().unwrap_or_else(|| binary.display().to_string())
    }

    /// The agent that the others are held against: Consul, or the first.
    pub(crate) fn peer(&self) -> Option<String> {
        let consul = self.names.iter().find(|name| name.starts_with("Consul"));
        consul.or(self.names.first()).cloned()
    }

    /// Where a peer with another command line is, on the PATH; says when it is not there.
    pub(crate) fn peer_on_path(&self, name: &str) -> Option<PathBuf> {
        if self.alone {
            return None;
        }
        let found = on_path(name);
        if found.is_none() {
            eprintln!("bench: no `{name}` on the PATH; it is not measured");
        }
        found
    }

    /// Adds `consul` where it is on the PATH, says when it is not, and finds every agent's name.
    ///
    /// # Errors
    ///
    /// If an agent cannot be run.
    pub(crate) fn complete(&mut self, peers: bool) -> Result<(), String> {
        if peers {
            let consul = self.peer_on_path("consul");
            if let Some(consul) = consul.filter(|consul| !self.agents.contains(consul)) {
                self.agents.push(consul);
                self.names.push(String::new());
            }
        }
        for (agent, name) in self.agents.iter().zip(&mut self.names) {
            if name.is_empty() {
                let output = Command::new(agent).arg("version").output();
                let output = output.map_err(|error| format!("{}: {error}", agent.display()))?;
                *name = version(&String::from_utf8_lossy(&output.stdout))
                    .ok_or_else(|| format!("{} tells no version", agent.display()))?;
            }
        }
        for at in 1..self.names.len() {
            if self.names[..at].contains(&self.names[at]) {
                self.names[at] = format!("{} ({})", self.names[at], at + 1);
            }
        }
        Ok(())
    }

    /// When and on what was measured.
    pub(crate) fn heading(&self) -> String {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let names = self.names.join(", ");
        let names = if names.is_empty() { names } else { format!("; {names}") };
        format!(
            "{}, {cores} cores ({}), load {} before{}",
            date(seconds),
            model.map_or("unknown", |(_, model)| model),
            load.split(' ').next().unwrap_or("?"),
            names
        )
    }
}

/// A day of the Gregorian calendar, from seconds since 1970.
fn date(seconds: u64) -> String {
    let (mut days, mut year) = (seconds / 86_400, 1970);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
}

/// The line that names the program itself: Reeve tells Consul's version first.
fn version(text: &str) -> Option<String> {
    let reeve = text.lines().find(|line| line.starts_with("Reeve "));
    let first = text.lines().find(|line| !line.trim().is_empty());
    reeve.or(first).map(|line| line.trim().to_string())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Writes what `--help` says.
pub(crate) fn usage<'a>(verbs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text =
        String::from("usage: bench VERB --agent PATH [--agent PATH]... [options]\n\nverbs\n");
    for (name, about) in verbs {
        let _ = writeln!(text, "  {name:<10} {about}");
    }
    let _ = writeln!(text, "  {:<10} all of these but board, one after the other\n", "all");
    text + OPTIONS
}

/// Reads the command line: the verb, if there is one, and its order.
///
/// # Errors
///
/// If an option is unknown or its value does not fit.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<(Option<String>, Order), lexopt::Error> {
    use lexopt::prelude::*;
    let (mut verb, mut order) = (None, Order::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Value(name) if verb.is_none() => verb = Some(name.string()?),
            Long("agent") => {
                let value = parser.value()?.string()?;
                let (name, path) = match value.split_once('=') {
                    Some((name, path)) if !name.contains('/') => (name, path),
                    _ => ("", value.as_str()),
                };
                order.agents.push(path.into());
                order.names.push(name.into());
            }
            Long("alone") => order.alone = true,
            Long("device") => order.device = Some(parser.value()?.into()),
            Long("built") => order.built = Some(parser.value()?.into()),
            Long("seconds") => order.seconds = Some(parser.value()?.parse()?),
            Long("settle") => order.settle = Some(parser.value()?.parse()?),
            Long("connections") => order.connections = Some(parser.value()?.parse()?),
            Long("sizes") => {
                order.sizes = parser.value()?.parse_with(|list| {
                    list.split(',').map(str::parse::<usize>).collect::<Result<Vec<_>, _>>()
                })?;
            }
            Long("servers") => {
                order.servers = parser.value()?.parse_with(|list| {
                    let each = list.split(',').map(|text| match text.parse() {
                        Ok(servers @ 1..=9) => Ok(servers),
                        _ => Err("1 to 9 servers"),
                    });
                    each.collect()
                })?;
            }
            Long("rounds") => order.rounds = parser.value()?.parse()?,
            Long("json") => order.json = Some(parser.value()?.into()),
            Long("out") => order.out = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok((None, order)),
            other => return Err(other.unexpected()),
        }
    }
    Ok((verb, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(words: &[&str]) -> Result<(Option<String>, Order), lexopt::Error> {
        parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn agents_may_be_named() {
        let words = ["kv", "--agent", "new=/bin/a", "--agent", "/x=y/b", "--sizes", "1,20"];
        let (verb, order) = order(&words).expect("understood");
        assert_eq!(verb.as_deref(), Some("kv"));
        assert_eq!(order.agents, [PathBuf::from("/bin/a"), PathBuf::from("/x=y/b")]);
        assert_eq!(order.names, ["new", ""]);
        assert_eq!(
            (order.name(Path::new("/bin/a")), order.sizes(&[5])),
            ("new".into(), vec![1, 20])
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for words in [&["kv", "--sizes", "1,x"][..], &["kv", "--servers", "0"], &["kv", "--no"]] {
            assert!(order(words).is_err(), "{words:?}");
        }
        let (_, mut order) =
            order(&["kv", "--agent", "/nowhere/agent", "--alone"]).expect("parsed");
        assert!(order.complete(true).is_err_and(|error| error.contains("/nowhere/agent")));
    }

    #[test]
    fn reeve_is_named_by_its_own_version() {
        assert_eq!(
            version("Consul v1.8.7\nProtocol 2\n\nReeve v0.1.0\n"),
            Some("Reeve v0.1.0".into())
        );
        assert_eq!(version("Consul v1.8.7\nProtocol 2\n"), Some("Consul v1.8.7".into()));
        assert_eq!(version("\n"), None);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_798_761_599), "2026-12-31");
    }
}
