//! `/v1/health/`: reads of checks, and of instances with the checks that count for them.

use super::ask::read;
use super::options::{parse_bool, read_options};
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call};
use super::shelf;
use super::view::check::{CheckView, DefinitionView};
use super::view::node::NodeView;
use super::view::service::ServiceView;
use super::view::{Each, listed};
use agent_core::model::check::{Check, Status};
use agent_core::model::health::{Instance, Query, Reply as HealthReply, ServiceQuery};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use hyper::StatusCode;
use serde::Serialize;
use std::sync::Arc;

pub(super) const NODE: Act = read(parse_node, render_checks, Freshness::Effective);
pub(super) const CHECKS: Act = read(parse_checks, render_checks, Freshness::Effective);
pub(super) const STATE: Act = read(parse_state, render_state, Freshness::Effective);
pub(super) const SERVICE: Act = read(parse_service, render_instances, Freshness::Cached);
pub(super) const CONNECT: Act = read(parse_connect, render_instances, Freshness::Cached);
pub(super) const INGRESS: Act = read(parse_ingress, render_instances, Freshness::Cached);

/// Makes a request of a query.
fn request(call: &Call<'_>, query: Query) -> Result<Request, Refusal> {
    Ok(Request { options: read_options(call)?, body: Body::Query(AnyQuery::Health(query)) })
}

fn parse_node(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let node = call.required("Missing node name")?;
    request(call, Query::Node(node))
}

fn parse_checks(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let service = call.required("Missing service name")?;
    request(call, Query::Checks { service, node_meta: call.params.node_meta() })
}

/// Reads a read of the checks in a state; `any` is every state.
fn parse_state(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let state = call.required("Missing check state")?;
    let status = Status::parse(&state);
    request(call, Query::State { status, node_meta: call.params.node_meta() })
}

fn parse_service(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    parse_instances(call, false)
}

fn parse_connect(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    parse_instances(call, true)
}

/// Reads a read of a service's instances, or of those that speak for it in the mesh.
fn parse_instances(call: &Call<'_>, connect: bool) -> Result<Request, Refusal> {
    let name = call.required("Missing service name")?;
    let params = &call.params;
    let worst = match params.get("passing") {
        "" if params.has("passing") => Some(Status::Passing),
        "" => None,
        text => {
            let passing = parse_bool(text).ok_or(Refusal::bad("Invalid value for ?passing"))?;
            passing.then_some(Status::Passing)
        }
    };
    let tags = params.all("tag").map(str::to_owned).collect();
    let node_meta = params.node_meta();
    request(call, Query::Service(ServiceQuery { name, tags, node_meta, worst, connect }))
}

/// Reads a read of a service's ingress gateways: those that are bound to it.
fn parse_ingress(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let name = call.required("Missing service name")?;
    request(call, Query::Ingress(name))
}

/// Shows checks.
fn render_checks(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(HealthReply::Checks(checks)) = reply else { return Page::unexpected() };
    Page::json(call, &views(&checks))
}

/// Shows checks in a state; there are none in one that does not exist.
fn render_state(call: &Call<'_>, reply: Reply) -> Page {
    match reply {
        Reply::Health(HealthReply::Checks(_))
            if call.rest != "any" && Status::parse(call.rest).is_none() =>
        {
            Page::json(call, &[(); 0])
        }
        other => render_checks(call, other),
    }
}

/// A list of checks as it is shown.
type Checks<'a> = Each<'a, Arc<Check>, fn(&'a Arc<Check>) -> CheckView<'a, DefinitionView<'a>>>;

/// Shows a list of checks.
fn views(checks: &[Arc<Check>]) -> Checks<'_> {
    Each::of(checks, |check| CheckView::from(&**check))
}

/// An instance with its node and checks.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthView<'a> {
    node: NodeView<'a>,
    service: ServiceView<'a>,
    checks: Option<Checks<'a>>,
}

impl<'a> HealthView<'a> {
    /// An instance as `/v1/query/` shows it: `null` where there is nothing in a list.
    pub(super) fn of_query(instance: &'a Instance) -> Self {
        let checks = listed(&instance.checks);
        Self {
            node: NodeView::from(&*instance.node),
            service: ServiceView::of_query(&instance.service),
            checks: checks.map(|checks| Each::of(checks, of_query as fn(_) -> _)),
        }
    }
}

/// Shows a check as `/v1/query/` does.
fn of_query(check: &Arc<Check>) -> CheckView<'_, DefinitionView<'_>> {
    CheckView::of_query(check)
}

impl<'a> From<&'a Instance> for HealthView<'a> {
    fn from(instance: &'a Instance) -> Self {
        Self {
            node: NodeView::from(&*instance.node),
            service: ServiceView::from(&*instance.service),
            checks: Some(views(&instance.checks)),
        }
    }
}

/// Shows instances.
fn render_instances(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(HealthReply::Instances(instances)) = reply else { return Page::unexpected() };
    let write = |rows: &[Instance]| Page::json(call, &Each::of(rows, HealthView::from)).body;
    // The rows that a client hears from a server are new with each answer.
    let text = match call.settings.server {
        true => shelf::shown(instances, call.is_pretty(), write),
        false => write(&instances),
    };
    Page { body: text, kind: "application/json", ..Page::empty(StatusCode::OK) }
}
