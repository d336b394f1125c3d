//! The listeners of an agent: RPC (servers only), HTTP and DNS.
//!
//! All are bound before anything else starts, so that an address in use stops the start at once.

use crate::config::{Config, Listen, UnixSockets};
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use tokio::net::{TcpListener, UdpSocket, UnixListener};

/// A listener could not be had.
#[derive(Debug)]
pub struct Error {
    /// What for, and where.
    what: String,
    source: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen for {}: {}", self.what, self.source)
    }
}

impl std::error::Error for Error {}

/// Everything that an agent listens on, besides gossip.
pub(super) struct Listeners {
    /// RPC between agents, on servers.
    pub rpc: Option<TcpListener>,
    /// HTTP over TCP.
    pub http: Vec<TcpListener>,
    /// HTTP over Unix sockets.
    pub http_unix: Vec<UnixListener>,
    /// DNS, both transports of each address.
    pub dns: Vec<(UdpSocket, TcpListener)>,
}

/// Binds all that the configuration asks for.
///
/// # Errors
///
/// [`Error`] names the first address that could not be had; what was bound is closed again.
pub(super) async fn bind(config: &Config) -> Result<Listeners, Error> {
    let mut listeners =
        Listeners { rpc: None, http: Vec::new(), http_unix: Vec::new(), dns: Vec::new() };
    if config.server {
        let address = SocketAddr::new(config.bind_addr, config.ports.server);
        listeners.rpc = Some(tcp("RPC", address).await?);
    }
    for listen in &config.http_listen {
        match listen {
            Listen::Tcp(address) => listeners.http.push(tcp("HTTP", *address).await?),
            Listen::Unix(path) => listeners.http_unix.push(unix(path, &config.unix_sockets)?),
        }
    }
    for address in &config.dns_listen {
        let udp = UdpSocket::bind(address)
            .await
            .map_err(|source| Error { what: format!("DNS on udp {address}"), source })?;
        listeners.dns.push((udp, tcp("DNS", *address).await?));
    }
    Ok(listeners)
}

/// Binds one TCP address.
async fn tcp(what: &str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error { what: format!("{what} on tcp {address}"), source })
}

/// Binds a Unix socket in place of a stale one, with the owner and mode that were asked for.
fn unix(path: &Path, sockets: &UnixSockets) -> Result<UnixListener, Error> {
    let fail = |source| Error { what: format!("HTTP on unix {}", path.display()), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    if sockets.user.is_some() || sockets.group.is_some() {
        chown(path, sockets.user, sockets.group).map_err(fail)?;
    }
    if let Some(mode) = sockets.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(fail)?;
    }
    Ok(listener)
}
