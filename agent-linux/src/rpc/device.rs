//! The channel of devices: their compact messages become ordinary requests.
//!
//! ```text
//! Hello      the node's rows are read once; the node is written if it differs
//! Service    written if it differs from what was read, until Settled; afterwards always
//! Check      likewise
//! Settled    what was read and not told again is removed; what was read is forgotten
//! others     one request each
//! ```
//!
//! Bounds: one request at a time; a message of up to [`ASK_BYTES_MAX`] bytes, held while it is
//! served; between two messages a connection owns the node's row and no buffer. A device that says
//! nothing for [`SILENCE_MAX`] is closed: devices ping earlier. Whether a device lives, gossip says
//! and the leader writes.
//!
//! [`SILENCE_MAX`]: super::server::SILENCE_MAX

mod row;

use super::server::{Handler, SILENCE_MAX};
use agent_core::model::check::{Check, SERF_HEALTH};
use agent_core::model::command::Command;
use agent_core::model::node::Node;
use agent_core::model::request::{self, Body, Kind as Failure, Options, Query, Reply, Request};
use agent_core::model::service::Service;
use agent_core::model::{catalog, health, kv, status};
use agent_core::wire::frame::{HEADER_BYTES, Header, Kind};
use agent_core::wire::memory::Heap;
use agent_core::wire::message::{
    self, ASK_BYTES_MAX, Ask, REFUSAL_BYTES_MAX, Refusal, TELL_BYTES_MIN, Tell, VERSION,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// On what terms devices are served.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The datacentre; devices of others are refused.
    pub datacenter: String,
    /// Time until a device is to tell everything again.
    pub sync: Duration,
}

/// A refusal, or what else ends a request early.
type Answer = Result<Tell<Heap>, (Refusal, String)>;

/// A device, once it said hello.
struct Device {
    node: Node,
    token: String,
    reply_bytes_max: u16,
    /// What the catalog had when it said hello, less what it told since; `None` once settled.
    before: Option<Before>,
}

/// Rows of a node that the device has not told yet.
#[derive(Default)]
struct Before {
    services: BTreeMap<String, Arc<Service>>,
    checks: BTreeMap<String, Arc<Check>>,
}

/// Serves one device and tells why that ended.
pub(super) async fn run<H: Handler>(mut stream: TcpStream, handler: H) -> String {
    let mut session = Session { handler, device: None };
    loop {
        let mut head = [0; HEADER_BYTES];
        match timeout(SILENCE_MAX, stream.read_exact(&mut head)).await {
            Err(_) => return "silent for too long".into(),
            Ok(Err(error)) => return error.to_string(),
            Ok(Ok(_)) => {}
        }
        let header = match Header::parse(&head, ASK_BYTES_MAX) {
            Ok(header) => header,
            Err(error) => return error.to_string(),
        };
        let mut body = vec![0; header.length as usize];
        match timeout(SILENCE_MAX, stream.read_exact(&mut body)).await {
            Err(_) => return "silent inside a frame".into(),
            Ok(Err(error)) => return error.to_string(),
            Ok(Ok(_)) => {}
        }
        let reply = match header.kind {
            Kind::Ping => Header::new(Kind::Pong, header.id, 0).emit().to_vec(),
            Kind::Request => match message::parse(&body) {
                Ok(ask) => Box::pin(session.reply(header.id, ask)).await,
                Err(error) => return error.to_string(),
            },
            Kind::Reply | Kind::Cancel | Kind::Pong | Kind::Busy => {
                return "a device sent what only servers send".into();
            }
        };
        drop(body);
        match timeout(super::connection::WRITE_TIMEOUT, stream.write_all(&reply)).await {
            Err(_) => return "the device does not read".into(),
            Ok(Err(error)) => return error.to_string(),
            Ok(Ok(())) => {}
        }
    }
}

struct Session<H> {
    handler: H,
    device: Option<Device>,
}

