//! Transactions: what is settled before the operations are proposed, and read-only ones.

use super::{Prepared, Read, catalog, kv};
use crate::store::Store;
use agent_core::model::request::{Error, Kind, Reply};
use agent_core::model::txn::{Fault, Look, OPS_MAX, Op};

/// Fills in what operations may leave out, and answers the faults of those that Consul refuses
/// before it looks at the state.
pub(super) fn prepare(ops: &mut [Op], store: &Store, datacenter: &str) -> Result<Prepared, Error> {
    check_count(ops.len())?;
    let faults = faults(ops.iter_mut().map(|op| prepare_op(op, store, datacenter)));
    if faults.is_empty() {
        return Ok(Prepared::Propose);
    }
    Ok(Prepared::Answer(Reply::Txn(Err(faults).into())))
}

fn prepare_op(op: &mut Op, store: &Store, datacenter: &str) -> Result<(), Error> {
    match op {
        Op::Look(look) => check_look(look),
        Op::Kv(op) => match kv::prepare(op, store)? {
            Prepared::Propose => Ok(()),
            Prepared::Answer(_) => {
                let key = op.key();
                Err(refusal(format!("failed to lock key {key:?} due to lock delay")))
            }
        },
        Op::Node(_, node) if node.name.is_empty() => Err(refusal("Must provide node".into())),
        Op::Node(_, node) => {
            if node.datacenter.is_empty() {
                node.datacenter = datacenter.into();
            }
            catalog::check_node_id(&node.id)
        }
        Op::Service(_, _, service) => catalog::prepare_service(service),
        Op::Check(_, check) => {
            if check.id.is_empty() {
                check.id.clone_from(&check.name);
            }
            Ok(())
        }
    }
}

/// Finds how a read-only transaction is read.
pub(super) fn reader(looks: &[Look]) -> Result<Read<'_>, Error> {
    check_count(looks.len())?;
    let faults = faults(looks.iter().map(check_look));
    Ok(Box::new(move |tables| {
        tables.txn(looks).map(|outcome| {
            let outcome = if faults.is_empty() { outcome } else { Err(faults.clone()) };
            Reply::Txn(outcome.into())
        })
    }))
}

fn check_look(look: &Look) -> Result<(), Error> {
    match look {
        Look::Key(key)
        | Look::Tree(key)
        | Look::Index(key, _)
        | Look::Session(key, _)
        | Look::Absent(key)
            if key.is_empty() =>
        {
            Err(refusal("Must provide key".into()))
        }
        Look::Node { id, .. } => catalog::uuid_fault(id).map_or(Ok(()), |why| {
            Err(refusal(format!("node lookup by ID failed, wrong UUID: {why} for '{id}'")))
        }),
        Look::Key(_)
        | Look::Tree(_)
        | Look::Index(..)
        | Look::Session(..)
        | Look::Absent(_)
        | Look::Service { .. }
        | Look::Check { .. }
        | Look::Unknown(..) => Ok(()),
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    if count <= OPS_MAX {
        return Ok(());
    }
    Err(refusal(format!("Transaction contains too many operations ({count} > {OPS_MAX})")))
}

fn refusal(text: String) -> Error {
    Error::with(Kind::Invalid, text)
}

/// Notes at which places something was refused.
fn faults(checked: impl Iterator<Item = Result<(), Error>>) -> Vec<Fault> {
    let places = (0_u32..).zip(checked);
    places
        .filter_map(|(op, checked)| checked.err().map(|error| Fault { op, what: error.text }))
        .collect()
}
