//! `/v1/operator/raft/`: the raft configuration.

use super::options::{read_options, write_options};
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Each;
use agent_core::model::operator::{Peer, Query, Reply as OperatorReply, Server};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use hyper::StatusCode;
use serde::Serialize;

pub(super) const RAFT_CONFIGURATION: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_configuration,
    render: render_configuration,
    freshness: Freshness::Untold,
};
pub(super) const RAFT_PEER: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_peer,
    render: render_peer,
    freshness: Freshness::Untold,
};

/// Asks for the servers of the raft configuration.
fn parse_configuration(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = read_options(call)?;
    Ok(Request { options, body: Body::Query(AnyQuery::Operator(Query::RaftConfiguration)) })
}

/// The configuration as Consul shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationView<'a> {
    servers: Each<'a, Server, fn(&'a Server) -> ServerView<'a>>,
    index: u64,
}

/// One of its servers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    leader: bool,
    protocol_version: &'static str,
    voter: bool,
}

impl<'a> From<&'a Server> for ServerView<'a> {
    fn from(server: &'a Server) -> Self {
        Self {
            id: &server.id,
            node: &server.node,
            address: &server.address,
            leader: server.leader,
            protocol_version: "3",
            voter: server.voter,
        }
    }
}

/// Shows the configuration.
fn render_configuration(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Operator(OperatorReply::RaftConfiguration { servers, index }) = reply else {
        return Page::unexpected();
    };
    let servers = Each::of(&servers, ServerView::from as fn(_) -> _);
    Page::json(call, &ConfigurationView { servers, index })
}

/// Asks for a server to be removed, named by `id` or by `address`.
fn parse_peer(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = write_options(call)?;
    let params = &call.params;
    let peer = match (params.has("id"), params.has("address")) {
        (true, false) => Peer::Id(params.get("id").to_owned()),
        (false, true) => Peer::Address(params.get("address").to_owned()),
        (true, true) => {
            return Err(Refusal::bad("Bad request: Must specify only one of ?id or ?address"));
        }
        (false, false) => {
            return Err(Refusal::bad(
                "Bad request: Must specify either ?id with the server's ID or ?address with \
                 IP:port of peer to remove",
            ));
        }
    };
    Ok(Request { options, body: Body::Query(AnyQuery::Operator(Query::RemovePeer(peer))) })
}

/// Shows that the server was removed.
fn render_peer(_: &Call<'_>, reply: Reply) -> Page {
    let (Reply::Operator(OperatorReply::Removed) | Reply::Done) = reply else {
        return Page::unexpected();
    };
    Page::empty(StatusCode::OK)
}
