//! A health check's row in the catalog.

use super::Stamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

pub use crate::health::Status;

/// The check that the leader keeps for every member of the LAN pool.
pub const SERF_HEALTH: &str = "serfHealth";

/// A row of the catalog's checks. Node-level when `service_id` is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Check {
    /// The node's name.
    pub node: String,
    /// Unique on its node.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// Notes for people.
    pub notes: String,
    /// What the last run said.
    pub output: String,
    /// The instance it is about, or empty.
    pub service_id: String,
    /// That instance's service, filled in by the store.
    pub service_name: String,
    /// That instance's tags, filled in by the store.
    pub service_tags: Vec<String>,
    /// `ttl`, `http`, `maintenance` ... as the agent says.
    pub kind: String,
    /// How to run it, for monitors of external nodes.
    pub definition: Definition,
    /// When the row was made and changed.
    pub stamp: Stamp,
}

/// How to run a check, for monitors of external nodes. Durations in nanoseconds, 0 for none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Definition {
    /// URL to fetch.
    pub http: String,
    /// Whether to accept any certificate.
    pub tls_skip_verify: bool,
    /// Headers to send.
    pub header: BTreeMap<String, Vec<String>>,
    /// HTTP method.
    pub method: String,
    /// HTTP body.
    pub body: String,
    /// `host:port` to connect to.
    pub tcp: String,
    /// Time between runs.
    pub interval_ns: i64,
    /// Time for one run.
    pub timeout_ns: i64,
    /// Time critical after which the service is removed.
    pub deregister_critical_service_after_ns: i64,
}
