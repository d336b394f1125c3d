//! Connections to an agent: over TCP, a Unix socket, or TLS on TCP.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::Error;
use crate::config::os_text;
use crate::tls::{self, Trust, Verify, client_with};

/// Time to connect; an answer may take as long as it takes.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// A connection.
pub(super) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// How to reach the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// `host` or `host:port`.
    Tcp(String),
    /// The same, and TLS is spoken there.
    Tls(String),
    /// A path.
    Unix(String),
}

impl Route {
    /// Reads an address; with `tls` plain HTTP becomes HTTPS.
    pub(super) fn parse(address: &str, tls: bool) -> Result<Self, Error> {
        let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
        let host = rest.trim_end_matches('/').to_owned();
        match scheme {
            "unix" => Ok(Self::Unix(rest.to_owned())),
            "http" if !tls => Ok(Self::Tcp(host)),
            "http" | "https" => Ok(Self::Tls(host)),
            other => Err(Error::Settings(format!("Unknown protocol scheme: {other}"))),
        }
    }
}

/// What TLS needs to know, as flags and environment give it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Secure {
    pub(super) ca_file: Option<String>,
    pub(super) ca_path: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    /// Name that the agent's certificate is to carry, if not that of the address.
    pub(super) server_name: Option<String>,
    /// Whether any certificate will do (`CONSUL_HTTP_SSL_VERIFY=false`).
    pub(super) anybody: bool,
}

impl Secure {
    /// Tells whether files are named, which are looked at even where TLS is not spoken.
    pub(super) fn has_files(&self) -> bool {
        [&self.ca_file, &self.ca_path, &self.cert_file, &self.key_file].iter().any(|f| f.is_some())
    }

    /// Reads the files.
    pub(super) fn build(&self) -> Result<Arc<ClientConfig>, Error> {
        let path = |text: &Option<String>| text.as_deref().map(Path::new).map(Path::to_owned);
        let (ca_file, ca_path) = (path(&self.ca_file), path(&self.ca_path));
        let (cert, key) = (path(&self.cert_file), path(&self.key_file));
        let pair = match (&cert, &key) {
            (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
            (None, None) => None,
            _ => {
                let text = "both client cert and client key must be provided";
                return Err(Error::Settings(text.to_owned()));
            }
        };
        let verify = if self.anybody { Verify::Nothing } else { Verify::System };
        let config = Trust::read((ca_file.as_deref(), ca_path.as_deref()), pair, verify)
            .and_then(client_with);
        config.map_err(|error| {
            Error::Settings(match error {
                tls::Error::Authorities(why) if ca_file.is_none() => {
                    format!("Error loading CA Path: {why}")
                }
                tls::Error::Authorities(why) => format!("Error loading CA File: {why}"),
                tls::Error::Pair(why) | tls::Error::Settings(why) => why,
            })
        })
    }
}

/// Opens a connection that may be silent for so long.
pub(super) fn open(
    route: &Route,
    secure: &Secure,
    config: Option<&Arc<ClientConfig>>,
    silence: Option<Duration>,
) -> Result<Box<dyn Stream>, String> {
    let fault = |error| os_text(&error);
    match route {
        Route::Tcp(host) => {
            let stream = connect(host, 80)?;
            stream.set_read_timeout(silence).map_err(fault)?;
            Ok(Box::new(stream))
        }
        Route::Unix(path) => {
            let stream = UnixStream::connect(path)
                .map_err(|error| format!("dial unix {path}: connect: {}", os_text(&error)))?;
            stream.set_read_timeout(silence).map_err(fault)?;
            Ok(Box::new(stream))
        }
        Route::Tls(host) => {
            let config = config.expect("made with the route");
            let name = secure.server_name.as_deref().unwrap_or_else(|| name_of(host));
            let name = ServerName::try_from(name.to_owned())
                .map_err(|_| format!("{name:?} is no name that a certificate can carry"))?;
            let mut stream = connect(host, 443)?;
            stream.set_read_timeout(Some(CONNECT_TIME_MAX)).map_err(fault)?;
            let mut session = ClientConnection::new(Arc::clone(config), name)
                .map_err(|error| error.to_string())?;
            while session.is_handshaking() {
                session.complete_io(&mut stream).map_err(|error| tls_fault(&error))?;
            }
            stream.set_read_timeout(silence).map_err(fault)?;
            Ok(Box::new(StreamOwned::new(session, stream)))
        }
    }
}

/// Takes a host's port and brackets off.
fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

/// Says what went wrong in a handshake.
fn tls_fault(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Some(other) => format!("tls: {other}"),
        None => os_text(error),
    }
}

/// Connects to the first address of a host that answers.
fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let with_port = match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
        _ => format!("{host}:{port}"),
    };
    let name = with_port.rsplit_once(':').map_or(host, |(name, _)| name);
    let found = with_port
        .to_socket_addrs()
        .map_err(|_| format!("dial tcp: lookup {name}: no such host"))?;
    let mut fault = format!("dial tcp: lookup {name}: no such host");
    for address in found {
        match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                fault = format!("dial tcp {address}: i/o timeout");
            }
            Err(error) => fault = format!("dial tcp {address}: connect: {}", os_text(&error)),
        }
    }
    Err(fault)
}
