//! The local HTTP interface: what the device is and has, reports on its checks, and look-ups that
//! it passes on to a server.
//!
//! Bounds: [`CONNECTIONS_MAX`] at once, further ones wait in the listener's queue; a request of up
//! to [`REQUEST_BYTES_MAX`] bytes within [`REQUEST_TIME`]; one request a connection; one look-up at
//! a time, others wait for it.

mod json;
mod request;

use super::base64;
use super::config::Config;
use crate::Device;
use agent_core::client::{Busy, Event, Wanted};
use agent_core::health::Status;
use agent_core::time::{Duration, Instant};
use agent_core::wire::memory::LIST_MAX;
use agent_core::wire::message::Tell;
use json::{object, quote};
use request::Request;
use rustix::event::{PollFd, PollFlags};
use std::format;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::string::{String, ToString};
use std::vec::Vec;

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 8;

/// Longest request, head and body, in bytes.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// How long a request may take to arrive and an answer to be taken; a look-up gives up earlier.
const REQUEST_TIME: Duration = Duration::from_secs(40);

/// The listener and its connections.
pub struct Http {
    listener: TcpListener,
    connections: Vec<Connection>,
    /// Which connection's look-up the client holds.
    asking: Option<u64>,
    next: u64,
}

struct Connection {
    number: u64,
    stream: TcpStream,
    until: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
    lookup: Option<Lookup>,
    /// The answer is complete: close when it is written.
    ending: bool,
}

/// What a connection waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Lookup {
    Leader,
    Get { key: String, raw: bool },
    Put { key: String, value: Vec<u8>, flags: u64 },
    Find { service: String, tag: String, passing: bool },
}

/// What a request comes to at once.
enum Answer {
    Whole(u16, String),
    Ask(Lookup),
}

impl Http {
    /// Binds the listener.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connections: Vec::new(), asking: None, next: 0 })
    }

    /// Tells where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Does all that can be done at `now`.
    pub fn step<const A: usize, const B: usize, const C: usize, const D: usize>(
        &mut self,
        now: Instant,
        config: &Config,
        device: &mut Device<'_, A, B, C, D>,
    ) {
        while self.connections.len() < CONNECTIONS_MAX
            && let Ok((stream, _)) = self.listener.accept()
        {
            if stream.set_nonblocking(true).is_ok() {
                self.next += 1;
                self.connections.push(Connection::new(self.next, stream, now));
            }
        }
        for connection in &mut self.connections {
            connection.step(now, config, device);
            if let Some(lookup) = &connection.lookup
                && self.asking.is_none()
            {
                match lookup.ask(now, device) {
                    Ok(()) => self.asking = Some(connection.number),
                    Err(Busy::Waiting) => {}
                    Err(Busy::TooLong) => connection.finish(413, "Request too large"),
                }
            }
        }
        self.connections.retain(|connection| !connection.is_over(now));
    }

    /// Hands the answer to a look-up to the connection that waits for it.
    pub fn handle_event(&mut self, event: &Event<'_>) {
        let (Event::Answer(_)
        | Event::Unanswered
        | Event::Refused { item: agent_core::client::Item::Lookup, .. }) = event
        else {
            return;
        };
        let asking = self.asking.take();
        let Some(connection) =
            self.connections.iter_mut().find(|connection| Some(connection.number) == asking)
        else {
            return;
        };
        let Some(lookup) = connection.lookup.take() else { return };
        match event {
            Event::Answer(tell) => lookup.render(tell, connection),
            Event::Refused { text, .. } => connection.finish(500, text),
            _ => connection.finish(500, "No known Consul servers"),
        }
    }

    /// Adds what to wait for.
    pub fn poll_fds<'s>(&'s self, fds: &mut Vec<PollFd<'s>>) {
        if self.connections.len() < CONNECTIONS_MAX {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        for connection in &self.connections {
            let flags = match connection.output.is_empty() {
                true => PollFlags::IN,
                false => PollFlags::OUT,
            };
            fds.push(PollFd::new(&connection.stream, flags));
        }
    }
}

impl Lookup {
    fn ask<const A: usize, const B: usize, const C: usize, const D: usize>(
        &self,
        now: Instant,
        device: &mut Device<'_, A, B, C, D>,
    ) -> Result<(), Busy> {
        let client = device.client_mut();
        match self {
            Self::Leader => client.leader(now),
            Self::Get { key, .. } => client.get(now, key),
            Self::Put { key, value, flags } => client.put(now, key, value, *flags),
            Self::Find { service, tag, passing } => {
                let (passing, most) = (*passing, LIST_MAX as u8);
                client.find(now, Wanted { service, tag, passing, most })
            }
        }
    }

