//! Servers of statistics: what an interval brought is sent to them at its end.
//!
//! The lines are those of [statsd]: `name:value|c` for counters, `|g` for gauges, `|ms` for
//! samples. Equal values of a sample are sent once, with the rate at which they stand for all of
//! them (`|@0.01` for a hundred): servers count them alike.
//!
//! [statsd]: https://github.com/statsd/statsd/blob/master/docs/metric_types.md

use super::{COUNTERS, Gauge, Naming, samples};
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

/// Most bytes in a datagram: fits an Ethernet frame with IPv6 headers.
const DATAGRAM_BYTES_MAX: usize = 1400;
/// Longest that sending may take: the interval must not be missed.
const SEND_TIME: Duration = Duration::from_secs(5);

/// Somebody who is sent statistics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sink {
    /// Datagrams to a statsd, at `host:port`.
    Statsd(String),
    /// Datagrams to a dogstatsd, at `host:port`, with tags on each line.
    Dogstatsd(String, Vec<String>),
    /// The same lines over a connection to a statsite, at `host:port`.
    Statsite(String),
}

/// Everybody who is sent statistics.
pub struct Sinks {
    naming: Naming,
    sinks: Vec<(Sink, Option<TcpStream>)>,
}

impl Sinks {
    /// Makes them; nothing is connected yet.
    pub fn new(naming: Naming, sinks: Vec<Sink>) -> Self {
        Self { naming, sinks: sinks.into_iter().map(|sink| (sink, None)).collect() }
    }

    /// Sends what the last interval brought. A server that cannot be reached misses it.
    pub(super) async fn send(&mut self, gauges: &[Gauge]) {
        if self.sinks.is_empty() {
            return;
        }
        let lines = lines(&self.naming, gauges);
        for (sink, stream) in &mut self.sinks {
            let sent = timeout(SEND_TIME, send(sink, stream, &lines)).await;
            let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if let Err(error) = sent {
                *stream = None;
                tracing::warn!(?sink, %error, "statistics not sent");
            }
        }
    }
}

/// Writes what the last interval brought, a line each.
fn lines(naming: &Naming, gauges: &[Gauge]) -> Vec<String> {
    let mut lines = Vec::new();
    for Gauge { name, value } in gauges {
        if let Some(name) = naming.gauge(name) {
            lines.push(format!("{}:{value}|g", flat(&name)));
        }
    }
    for counter in COUNTERS {
        let count = counter.recent(true);
        if let Some(name) = naming.plain(counter.name()).filter(|_| count > 0) {
            lines.push(format!("{}:{count}|c", flat(&name)));
        }
    }
    for sample in samples() {
        let Some(name) = naming.plain(sample.name()) else { continue };
        for (value, count) in sample.steps() {
            let mut line = format!("{}:{value}|ms", flat(&name));
            if count > 1 {
                let _ = write!(line, "|@{}", 1.0 / count as f64);
            }
            lines.push(line);
        }
    }
    lines
}

/// Replaces what would end a name.
fn flat(name: &str) -> String {
    name.replace([':', ' ', '|', '@'], "_")
}

/// Sends lines one way or the other.
async fn send(sink: &Sink, stream: &mut Option<TcpStream>, lines: &[String]) -> io::Result<()> {
    match sink {
        Sink::Statsd(to) => datagrams(to, lines, "").await,
        Sink::Dogstatsd(to, tags) if tags.is_empty() => datagrams(to, lines, "").await,
        Sink::Dogstatsd(to, tags) => datagrams(to, lines, &format!("|#{}", tags.join(","))).await,
        Sink::Statsite(to) => {
            let open = match stream.take() {
                Some(open) => open,
                None => TcpStream::connect(to).await?,
            };
            let open = stream.insert(open);
            open.write_all((lines.join("\n") + "\n").as_bytes()).await
        }
    }
}

/// Sends as many lines in a datagram as fit.
async fn datagrams(to: &str, lines: &[String], tags: &str) -> io::Result<()> {
    let to = lookup_host(to).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let own: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    let mut datagram = String::new();
    for line in lines {
        if datagram.len() + line.len() + tags.len() + 1 > DATAGRAM_BYTES_MAX {
            socket.send_to(datagram.as_bytes(), to).await?;
            datagram.clear();
        }
        if !datagram.is_empty() {
            datagram.push('\n');
        }
        datagram.push_str(line);
        datagram.push_str(tags);
    }
    if !datagram.is_empty() {
        socket.send_to(datagram.as_bytes(), to).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_hold_whole_lines() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = server.local_addr().unwrap().to_string();
        let lines: Vec<String> = (0..100).map(|n| format!("consul.name.{n}:{n}|c")).collect();
        datagrams(&to, &lines, "|#a,b").await.unwrap();
        let mut got = Vec::new();
        while got.len() < lines.len() {
            let mut buffer = [0; 2000];
            let (length, _) = server.recv_from(&mut buffer).await.unwrap();
            assert!(length <= DATAGRAM_BYTES_MAX);
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            got.extend(text.lines().map(str::to_owned));
        }
        let want: Vec<String> = lines.iter().map(|line| format!("{line}|#a,b")).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn gauges_carry_the_host_and_names_stay_whole() {
        let naming = Naming { host: "a:b".to_owned(), ..Naming::default() };
        let lines = lines(&naming, &[Gauge::new("runtime.threads", 3.0)]);
        assert!(lines.contains(&"consul.a_b.runtime.threads:3|g".to_owned()), "{lines:?}");
    }
}
