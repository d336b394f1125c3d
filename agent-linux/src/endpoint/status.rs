//! How consensus stands, as this server sees it.

use super::Server;
use agent_core::model::request;
use agent_core::model::status::{Query, Reply};

/// Answers from raft's own memory: also without a leader, and never blocking.
pub(super) fn answer(server: &Server, query: &Query) -> request::Reply {
    let raft = &server.raft;
    request::Reply::Status(match query {
        Query::Leader => {
            Reply::Leader(raft.leader().map_or_else(String::new, |at| at.address.to_string()))
        }
        Query::Peers => {
            let (_, mut servers) = raft.configuration();
            servers.sort_by_key(|(server, _)| server.address);
            Reply::Peers(servers.iter().map(|(server, _)| server.address.to_string()).collect())
        }
        Query::Log => {
            let (_, servers) = raft.configuration();
            let voters = servers.iter().filter(|(_, voter)| *voter).count();
            let voters = u32::try_from(voters).unwrap_or(u32::MAX);
            Reply::Log { last: raft.last_log_index(), voters }
        }
    })
}
