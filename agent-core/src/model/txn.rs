//! Transactions: operations that are applied together or not at all, under one index.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/txn>.

use super::Index;
use super::check::Check;
use super::kv::{self, Entry};
use super::node::Node;
use super::request::Meta;
use super::service::Service;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Most operations of one transaction.
pub const OPS_MAX: usize = 64;

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Changes nothing.
    Look(Look),
    /// Writes to the key/value store; a condition that does not hold is a fault.
    Kv(kv::Op),
    /// Writes a node's row.
    Node(Verb, Box<Node>),
    /// Writes the row of an instance on the node of this name.
    Service(Verb, String, Box<Service>),
    /// Writes a check's row.
    Check(Verb, Box<Check>),
}

/// What is done to a row of the catalog. Conditions compare the `stamp.modify` that the operation
/// carries with the row's (0: there is no row).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verb {
    /// Stores the row whatever is there.
    Set,
    /// Stores it if the condition holds.
    Cas,
    /// Removes it, if it is there.
    Delete,
    /// Removes it if it is there and the condition holds.
    DeleteCas,
}

/// An operation that changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Look {
    /// Finds a key; a fault if it is not there.
    Key(String),
    /// Finds every key that starts with the prefix, in byte order; there may be none.
    Tree(String),
    /// Checks that the key's modify index is this.
    Index(String, Index),
    /// Checks that the key is locked by this session.
    Session(String, String),
    /// Checks that the key is not there.
    Absent(String),
    /// Finds a node by its UUID, or by its name if the UUID is empty.
    Node {
        /// The name.
        name: String,
        /// The UUID, or empty.
        id: String,
    },
    /// Finds an instance.
    Service {
        /// The node's name.
        node: String,
        /// The instance's id.
        id: String,
    },
    /// Finds a check.
    Check {
        /// The node's name.
        node: String,
        /// The check's id.
        id: String,
    },
    /// A verb that nobody knows: always a fault.
    Unknown(Subject, String),
}

/// What an operation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Subject {
    /// A key.
    Kv,
    /// A node.
    Node,
    /// An instance.
    Service,
    /// A check.
    Check,
}

impl Subject {
    /// Tells Consul's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kv => "KV",
            Self::Node => "Node",
            Self::Service => "Service",
            Self::Check => "Check",
        }
    }
}

/// A row that an operation stored or found. Removals give none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Row {
    /// A key's entry; without its value unless it was asked for.
    Kv(Arc<Entry>),
    /// A node.
    Node(Arc<Node>),
    /// An instance.
    Service(Arc<Service>),
    /// A check.
    Check(Arc<Check>),
}

/// Why a transaction was not applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// The operation's place, from 0.
    pub op: u32,
    /// The text that Consul's clients see.
    pub what: String,
}

/// Rows in the order of the operations; or every fault, in order, and then nothing was changed.
pub type Outcome = Result<Vec<Row>, Vec<Fault>>;

/// What came of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Rows or faults.
    pub outcome: Outcome,
    /// How fresh it is, if it was only read.
    pub freshness: Option<Meta>,
}

impl From<Outcome> for Reply {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, freshness: None }
    }
}
