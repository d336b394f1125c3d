//! What servers are told of a node, and what they say, in words.

use crate::argument::Arguments;
use crate::node::CHECKS;
use agent_core::client::{self, Service};
use agent_core::health::{Pace, Plan, Status, Thresholds};
use agent_core::time::Duration;
use agent_core::wire::memory::Lent;
use agent_core::wire::message::Tell;
use core::fmt::{self, Write};
use core::net::{Ipv4Addr, SocketAddr};
use heapless::{String, Vec};

/// Longest line about a server, in bytes; the rest is cut off.
pub(crate) const TEXT_BYTES_MAX: usize = 128;

/// Between two runs of a check.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// What servers are told, for as long as the node runs.
pub struct Papers<'a> {
    pub(crate) address: String<15>,
    pub(crate) servers: Vec<SocketAddr, 1>,
    pub(crate) services: Vec<Service<'a>, 1>,
    pub(crate) checks: Vec<client::Check<'a>, CHECKS>,
}

impl<'a> Papers<'a> {
    /// No papers yet.
    pub(crate) const fn new() -> Self {
        Self {
            address: String::new(),
            servers: Vec::new(),
            services: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Writes them, once.
    pub(crate) fn fill(&mut self, arguments: &Arguments<'a>, address: Ipv4Addr) {
        // An address has at most 15 characters, and the lists have room for all that is pushed.
        let _ = write!(self.address, "{address}");
        self.servers.extend(arguments.server.map(SocketAddr::V4));
        let service = arguments.service.map_or("", |(name, _)| name);
        if let Some((name, port)) = arguments.service {
            let _ = self.services.push(Service { id: name, name, port, ..Service::default() });
        }
        let check = |id: &'a str, name: &'a str, kind: &'a str, service_id: &'a str| {
            client::Check { id, name, service_id, kind, notes: "", plan: plan() }
        };
        let _ = self.checks.push(check("stack", "Stack in use", "", ""));
        if arguments.tcp.is_some() {
            let _ = self.checks.push(check("tcp", "TCP connect", "tcp", service));
        }
    }
}

/// A text that is cut off where its room ends.
#[derive(Default)]
struct Cut(String<TEXT_BYTES_MAX>);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| self.0.push(char)).map_err(|_| fmt::Error)
    }
}

/// Says what a client says. A text that is too long is cut off.
pub(crate) fn words(event: &client::Event<'_>) -> String<TEXT_BYTES_MAX> {
    let mut text = Cut::default();
    let _ = match event {
        client::Event::NoServer => write!(text, "no server is known"),
        client::Event::Connected { server } => write!(text, "server {} takes us in", Shown(server)),
        client::Event::Registered => write!(text, "registered"),
        client::Event::Lost { server, why } => {
            write!(text, "server {} left: {}", Shown(server), why.as_str())
        }
        client::Event::Refused { text: why, .. } => {
            // Servers wrap the cause, `rpc error: failed inserting node: cause`, and room is short.
            write!(text, "refused: {}", cause(why))
        }
        client::Event::Unanswered => write!(text, "a look-up has no answer"),
        client::Event::Answer(tell) => answer(&mut text, tell),
    };
    text.0
}

/// What stands behind the last colon and blank. (A search for a pattern costs 1 KB of flash.)
fn cause(why: &str) -> &str {
    let last = why.as_bytes().windows(2).rposition(|pair| pair == b": ");
    last.and_then(|at| why.get(at + 2..)).unwrap_or(why)
}

/// A server's address. (IPv6 is not compiled in, and to write it costs 1 KB of flash.)
struct Shown<'a>(&'a SocketAddr);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => address.fmt(f),
            SocketAddr::V6(_) => f.write_str("on IPv6"),
        }
    }
}

fn answer(text: &mut Cut, tell: &Tell<Lent<'_>>) -> fmt::Result {
    match tell {
        Tell::Missing => write!(text, "the key does not exist"),
        Tell::Value { value, .. } => {
            write!(text, "the key holds {}", core::str::from_utf8(value).unwrap_or("bytes"))
        }
        Tell::Instances { list, total } => {
            write!(text, "{total} instances:")?;
            list.iter().try_for_each(|one| write!(text, " {}:{}", one.address, one.port))
        }
        Tell::Welcome { .. } | Tell::Done | Tell::Refused { .. } | Tell::Leader { .. } => Ok(()),
    }
}

fn plan() -> Plan {
    Plan {
        pace: Pace::Every(CHECK_INTERVAL),
        thresholds: Thresholds::default(),
        status: Status::Critical,
        critical_max: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::client::Item;
    use agent_core::wire::message::Refusal;

    #[test]
    fn a_refusal_is_told_by_its_cause_and_cut_off() {
        let cause = "Node name a is reserved by node ".repeat(8);
        let long = std::format!("rpc error: failed inserting node: {cause}");
        let event = client::Event::Refused { item: Item::Node, reason: Refusal::Name, text: &long };
        let text = words(&event);
        assert_eq!(text.len(), TEXT_BYTES_MAX);
        assert!(text.starts_with("refused: Node name a is reserved by node Node"));
    }
}
