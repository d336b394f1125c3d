//! Prepared queries: what is settled before one is kept, and how one is run.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/query>.

use super::block::Gate;
use super::{Inner, Prepared, Server, Tables, near};
use crate::config::{Reserved, check_meta};
use crate::metrics::{self, Stopwatch};
use crate::store::{self, NAME_BYTES_MAX, Store, Template};
use agent_core::model::health::Instance;
use agent_core::model::query::{Execute, Found, Freshness, Op, PreparedQuery, Query, Reply};
use agent_core::model::request::{self, Error, Kind, Outcome, Request};
use agent_core::time::parse_go;
use std::sync::PoisonError;

/// What Consul shows in place of a token; nobody means it as one.
const HIDDEN_TOKEN: &str = "<hidden>";

/// Means the asker's node where a query says what to be near to.
const OWN_AGENT: &str = "_agent";

/// Means the node with the asker's address.
const ASKERS_NODE: &str = "_ip";

/// How deep the node that was asked to be near to is looked for, to be put first.
const OWN_DEPTH_MAX: usize = 10;

fn refuse<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::with(Kind::Invalid, text))
}

/// Chooses a query's id, and refuses bad settings in Consul's words.
pub(super) fn prepare(op: &mut Op, store: &Store) -> Result<Prepared, Error> {
    let tables = store.tables();
    match op {
        Op::Create(query) => {
            if !query.id.is_empty() {
                return refuse("ID must be empty when creating a new prepared query");
            }
            validate(query)?;
            query.id = loop {
                let id = uuid::Uuid::new_v4().to_string();
                if !tables.has_query(&id) {
                    break id;
                }
            };
        }
        Op::Update(query) => {
            exists(&tables, &query.id)?;
            validate(query)?;
        }
        Op::Delete(id) => exists(&tables, id)?,
    }
    Ok(Prepared::Propose)
}

fn exists(tables: &Tables, id: &str) -> Result<(), Error> {
    if let Err(error) = check_id(id) {
        return refuse(format!("Prepared Query lookup failed: {error}"));
    }
    if tables.has_query(id) { Ok(()) } else { Err(store::unknown(id)) }
}

fn check_id(id: &str) -> Result<(), Error> {
    if store::is_uuid(id) {
        return Ok(());
    }
    refuse("failed prepared query lookup: index error: UUID must be 36 characters")
}

fn validate(query: &PreparedQuery) -> Result<(), Error> {
    if let Some(fault) = fault(query) {
        return refuse(format!("Invalid prepared query: {fault}"));
    }
    if query.is_template() {
        Template::compile(query)?;
    }
    Ok(())
}

/// Says what is wrong with a query.
fn fault(query: &PreparedQuery) -> Option<String> {
    let (service, ttl) = (&query.service, &query.dns_ttl);
    let nearest = service.failover.nearest;
    if query.name.is_empty() && !query.is_template() && query.session.is_empty() {
        return Some("Must be bound to a session".into());
    }
    if query.name.len() > NAME_BYTES_MAX {
        return Some(format!("Name is too long (limit: {NAME_BYTES_MAX} bytes)"));
    }
    if query.token == HIDDEN_TOKEN {
        return Some(format!(
            "Bad Token '{HIDDEN_TOKEN}', it looks like a query definition with a redacted token \
             was submitted"
        ));
    }
    if service.service.is_empty() {
        return Some("Must provide a Service name to query".into());
    }
    if nearest < 0 {
        return Some(format!("Bad NearestN '{nearest}', must be >= 0"));
    }
    if let Err(fault) = check_meta(&service.node_meta, Reserved::Allowed) {
        return Some(fault);
    }
    match parse_go(ttl) {
        _ if ttl.is_empty() => None,
        Ok(nanos) if nanos < 0 => Some(format!("DNS TTL '{nanos}', must be >=0")),
        Ok(_) => None,
        Err(_) => Some(format!("Bad DNS TTL '{ttl}': {}", crate::config::go_fault(ttl))),
    }
}

impl Inner {
    /// Reads prepared queries, or runs one.
    pub(super) async fn prepared(
        &self,
        server: &Server,
        request: &Request,
        query: &Query,
    ) -> Outcome {
        let read = request::Query::Prepared(query.clone());
        let reply = match query {
            Query::List => return self.read(server, request, &read).await,
            Query::Get(id) => {
                check_id(id)?;
                let answer = self.read(server, request, &read).await?;
                return match answer.reply {
                    request::Reply::Prepared(Reply::Queries(found)) if found.is_empty() => {
                        Err(store::not_found())
                    }
                    _ => Ok(answer),
                };
            }
            Query::Execute(execute) => {
                let watch = Stopwatch::start();
                let found = self.execute(server, request, execute).await;
                watch.stop(&metrics::QUERY_EXECUTE);
                Reply::Found(Box::new(found?))
            }
            Query::Explain(name) => {
                let watch = Stopwatch::start();
                let (_, query) = resolve(server, request, name).await?;
                watch.stop(&metrics::QUERY_EXPLAIN);
                Reply::Explained(Box::new(query), self.freshness(request))
            }
        };
        Ok(self.untimed(request::Reply::Prepared(reply)))
    }

    async fn execute(
        &self,
        server: &Server,
        request: &Request,
        execute: &Execute,
    ) -> Result<Found, Error> {
        let (tables, query) = resolve(server, request, &execute.name).await?;
        let mut instances = tables.instances_for(&query.service, execute.connect);
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).shuffle(&mut instances);
        let near = match (request.options.near.as_str(), query.service.near.as_str()) {
            ("", near) | (near, _) if near == OWN_AGENT => &execute.agent,
            ("", near) | (near, _) if near == ASKERS_NODE => tables.node_at(&execute.asker),
            ("", near) | (near, _) => near,
        };
        near::by_distance(&tables, near, &mut instances, |instance| &instance.node.name);
        put_first(&mut instances, near);
        if execute.limit > 0 {
            instances.truncate(execute.limit as usize);
        }
        Ok(Found {
            service: query.service.service,
            instances,
            dns_ttl: query.dns_ttl,
            datacenter: self.datacenter.clone(),
            failovers: 0,
            freshness: self.freshness(request),
        })
    }

    fn freshness(&self, request: &Request) -> Freshness {
        Freshness { meta: self.meta(0), consistency: request.options.consistency }
    }
}

/// Finds the query that answers to a name, in a state that is fresh enough.
async fn resolve(
    server: &Server,
    request: &Request,
    name: &str,
) -> Result<(Tables, PreparedQuery), Error> {
    Gate::of(request.options.consistency, &server.raft).pass().await?;
    let tables = server.store.tables();
    let query = tables.resolve(name)?;
    Ok((tables, std::sync::Arc::unwrap_or_clone(query)))
}

/// Puts the node that was asked to be near to first.
fn put_first(instances: &mut [Instance], node: &str) {
    let at = instances.iter().take(OWN_DEPTH_MAX).position(|found| found.node.name == node);
    if let Some(at) = at {
        instances.swap(0, at);
    }
}
