//! The configuration file of a device: the part of Consul's that a device has use for.
//!
//! ```text
//! file     = (name = value | block { file })*     # and // begin comments
//! value    = "text" | number | ["text", ...]
//! block    = service | check | meta
//! ```
//!
//! A mistake is told with its line and key. Keys of the file: `node_name`, `node_id`, `datacenter`,
//! `bind_addr`, `port`, `encrypt`, `retry_join`, `servers`, `http_addr`, `data_dir`, `token`; of a
//! `service`: `id`, `name`, `tags`, `address`, `port`, `meta`; of a `check`: `id`, `name`,
//! `service_id`, `notes`, `status`, `interval`, `timeout`, and one of `tcp`, `http`, `args`,
//! `gpio_file`, `ttl`.

mod reader;

use super::base64;
use agent_core::client::SERVICES_MAX;
use agent_core::gossip::seal::Key;
use agent_core::health::Status;
use agent_core::time::Duration;
use core::fmt;
use core::net::{Ipv4Addr, SocketAddr};
use reader::{Entry, Item, Reader, fail};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// Longest file in bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// Most checks.
pub const CHECKS_MAX: usize = 32;

/// Gossip's and RPC's ports unless told.
const GOSSIP_PORT: u16 = 8301;
const RPC_PORT: u16 = 8300;

/// What is wrong with a file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong; it names the key.
    pub text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

impl core::error::Error for Error {}

/// What a device is started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The node's ID; else it is made once and kept in `data_dir`.
    pub node_id: Option<[u8; 16]>,
    /// The datacentre, `dc1` unless told.
    pub datacenter: String,
    /// The address to bind and to tell the others.
    pub bind: SocketAddr,
    /// Gossip addresses of members to join through.
    pub join: Vec<SocketAddr>,
    /// RPC addresses of servers; unless told, the hosts of `join` are tried.
    pub servers: Vec<SocketAddr>,
    /// Where to serve HTTP; nowhere unless told.
    pub http: Option<SocketAddr>,
    /// Where the node's ID and generation are kept.
    pub data_dir: Option<String>,
    /// The key that a sealed pool starts with; plain gossip without one.
    pub encrypt: Option<Key>,
    /// The ACL token's secret.
    pub token: String,
    /// The node's metadata.
    pub meta: Vec<(String, String)>,
    /// Its services.
    pub services: Vec<Service>,
    /// Its checks.
    pub checks: Vec<Check>,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// Unique on the node; the name unless told.
    pub id: String,
    /// The name.
    pub name: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Its own address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Its metadata.
    pub meta: Vec<(String, String)>,
}

/// A check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Unique on the node; the name unless told.
    pub id: String,
    /// The name.
    pub name: String,
    /// The instance it is about.
    pub service_id: String,
    /// Notes for people.
    pub notes: String,
    /// Where it starts, critical unless told.
    pub status: Status,
    /// Time between two runs, 10 s unless told.
    pub interval: Duration,
    /// Longest time of a run, 10 s unless told.
    pub timeout: Duration,
    /// What it does.
    pub probe: Probe,
}

/// What a check does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// Connects.
    Tcp(SocketAddr),
    /// Fetches a path: 2xx passes, 429 warns.
    Http(SocketAddr, String),
    /// Runs a program: 0 passes, 1 warns.
    Script(Vec<String>),
    /// Reads a file: a text that starts with `1` passes.
    Gpio(String),
    /// Is reported at least this often.
    Ttl(Duration),
}

