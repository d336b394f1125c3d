//! `/v1/query`: prepared queries.

use super::ask::read;
use super::body;
use super::health::HealthView;
use super::options::{parse_bool, read_options, write_options};
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::CreatedView;
use super::view::Each;
use super::view::query::{DnsView, QueryView};
use crate::config::field::{Error as FieldError, Fields, GoType};
use agent_core::model::command::Command;
use agent_core::model::health::Instance;
use agent_core::model::query::{
    Execute, Failover, Freshness as Told, Op, PreparedQuery, Query, Reply as QueryReply, Target,
    Template,
};
use agent_core::model::request::{Body, Consistency, Query as AnyQuery, Reply, Request};
use serde::Serialize;
use serde_json::Value;

/// A write.
const fn write(
    intake: Intake,
    parse: fn(&Call<'_>, Vec<u8>) -> Result<Request, Refusal>,
    render: fn(&Call<'_>, Reply) -> Page,
) -> Act {
    Act::Ask { intake, parse, render, freshness: Freshness::Untold }
}

pub(super) const LIST: Act = read(parse_list, render_list, Freshness::Effective);
pub(super) const GET: Act = read(parse_get, render_list, Freshness::Effective);
pub(super) const EXECUTE: Act = read(parse_execute, render_found, Freshness::Cached);
pub(super) const EXPLAIN: Act = read(parse_explain, render_explained, Freshness::Effective);
pub(super) const CREATE: Act = write(Intake::Json, parse_create, render_created);
pub(super) const UPDATE: Act = write(Intake::Json, parse_update, render_done);
pub(super) const DELETE: Act = write(Intake::Nothing, parse_delete, render_done);

/// Makes a request of a change.
fn change(call: &Call<'_>, op: Op) -> Result<Request, Refusal> {
    Ok(Request { options: write_options(call)?, body: Body::Command(Command::Prepared(op)) })
}

/// Makes a request of a read.
fn ask(call: &Call<'_>, query: Query) -> Result<Request, Refusal> {
    Ok(Request { options: read_options(call)?, body: Body::Query(AnyQuery::Prepared(query)) })
}

fn parse_create(call: &Call<'_>, bytes: Vec<u8>) -> Result<Request, Refusal> {
    change(call, Op::Create(Box::new(read_query(&bytes)?)))
}

/// Reads what a query is to become; its id is the path's, whatever the body says.
fn parse_update(call: &Call<'_>, bytes: Vec<u8>) -> Result<Request, Refusal> {
    let query = PreparedQuery { id: call.rest.to_owned(), ..read_query(&bytes)? };
    change(call, Op::Update(Box::new(query)))
}

fn parse_delete(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    change(call, Op::Delete(call.rest.to_owned()))
}

fn parse_list(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    ask(call, Query::List)
}

fn parse_get(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    ask(call, Query::Get(call.rest.to_owned()))
}

fn parse_execute(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let connect = match call.params.get("connect") {
        "" => false,
        text => parse_bool(text).ok_or_else(|| {
            Refusal::failed(format!(
                "Error parsing 'connect' value: strconv.ParseBool: parsing {text:?}: invalid \
                 syntax"
            ))
        })?,
    };
    let execute = Execute {
        name: call.rest.to_owned(),
        limit: limit(call)?,
        agent: call.settings.node_name.clone(),
        connect,
        asker: call.asker(),
    };
    ask(call, Query::Execute(execute))
}

fn parse_explain(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    limit(call)?;
    ask(call, Query::Explain(call.rest.to_owned()))
}

/// Reads how many instances to answer at most; none and less is all.
fn limit(call: &Call<'_>) -> Result<u32, Refusal> {
    match call.params.get("limit") {
        "" => Ok(0),
        text => match text.parse::<i64>() {
            Ok(limit) => Ok(u32::try_from(limit.max(0)).unwrap_or(u32::MAX)),
            Err(_) => Err(Refusal::failed(format!(
                "Bad limit: strconv.Atoi: parsing {text:?}: invalid syntax"
            ))),
        },
    }
}

/// Reads a definition.
fn read_query(bytes: &[u8]) -> Result<PreparedQuery, Refusal> {
    definition(body::json(bytes)?).map_err(body::decode_failed)
}

fn definition(value: Value) -> Result<PreparedQuery, FieldError> {
    let mut fields = Fields::of(value, "structs.PreparedQuery")?;
    let mut query = PreparedQuery::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "id" => query.id = value.string(&key)?,
            "name" => query.name = value.string(&key)?,
            "session" => query.session = value.string(&key)?,
            "token" => query.token = value.string(&key)?,
            "template" => query.template = template(value, &key)?,
            "service" => query.service = target(value, &key)?,
            "dns" => query.dns_ttl = dns_ttl(value, &key)?,
            "createindex" | "modifyindex" => drop(value.int(&key)?),
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok(query)
}

fn template(value: Value, key: &str) -> Result<Template, FieldError> {
    value.require_object(key, "structs.QueryTemplateOptions")?;
    let mut fields = Fields::of(value, "structs.QueryTemplateOptions")?;
    let mut template = Template::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "type" => template.kind = value.string(&key)?,
            "regexp" => template.regexp = value.string(&key)?,
            "removeemptytags" => template.remove_empty_tags = value.bool(&key)?,
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok(template)
}

fn target(value: Value, key: &str) -> Result<Target, FieldError> {
    value.require_object(key, "structs.ServiceQuery")?;
    let mut fields = Fields::of(value, "structs.ServiceQuery")?;
    let mut target = Target::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "service" => target.service = value.string(&key)?,
            "failover" => target.failover = failover(value, &key)?,
            "onlypassing" => target.only_passing = value.bool(&key)?,
            "ignorecheckids" => target.ignore_check_ids = value.strings(&key)?,
            "near" => target.near = value.string(&key)?,
            "tags" => target.tags = value.strings(&key)?,
            "nodemeta" => target.node_meta = value.string_map(&key)?,
            "servicemeta" => target.service_meta = value.string_map(&key)?,
            "connect" => target.connect = value.bool(&key)?,
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok(target)
}

fn failover(value: Value, key: &str) -> Result<Failover, FieldError> {
    value.require_object(key, "structs.QueryDatacenterOptions")?;
    let mut fields = Fields::of(value, "structs.QueryDatacenterOptions")?;
    let mut failover = Failover::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "nearestn" => failover.nearest = value.int(&key)?,
            "datacenters" => failover.datacenters = value.strings(&key)?,
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok(failover)
}

fn dns_ttl(value: Value, key: &str) -> Result<String, FieldError> {
    value.require_object(key, "structs.QueryDNSOptions")?;
    let mut fields = Fields::of(value, "structs.QueryDNSOptions")?;
    let mut ttl = String::new();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "ttl" => ttl = value.string(&key)?,
            _ => return Err(FieldError::Unknown(key)),
        }
    }
    Ok(ttl)
}

