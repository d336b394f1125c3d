//! Transactions: operations that are applied together or not at all, under one index.
//!
//! An operation sees what those before it did. After a fault the rest is still tried, so that the
//! client is told every fault, as Consul does. Source:
//! <https://developer.hashicorp.com/consul/api-docs/txn>.

use super::scope::{Change, Touched};
use super::{Seen, Tables, fold};
use agent_core::model::check::Check;
use agent_core::model::kv::{self, Entry};
use agent_core::model::node::Node;
use agent_core::model::request::Reply;
use agent_core::model::service::Service;
use agent_core::model::txn::{Fault, Look, Op, Outcome, Row, Subject, Verb};
use agent_core::model::{Index, Stamp};
use std::sync::Arc;

/// Most rows of one transaction: each is a pointer here and some hundred bytes for the client.
const ROWS_MAX: usize = 1 << 20;

/// What one operation came to: its rows, or why it cannot be.
type Done = Result<Vec<Row>, String>;

impl Change<'_> {
    /// Applies all operations, or none.
    pub(super) fn txn(&mut self, ops: &[Op]) -> Reply {
        let before = self.tables.clone();
        let outcome = gather(ops, |op| self.txn_op(op));
        if outcome.is_err() {
            *self.tables = before;
            self.touched = Touched::default();
        }
        Reply::Txn(outcome.into())
    }

    fn txn_op(&mut self, op: &Op) -> Done {
        match op {
            Op::Look(look) => self.tables.look(look),
            Op::Kv(op) => self.txn_kv(op),
            Op::Node(verb, node) => self.txn_node(*verb, node),
            Op::Service(verb, node, service) => self.txn_service(*verb, node, service),
            Op::Check(verb, check) => self.txn_check(*verb, check),
        }
    }

    fn txn_kv(&mut self, op: &kv::Op) -> Done {
        let done = self.kv(op).map_err(|error| error.text)?;
        let holds = done != Reply::Applied(false);
        let (key, unmet) = match op {
            kv::Op::Set(put) => (&put.key, String::new()),
            kv::Op::Cas(put, _) => {
                (&put.key, format!("failed to set key {:?}, index is stale", put.key))
            }
            kv::Op::Acquire(put, _) => {
                (&put.key, format!("failed to lock key {:?}, lock is already held", put.key))
            }
            kv::Op::Release(put, _) => {
                let key = &put.key;
                let why = "lock isn't held, or is held by another session";
                (key, format!("failed to unlock key {key:?}, {why}"))
            }
            kv::Op::DeleteCas(key, _) if !holds => {
                return Err(format!("failed to delete key {key:?}, index is stale"));
            }
            kv::Op::DeleteCas(..) | kv::Op::Delete(_) | kv::Op::DeleteTree(_) | kv::Op::Reap(_) => {
                return Ok(Vec::new());
            }
        };
        if !holds {
            return Err(unmet);
        }
        Ok(self.tables.kv.get(key.as_str()).map(|entry| bare(entry)).into_iter().collect())
    }

    fn txn_node(&mut self, verb: Verb, node: &Node) -> Done {
        let name = fold(&node.name);
        let has = self.tables.nodes.get(&name).map(|row| row.stamp);
        let unmet = |what: &str| format!("failed to {what} node {:?}, index is stale", node.name);
        match permit(verb, has, node.stamp.modify, unmet)? {
            Step::Store => {
                self.register_node(node).map_err(|error| error.text)?;
                let (name, id) = (node.name.clone(), node.id.clone());
                self.tables.look(&Look::Node { name, id })
            }
            Step::Remove => {
                self.remove_node(&name);
                Ok(Vec::new())
            }
        }
    }

    fn txn_service(&mut self, verb: Verb, on: &str, service: &Service) -> Done {
        let (node, id) = (fold(on), fold(&service.id));
        let has = self.tables.services.get(&(node.clone(), id.clone())).map(|row| row.stamp);
        let unmet = |what: &str| {
            format!("failed to {what} service {:?} on node {on:?}, index is stale", service.id)
        };
        match permit(verb, has, service.stamp.modify, unmet)? {
            Step::Store => {
                self.register_service(&node, service).map_err(|error| error.text)?;
                self.tables.look(&Look::Service { node: on.into(), id: service.id.clone() })
            }
            Step::Remove => {
                self.remove_service(&node, &id);
                Ok(Vec::new())
            }
        }
    }

    fn txn_check(&mut self, verb: Verb, check: &Check) -> Done {
        let (node, id) = (fold(&check.node), fold(&check.id));
        let has = self.tables.checks.get(&(node.clone(), id.clone())).map(|row| row.stamp);
        let unmet = |what: &str| {
            let (id, on) = (&check.id, &check.node);
            format!("failed to {what} check {id:?} on node {on:?}, index is stale")
        };
        match permit(verb, has, check.stamp.modify, unmet)? {
            Step::Store => {
                self.register_check(&node, check).map_err(|error| error.text)?;
                self.tables.look(&Look::Check { node: check.node.clone(), id: check.id.clone() })
            }
            Step::Remove => {
                self.remove_check(&node, &id);
                Ok(Vec::new())
            }
        }
    }
}

