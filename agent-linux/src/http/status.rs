//! `/v1/status/`: how consensus stands.

use super::options::read_options;
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use agent_core::model::status::{Query, Reply as StatusReply};

pub(super) const LEADER: Act =
    Act::Ask { intake: Intake::Nothing, parse: parse_leader, render, freshness: Freshness::Untold };
pub(super) const PEERS: Act =
    Act::Ask { intake: Intake::Nothing, parse: parse_peers, render, freshness: Freshness::Untold };

/// Asks for the leader; answered by any server, also when there is none.
fn parse_leader(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = read_options(call)?;
    Ok(Request { options, body: Body::Query(AnyQuery::Status(Query::Leader)) })
}

/// Asks for the servers.
fn parse_peers(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = read_options(call)?;
    Ok(Request { options, body: Body::Query(AnyQuery::Status(Query::Peers)) })
}

/// Shows an address or a list of them.
fn render(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Status(reply) = reply else { return Page::unexpected() };
    match reply {
        StatusReply::Leader(address) => Page::json(call, &address),
        StatusReply::Peers(addresses) => Page::json(call, &addresses),
        StatusReply::Log { .. } | StatusReply::Members(_) => Page::unexpected(),
    }
}
