//! HTTP to an agent: all that a verb sees of the cluster.
//!
//! One request a connection, over TCP or a Unix socket, with blocking sockets: a verb has nothing
//! else to do. Faults read as those of Consul's own client.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;

use super::Api;
use super::flag::{Flag, Given, Takes, switch, texts};
use crate::config::{go_bool, os_text};

/// Time to connect; an answer may take as long as it takes.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer: more than any agent gives, so that a wrong address cannot fill memory.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Address of the agent if nothing else is said.
const ADDRESS: &str = "127.0.0.1:8500";

/// Flags that verbs share, by whom they speak to.
pub(super) fn flags(api: Api) -> Vec<Flag> {
    let mut flags = match api {
        Api::None => return Vec::new(),
        Api::Agent | Api::Servers => vec![
            texts("ca-file", "File with CA certificates, for TLS; or environment CONSUL_CACERT."),
            texts(
                "ca-path",
                "Directory of CA certificates, for TLS; or environment CONSUL_CAPATH.",
            ),
            texts("client-cert", "Client certificate, for TLS; or environment CONSUL_CLIENT_CERT."),
            texts("client-key", "Key of the client certificate; or environment CONSUL_CLIENT_KEY."),
            Flag {
                name: "http-addr",
                takes: Takes::Text("address"),
                doc: "Address and port of the agent's HTTP API, or `unix://` and a path; or \
                      environment CONSUL_HTTP_ADDR. Default: http://127.0.0.1:8500.",
            },
            texts("tls-server-name", "Name to expect in TLS; or CONSUL_TLS_SERVER_NAME."),
            texts("token", "ACL token of the request; or environment CONSUL_HTTP_TOKEN."),
            texts("token-file", "File with the ACL token; or CONSUL_HTTP_TOKEN_FILE."),
        ],
    };
    if api == Api::Servers {
        flags.push(texts("datacenter", "Datacenter to ask. Default: that of the agent."));
        flags.push(switch("stale", "Lets any server answer, not only the leader."));
        flags.sort_by_key(|flag| flag.name);
    }
    flags
}

/// Why a request got no good answer.
#[derive(Debug)]
pub(super) enum Error {
    /// The settings are no good.
    Settings(String),
    /// The request went wrong on its way; carries the whole text.
    Transport(String),
    /// The agent refused.
    Code {
        /// HTTP status.
        code: u16,
        /// Its text.
        body: String,
    },
    /// The answer is not what was expected.
    Answer(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settings(text) | Self::Transport(text) | Self::Answer(text) => f.write_str(text),
            Self::Code { code, body } => write!(f, "Unexpected response code: {code} ({body})"),
        }
    }
}

/// Where to ask and as whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Settings {
    address: String,
    tls: bool,
    token: Option<String>,
    auth: Option<String>,
    datacenter: Option<String>,
    namespace: Option<String>,
    stale: bool,
}

impl Settings {
    /// Reads flags, then environment.
    pub(super) fn read(given: &Given, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let flag = |name: &str| given.text(name).filter(|v| !v.is_empty()).map(str::to_owned);
        let either = |name: &str, variable: &str| flag(name).or_else(|| env(variable));
        let token = match either("token-file", "CONSUL_HTTP_TOKEN_FILE") {
            Some(path) => {
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    let why = os_text(&error);
                    Error::Settings(format!("Error loading token file: open {path}: {why}"))
                })?;
                Some(text.trim().to_owned()).filter(|token| !token.is_empty())
            }
            None => None,
        };
        Ok(Self {
            address: either("http-addr", "CONSUL_HTTP_ADDR").unwrap_or_else(|| ADDRESS.to_owned()),
            tls: env("CONSUL_HTTP_SSL").is_some_and(|on| go_bool(&on) == Some(true)),
            token: token.or_else(|| either("token", "CONSUL_HTTP_TOKEN")),
            auth: env("CONSUL_HTTP_AUTH"),
            datacenter: flag("datacenter"),
            namespace: either("namespace", "CONSUL_NAMESPACE"),
            stale: given.on("stale"),
        })
    }
}

/// How to reach the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Route {
    Tcp(String),
    Unix(String),
}

/// A client of one agent.
pub(super) struct Client {
    route: Route,
    settings: Settings,
}

/// A request: method, path already escaped, query, body.
pub(super) struct Request<'a> {
    method: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    body: &'a [u8],
}

/// Makes a GET.
pub(super) fn get(path: impl Into<String>) -> Request<'static> {
    Request { method: "GET", path: path.into(), query: Vec::new(), body: &[] }
}