impl Probe {
    /// Tells Consul's word for the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Http(..) => "http",
            Self::Script(_) => "script",
            Self::Gpio(_) => "gpio-file",
            Self::Ttl(_) => "ttl",
        }
    }
}

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// [`Error`] names the line and the key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > FILE_BYTES_MAX {
            return fail(0, format!("the file has more than {FILE_BYTES_MAX} bytes"));
        }
        let mut config = Self {
            node_name: String::new(),
            node_id: None,
            datacenter: "dc1".into(),
            bind: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), GOSSIP_PORT),
            join: Vec::new(),
            servers: Vec::new(),
            http: None,
            data_dir: None,
            encrypt: None,
            token: String::new(),
            meta: Vec::new(),
            services: Vec::new(),
            checks: Vec::new(),
        };
        let mut reader = Reader::new(text);
        reader.entries(false, |reader, item| match item {
            Item::Entry(entry) => config.set(&entry),
            Item::Block(line, key) => config.block(reader, line, &key),
        })?;
        config.complete()
    }

    fn set(&mut self, entry: &Entry) -> Result<(), Error> {
        match entry.key.as_str() {
            "node_name" => self.node_name = entry.text()?,
            "node_id" => match parse_uuid(&entry.text()?) {
                Some(id) => self.node_id = Some(id),
                None => return entry.wrong("a UUID is wanted"),
            },
            "datacenter" => self.datacenter = entry.text()?,
            "bind_addr" => self.bind = entry.address(&entry.text()?, self.bind.port())?,
            "port" => self.bind.set_port(entry.port()?),
            "retry_join" => self.join = entry.addresses(GOSSIP_PORT)?,
            "servers" => self.servers = entry.addresses(RPC_PORT)?,
            "http_addr" => self.http = Some(entry.address(&entry.text()?, 8500)?),
            "data_dir" => self.data_dir = Some(entry.text()?),
            "encrypt" => match base64::parse(&entry.text()?).map(|bytes| Key::new(&bytes)) {
                Some(Ok(key)) => self.encrypt = Some(key),
                Some(Err(_)) => return entry.wrong("a key has 16, 24 or 32 bytes"),
                None => return entry.wrong("a key in base64 is wanted"),
            },
            "token" => self.token = entry.text()?,
            _ => return entry.unknown("the file"),
        }
        Ok(())
    }

    fn block(&mut self, reader: &mut Reader<'_>, line: usize, key: &str) -> Result<(), Error> {
        match key {
            "service" => {
                let service = read_service(reader, line)?;
                if self.services.iter().any(|known| known.id == service.id) {
                    return fail(line, format!("service: {:?} is there twice", service.id));
                }
                self.services.push(service);
                if self.services.len() > SERVICES_MAX {
                    return fail(line, format!("service: more than {SERVICES_MAX}"));
                }
            }
            "check" => {
                let check = read_check(reader, line)?;
                if self.checks.iter().any(|known| known.id == check.id) {
                    return fail(line, format!("check: {:?} is there twice", check.id));
                }
                self.checks.push(check);
                if self.checks.len() > CHECKS_MAX {
                    return fail(line, format!("check: more than {CHECKS_MAX}"));
                }
            }
            "meta" => self.meta = read_meta(reader)?,
            _ => return fail(line, format!("{key}: not a block of the file")),
        }
        Ok(())
    }

    fn complete(mut self) -> Result<Self, Error> {
        if self.node_name.is_empty() {
            return fail(0, "node_name is missing");
        }
        if self.node_id.is_none() && self.data_dir.is_none() {
            return fail(0, "node_id or data_dir is missing: a node keeps its ID for life");
        }
        if self.bind.ip().is_unspecified() {
            return fail(0, "bind_addr is missing: the address that others reach");
        }
        if self.join.is_empty() {
            return fail(0, "retry_join is missing: an address of the pool");
        }
        if self.servers.is_empty() {
            let hosts = self.join.iter();
            self.servers = hosts.map(|host| SocketAddr::new(host.ip(), RPC_PORT)).collect();
        }
        for check in &self.checks {
            let known = |service: &Service| service.id == check.service_id;
            if !check.service_id.is_empty() && !self.services.iter().any(known) {
                let (id, service) = (&check.id, &check.service_id);
                return fail(0, format!("check {id:?}: service_id: no service {service:?}"));
            }
        }
        Ok(self)
    }
}

