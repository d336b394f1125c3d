//! One request type for HTTP, DNS and RPC, and what is answered.

use super::command::Command;
use super::{
    Index, catalog, coordinate, health, kv, operator, query, session, snapshot, status, txn,
};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// First byte of every encoded [`Request`] and [`Outcome`]; both ends must speak the same.
pub const VERSION: u8 = 1;

/// What is asked, and how.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// How it is asked.
    pub options: Options,
    /// What is asked.
    pub body: Body,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// A change: goes to the leader and through the log.
    Command(Command),
    /// A read.
    Query(Query),
}

/// A read, nested per subject.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Of the key/value store.
    Kv(kv::Query),
    /// Of nodes and services.
    Catalog(catalog::Query),
    /// Of checks.
    Health(health::Query),
    /// Of sessions.
    Session(session::Query),
    /// Of consensus.
    Status(status::Query),
    /// Of an operator.
    Operator(operator::Query),
    /// Of prepared queries.
    Prepared(query::Query),
    /// Of the state as a whole.
    Snapshot(snapshot::Query),
    /// Of several subjects at one moment.
    Txn(Vec<txn::Look>),
    /// Of where nodes are.
    Coordinate(coordinate::Query),
}

/// How a request is asked. The default is a plain read or write in the own datacentre.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Options {
    /// The ACL token's secret, or empty.
    pub token: String,
    /// The datacentre, or empty for the agent's own.
    pub datacenter: String,
    /// How fresh a read must be.
    pub consistency: Consistency,
    /// For a blocking query: answer only once the index is above this; 0 does not block.
    pub min_index: Index,
    /// For a blocking query: how long at most, in milliseconds; 0 for the default of 300 s.
    pub wait_ms: u64,
    /// How old a stale read may be in milliseconds, 0 for any age.
    pub max_stale_ms: u64,
    /// Sort by distance from this node, or empty. `_agent` is resolved by the edge.
    pub near: String,
    /// A boolean expression that rows must meet, or empty.
    pub filter: String,
}

/// How fresh a read must be.
/// Source: <https://developer.hashicorp.com/consul/api-docs/features/consistency>.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Consistency {
    /// From the leader, by its lease.
    #[default]
    Default,
    /// From the leader, which asks a quorum first (read index).
    Consistent,
    /// From any server.
    Stale,
}

/// What came of a request: what RPC carries back.
pub type Outcome = Result<Answer, Error>;

/// An answer and how fresh it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// How fresh.
    pub meta: Meta,
    /// What was found or done.
    pub reply: Reply,
}

/// How fresh an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Meta {
    /// The index to block on next; 0 only for answers that are not reads.
    pub index: Index,
    /// Whether the answering server knew a leader.
    pub known_leader: bool,
    /// Milliseconds since the answering server heard of the leader, 0 on the leader.
    pub last_contact_ms: u64,
}

/// What was found or done, nested per subject.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// A command was applied.
    Done,
    /// A conditional command was applied (`true`) or its condition failed.
    Applied(bool),
    /// Of the key/value store.
    Kv(kv::Reply),
    /// Of nodes and services.
    Catalog(catalog::Reply),
    /// Of checks.
    Health(health::Reply),
    /// Of sessions.
    Session(session::Reply),
    /// Of consensus.
    Status(status::Reply),
    /// Of an operator.
    Operator(operator::Reply),
    /// Of prepared queries.
    Prepared(query::Reply),
    /// Of the state as a whole.
    Snapshot(snapshot::Reply),
    /// Of a transaction.
    Txn(txn::Reply),
    /// Of where nodes are.
    Coordinate(coordinate::Reply),
}

/// Why a request failed. Nothing was changed, except for [`Kind::Unknown`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// The text that Consul's clients see, without hop prefixes; empty for kinds that imply it.
    pub text: String,
    /// RPC hops that the failure travelled: each adds `rpc error making call: `.
    pub hops: u8,
}

/// Kinds of failure that somebody decides by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// The request itself is wrong, whoever is asked.
    Invalid,
    /// What the request names is not there.
    NotFound,
    /// The token does not allow it.
    Denied,
    /// There is no leader, or it changed while the request was held; retrying may help.
    NoLeader,
    /// No server is known or could be reached.
    NoServers,
    /// The datacentre is not known.
    NoPath,
    /// The leader is not yet sure to see every acknowledged write; retrying may help.
    NotReady,
    /// The server failed (disk full, say) before the change was accepted.
    Failed,
    /// The connection broke or time ran out: the change may or may not have happened.
    Unknown,
    /// The agent asks its servers as often as it may; nobody was asked.
    Limited,
}

impl Kind {
    /// Tells the text that Consul gives to the kind, empty where the text says it all.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Invalid | Self::NotFound | Self::Failed | Self::Unknown => "",
            Self::Denied => "Permission denied",
            Self::NoLeader => "No cluster leader",
            Self::NoServers => "No known Consul servers",
            Self::NoPath => "No path to datacenter",
            Self::Limited => "RPC rate limit exceeded",
            Self::NotReady => "Not ready to serve consistent reads",
        }
    }
}

impl Error {
    /// A failure whose kind says it all.
    pub fn new(kind: Kind) -> Self {
        Self { kind, text: String::new(), hops: 0 }
    }

    /// A failure with a text of its own.
    pub fn with(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hops: 0 }
    }

    /// The same failure as seen one RPC hop away.
    #[must_use]
    pub fn hop(mut self) -> Self {
        self.hops = self.hops.saturating_add(1);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..self.hops {
            f.write_str("rpc error making call: ")?;
        }
        f.write_str(if self.text.is_empty() { self.kind.text() } else { &self.text })
    }
}

impl core::error::Error for Error {}

/// Tells whether an encoded [`Outcome`] is an answer rather than an error, without decoding it.
///
/// A message starts with the version, then postcard's number of the variant: 0 for `Ok`.
pub fn is_answer(outcome: &[u8]) -> bool {
    matches!(outcome, [VERSION, 0, ..])
}

/// Bytes were not what the peer should have sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("damaged or foreign message")
    }
}

impl core::error::Error for Damaged {}

/// Writes the version byte and a message.
pub fn emit<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_extend(message, alloc::vec![VERSION]).expect("a vector takes any message")
}

/// Reads what [`emit`] wrote.
///
/// # Errors
///
/// [`Damaged`] for a foreign version, damaged or trailing bytes.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            Ok(_) | Err(_) => Err(Damaged),
        },
        Some(_) | None => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_answer_is_told_from_an_error() {
        let answer = Answer { meta: Meta::default(), reply: Reply::Done };
        assert!(is_answer(&emit(&Outcome::Ok(answer))));
        assert!(!is_answer(&emit(&Outcome::Err(Error::new(Kind::NoLeader)))));
        assert!(!is_answer(&[]));
    }
}