impl<H: Handler> Session<H> {
    /// Serves a message; answers the frame to send back.
    async fn reply(&mut self, id: u32, ask: Ask<Heap>) -> Vec<u8> {
        let answer = self.answer(ask).await;
        let max = self.device.as_ref().map_or(TELL_BYTES_MIN, |device| device.reply_bytes_max);
        let refused = |(reason, text): (Refusal, String)| {
            let text = row::fit(&text, REFUSAL_BYTES_MAX).into();
            Tell::<Heap>::Refused { reason, text }
        };
        let mut bytes = vec![0; HEADER_BYTES + usize::from(max)];
        let (head, room) = bytes.split_at_mut(HEADER_BYTES);
        let length = row::emit(answer.unwrap_or_else(refused), room).unwrap_or_else(|| {
            let text = format!("the answer does not fit {max} bytes");
            let tell = refused((Refusal::TooLong, text));
            row::emit(tell, room).expect("a refusal fits the smallest buffer")
        });
        head.copy_from_slice(&Header::new(Kind::Reply, id, length as u32).emit());
        bytes.truncate(HEADER_BYTES + length);
        bytes
    }

    async fn answer(&mut self, ask: Ask<Heap>) -> Answer {
        match ask {
            Ask::Hello { .. } => self.hello(ask).await,
            Ask::Service { .. } => self.register_service(row::service(ask)).await,
            Ask::Check { .. } => self.register_check(ask).await,
            Ask::Settled => self.settle().await,
            Ask::Remove { service, check } => {
                let (service_id, check_id) = (service, check);
                if service_id.is_empty() && check_id.is_empty() {
                    return Err((Refusal::Invalid, "nothing to remove".into()));
                }
                self.deregister(service_id, check_id).await
            }
            Ask::Get { key } => match self.query(Query::Kv(kv::Query::Get(key))).await? {
                Reply::Kv(kv::Reply::Entry(Some(entry))) => Ok(Tell::Value {
                    value: entry.value.clone(),
                    flags: entry.flags,
                    index: entry.stamp.modify,
                }),
                _ => Ok(Tell::Missing),
            },
            Ask::Put { key, value, flags } => {
                let put = kv::Put { key, value, flags };
                self.command(Command::Kv(kv::Op::Set(put))).await
            }
            Ask::Find { service, tag, passing, most } => {
                let query = row::find(service, tag, passing);
                match self.query(Query::Health(health::Query::Service(query))).await? {
                    Reply::Health(health::Reply::Instances(found)) => {
                        Ok(row::instances(&found, usize::from(most)))
                    }
                    _ => Err((Refusal::Unavailable, "unexpected answer".into())),
                }
            }
            Ask::Leader => match self.query(Query::Status(status::Query::Leader)).await? {
                Reply::Status(status::Reply::Leader(address)) => Ok(Tell::Leader { address }),
                _ => Err((Refusal::Unavailable, "unexpected answer".into())),
            },
        }
    }

    /// Takes a device in, or refuses it by name: version, datacentre, a name that is taken.
    async fn hello(&mut self, ask: Ask<Heap>) -> Answer {
        let Some(terms) = self.handler.terms() else {
            return Err((Refusal::Unavailable, "devices are not served here".into()));
        };
        let Some(greeting) = row::greeting(ask, &terms.datacenter)? else {
            return Err((Refusal::Invalid, "not a greeting".into()));
        };
        let row::Greeting { node, token, reply_bytes_max } = greeting;
        let name = node.name.clone();
        let device = Device { node, token, reply_bytes_max, before: None };
        let device = self.device.insert(device);
        let mut before = Before::default();
        let mut known = None;
        let query = Query::Catalog(catalog::Query::Node(name.clone()));
        if let Reply::Catalog(catalog::Reply::Node(Some(found))) =
            ask_as(&self.handler, device, Body::Query(query)).await?
            // A node is also found by the start of its ID.
            && found.node.name.eq_ignore_ascii_case(&device.node.name)
        {
            for service in found.services {
                before.services.insert(service.id.clone(), service);
            }
            known = Some(found.node);
        }
        let query = Query::Health(health::Query::Node(name));
        if let Reply::Health(health::Reply::Checks(checks)) =
            ask_as(&self.handler, device, Body::Query(query)).await?
        {
            let own = checks.into_iter().filter(|check| check.id != SERF_HEALTH);
            before.checks = own.map(|check| (check.id.clone(), check)).collect();
        }
        device.before = Some(before);
        let same =
            |known: &Arc<Node>| Node { stamp: known.stamp, ..device.node.clone() } == **known;
        if !known.as_ref().is_some_and(same) {
            let node = device.node.clone();
            let wanted = catalog::Register { node, ..catalog::Register::default() };
            self.command(Command::Register(Box::new(wanted))).await?;
        }
        Ok(Tell::Welcome {
            version: VERSION,
            sync_secs: u16::try_from(terms.sync.as_secs()).unwrap_or(u16::MAX),
            datacenter: terms.datacenter,
        })
    }

