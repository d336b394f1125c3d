//! Reeve's footprint and speed, beside its peers: any binary with Consul's command line is
//! measured.
//!
//! ```text
//! footprint   three servers and a client, idle: memory, threads, files, CPU, traffic
//! load        CPU time per request, summed over all agents
//!
//! picture     starts and stops the agents        lab     namespaces: whose traffic is whose
//! process     what /proc says of one agent       client  HTTP and DNS, as fast as threads go
//! report      tables and JSON
//! ```

mod client;
mod footprint;
mod lab;
mod load;
mod picture;
mod process;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: bench VERB --agent PATH [--agent PATH]... [options]

verbs
  footprint        memory, threads, files, CPU and traffic of an idle picture
  load             CPU time per request: key/value, health, DNS

options
  --agent PATH     an agent with Consul's command line; may be given several times
  --seconds N      how long to measure: footprint 60, load 3 a row
  --settle N       how long to wait before footprint measures: 20
  --connections N  connections of load: 16
  --rounds N       load: how often to repeat, agents interleaved; the best round counts: 1
  --json FILE      writes the figures there too
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Order {
    agents: Vec<PathBuf>,
    seconds: Option<u64>,
    settle: u64,
    connections: usize,
    rounds: u32,
    json: Option<PathBuf>,
}

impl Order {
    /// How long to measure, if the command line does not say.
    pub(crate) fn span(&self, default: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default))
    }
}

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
    let (verb, order) = order(lexopt::Parser::from_env()).map_err(|error| error.to_string())?;
    let figures = match verb.as_deref() {
        Some("footprint") if !order.agents.is_empty() => footprint::measure(&order)?,
        Some("load") if !order.agents.is_empty() => load::measure(&order)?,
        Some("footprint" | "load") => return Err(format!("give --agent PATH\n\n{USAGE}")),
        Some(other) => return Err(format!("unknown verb {other}\n\n{USAGE}")),
        None => {
            print!("{USAGE}");
            return Ok(());
        }
    };
    print!("{}", figures.text());
    if let Some(path) = &order.json {
        std::fs::write(path, figures.json()).map_err(|error| format!("{path:?}: {error}"))?;
    }
    Ok(())
}

fn order(mut parser: lexopt::Parser) -> Result<(Option<String>, Order), lexopt::Error> {
    use lexopt::prelude::*;
    let mut verb = None;
    let mut order = Order {
        agents: Vec::new(),
        seconds: None,
        settle: 20,
        connections: 16,
        rounds: 1,
        json: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Value(name) if verb.is_none() => verb = Some(name.string()?),
            Long("agent") => order.agents.push(parser.value()?.into()),
            Long("seconds") => order.seconds = Some(parser.value()?.parse()?),
            Long("settle") => order.settle = parser.value()?.parse()?,
            Long("connections") => order.connections = parser.value()?.parse()?,
            Long("rounds") => order.rounds = parser.value()?.parse()?,
            Long("json") => order.json = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok((None, order)),
            other => return Err(other.unexpected()),
        }
    }
    Ok((verb, order))
}
