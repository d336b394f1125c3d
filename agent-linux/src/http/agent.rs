//! `/v1/agent/`: who the agent is, its pools, its maintenance and end.

use super::options::parse_bool;
use super::reply::{Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::coordinate::CoordinateView;
use super::view::{Each, member::MemberView};
use crate::endpoint::agent::{Description, Maintenance, Op, Pool, Reply};
use crate::version;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A request without a body.
const fn tell(
    parse: fn(&Call<'_>, Vec<u8>) -> Result<Op, Refusal>,
    render: fn(&Call<'_>, Reply) -> Page,
) -> Act {
    Act::Tell { intake: Intake::Nothing, parse, render }
}

pub(super) const DESCRIBE: Act = tell(parse_describe, render_describe);
pub(super) const HOST: Act = tell(parse_host, render_host);
pub(super) const MEMBERS: Act = tell(parse_members, render_members);
pub(super) const JOIN: Act = tell(parse_join, render_done);
pub(super) const LEAVE: Act = tell(parse_leave, render_done);
pub(super) const FORCE_LEAVE: Act = tell(parse_force_leave, render_done);
pub(super) const MAINTENANCE: Act = tell(parse_maintenance, render_done);
pub(super) const RELOAD: Act = tell(parse_reload, render_done);

fn parse_describe(_: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::Describe)
}

fn parse_host(_: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::Host)
}

fn parse_leave(_: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::Leave)
}

fn parse_reload(_: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::Reload)
}

/// Reads which pool is meant: the WAN pool if `wan` has any value.
fn pool(call: &Call<'_>) -> Pool {
    if call.params.get("wan").is_empty() { Pool::Lan } else { Pool::Wan }
}

/// Reads a read of members; segments are a matter of Consul Enterprise.
fn parse_members(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    let segment = call.params.get("segment");
    if !matches!(segment, "" | "_all") {
        return Err(Refusal::failed(if call.settings.server {
            "Network segments are not supported in this version of Consul".into()
        } else {
            format!("segment {segment:?} not found")
        }));
    }
    Ok(Op::Members { pool: pool(call) })
}

fn parse_join(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::Join { address: call.rest.to_owned(), pool: pool(call) })
}

fn parse_force_leave(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::ForceLeave { node: call.rest.to_owned(), prune: call.params.has("prune") })
}

fn parse_maintenance(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::Maintain { change: maintenance(call)? })
}

/// Reads a change of maintenance mode: `enable` and `reason`.
pub(super) fn maintenance(call: &Call<'_>) -> Result<Maintenance, Refusal> {
    if !call.params.has("enable") {
        return Err(Refusal::bad("Missing value for enable"));
    }
    let enable = call.params.get("enable");
    match parse_bool(enable) {
        Some(true) => Ok(Maintenance::On { reason: call.params.get("reason").to_owned() }),
        Some(false) => Ok(Maintenance::Off),
        None => Err(Refusal::bad(format!("Invalid value for enable: {enable:?}"))),
    }
}

/// Shows that it was done: an empty page.
pub(super) fn render_done(_: &Call<'_>, reply: Reply) -> Page {
    let Reply::Done = reply else { return Page::unexpected() };
    Page::empty(StatusCode::OK)
}

/// Shows the machine.
fn render_host(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Host(host) = reply else { return Page::unexpected() };
    Page::json(call, &host)
}

/// Shows members; `null` where there is no pool.
fn render_members(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Members(members) = reply else { return Page::unexpected() };
    if members.is_empty() {
        return Page::json(call, &());
    }
    Page::json(call, &Each::of(&members, MemberView::from))
}

/// The agent in the shape of `/v1/agent/self`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescriptionView<'a> {
    config: ConfigView<'a>,
    debug_config: &'a Value,
    coord: Option<CoordinateView<'a>>,
    member: MemberView<'a>,
    stats: &'a BTreeMap<String, BTreeMap<String, String>>,
    meta: &'a BTreeMap<String, String>,
}

/// The few settings that clients read.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigView<'a> {
    datacenter: &'a str,
    node_name: &'a str,
    #[serde(rename = "NodeID")]
    node_id: &'a str,
    revision: &'static str,
    server: bool,
    version: &'static str,
}

impl<'a> From<&'a Description> for DescriptionView<'a> {
    fn from(agent: &'a Description) -> Self {
        Self {
            config: ConfigView {
                datacenter: &agent.datacenter,
                node_name: &agent.node_name,
                node_id: &agent.node_id,
                revision: "",
                server: agent.server,
                version: version::CONSUL,
            },
            debug_config: &agent.debug_config,
            coord: agent.place.as_ref().map(CoordinateView::from),
            member: MemberView::from(&agent.member),
            stats: &agent.stats,
            meta: &agent.meta,
        }
    }
}

/// Shows who the agent is.
fn render_describe(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Description(agent) = reply else { return Page::unexpected() };
    Page::json(call, &DescriptionView::from(&*agent))
}