    fn render(&self, tell: &Tell<agent_core::wire::memory::Lent<'_>>, connection: &mut Connection) {
        match (self, tell) {
            (Self::Leader, Tell::Leader { address }) => connection.finish(200, &quote(address)),
            (Self::Put { .. }, Tell::Done) => connection.finish(200, "true"),
            (Self::Get { .. }, Tell::Missing) => connection.finish(404, ""),
            (Self::Get { raw: true, .. }, Tell::Value { value, .. }) => {
                connection.finish_bytes(200, "application/octet-stream", value);
            }
            (Self::Get { key, raw: false }, Tell::Value { value, flags, index }) => {
                let entry = object(&[
                    ("Key", quote(key)),
                    ("Flags", flags.to_string()),
                    ("Value", quote(&base64::emit(value))),
                    ("ModifyIndex", index.to_string()),
                ]);
                connection.finish(200, &format!("[{entry}]"));
            }
            (Self::Find { service, .. }, Tell::Instances { list, .. }) => {
                let rows: Vec<String> = list
                    .iter()
                    .map(|one| {
                        let node =
                            object(&[("Node", quote(one.node)), ("Address", quote(one.address))]);
                        let instance = object(&[
                            ("ID", quote(one.id)),
                            ("Service", quote(service)),
                            ("Address", quote(one.address)),
                            ("Port", one.port.to_string()),
                        ]);
                        let status = quote(one.status.as_str());
                        object(&[
                            ("Node", node),
                            ("Service", instance),
                            ("AggregatedStatus", status),
                        ])
                    })
                    .collect();
                connection.finish(200, &format!("[{}]", rows.join(",")));
            }
            _ => connection.finish(500, "unexpected answer"),
        }
    }
}

impl Connection {
    fn new(number: u64, stream: TcpStream, now: Instant) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        let until = now + REQUEST_TIME;
        Self { number, stream, until, input, output, lookup: None, ending: false }
    }

    fn is_over(&self, now: Instant) -> bool {
        (self.ending && self.output.is_empty()) || self.until <= now
    }

    fn step<const A: usize, const B: usize, const C: usize, const D: usize>(
        &mut self,
        now: Instant,
        config: &Config,
        device: &mut Device<'_, A, B, C, D>,
    ) {
        if !self.ending && self.lookup.is_none() {
            let mut piece = [0; 1024];
            loop {
                match self.stream.read(&mut piece) {
                    Ok(0) => self.until = now,
                    Ok(count) => {
                        self.input.extend_from_slice(&piece[..count]);
                        if self.input.len() <= REQUEST_BYTES_MAX {
                            continue;
                        }
                        self.finish(413, "Request too large");
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => self.until = now,
                }
                break;
            }
            match Request::parse(&self.input) {
                _ if self.ending => {}
                Ok(None) => {}
                Ok(Some(request)) => match route(&request, now, config, device) {
                    Answer::Whole(code, body) => self.finish(code, &body),
                    Answer::Ask(lookup) => self.lookup = Some(lookup),
                },
                Err(why) => self.finish(400, why),
            }
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => _ = self.output.drain(..count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.output.clear();
                    self.until = now;
                }
            }
        }
    }

    fn finish(&mut self, code: u16, body: &str) {
        let json = matches!(body.as_bytes().first(), Some(b'{' | b'[' | b'"'))
            || matches!(body, "true" | "null");
        let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
        self.finish_bytes(code, kind, body.as_bytes());
    }

    fn finish_bytes(&mut self, code: u16, kind: &str, body: &[u8]) {
        let reason = match code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            413 => "Request Entity Too Large",
            _ => "Internal Server Error",
        };
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        self.output = [head.as_bytes(), body].concat();
        self.input = Vec::new();
        self.lookup = None;
        self.ending = true;
        // What the socket takes at once need not wait for a turn.
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => _ = self.output.drain(..count),
                Err(_) => break,
            }
        }
    }
}

/// Finds what a request asks for.
fn route<const A: usize, const B: usize, const C: usize, const D: usize>(
    request: &Request<'_>,
    now: Instant,
    config: &Config,
    device: &mut Device<'_, A, B, C, D>,
) -> Answer {
    let (get, put) = (request.method == "GET", request.method == "PUT");
    let path = request.path.as_str();
    let whole = |body: String| Answer::Whole(200, body);
    if let Some(rest) = path.strip_prefix("/v1/agent/check/").filter(|_| put) {
        return report(request, rest, now, config, device);
    }
    if let Some(key) = path.strip_prefix("/v1/kv/").filter(|key| !key.is_empty()) {
        let key = key.to_string();
        let flags = request.query("flags").and_then(|flags| flags.parse().ok()).unwrap_or(0);
        return match (get, put) {
            (true, _) => Answer::Ask(Lookup::Get { key, raw: request.query("raw").is_some() }),
            (_, true) => Answer::Ask(Lookup::Put { key, value: request.body.to_vec(), flags }),
            _ => Answer::Whole(405, "method not allowed".into()),
        };
    }
    if let Some(service) = path.strip_prefix("/v1/health/service/").filter(|_| get) {
        let service = service.to_string();
        let tag = request.query("tag").unwrap_or_default();
        let passing = request.query("passing").is_some();
        return Answer::Ask(Lookup::Find { service, tag, passing });
    }
    match (path, get) {
        ("/v1/agent/self", true) => whole(describe(config, device)),
        ("/v1/agent/services", true) => whole(services(config)),
        ("/v1/agent/checks", true) => whole(checks(config, device)),
        ("/v1/status/leader", true) => Answer::Ask(Lookup::Leader),
        _ => Answer::Whole(404, "not an endpoint of a device".into()),
    }
}