fn read_meta(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, Error> {
    let mut meta = Vec::new();
    reader.entries(true, |_, item| match item {
        Item::Entry(entry) => {
            meta.push((entry.key.clone(), entry.text()?));
            Ok(())
        }
        Item::Block(line, key) => fail(line, format!("{key}: not a block of meta")),
    })?;
    Ok(meta)
}

fn read_service(reader: &mut Reader<'_>, line: usize) -> Result<Service, Error> {
    let mut service = Service::default();
    reader.entries(true, |reader, item| {
        match item {
            Item::Entry(entry) => match entry.key.as_str() {
                "id" => service.id = entry.text()?,
                "name" => service.name = entry.text()?,
                "tags" => service.tags = entry.list()?,
                "address" => service.address = entry.text()?,
                "port" => service.port = entry.port()?,
                _ => return entry.unknown("service"),
            },
            Item::Block(_, key) if key == "meta" => service.meta = read_meta(reader)?,
            Item::Block(line, key) => return fail(line, format!("{key}: not a block of service")),
        }
        Ok(())
    })?;
    if service.name.is_empty() {
        return fail(line, "service: name is missing");
    }
    if service.id.is_empty() {
        service.id.clone_from(&service.name);
    }
    Ok(service)
}

fn read_check(reader: &mut Reader<'_>, line: usize) -> Result<Check, Error> {
    let mut probes = Vec::new();
    let mut check = Check {
        id: String::new(),
        name: String::new(),
        service_id: String::new(),
        notes: String::new(),
        status: Status::Critical,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        probe: Probe::Gpio(String::new()),
    };
    reader.entries(true, |_, item| {
        let entry = match item {
            Item::Entry(entry) => entry,
            Item::Block(line, key) => return fail(line, format!("{key}: not a block of check")),
        };
        match entry.key.as_str() {
            "id" => check.id = entry.text()?,
            "name" => check.name = entry.text()?,
            "service_id" => check.service_id = entry.text()?,
            "notes" => check.notes = entry.text()?,
            "status" => match Status::parse(&entry.text()?) {
                Some(status) => check.status = status,
                None => return entry.wrong("passing, warning or critical is wanted"),
            },
            "interval" => check.interval = entry.duration()?,
            "timeout" => check.timeout = entry.duration()?,
            "tcp" => probes.push(Probe::Tcp(entry.address(&entry.text()?, 80)?)),
            "http" => probes.push(parse_url(&entry)?),
            "args" => match entry.list()? {
                args if args.is_empty() => return entry.wrong("a program is wanted"),
                args => probes.push(Probe::Script(args)),
            },
            "gpio_file" => probes.push(Probe::Gpio(entry.text()?)),
            "ttl" => probes.push(Probe::Ttl(entry.duration()?)),
            _ => return entry.unknown("check"),
        }
        Ok(())
    })?;
    if check.name.is_empty() {
        check.name.clone_from(&check.id);
    }
    if check.id.is_empty() {
        check.id.clone_from(&check.name);
    }
    if check.id.is_empty() {
        return fail(line, "check: id or name is missing");
    }
    match (probes.pop(), probes.is_empty()) {
        (Some(probe), true) => check.probe = probe,
        (Some(_), false) | (None, _) => {
            return fail(line, "check: one of tcp, http, args, gpio_file, ttl is wanted");
        }
    }
    Ok(check)
}

/// Reads `http://ip:port/path`.
fn parse_url(entry: &Entry) -> Result<Probe, Error> {
    let text = entry.text()?;
    let Some(rest) = text.strip_prefix("http://") else {
        return entry.wrong("http://ip:port/path is wanted");
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return entry.wrong("a path has no blanks");
    }
    let path = if path.is_empty() { "/" } else { path };
    Ok(Probe::Http(entry.address(host, 80)?, path.to_string()))
}

/// Reads a UUID's text.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    if lengths != [8, 4, 4, 4, 12] {
        return None;
    }
    let digits: String = groups.concat();
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests;
