//! `/v1/agent/service*` and `/v1/agent/health/`: this agent's own services.

use super::agent::{maintenance, render_done};
use super::body;
use super::options::{min_index, own_wait, refuse_namespaces};
use super::reply::{CONTENT_HASH, Page, REASON, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Each;
use super::view::check::{BlankDefinition, CheckView};
use super::view::service::OwnServiceView;
use crate::config::definition::ServiceDefinition;
use crate::endpoint::agent::{AggregatedStatus, InstanceHealth, Op, Reply};
use agent_core::model::check::Check;
use core::time::Duration;
use hyper::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// A request without a body.
const fn tell(
    parse: fn(&Call<'_>, Vec<u8>) -> Result<Op, Refusal>,
    render: fn(&Call<'_>, Reply) -> Page,
) -> Act {
    Act::Tell { intake: Intake::Nothing, parse, render }
}

pub(super) const LIST: Act = tell(parse_list, render_list);
pub(super) const READ: Act = tell(parse_read, render_read);
pub(super) const REGISTER: Act =
    Act::Tell { intake: Intake::Json, parse: parse_register, render: render_done };
pub(super) const DEREGISTER: Act = tell(parse_deregister, render_done);
pub(super) const MAINTENANCE: Act = tell(parse_maintenance, render_done);
pub(super) const HEALTH_BY_ID: Act = tell(parse_health_by_id, render_health_by_id);
pub(super) const HEALTH_BY_NAME: Act = tell(parse_health_by_name, render_health_by_name);

/// How long a read waits for another hash if it does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(300);

fn parse_list(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    Ok(Op::Services { filter: call.params.get("filter").to_owned() })
}

/// Shows services by id.
fn render_list(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Services(services) = reply else { return Page::unexpected() };
    let services: Vec<_> = services.into_iter().collect();
    Page::json(
        call,
        &super::view::Entries::of(&services, |(id, service)| {
            (id, OwnServiceView::from(&**service))
        }),
    )
}

/// Reads a read of one service, which may wait until its hash is another.
fn parse_read(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    min_index(call)?;
    let wait = own_wait(call)?.unwrap_or(WAIT_DEFAULT);
    let hash = call.params.get("hash").to_owned();
    Ok(Op::Service { id: call.rest.to_owned(), hash, wait })
}

/// Shows a service with its hash.
fn render_read(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Service { service, hash } = reply else { return Page::unexpected() };
    Page::json(call, &OwnServiceView::with_hash(&service, &hash)).header(CONTENT_HASH, &hash)
}

/// Reads a registration.
fn parse_register(call: &Call<'_>, bytes: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    let value = body::json(&bytes)?;
    let definition = ServiceDefinition::from_json(value).map_err(body::decode_failed)?;
    let replace_existing_checks = match call.params.get("replace-existing-checks") {
        "" => call.params.has("replace-existing-checks"),
        text => super::options::parse_bool(text).unwrap_or(false),
    };
    Ok(Op::RegisterService { definition: Box::new(definition), replace_existing_checks })
}

fn parse_deregister(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    if call.rest.is_empty() {
        return Err(Refusal::failed("ServiceID missing"));
    }
    Ok(Op::DeregisterService { id: call.rest.to_owned() })
}

fn parse_maintenance(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    let id = call.required("Missing service ID")?;
    Ok(Op::MaintainService { id, change: maintenance(call)? })
}

fn parse_health_by_id(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    if call.rest.is_empty() {
        return Err(Refusal::failed("Bad request: Missing serviceID"));
    }
    Ok(Op::HealthById { id: call.rest.to_owned() })
}

fn parse_health_by_name(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    refuse_namespaces(call)?;
    if call.rest.is_empty() {
        return Err(Refusal::failed("Bad request: Missing service Name"));
    }
    Ok(Op::HealthByName { name: call.rest.to_owned() })
}

/// A list of checks as health shows it.
type Checks<'a> = Each<'a, Arc<Check>, fn(&'a Arc<Check>) -> CheckView<'a, BlankDefinition>>;

/// An instance with its health.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthView<'a> {
    aggregated_status: &'static str,
    service: Option<OwnServiceView<'a>>,
    checks: Option<Checks<'a>>,
}

impl<'a> From<&'a InstanceHealth> for HealthView<'a> {
    fn from(instance: &'a InstanceHealth) -> Self {
        let view: fn(&'a Arc<Check>) -> _ = |check| CheckView::of_health(check);
        Self {
            aggregated_status: word(instance.status),
            service: Some(OwnServiceView::from(&*instance.service)),
            checks: Some(Each::of(&instance.checks, view)),
        }
    }
}

/// Says a status in Consul's word.
fn word(status: AggregatedStatus) -> &'static str {
    match status {
        AggregatedStatus::Passing => "passing",
        AggregatedStatus::Warning => "warning",
        AggregatedStatus::Critical => "critical",
        AggregatedStatus::Maintenance => "maintenance",
    }
}

/// Says a status in a code that load balancers read.
fn code(status: AggregatedStatus) -> StatusCode {
    match status {
        AggregatedStatus::Passing => StatusCode::OK,
        AggregatedStatus::Warning => StatusCode::TOO_MANY_REQUESTS,
        AggregatedStatus::Critical | AggregatedStatus::Maintenance => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// Tells whether the client wants a word instead of JSON: `?format=text`, or plain text first.
fn wants_text(call: &Call<'_>) -> bool {
    if call.params.has("format") {
        return call.params.get("format") == "text";
    }
    call.headers.get("accept").is_some_and(|accept| accept.starts_with("text/plain"))
}

/// A word as a page.
fn word_page(text: impl Into<String>) -> Page {
    let mut page = Page::text(StatusCode::OK, text.into());
    page.kind = "text/plain";
    page
}

/// Shows the health of an instance; both fields `null` for an unknown one.
fn render_health_by_id(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(instances) = reply else { return Page::unexpected() };
    if let Some(instance) = instances.first() {
        let page = if wants_text(call) {
            word_page(word(instance.status))
        } else {
            Page::json(call, &HealthView::from(instance))
        };
        return page.status(code(instance.status)).header(REASON, word(instance.status));
    }
    let absent = format!("ServiceId {} not found", call.rest);
    let page = if wants_text(call) {
        Page::json(call, &absent)
    } else {
        let critical = word(AggregatedStatus::Critical);
        Page::json(call, &HealthView { aggregated_status: critical, service: None, checks: None })
    };
    page.status(StatusCode::NOT_FOUND).header(REASON, &absent)
}

/// Shows the health of all instances of a service under the worst status.
fn render_health_by_name(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Health(instances) = reply else { return Page::unexpected() };
    let Some(worst) = instances.iter().map(|instance| instance.status).max() else {
        let absent = format!("ServiceName {} Not Found", call.rest);
        let page =
            if wants_text(call) { word_page(absent.clone()) } else { Page::json(call, &[(); 0]) };
        return page.status(StatusCode::NOT_FOUND).header(REASON, &absent);
    };
    let page = if wants_text(call) {
        word_page(word(worst))
    } else {
        Page::json(call, &Each::of(&instances, HealthView::from))
    };
    page.status(code(worst)).header(REASON, word(worst))
}