/// What a verb does once its condition holds.
enum Step {
    Store,
    Remove,
}

/// Checks the condition of a verb against the stamp of the row that is there.
fn permit(
    verb: Verb,
    has: Option<Stamp>,
    index: Index,
    unmet: impl Fn(&str) -> String,
) -> Result<Step, String> {
    match verb {
        Verb::Set => Ok(Step::Store),
        Verb::Cas if has.map_or(0, |stamp| stamp.modify) == index => Ok(Step::Store),
        Verb::Cas => Err(unmet("set")),
        Verb::Delete => Ok(Step::Remove),
        Verb::DeleteCas if has.is_some_and(|stamp| stamp.modify == index) => Ok(Step::Remove),
        Verb::DeleteCas => Err(unmet("delete")),
    }
}

/// An entry without its value.
fn bare(entry: &Entry) -> Row {
    Row::Kv(Arc::new(Entry {
        key: entry.key.clone(),
        session: entry.session.clone(),
        value: Vec::new(),
        ..*entry
    }))
}

/// Does the operations in turn; keeps their rows, or every fault.
fn gather<T>(ops: &[T], mut run: impl FnMut(&T) -> Done) -> Outcome {
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for (op, place) in ops.iter().zip(0_u32..) {
        let done = run(op).and_then(|found| match rows.len() + found.len() <= ROWS_MAX {
            true => Ok(found),
            false => Err(format!("the transaction finds more than {ROWS_MAX} rows")),
        });
        match done {
            Ok(found) => rows.extend(found),
            Err(what) => faults.push(Fault { op: place, what }),
        }
    }
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

impl Tables {
    /// Looks at several things at one moment. Nobody can block on it.
    pub fn txn(&self, looks: &[Look]) -> Seen<Outcome> {
        Seen::new(gather(looks, |look| self.look(look)), self.index, Vec::new())
    }

    fn look(&self, look: &Look) -> Done {
        let one = |row: Option<Row>, text: String| row.map(|row| vec![row]).ok_or(text);
        match look {
            Look::Key(key) => {
                let row = self.kv.get(key.as_str()).cloned().map(Row::Kv);
                one(row, format!("key {key:?} doesn't exist"))
            }
            Look::Tree(prefix) => {
                Ok(self.under(prefix).map(|(_, entry)| Row::Kv(entry.clone())).collect())
            }
            Look::Index(key, index) => match self.kv.get(key.as_str()) {
                None => Err(format!("failed to check index, key {key:?} doesn't exist")),
                Some(entry) if entry.stamp.modify == *index => Ok(vec![bare(entry)]),
                Some(entry) => {
                    let now = entry.stamp.modify;
                    let what = format!("current modify index {now} != {index}");
                    Err(format!("failed index check for key {key:?}, {what}"))
                }
            },
            Look::Session(key, session) => match self.kv.get(key.as_str()) {
                None => Err(format!("failed to check session, key {key:?} doesn't exist")),
                Some(entry) if entry.session == *session => Ok(vec![bare(entry)]),
                Some(entry) => {
                    let what = format!("current session {:?} != {session:?}", entry.session);
                    Err(format!("failed session check for key {key:?}, {what}"))
                }
            },
            Look::Absent(key) if self.kv.contains_key(key.as_str()) => {
                Err(format!("key {key:?} exists"))
            }
            Look::Absent(_) => Ok(Vec::new()),
            Look::Node { name, id } => {
                let by_id = self.node_ids.get(&fold(id)).cloned();
                let key = if id.is_empty() { Some(fold(name)) } else { by_id };
                let row = key.and_then(|key| self.nodes.get(&key)).cloned().map(Row::Node);
                one(row, format!("node {name:?} doesn't exist"))
            }
            Look::Service { node, id } => {
                let row = self.services.get(&(fold(node), fold(id))).cloned().map(Row::Service);
                one(row, format!("service {id:?} on node {node:?} doesn't exist"))
            }
            Look::Check { node, id } => {
                let row = self.checks.get(&(fold(node), fold(id))).cloned().map(Row::Check);
                one(row, format!("check {id:?} on node {node:?} doesn't exist"))
            }
            Look::Unknown(subject, verb) => Err(unknown(*subject, verb)),
        }
    }
}

fn unknown(subject: Subject, verb: &str) -> String {
    format!("unknown {} verb {verb:?}", subject.as_str())
}
