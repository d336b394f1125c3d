//! Who serves a request, and when it may be tried again.

use super::Server;
use agent_core::model::request::{Body, Consistency, Error, Kind, Query, Request};
use agent_core::model::{
    catalog as rows, coordinate as places, operator as operations, session as sessions,
    snapshot as states,
};
use std::net::SocketAddr;

/// Whose turn a request is.
pub(super) enum Turn {
    Here,
    /// That of the server at this address.
    Of(SocketAddr),
    /// That of a leader, and there is none.
    Nobody,
}

/// Finds who serves a request: any server, the leader, or the one that holds what it asks for.
pub(super) fn whose(server: &Server, request: &Request) -> Turn {
    let own = server.raft.id();
    if let Body::Query(Query::Snapshot(states::Query::Next { ticket, .. })) = &request.body {
        if ticket.holder == own {
            return Turn::Here;
        }
        let (_, servers) = server.raft.configuration();
        let holder = servers.into_iter().find(|(server, _)| server.id == ticket.holder);
        return holder.map_or(Turn::Nobody, |(server, _)| Turn::Of(server.address));
    }
    if is_local(request) || server.raft.is_leader() {
        return Turn::Here;
    }
    match server.raft.leader() {
        Some(leader) if leader.id != own => Turn::Of(leader.address),
        Some(_) | None => Turn::Nobody,
    }
}

/// Whether any server answers this itself.
pub(super) fn is_local(request: &Request) -> bool {
    match &request.body {
        Body::Command(_) | Body::Query(Query::Session(sessions::Query::Renew(_))) => false,
        Body::Query(
            Query::Status(_)
            | Query::Catalog(rows::Query::Datacenters)
            | Query::Coordinate(places::Query::Datacenters),
        ) => true,
        Body::Query(Query::Coordinate(places::Query::Update(_))) => false,
        Body::Query(Query::Operator(
            operations::Query::RemovePeer(_) | operations::Query::Health,
        )) => false,
        Body::Query(
            Query::Kv(_)
            | Query::Catalog(_)
            | Query::Health(_)
            | Query::Session(_)
            | Query::Prepared(_)
            | Query::Coordinate(_)
            | Query::Operator(_)
            | Query::Snapshot(_)
            | Query::Txn(_),
        ) => request.options.consistency == Consistency::Stale,
    }
}

/// Whether trying again may help and cannot do a thing twice.
pub(super) fn may_retry(error: &Error, request: &Request) -> bool {
    match error.kind {
        Kind::NoLeader | Kind::NotReady | Kind::NoServers => true,
        Kind::Unknown => match &request.body {
            Body::Command(_) => false,
            Body::Query(_) => true,
        },
        Kind::Invalid
        | Kind::NotFound
        | Kind::Denied
        | Kind::NoPath
        | Kind::Failed
        | Kind::Limited => false,
    }
}
