//! HTTP to an agent: all that a verb sees of the cluster.
//!
//! One request a connection, over TCP, TLS or a Unix socket, with blocking sockets: a verb has
//! nothing else to do. Faults read as those of Consul's own client.

mod answer;
mod open;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

use super::Api;
use super::flag::{Flag, Given, Takes, switch, texts};
use crate::config::{go_bool, os_text};
use answer::{Answer, parse};
use open::{Route, Secure, open};

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
                reasoned: false,
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
        flags.push(switch("stale", "Lets any server answer, not only the leader.").reasoned());
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

impl Error {
    /// Tells whether the same question may be answered a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Code { code, .. } => *code >= 500,
            Self::Settings(_) | Self::Answer(_) => false,
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
    secure: Secure,
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
            secure: Secure {
                ca_file: either("ca-file", "CONSUL_CACERT"),
                ca_path: either("ca-path", "CONSUL_CAPATH"),
                cert_file: either("client-cert", "CONSUL_CLIENT_CERT"),
                key_file: either("client-key", "CONSUL_CLIENT_KEY"),
                server_name: either("tls-server-name", "CONSUL_TLS_SERVER_NAME"),
                anybody: env("CONSUL_HTTP_SSL_VERIFY")
                    .is_some_and(|verify| go_bool(&verify) == Some(false)),
            },
        })
    }
}

/// A client of one agent.
pub(super) struct Client {
    route: Route,
    tls: Option<Arc<ClientConfig>>,
    settings: Settings,
}

/// A request: method, path already escaped, query, body.
pub(super) struct Request<'a> {
    method: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    body: &'a [u8],
    /// How long the agent may be silent; as long as it likes if nothing is said.
    time_max: Option<Duration>,
}

/// Makes a GET.
pub(super) fn get(path: impl Into<String>) -> Request<'static> {
    Request { method: "GET", path: path.into(), query: Vec::new(), body: &[], time_max: None }
}

/// Makes a PUT.
pub(super) fn put(path: impl Into<String>, body: &[u8]) -> Request<'_> {
    Request { method: "PUT", path: path.into(), query: Vec::new(), body, time_max: None }
}

/// Makes a POST.
pub(super) fn post(path: impl Into<String>, body: &[u8]) -> Request<'_> {
    Request { method: "POST", path: path.into(), query: Vec::new(), body, time_max: None }
}

/// Makes a DELETE.
pub(super) fn delete(path: impl Into<String>) -> Request<'static> {
    Request { method: "DELETE", path: path.into(), query: Vec::new(), body: &[], time_max: None }
}

impl Request<'_> {
    /// Gives it a body.
    pub(super) fn carrying(self, body: &[u8]) -> Request<'_> {
        let Self { method, path, query, body: _, time_max } = self;
        Request { method, path, query, body, time_max }
    }

    /// Gives up when the agent is silent for so long.
    pub(super) fn within(mut self, time: Duration) -> Self {
        self.time_max = Some(time);
        self
    }

    /// Adds a parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