fn render_created(call: &Call<'_>, reply: Reply) -> Page {
    match reply {
        Reply::Prepared(QueryReply::Created(id)) => Page::json(call, &CreatedView { id: &id }),
        _ => Page::unexpected(),
    }
}

fn render_done(_: &Call<'_>, reply: Reply) -> Page {
    match reply {
        Reply::Done => Page::empty(hyper::StatusCode::OK),
        _ => Page::unexpected(),
    }
}

fn render_list(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Prepared(QueryReply::Queries(found)) = reply else { return Page::unexpected() };
    Page::json(call, &Each::of(&found, |query| QueryView::from(&**query)))
}

/// How fresh an answer is, in its body.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ToldView {
    index: u64,
    /// In nanoseconds.
    last_contact: u64,
    known_leader: bool,
    consistency_level: &'static str,
}

impl From<Told> for ToldView {
    fn from(told: Told) -> Self {
        Self {
            index: told.meta.index,
            last_contact: told.meta.last_contact_ms.saturating_mul(1_000_000),
            known_leader: told.meta.known_leader,
            consistency_level: match told.consistency {
                Consistency::Default => "leader",
                Consistency::Consistent => "consistent",
                Consistency::Stale => "stale",
            },
        }
    }
}

/// What a query found.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FoundView<'a> {
    service: &'a str,
    nodes: Each<'a, Instance, fn(&'a Instance) -> HealthView<'a>>,
    #[serde(rename = "DNS")]
    dns: DnsView<'a>,
    datacenter: &'a str,
    failovers: u32,
    #[serde(flatten)]
    told: ToldView,
}

fn render_found(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Prepared(QueryReply::Found(found)) = reply else { return Page::unexpected() };
    let view = FoundView {
        service: &found.service,
        nodes: Each::of(&found.instances, HealthView::of_query as fn(_) -> _),
        dns: DnsView { ttl: &found.dns_ttl },
        datacenter: &found.datacenter,
        failovers: found.failovers,
        told: found.freshness.into(),
    };
    Page::json(call, &view)
}

/// A query as it would be run.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExplainedView<'a> {
    query: QueryView<'a>,
    #[serde(flatten)]
    told: ToldView,
}

fn render_explained(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Prepared(QueryReply::Explained(query, told)) = reply else {
        return Page::unexpected();
    };
    Page::json(call, &ExplainedView { query: QueryView::from(&*query), told: told.into() })
}
