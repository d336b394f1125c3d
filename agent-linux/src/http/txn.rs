//! `/v1/txn`: operations that are applied together or not at all.

use super::body;
use super::options::read_options;
use super::registration::{read_check, read_service};
use super::reply::{Freshness, Page, Refusal, tell_contact};
use super::route::{Act, Call, Intake};
use super::view::txn::OutcomeView;
use crate::config::field::{Error, Fields, GoType};
use agent_core::model::check::Check;
use agent_core::model::command::Command;
use agent_core::model::kv::{self, Put};
use agent_core::model::node::Node;
use agent_core::model::request::{Body, Query, Reply, Request};
use agent_core::model::service::{Service, Weights};
use agent_core::model::txn::{Look, OPS_MAX, Op, Subject, Verb};
use hyper::StatusCode;
use serde_json::Value;

pub(super) const TXN: Act = Act::Ask {
    intake: Intake::Txn,
    parse,
    render,
    // The reply tells it: a transaction that was only read has some.
    freshness: Freshness::Untold,
};

/// Reads a transaction; one that changes nothing is a read, with a read's options.
fn parse(call: &Call<'_>, bytes: Vec<u8>) -> Result<Request, Refusal> {
    let mut options = read_options(call)?;
    options.min_index = 0;
    let ops =
        read_ops(&bytes).map_err(|why| Refusal::bad(format!("Failed to parse body: {why}")))?;
    check_sizes(&ops, call.settings.kv_value_bytes_max)?;
    let body = if ops.iter().all(is_read) {
        let look = |op| if let Op::Look(look) = op { Some(look) } else { None };
        Body::Query(Query::Txn(ops.into_iter().filter_map(look).collect()))
    } else {
        Body::Command(Command::Txn(ops))
    };
    Ok(Request { options, body })
}

/// Refuses too many operations, and a value that is too large.
fn check_sizes(ops: &[Op], value_bytes_max: usize) -> Result<(), Refusal> {
    let too_large =
        |text: String| Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, text: text.into() });
    if ops.len() > OPS_MAX {
        let count = ops.len();
        return too_large(format!(
            "Transaction contains too many operations ({count} > {OPS_MAX})"
        ));
    }
    for op in ops {
        if let Op::Kv(op) = op
            && let Some(bytes) = op.value().map(<[u8]>::len)
            && bytes > value_bytes_max
        {
            let (key, limit) = (op.key(), format!("({bytes} > {value_bytes_max} bytes)"));
            return too_large(format!("Value for key {key:?} is too large {limit}"));
        }
    }
    Ok(())
}

/// Whether Consul takes an operation for a read: it takes unknown verbs of the catalog for writes.
fn is_read(op: &Op) -> bool {
    let Op::Look(look) = op else { return false };
    !matches!(look, Look::Unknown(Subject::Node | Subject::Service | Subject::Check, _))
}