    async fn register_service(&mut self, service: Option<Service>) -> Answer {
        let (Some(device), Some(service)) = (&mut self.device, service) else {
            return Err(unknown());
        };
        let old = device.before.as_mut().and_then(|before| before.services.remove(&service.id));
        if old.is_some_and(|old| Service { stamp: old.stamp, ..service.clone() } == *old) {
            return Ok(Tell::Done);
        }
        let node = device.node.clone();
        let service = Some(service);
        let wanted = catalog::Register { node, skip_node_update: true, service, checks: vec![] };
        self.command(Command::Register(Box::new(wanted))).await
    }

    async fn register_check(&mut self, ask: Ask<Heap>) -> Answer {
        let Some(device) = &mut self.device else { return Err(unknown()) };
        let Some(check) = row::check(ask, &device.node.name) else { return Err(unknown()) };
        if check.id == SERF_HEALTH {
            return Err((Refusal::Invalid, format!("{SERF_HEALTH} is the leader's")));
        }
        let old = device.before.as_mut().and_then(|before| before.checks.remove(&check.id));
        if old.is_some_and(|old| row::same_check(&check, &old)) {
            return Ok(Tell::Done);
        }
        let node = device.node.clone();
        let checks = vec![check];
        let wanted = catalog::Register { node, skip_node_update: true, service: None, checks };
        self.command(Command::Register(Box::new(wanted))).await
    }

    /// Removes what the device did not tell again.
    async fn settle(&mut self) -> Answer {
        let Some(device) = &mut self.device else { return Err(unknown()) };
        let Some(before) = device.before.take() else { return Ok(Tell::Done) };
        for id in before.services.keys() {
            self.deregister(id.clone(), String::new()).await?;
        }
        for (id, check) in before.checks {
            // Those of a removed instance went with it.
            if !before.services.contains_key(&check.service_id) {
                self.deregister(String::new(), id).await?;
            }
        }
        Ok(Tell::Done)
    }

    async fn deregister(&self, service_id: String, check_id: String) -> Answer {
        let Some(device) = &self.device else { return Err(unknown()) };
        let node = device.node.name.clone();
        self.command(Command::Deregister(catalog::Deregister { node, service_id, check_id })).await
    }

    async fn command(&self, command: Command) -> Answer {
        let Some(device) = &self.device else { return Err(unknown()) };
        ask_as(&self.handler, device, Body::Command(command)).await.map(|_| Tell::Done)
    }

    async fn query(&self, query: Query) -> Result<Reply, (Refusal, String)> {
        let Some(device) = &self.device else { return Err(unknown()) };
        ask_as(&self.handler, device, Body::Query(query)).await
    }
}

fn unknown() -> (Refusal, String) {
    (Refusal::Invalid, "a device says hello first".into())
}

/// Asks with a device's token.
async fn ask_as<H: Handler>(
    handler: &H,
    device: &Device,
    body: Body,
) -> Result<Reply, (Refusal, String)> {
    let options = Options { token: device.token.clone(), ..Options::default() };
    let outcome = handler.clone().ask(Request { options, body }).await;
    outcome.map(|answer| answer.reply).map_err(|error| (reason(&error), error.to_string()))
}

fn reason(error: &request::Error) -> Refusal {
    match error.kind {
        // The store's words for a name that a live node of another id has.
        _ if error.text.contains("is reserved by node") => Refusal::Name,
        Failure::Invalid | Failure::NotFound => Refusal::Invalid,
        Failure::Denied => Refusal::Denied,
        Failure::NoPath => Refusal::Datacenter,
        Failure::NoLeader
        | Failure::NoServers
        | Failure::NotReady
        | Failure::Failed
        | Failure::Unknown
        | Failure::Limited => Refusal::Unavailable,
    }
}
