//! The listeners of an agent: RPC (servers only), HTTP, HTTPS and DNS.
//!
//! All are bound before anything else starts, so that an address in use stops the start at once.

use crate::config::{Config, Listen, UnixSockets};
use crate::{http, lane, tls};
use rustls::ServerConfig;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::sync::watch as channel;

/// A listener could not be had.
#[derive(Debug)]
pub enum Error {
    /// Its address.
    Bind {
        /// What for, and where.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// Its certificate.
    Tls(tls::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { what, source } => write!(f, "cannot listen for {what}: {source}"),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Everything that an agent listens on, besides gossip.
pub(super) struct Listeners {
    /// RPC between agents, on servers.
    pub rpc: Option<TcpListener>,
    /// HTTP and HTTPS, over TCP and Unix sockets.
    pub http: Vec<http::Listener>,
    /// What HTTPS presents, if it is served.
    pub certificates: Option<channel::Sender<Arc<ServerConfig>>>,
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
        Listeners { rpc: None, http: Vec::new(), certificates: None, dns: Vec::new() };
    if config.server {
        let address = SocketAddr::new(config.bind_addr, config.ports.server);
        listeners.rpc = Some(tcp("RPC", address)?);
    }
    for listen in &config.http_listen {
        listeners.http.push(http(config, "HTTP", listen)?);
    }
    if !config.https_listen.is_empty() {
        let presented = tls::server(&config.tls).map_err(Error::Tls)?;
        let (sender, offer) = channel::channel(presented);
        for listen in &config.https_listen {
            let listener = http(config, "HTTPS", listen)?;
            listeners.http.push(listener.with_tls(offer.clone()));
        }
        listeners.certificates = Some(sender);
    }
    for address in &config.dns_listen {
        let udp = UdpSocket::bind(address)
            .await
            .map_err(|source| Error::Bind { what: format!("DNS on udp {address}"), source })?;
        listeners.dns.push((udp, tcp("DNS", *address)?));
    }
    Ok(listeners)
}

/// Binds one place for HTTP.
fn http(config: &Config, what: &str, listen: &Listen) -> Result<http::Listener, Error> {
    match listen {
        Listen::Tcp(address) => tcp(what, *address).map(Into::into),
        Listen::Unix(path) => unix(what, path, &config.unix_sockets).map(Into::into),
    }
}

/// Binds one TCP address.
fn tcp(what: &str, address: SocketAddr) -> Result<TcpListener, Error> {
    lane::listen(address)
        .map_err(|source| Error::Bind { what: format!("{what} on tcp {address}"), source })
}

/// Binds a Unix socket in place of a stale one, with the owner and mode that were asked for.
fn unix(what: &str, path: &Path, sockets: &UnixSockets) -> Result<UnixListener, Error> {
    let fail = |source| Error::Bind { what: format!("{what} on unix {}", path.display()), source };
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