/// Takes the word of a check's owner: `pass/:id`, `warn/:id`, `fail/:id`, `update/:id`.
fn report<const A: usize, const B: usize, const C: usize, const D: usize>(
    request: &Request<'_>,
    rest: &str,
    now: Instant,
    config: &Config,
    device: &mut Device<'_, A, B, C, D>,
) -> Answer {
    let Some((verb, id)) = rest.split_once('/') else {
        return Answer::Whole(404, "not an endpoint of a device".into());
    };
    let note = request.query("note").unwrap_or_default();
    let (status, output) = match verb {
        "pass" => (Status::Passing, note),
        "warn" => (Status::Warning, note),
        "fail" => (Status::Critical, note),
        "update" => {
            let text = core::str::from_utf8(request.body).unwrap_or_default();
            let Some(fields) = json::strings(text) else {
                return Answer::Whole(400, "Request decode failed: an object of texts".into());
            };
            let field = |name: &str| fields.iter().find(|(key, _)| key == name);
            let status = field("Status").map_or("", |(_, value)| value);
            let Some(status) = Status::parse(status) else {
                return Answer::Whole(400, format!("Invalid check status: '{status}'"));
            };
            (status, field("Output").map(|(_, value)| value.clone()).unwrap_or_default())
        }
        _ => return Answer::Whole(404, "not an endpoint of a device".into()),
    };
    let known = config.checks.iter().position(|check| check.id == id);
    let Some(at) = known else {
        return Answer::Whole(500, format!("CheckID {id:?} does not have associated TTL"));
    };
    if !matches!(config.checks[at].probe, super::config::Probe::Ttl(_)) {
        return Answer::Whole(500, format!("CheckID {id:?} does not have associated TTL"));
    }
    device.handle_report(now, at, status, &output);
    Answer::Whole(200, String::new())
}

fn describe<const A: usize, const B: usize, const C: usize, const D: usize>(
    config: &Config,
    device: &Device<'_, A, B, C, D>,
) -> String {
    let id = json::uuid(device.client().profile().node_id);
    let about = object(&[
        ("Datacenter", quote(&config.datacenter)),
        ("NodeName", quote(&config.node_name)),
        ("NodeID", quote(&id)),
        ("Server", "false".into()),
        ("Version", quote(env!("CARGO_PKG_VERSION"))),
    ]);
    let member = object(&[
        ("Name", quote(&config.node_name)),
        ("Addr", quote(&config.bind.ip().to_string())),
        ("Port", config.bind.port().to_string()),
        ("Status", "1".into()),
    ]);
    let registered = device.client().is_registered().to_string();
    let contacts = device.leaf().contacts().count().to_string();
    let stats = object(&[("registered", quote(&registered)), ("contacts", quote(&contacts))]);
    object(&[("Config", about), ("Member", member), ("Stats", object(&[("device", stats)]))])
}

fn services(config: &Config) -> String {
    let rows: Vec<(&str, String)> = config
        .services
        .iter()
        .map(|service| {
            let tags: Vec<String> = service.tags.iter().map(|tag| quote(tag)).collect();
            let meta: Vec<(&str, String)> =
                service.meta.iter().map(|(key, value)| (key.as_str(), quote(value))).collect();
            let row = object(&[
                ("ID", quote(&service.id)),
                ("Service", quote(&service.name)),
                ("Tags", format!("[{}]", tags.join(","))),
                ("Meta", object(&meta)),
                ("Port", service.port.to_string()),
                ("Address", quote(&service.address)),
            ]);
            (service.id.as_str(), row)
        })
        .collect();
    object(&rows)
}

fn checks<const A: usize, const B: usize, const C: usize, const D: usize>(
    config: &Config,
    device: &Device<'_, A, B, C, D>,
) -> String {
    let rows: Vec<(&str, String)> = config
        .checks
        .iter()
        .enumerate()
        .map(|(at, check)| {
            let (status, output) = device.check(at).unwrap_or((Status::Critical, ""));
            let service = config.services.iter().find(|service| service.id == check.service_id);
            let row = object(&[
                ("Node", quote(&config.node_name)),
                ("CheckID", quote(&check.id)),
                ("Name", quote(&check.name)),
                ("Status", quote(status.as_str())),
                ("Notes", quote(&check.notes)),
                ("Output", quote(output)),
                ("ServiceID", quote(&check.service_id)),
                ("ServiceName", quote(service.map_or("", |service| &service.name))),
                ("Type", quote(check.probe.kind())),
            ]);
            (check.id.as_str(), row)
        })
        .collect();
    object(&rows)
}