/// Makes a PUT.
pub(super) fn put(path: impl Into<String>, body: &[u8]) -> Request<'_> {
    Request { method: "PUT", path: path.into(), query: Vec::new(), body }
}

/// Makes a DELETE.
pub(super) fn delete(path: impl Into<String>) -> Request<'static> {
    Request { method: "DELETE", path: path.into(), query: Vec::new(), body: &[] }
}

impl Request<'_> {
    /// Adds a parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Vec<u8>,
}

impl Client {
    /// Makes a client.
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let (scheme, rest) = match settings.address.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None if settings.tls => ("https", settings.address.as_str()),
            None => ("http", settings.address.as_str()),
        };
        let route = match scheme {
            "unix" => Route::Unix(rest.to_owned()),
            "http" if !settings.tls => Route::Tcp(rest.trim_end_matches('/').to_owned()),
            "http" | "https" => {
                return Err(Error::Settings("TLS is not supported by this build".to_owned()));
            }
            other => return Err(Error::Settings(format!("Unknown protocol scheme: {other}"))),
        };
        Ok(Self { route, settings })
    }

    /// Asks and returns the answer, whatever its status.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Answer, Error> {
        let target = self.target(&request);
        self.exchange(&request, &target).map_err(|why| {
            let host = match &self.route {
                Route::Tcp(host) => host.clone(),
                Route::Unix(path) => escape(path, Keep::Nothing),
            };
            let method = &request.method[..1];
            let verb = format!("{method}{}", request.method[1..].to_lowercase());
            Error::Transport(format!("{verb} \"http://{host}{target}\": {why}"))
        })
    }

    /// Asks and insists on status 200.
    pub(super) fn ok(&self, request: Request<'_>) -> Result<Vec<u8>, Error> {
        let answer = self.send(request)?;
        match answer.code {
            200 => Ok(answer.body),
            code => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                Err(Error::Code { code, body })
            }
        }
    }

    /// Asks, insists on status 200 and reads JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, Error> {
        serde_json::from_slice(&self.ok(request)?).map_err(|e| Error::Answer(e.to_string()))
    }

    /// Writes path and query; parameters come in the order of their names, as Go writes them.
    fn target(&self, request: &Request<'_>) -> String {
        let mut query = request.query.clone();
        if let Some(datacenter) = &self.settings.datacenter {
            query.push(("dc", datacenter.clone()));
        }
        if let Some(namespace) = &self.settings.namespace {
            query.push(("ns", namespace.clone()));
        }
        if self.settings.stale {
            query.push(("stale", String::new()));
        }
        query.sort_by_key(|(name, _)| *name);
        let pair = |(name, value): &(&str, String)| {
            format!("{name}={}", escape(value, Keep::Nothing).replace("%20", "+"))
        };
        let query: Vec<String> = query.iter().map(pair).collect();
        match query.is_empty() {
            true => request.path.clone(),
            false => format!("{}?{}", request.path, query.join("&")),
        }
    }

    /// Connects, writes the request, reads the answer.
    fn exchange(&self, request: &Request<'_>, target: &str) -> Result<Answer, String> {
        let head = self.head(request, target);
        match &self.route {
            Route::Tcp(host) => transfer(connect(host)?, &head, request.body),
            Route::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .map_err(|error| format!("dial unix {path}: connect: {}", os_text(&error)))?;
                transfer(stream, &head, request.body)
            }
        }
    }

    /// Writes the request's head.
    fn head(&self, request: &Request<'_>, target: &str) -> String {
        let host = match &self.route {
            Route::Tcp(host) => host.as_str(),
            Route::Unix(_) => "localhost",
        };
        let mut head = format!(
            "{} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
            request.method,
            request.body.len()
        );
        if let Some(token) = &self.settings.token {
            head += &format!("X-Consul-Token: {}\r\n", token.replace(['\r', '\n'], ""));
        }
        if let Some(auth) = &self.settings.auth {
            head += &format!("Authorization: Basic {}\r\n", BASE64.encode(auth));
        }
        head += "\r\n";
        head
    }
}

/// Connects to the first address of a host that answers.
fn connect(host: &str) -> Result<TcpStream, String> {
    let with_port = match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
        _ => format!("{host}:80"),
    };
    let name = with_port.rsplit_once(':').map_or(host, |(name, _)| name);
    let found = with_port
        .to_socket_addrs()
        .map_err(|_| format!("dial tcp: lookup {name}: no such host"))?;
    let mut fault = format!("dial tcp: lookup {name}: no such host");
    for address in found {
        match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                fault = format!("dial tcp {address}: i/o timeout");
            }
            Err(error) => fault = format!("dial tcp {address}: connect: {}", os_text(&error)),
        }
    }
    Err(fault)
}

