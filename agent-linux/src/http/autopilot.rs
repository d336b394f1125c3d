//! `/v1/operator/autopilot/`: how the leader looks after the servers, and how they do.

use super::options::{read_options, write_options};
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Each;
use crate::config::{Fields, GoType, go_text};
use agent_core::model::autopilot::{Configuration, Op, ServerHealth};
use agent_core::model::command::Command;
use agent_core::model::operator::{Query, Reply as OperatorReply};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use agent_core::time::{Duration, GoTime};
use hyper::StatusCode;
use serde::Serialize;

pub(super) const READ: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_read,
    render: render_read,
    freshness: Freshness::Untold,
};
pub(super) const WRITE: Act = Act::Ask {
    intake: Intake::Json,
    parse: parse_write,
    render: render_write,
    freshness: Freshness::Untold,
};
pub(super) const HEALTH: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_health,
    render: render_health,
    freshness: Freshness::Untold,
};

fn parse_read(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = read_options(call)?;
    Ok(Request { options, body: Body::Query(AnyQuery::Operator(Query::Autopilot)) })
}

fn parse_health(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = read_options(call)?;
    Ok(Request { options, body: Body::Query(AnyQuery::Operator(Query::Health)) })
}

/// Reads a new configuration; with `cas` it is set only if the old one is of that index.
fn parse_write(call: &Call<'_>, body: Vec<u8>) -> Result<Request, Refusal> {
    let options = write_options(call)?;
    let wanted = configuration(&body).map_err(|why| {
        Refusal::bad(format!("Bad request: Error parsing autopilot config: {why}"))
    })?;
    let op = match call.params.get("cas") {
        "" => Op::Set(wanted),
        text => {
            let index = text.parse().map_err(|_| {
                Refusal::bad(format!(
                    "Bad request: Error parsing cas value: strconv.ParseUint: parsing {text:?}: \
                     invalid syntax"
                ))
            })?;
            Op::Cas(wanted, index)
        }
    };
    Ok(Request { options, body: Body::Command(Command::Autopilot(op)) })
}

/// Reads a configuration as Go does; what is not given is zero.
fn configuration(body: &[u8]) -> Result<Configuration, String> {
    let value = super::body::value(body)?;
    let mut fields = Fields::of(value, "api.AutopilotConfiguration").map_err(|e| e.to_string())?;
    let mut wanted = Configuration::default();
    while let Some((name, key, value)) = fields.next() {
        let nanos = |span: Duration| u64::try_from(span.to_core().as_nanos()).unwrap_or(u64::MAX);
        let read = match name.as_str() {
            "cleanupdeadservers" => value.bool(&key).map(|on| wanted.cleanup_dead_servers = on),
            "lastcontactthreshold" => value.duration().map(|s| wanted.last_contact_ns = nanos(s)),
            "maxtrailinglogs" => value.uint(&key).map(|n| wanted.max_trailing_logs = n),
            "minquorum" => value.uint(&key).map(|n| wanted.min_quorum = n),
            "serverstabilizationtime" => {
                value.duration().map(|span| wanted.stabilization_ns = nanos(span))
            }
            "redundancyzonetag" => value.string(&key).map(|tag| wanted.redundancy_zone_tag = tag),
            "disableupgrademigration" => {
                value.bool(&key).map(|on| wanted.disable_upgrade_migration = on)
            }
            "upgradeversiontag" => value.string(&key).map(|tag| wanted.upgrade_version_tag = tag),
            "createindex" | "modifyindex" => value.uint(&key).map(drop),
            _ => return Err(format!("json: unknown field \"{key}\"")),
        };
        read.map_err(|error| in_configuration(&error))?;
    }
    Ok(wanted)
}

/// Words a field that is of the wrong type, with the structure that it is in.
fn in_configuration(error: &crate::config::field::Error) -> String {
    error.to_string().replace("struct field .", "struct field AutopilotConfiguration.")
}

/// Writes nanoseconds as Go does.
fn span(nanos: u64) -> String {
    go_text(Duration::from_micros(nanos / 1000))
}

/// The configuration as Consul shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationView<'a> {
    cleanup_dead_servers: bool,
    last_contact_threshold: String,
    max_trailing_logs: u64,
    min_quorum: u64,
    server_stabilization_time: String,
    redundancy_zone_tag: &'a str,
    disable_upgrade_migration: bool,
    upgrade_version_tag: &'a str,
    create_index: u64,
    modify_index: u64,
}

fn render_read(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Operator(OperatorReply::Autopilot(found)) = reply else {
        return Page::unexpected();
    };
    let view = ConfigurationView {
        cleanup_dead_servers: found.cleanup_dead_servers,
        last_contact_threshold: span(found.last_contact_ns),
        max_trailing_logs: found.max_trailing_logs,
        min_quorum: found.min_quorum,
        server_stabilization_time: span(found.stabilization_ns),
        redundancy_zone_tag: &found.redundancy_zone_tag,
        disable_upgrade_migration: found.disable_upgrade_migration,
        upgrade_version_tag: &found.upgrade_version_tag,
        create_index: found.stamp.create,
        modify_index: found.stamp.modify,
    };
    Page::json(call, &view)
}

fn render_write(call: &Call<'_>, reply: Reply) -> Page {
    match reply {
        Reply::Applied(done) => Page::json(call, &done),
        _ => Page::unexpected(),
    }
}

/// The servers' health as Consul shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthView<'a> {
    healthy: bool,
    failure_tolerance: u64,
    servers: Each<'a, ServerHealth, fn(&'a ServerHealth) -> ServerView<'a>>,
}

/// One server's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    address: &'a str,
    serf_status: &'a str,
    version: &'a str,
    leader: bool,
    last_contact: String,
    last_term: u64,
    last_index: u64,
    healthy: bool,
    voter: bool,
    stable_since: String,
}

impl<'a> From<&'a ServerHealth> for ServerView<'a> {
    fn from(server: &'a ServerHealth) -> Self {
        let silence = server.last_contact_ms.map(Duration::from_millis);
        Self {
            id: &server.id,
            name: &server.name,
            address: &server.address,
            serf_status: &server.serf_status,
            version: &server.version,
            leader: server.leader,
            last_contact: silence.map_or_else(|| "never".to_owned(), go_text),
            last_term: server.last_term,
            last_index: server.last_index,
            healthy: server.healthy,
            voter: server.voter,
            stable_since: GoTime(server.stable_since).to_string()[..19].replace(' ', "T") + "Z",
        }
    }
}

/// Shows the servers' health: 429 if one is not well, so that a load balancer can tell.
fn render_health(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Operator(OperatorReply::Health(health)) = reply else {
        return Page::unexpected();
    };
    let page = Page::json(
        call,
        &HealthView {
            healthy: health.healthy,
            failure_tolerance: health.failure_tolerance,
            servers: Each::of(&health.servers, ServerView::from as fn(_) -> _),
        },
    );
    match health.healthy {
        true => page,
        false => page.status(StatusCode::TOO_MANY_REQUESTS),
    }
}
