//! What came of a transaction.

use super::Each;
use super::check::{CheckView, DefinitionView};
use super::kv::EntryView;
use super::node::NodeView;
use super::service::ServiceView;
use agent_core::model::txn::{Fault, Reply, Row};
use serde::Serialize;

/// A list of rows or faults, each through its view.
type Views<'a, T, V> = Each<'a, T, fn(&'a T) -> V>;

/// An outcome as `/v1/txn` shows it: rows or faults, and for one that was only read how fresh it
/// is.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OutcomeView<'a> {
    results: Option<Views<'a, Row, RowView<'a>>>,
    errors: Option<Views<'a, Fault, FaultView<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_contact: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known_leader: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency_level: Option<&'static str>,
}

impl<'a> From<&'a Reply> for OutcomeView<'a> {
    fn from(reply: &'a Reply) -> Self {
        let outcome = reply.outcome.as_ref();
        let freshness = reply.freshness;
        Self {
            results: outcome.ok().map(|rows| Each::of(rows, RowView::from as fn(_) -> _)),
            errors: outcome.err().map(|faults| Each::of(faults, FaultView::from as fn(_) -> _)),
            // Consul has the fields, but fills in two only.
            index: freshness.map(|_| 0),
            last_contact: freshness.map(|meta| meta.last_contact_ms.saturating_mul(1_000_000)),
            known_leader: freshness.map(|meta| meta.known_leader),
            consistency_level: freshness.map(|_| ""),
        }
    }
}

/// A row under its subject.
#[derive(Serialize)]
enum RowView<'a> {
    #[serde(rename = "KV")]
    Kv(EntryView<'a>),
    Node(NodeView<'a>),
    Service(ServiceView<'a>),
    Check(CheckView<'a, DefinitionView<'a>>),
}

impl<'a> From<&'a Row> for RowView<'a> {
    fn from(row: &'a Row) -> Self {
        match row {
            Row::Kv(entry) => Self::Kv(EntryView::from(&**entry)),
            Row::Node(node) => Self::Node(NodeView::from(&**node)),
            Row::Service(service) => Self::Service(ServiceView::of_txn(service)),
            Row::Check(check) => Self::Check(CheckView::of_txn(check)),
        }
    }
}

/// Why an operation cannot be.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FaultView<'a> {
    op_index: u32,
    what: &'a str,
}

impl<'a> From<&'a Fault> for FaultView<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self { op_index: fault.op, what: &fault.what }
    }
}
