//! Answers kept near those who ask: `?cached`.
//!
//! ```text
//! shelf     entries by request, bounded in number and idle time
//! follow    reads that can be blocked on: one query in the background keeps an answer fresh,
//!           however many watch it here
//! keep      other reads: asked again once the answer is older than the asker likes
//! ```
//!
//! A followed answer outlives the servers: it is told with the time since they were lost.
//! Source: <https://developer.hashicorp.com/consul/api-docs/features/caching>.

mod follow;
mod keep;
mod shelf;
#[cfg(test)]
mod tests;

use super::Endpoint;
use agent_core::model::request::{
    self, Answer, Body, Consistency, Error, Options, Outcome, Query, Request,
};
use agent_core::model::{catalog, coordinate};
use shelf::Shelf;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of an encoded request that is kept: names, tags and a filter of a page.
const KEY_BYTES_MAX: usize = 4 << 10;

/// How old an answer may be: the `Cache-Control` of a request. Followed answers are as fresh as can
/// be, so that none of this is asked of them, as in Consul.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Control {
    /// Oldest answer that is taken; `None` for any age.
    pub max_age: Option<Duration>,
    /// Whether the servers are to be asked whatever the age.
    pub must_revalidate: bool,
    /// Oldest answer that is taken when the servers fail.
    pub stale_if_error: Duration,
}

/// An answer, and whether it was here already.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The answer.
    pub answer: Answer,
    /// Its age if it was here already: for a followed one, the time since the servers were lost.
    pub age: Option<Duration>,
}

/// Serves from kept answers, and through an endpoint what is not kept.
#[derive(Clone)]
pub struct Cache {
    endpoint: Endpoint,
    shelf: Arc<Shelf>,
}

impl Cache {
    /// Starts with nothing kept.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, shelf: Arc::default() }
    }

    /// The endpoint that is asked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves a read; blocks like the endpoint if told an index.
    ///
    /// # Errors
    ///
    /// What the servers said, if there is no answer that may be told instead.
    pub async fn serve(&self, request: Request, control: Control) -> Result<Cached, Error> {
        let key = key(&request);
        if key.len() > KEY_BYTES_MAX {
            return fresh(self.endpoint.serve(request).await);
        }
        if can_block(&request.body) {
            self.follow(key, request).await
        } else {
            self.keep(key, request, control).await
        }
    }
}

/// An answer that the servers just gave.
fn fresh(outcome: Outcome) -> Result<Cached, Error> {
    outcome.map(|answer| Cached { answer, age: None })
}

/// What all who may share an answer ask: any server's state, at once.
fn common(request: &Request) -> Request {
    let options = Options {
        consistency: Consistency::Stale,
        min_index: 0,
        wait_ms: 0,
        max_stale_ms: 0,
        ..request.options.clone()
    };
    Request { options, body: request.body.clone() }
}

fn key(request: &Request) -> Vec<u8> {
    request::emit(&common(request))
}

/// Whether a read wakes those who block on it.
fn can_block(body: &Body) -> bool {
    match body {
        Body::Command(_) => false,
        Body::Query(query) => match query {
            Query::Catalog(catalog::Query::Datacenters)
            | Query::Coordinate(coordinate::Query::Datacenters | coordinate::Query::Update(_))
            | Query::Status(_)
            | Query::Operator(_)
            | Query::Prepared(_)
            | Query::Snapshot(_)
            | Query::Txn(_) => false,
            Query::Catalog(_)
            | Query::Coordinate(_)
            | Query::Health(_)
            | Query::Kv(_)
            | Query::Session(_) => true,
        },
    }
}
