//! TCP connections, with failures in the words of Go's `net` package: people grep for them.

use rustix::io::Errno;
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};

/// Connects to `host:port`, trying each address of the host in turn.
///
/// # Errors
///
/// Go's text for why the first address, or the lookup, failed.
pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = lookup_host((host, port))
        .await
        .map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
    let mut fault = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                fault.get_or_insert(format!("dial tcp {address}: {}", go_fault(&error)));
            }
        }
    }
    Err(fault.unwrap_or_else(|| format!("dial tcp: lookup {host}: no such host")))
}

/// Waits for a connection at most this long.
///
/// # Errors
///
/// As [`dial`], and Go's text for a timeout.
pub(super) async fn dial_within(
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<TcpStream, String> {
    match tokio::time::timeout(timeout, dial(host, port)).await {
        Ok(result) => result,
        Err(_) => Err(format!("dial tcp {}: i/o timeout", join(host, port))),
    }
}

/// Writes `host:port`, an IPv6 address in brackets.
fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Splits `host:port`; an IPv6 address stands in brackets.
///
/// # Errors
///
/// Go's text for what is wrong.
pub(super) fn split(target: &str) -> Result<(&str, u16), String> {
    let fault = |what: &str| format!("dial tcp: address {target}: {what}");
    let (host, port) = target.rsplit_once(':').ok_or_else(|| fault("missing port in address"))?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| fault("missing ']' in address"))?,
        None if host.contains(':') => return Err(fault("too many colons in address")),
        None => host,
    };
    let port = port.parse().map_err(|_| format!("dial tcp: address {port}: invalid port"))?;
    Ok((if host.is_empty() { "localhost" } else { host }, port))
}

/// Says what Go says about a failed connection or transfer.
pub(super) fn go_fault(error: &io::Error) -> String {
    let known = match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => "connect: connection refused",
        Some(Errno::NETUNREACH) => "connect: network is unreachable",
        Some(Errno::HOSTUNREACH) => "connect: no route to host",
        Some(Errno::TIMEDOUT) => "connect: connection timed out",
        Some(Errno::CONNRESET) => "read: connection reset by peer",
        Some(_) | None => return error.to_string(),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split_as_go_splits_them() {
        assert_eq!(split("a:1"), Ok(("a", 1)));
        assert_eq!(split("[::1]:80"), Ok(("::1", 80)));
        assert_eq!(split(":80"), Ok(("localhost", 80)));
        for (target, want) in [
            ("a", "dial tcp: address a: missing port in address"),
            ("::1:80", "dial tcp: address ::1:80: too many colons in address"),
            ("a:x", "dial tcp: address x: invalid port"),
        ] {
            assert_eq!(split(target).unwrap_err(), want);
        }
    }
}