impl Client {
    /// Makes a client.
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let route = Route::parse(&settings.address, settings.tls)?;
        let is_tls = matches!(route, Route::Tls(_)) || settings.secure.has_files();
        let tls = is_tls.then(|| settings.secure.build()).transpose()?;
        Ok(Self { route, tls, settings })
    }

    /// Asks and returns the answer, whatever its status.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Answer, Error> {
        let target = self.target(&request);
        let length = request.body.len() as u64;
        self.exchange(&request, &target, (&mut { request.body }, length))
            .map_err(|why| self.lost(&request, &target, &why))
    }

    /// Sends a file as the body, and insists on status 200.
    pub(super) fn upload(&self, request: Request<'_>, mut file: File) -> Result<(), Error> {
        let target = self.target(&request);
        let length = file.metadata().map(|meta| meta.len()).map_err(|error| os_text(&error));
        let answer = length
            .and_then(|length| self.exchange(&request, &target, (&mut file, length)))
            .map_err(|why| self.lost(&request, &target, &why))?;
        good(answer).map(|_| ())
    }

    /// Words what went wrong on the way as Go does.
    fn lost(&self, request: &Request<'_>, target: &str, why: &str) -> Error {
        let (scheme, host) = match &self.route {
            Route::Tcp(host) => ("http", host.clone()),
            Route::Tls(host) => ("https", host.clone()),
            Route::Unix(path) => ("http", escape(path, Keep::Nothing)),
        };
        let method = &request.method[..1];
        let verb = format!("{method}{}", request.method[1..].to_lowercase());
        Error::Transport(format!("{verb} \"{scheme}://{host}{target}\": {why}"))
    }

    /// Asks, insists on status 200 and hands on the body as it comes, until it ends or `take` has
    /// enough.
    pub(super) fn follow(
        &self,
        request: Request<'_>,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let target = self.target(&request);
        let head = self.head(&request, &target, request.body.len() as u64);
        let answer =
            self.open(request.time_max).and_then(|open| stream(open, &head, request.body, take));
        let answer = answer.map_err(|why| self.lost(&request, &target, &why))?;
        take(&good(answer)?);
        Ok(())
    }

    /// Asks and insists on status 200.
    pub(super) fn ok(&self, request: Request<'_>) -> Result<Vec<u8>, Error> {
        good(self.send(request)?)
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
        // An answer that must be consistent cannot be stale.
        if self.settings.stale && !query.iter().any(|(name, _)| *name == "consistent") {
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
    fn exchange(
        &self,
        request: &Request<'_>,
        target: &str,
        (body, length): (&mut dyn Read, u64),
    ) -> Result<Answer, String> {
        let head = self.head(request, target, length);
        transfer(self.open(request.time_max)?, &head, body)
    }

    /// Connects.
    fn open(&self, silence: Option<Duration>) -> Result<Box<dyn open::Stream>, String> {
        open(&self.route, &self.settings.secure, self.tls.as_ref(), silence)
    }

    /// Writes the request's head.
    fn head(&self, request: &Request<'_>, target: &str, length: u64) -> String {
        let host = match &self.route {
            Route::Tcp(host) | Route::Tls(host) => host.as_str(),
            Route::Unix(_) => "localhost",
        };
        let mut head = format!(
            "{} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n",
            request.method
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

/// Insists on status 200.
fn good(answer: Answer) -> Result<Vec<u8>, Error> {
    match answer.code {
        200 => Ok(answer.body),
        code => {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            Err(Error::Code { code, body })
        }
    }
}

/// Writes a request and hands on the body of a good answer as it comes.
fn stream(
    mut stream: impl Read + Write,
    head: &str,
    body: &[u8],
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Answer, String> {
    let fault = |error| os_text(&error);
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(fault)?;
    let mut lines = BufReader::new(stream);
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let bound = (HEAD_BYTES_MAX - read.len()) as u64;
        if lines.by_ref().take(bound).read_until(b'\n', &mut read).map_err(fault)? == 0 {
            return Err("malformed HTTP response".to_owned());
        }
    }
    let answer = String::from_utf8_lossy(&read).into_owned();
    let good = answer.split(' ').nth(1) == Some("200");
    let chunked = answer.to_ascii_lowercase().contains("transfer-encoding: chunked");
    if !good || !chunked {
        lines.take(ANSWER_BYTES_MAX).read_to_end(&mut read).map_err(fault)?;
        return parse(&read).ok_or_else(|| "malformed HTTP response".to_owned());
    }
    loop {
        let mut line = Vec::new();
        lines.by_ref().take(32).read_until(b'\n', &mut line).map_err(fault)?;
        let size = std::str::from_utf8(&line).ok().map(|text| text.split(';').next().unwrap_or(""));
        let size = size.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
        let mut chunk = Vec::new();
        lines
            .by_ref()
            .take(size.min(ANSWER_BYTES_MAX) + 2)
            .read_to_end(&mut chunk)
            .map_err(fault)?;
        let body = chunk.strip_suffix(b"\r\n").unwrap_or(&chunk);
        if size == 0 || chunk.is_empty() || !take(body) {
            return Ok(Answer { code: 200, index: 0, body: Vec::new() });
        }
    }
}

/// Writes a request and reads the answer to its end.
fn transfer(
    mut stream: impl Read + Write,
    head: &str,
    body: &mut dyn Read,
) -> Result<Answer, String> {
    // An agent that refuses a large body answers before it has read it all: the answer counts.
    let wrote = stream.write_all(head.as_bytes());
    let wrote = wrote.and_then(|()| std::io::copy(body, &mut stream).map(|_| ()));
    let mut bytes = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    if bytes.is_empty() {
        wrote.map_err(|error| os_text(&error))?;
        read.map_err(|error| os_text(&error))?;
        return Err("EOF".to_owned());
    }
    parse(&bytes).ok_or_else(|| "malformed HTTP response".to_owned())
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
    fn addresses_of_all_forms_are_taken() {
        for (address, want) in [
            ("1.2.3.4:5", Ok(Route::Tcp("1.2.3.4:5".to_owned()))),
            ("http://a:1/", Ok(Route::Tcp("a:1".to_owned()))),
            ("unix:///run/x", Ok(Route::Unix("/run/x".to_owned()))),
            ("https://a:1", Ok(Route::Tls("a:1".to_owned()))),
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