/// Reads the list of operations; empty ones are left out.
fn read_ops(bytes: &[u8]) -> Result<Vec<Op>, String> {
    let items = match body::value(bytes)? {
        Value::Null => Vec::new(),
        value => value.array("", "api.TxnOps").map_err(|error| error.to_string())?,
    };
    let read = items.into_iter().filter_map(|item| read_op(item).transpose());
    read.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn read_op(value: Value) -> Result<Option<Op>, Error> {
    let mut fields = Fields::of(value, "api.TxnOp")?;
    let (mut kv, mut node, mut service, mut check) = (None, None, None, None);
    while let Some((name, key, value)) = fields.next() {
        let place = format!("TxnOp.{key}");
        match name.as_str() {
            "kv" => {
                value.require_object(&place, "api.KVTxnOp")?;
                kv = Some(read_kv(value).map_err(|error| error.within("KVTxnOp.KV."))?);
            }
            "node" => {
                value.require_object(&place, "api.NodeTxnOp")?;
                node = Some(read_node_op(value)?);
            }
            "service" => {
                value.require_object(&place, "api.ServiceTxnOp")?;
                service = Some(read_service_op(value)?);
            }
            "check" => {
                value.require_object(&place, "api.CheckTxnOp")?;
                check = Some(read_check_op(value)?);
            }
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(kv.or(node).or(service).or(check))
}

fn read_kv(value: Value) -> Result<Op, Error> {
    let (mut verb, mut session, mut index) = (String::new(), String::new(), 0);
    let mut put = Put::default();
    let mut fields = Fields::of(value, "api.KVTxnOp")?;
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "verb" => verb = value.string(&key)?,
            "key" => put.key = value.string(&key)?,
            "value" => put.value = value.bytes(&key)?,
            "flags" => put.flags = value.uint(&key)?,
            "index" => index = value.uint(&key)?,
            "session" => session = value.string(&key)?,
            "namespace" => drop(value.string(&key)?),
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(match verb.as_str() {
        "set" => Op::Kv(kv::Op::Set(put)),
        "cas" => Op::Kv(kv::Op::Cas(put, index)),
        "lock" => Op::Kv(kv::Op::Acquire(put, session)),
        "unlock" => Op::Kv(kv::Op::Release(put, session)),
        "delete" => Op::Kv(kv::Op::Delete(put.key)),
        "delete-cas" => Op::Kv(kv::Op::DeleteCas(put.key, index)),
        "delete-tree" => Op::Kv(kv::Op::DeleteTree(put.key)),
        "get" => Op::Look(Look::Key(put.key)),
        "get-tree" => Op::Look(Look::Tree(put.key)),
        "check-index" => Op::Look(Look::Index(put.key, index)),
        "check-session" => Op::Look(Look::Session(put.key, session)),
        "check-not-exists" => Op::Look(Look::Absent(put.key)),
        _ => Op::Look(Look::Unknown(Subject::Kv, verb)),
    })
}

/// What is to be done to a row of the catalog.
enum Wish {
    Find,
    Write(Verb),
    Unknown(String),
}

impl Wish {
    fn parse(verb: String) -> Self {
        match verb.as_str() {
            "get" => Self::Find,
            "set" => Self::Write(Verb::Set),
            "cas" => Self::Write(Verb::Cas),
            "delete" => Self::Write(Verb::Delete),
            "delete-cas" => Self::Write(Verb::DeleteCas),
            _ => Self::Unknown(verb),
        }
    }
}

fn read_node_op(value: Value) -> Result<Op, Error> {
    let (mut verb, mut node) = (String::new(), Node::default());
    let mut fields = Fields::of(value, "api.NodeTxnOp")?;
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "verb" => verb = value.string(&key)?,
            "node" => {
                node = read_node(value, &key).map_err(|error| error.within("Node.Node.Node."))?;
            }
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(match Wish::parse(verb) {
        Wish::Find => Op::Look(Look::Node { name: node.name, id: node.id }),
        Wish::Write(verb) => Op::Node(verb, Box::new(node)),
        Wish::Unknown(verb) => Op::Look(Look::Unknown(Subject::Node, verb)),
    })
}

fn read_node(value: Value, key: &str) -> Result<Node, Error> {
    value.require_object(key, "api.Node")?;
    let mut fields = Fields::of(value, "api.Node")?;
    let mut node = Node::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "id" => node.id = value.string(&key)?,
            "node" => node.name = value.string(&key)?,
            "address" => node.address = value.string(&key)?,
            "datacenter" => node.datacenter = value.string(&key)?,
            "taggedaddresses" => node.tagged_addresses = value.string_map(&key)?,
            "meta" => node.meta = value.string_map(&key)?,
            "createindex" => drop(value.uint(&key)?),
            "modifyindex" => node.stamp.modify = value.uint(&key)?,
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(node)
}

fn read_service_op(value: Value) -> Result<Op, Error> {
    let (mut verb, mut node, mut service) = (String::new(), String::new(), Service::default());
    let mut fields = Fields::of(value, "api.ServiceTxnOp")?;
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "verb" => verb = value.string(&key)?,
            "node" => node = value.string(&key)?,
            "service" => {
                let place = "AgentService.Service.Service.";
                service = read_service(value, &key).map_err(|error| error.within(place))?;
            }
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(match Wish::parse(verb) {
        Wish::Find => Op::Look(Look::Service { node, id: service.id }),
        Wish::Write(verb) => Op::Service(verb, node, Box::new(plain(service))),
        Wish::Unknown(verb) => Op::Look(Look::Unknown(Subject::Service, verb)),
    })
}

/// Keeps of an instance what Consul 1.8 keeps in a transaction: nothing about the mesh, no tagged
/// addresses.
fn plain(service: Service) -> Service {
    let weights = service.weights;
    Service {
        id: service.id,
        name: service.name,
        tags: service.tags,
        address: service.address,
        meta: service.meta,
        port: service.port,
        weights: if weights.passing == 0 { Weights::default() } else { weights },
        enable_tag_override: service.enable_tag_override,
        stamp: service.stamp,
        ..Service::default()
    }
}

fn read_check_op(value: Value) -> Result<Op, Error> {
    let (mut verb, mut check) = (String::new(), Check::default());
    let mut fields = Fields::of(value, "api.CheckTxnOp")?;
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "verb" => verb = value.string(&key)?,
            "check" => {
                let place = "HealthCheck.Check.Check.";
                check = read_check(value, &key).map_err(|error| error.within(place))?;
            }
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(match Wish::parse(verb) {
        Wish::Find => Op::Look(Look::Check { node: check.node, id: check.id }),
        Wish::Write(verb) => Op::Check(verb, Box::new(check)),
        Wish::Unknown(verb) => Op::Look(Look::Unknown(Subject::Check, verb)),
    })
}

/// Shows rows, or faults with 409.
fn render(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Txn(reply) = reply else { return Page::unexpected() };
    let mut page = Page::json(call, &OutcomeView::from(&reply));
    if let Some(meta) = reply.freshness {
        tell_contact(&mut page.headers, meta);
    }
    if reply.outcome.is_ok() { page } else { page.status(StatusCode::CONFLICT) }
}
