//! `/v1/session/`: sessions.

use super::body;
use super::options::{read_options, write_options};
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::CreatedView;
use super::view::{Each, session::SessionView};
use crate::config::field::{Error as FieldError, Fields, GoType, go_fault};
use agent_core::model::check::SERF_HEALTH;
use agent_core::model::command::Command;
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use agent_core::model::session::{Behavior, Op, Query, Reply as SessionReply, Session};
use agent_core::time::parse_go;
use hyper::StatusCode;
use serde_json::Value;

pub(super) const CREATE: Act = Act::Ask {
    intake: Intake::Json,
    parse: parse_create,
    render: render_created,
    freshness: Freshness::Untold,
};
pub(super) const DESTROY: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_destroy,
    render: render_destroyed,
    freshness: Freshness::Untold,
};
pub(super) const RENEW: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_renew,
    render: render_renewed,
    freshness: Freshness::Untold,
};
pub(super) const INFO: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_info,
    render: render_list,
    freshness: Freshness::Told,
};
pub(super) const NODE: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_node,
    render: render_list,
    freshness: Freshness::Told,
};
pub(super) const LIST: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_list,
    render: render_list,
    freshness: Freshness::Told,
};

/// Lock-delay of a session that gives none.
const LOCK_DELAY_DEFAULT_NS: u64 = 15_000_000_000;
/// A bare number below this is seconds, else nanoseconds.
const LOCK_DELAY_SECONDS_BELOW: i64 = 1000;
const SECOND_NS: u64 = 1_000_000_000;

/// Text for an empty id.
const MISSING_SESSION: &str = "Missing session";

/// Reads the making of a session; an empty body makes one with all defaults.
fn parse_create(call: &Call<'_>, bytes: Vec<u8>) -> Result<Request, Refusal> {
    let options = write_options(call)?;
    let mut session = Session {
        node: call.settings.node_name.clone(),
        node_checks: vec![SERF_HEALTH.to_owned()],
        lock_delay_ns: LOCK_DELAY_DEFAULT_NS,
        ..Session::default()
    };
    if !bytes.is_empty() {
        let behavior =
            read_session(&mut session, body::json(&bytes)?).map_err(body::decode_failed)?;
        session.behavior = match behavior.as_str() {
            "" | "release" => Behavior::Release,
            "delete" => Behavior::Delete,
            other => {
                let text = format!("Invalid Behavior setting '{other}'");
                return Err(Refusal::by_server(call, text));
            }
        };
    }
    session.ttl_ns = ttl_ns(&session.ttl).map_err(|text| Refusal::by_server(call, text))?;
    Ok(Request { options, body: Body::Command(Command::Session(Op::Create(session))) })
}

/// Stores what a body says; tells the behaviour's text. Unknown fields are let pass.
fn read_session(session: &mut Session, value: Value) -> Result<String, FieldError> {
    let mut fields = Fields::of(value, "structs.Session")?;
    let (mut behavior, mut checks) = (String::new(), None);
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "name" => session.name = value.string(&key)?,
            "node" => session.node = value.string(&key)?,
            "behavior" => behavior = value.string(&key)?,
            "ttl" => session.ttl = value.string(&key)?,
            "lockdelay" => session.lock_delay_ns = lock_delay_ns(&value)?,
            "checks" => checks = Some(value.strings(&key)?),
            "nodechecks" => session.node_checks = value.strings(&key)?,
            "servicechecks" => session.service_checks = service_checks(value, &key)?,
            _ => {}
        }
    }
    match checks {
        // The older form without checks means none at all; otherwise it adds to the newer one.
        Some(none) if none.is_empty() => session.node_checks.clear(),
        Some(ids) => session.checks = ids,
        None => {}
    }
    Ok(behavior)
}

/// Reads a lock-delay: a Go duration, seconds or nanoseconds; any other type is none.
fn lock_delay_ns(value: &Value) -> Result<u64, FieldError> {
    let nanos = match value {
        Value::String(text) => parse_go(text).map_err(|_| FieldError::Duration(go_fault(text)))?,
        Value::Number(number) => match number.as_i64() {
            Some(number) if number >= LOCK_DELAY_SECONDS_BELOW => number,
            Some(seconds) => {
                return Ok(u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND_NS));
            }
            None => number.as_f64().unwrap_or(0.0) as i64,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 0,
    };
    Ok(u64::try_from(nanos).unwrap_or(0))
}

/// Reads service checks: objects with an id.
fn service_checks(value: Value, key: &str) -> Result<Vec<String>, FieldError> {
    let mut ids = Vec::new();
    for item in value.array(key, "[]structs.ServiceCheck")? {
        item.require_object(key, "structs.ServiceCheck")?;
        let mut fields = Fields::of(item, "structs.ServiceCheck")?;
        while let Some((name, key, value)) = fields.next() {
            if name == "id" {
                ids.push(value.string(&key)?);
            }
        }
    }
    Ok(ids)
}

/// Reads a TTL; its bounds are for the servers to judge, unless it is negative.
fn ttl_ns(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let Ok(nanos) = parse_go(text) else {
        return Err(format!("Session TTL '{text}' invalid: {}", go_fault(text)));
    };
    u64::try_from(nanos)
        .map_err(|_| format!("Invalid Session TTL '{nanos}', must be between [10s=24h0m0s]"))
}

fn render_created(call: &Call<'_>, reply: Reply) -> Page {
    match reply {
        Reply::Session(SessionReply::Created(id)) => Page::json(call, &CreatedView { id: &id }),
        _ => Page::unexpected(),
    }
}

fn parse_destroy(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = write_options(call)?;
    let id = call.required(MISSING_SESSION)?;
    Ok(Request { options, body: Body::Command(Command::Session(Op::Destroy(id))) })
}

/// Shows that a session is gone, also one that never was.
fn render_destroyed(call: &Call<'_>, reply: Reply) -> Page {
    let (Reply::Done | Reply::Applied(_)) = reply else { return Page::unexpected() };
    Page::json(call, &true)
}

fn parse_renew(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = write_options(call)?;
    let id = call.required(MISSING_SESSION)?;
    Ok(Request { options, body: Body::Query(AnyQuery::Session(Query::Renew(id))) })
}

/// Shows the renewed session.
fn render_renewed(call: &Call<'_>, reply: Reply) -> Page {
    if reply == Reply::Session(SessionReply::Sessions(Vec::new())) {
        let text = format!("Session id '{}' not found", call.rest);
        return Page::text(StatusCode::NOT_FOUND, text);
    }
    render_list(call, reply)
}

fn parse_info(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let id = call.required(MISSING_SESSION)?;
    read(call, Query::Info(id))
}

fn parse_node(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let node = call.required("Missing node name")?;
    read(call, Query::Node(node))
}

fn parse_list(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    read(call, Query::List)
}

/// Makes a request of a query.
fn read(call: &Call<'_>, query: Query) -> Result<Request, Refusal> {
    Ok(Request { options: read_options(call)?, body: Body::Query(AnyQuery::Session(query)) })
}

/// Shows sessions.
fn render_list(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Session(SessionReply::Sessions(sessions)) = reply else { return Page::unexpected() };
    Page::json(call, &Each::of(&sessions, |session| SessionView::from(&**session)))
}