/// Writes a request and reads the answer to its end.
fn transfer(mut stream: impl Read + Write, head: &str, body: &[u8]) -> Result<Answer, String> {
    // An agent that refuses a large body answers before it has read it all: the answer counts.
    let wrote = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut bytes = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    if bytes.is_empty() {
        wrote.map_err(|error| os_text(&error))?;
        read.map_err(|error| os_text(&error))?;
        return Err("EOF".to_owned());
    }
    parse(&bytes).ok_or_else(|| "malformed HTTP response".to_owned())
}

/// Parses a whole answer.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let bound = bytes.len().min(HEAD_BYTES_MAX);
    let end = bytes[..bound].windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?;
    let code: u16 = status.get(2..5)?.parse().ok()?;
    if code == 100 {
        return parse(body);
    }
    let mut length = None;
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse::<usize>().ok()?),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = match (chunked, length) {
        (true, _) => unchunk(body)?,
        (false, Some(length)) => body.get(..length)?.to_vec(),
        (false, None) => body.to_vec(),
    };
    Some(Answer { code, body })
}

/// Joins the chunks of a body (RFC 9112, section 7.1).
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// Which reserved characters stay in an escaped text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// None.
    Nothing,
    /// Those that may stand in a path of several segments.
    Path,
}

/// Escapes a text for a path or a query (RFC 3986).
pub(super) fn escape(text: &str, keep: Keep) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if plain || (keep == Keep::Path && b"/$&+,:;=@".contains(&byte)) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: &str) -> Settings {
        Settings { address: address.to_owned(), ..Settings::default() }
    }

    #[test]
    fn answers_are_read_in_all_framings() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x\r\ni\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhi",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nhi",
        ] {
            let answer = parse(text.as_bytes()).unwrap();
            assert_eq!((answer.code, answer.body.as_slice()), (200, b"hi".as_slice()), "{text}");
        }
        for text in ["", "x", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "HTTP/2 x\r\n\r\n"]
        {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn addresses_of_all_forms_are_taken() {
        for (address, want) in [
            ("1.2.3.4:5", Ok(Route::Tcp("1.2.3.4:5".to_owned()))),
            ("http://a:1/", Ok(Route::Tcp("a:1".to_owned()))),
            ("unix:///run/x", Ok(Route::Unix("/run/x".to_owned()))),
            ("https://a:1", Err("TLS is not supported by this build")),
            ("ftp://a", Err("Unknown protocol scheme: ftp")),
        ] {
            let got = Client::new(settings(address)).map(|client| client.route);
            let want = want.map_err(str::to_owned);
            assert_eq!(got.map_err(|e| e.to_string()), want, "{address}");
        }
    }

    #[test]
    fn parameters_come_in_order_and_escaped() {
        let mut settings = settings("a:1");
        (settings.datacenter, settings.stale) = (Some("dc 2".to_owned()), true);
        let client = Client::new(settings).unwrap();
        let path = format!("/v1/kv/{}", escape("a b/\u{e9}?", Keep::Path));
        let target = client.target(&get(path).with("recurse", "").with("cas", "7"));
        assert_eq!(target, "/v1/kv/a%20b/%C3%A9%3F?cas=7&dc=dc+2&recurse=&stale=");
    }

    #[test]
    fn a_refused_connection_is_told_in_gos_words() {
        let client = Client::new(settings("127.77.0.1:1")).unwrap();
        let fault = client.ok(get("/v1/agent/self")).unwrap_err().to_string();
        let want = "Get \"http://127.77.0.1:1/v1/agent/self\": dial tcp 127.77.0.1:1: connect: \
                    connection refused";
        assert_eq!(fault, want);
    }

    #[test]
    fn flags_win_over_environment() {
        let args = ["-http-addr=flag:1".to_owned(), "-token=t".to_owned()];
        let super::super::flag::Parsed::Run(given, _) =
            super::super::flag::parse(&flags(Api::Servers), &args).unwrap()
        else {
            panic!("no help was asked for")
        };
        let env = |name: &str| Some(format!("env-{name}")).filter(|_| !name.contains("FILE"));
        let read = Settings::read(&given, &env).unwrap();
        assert_eq!((read.address.as_str(), read.token.as_deref()), ("flag:1", Some("t")));
        let read = Settings::read(&Given::default(), &env).unwrap();
        assert_eq!(read.address, "env-CONSUL_HTTP_ADDR");
        assert_eq!(read.token.as_deref(), Some("env-CONSUL_HTTP_TOKEN"));
    }
}
