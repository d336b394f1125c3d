//! How consensus and the pool stand, as this server sees it.

use super::Server;
use agent_core::model::request;
use agent_core::model::status::{Member, Query, Reply};

/// Tells who is in the LAN pool.
pub(super) type Roll = Box<dyn Fn() -> Vec<Member> + Send + Sync>;

impl super::Endpoint {
    /// Sets who tells who is in the LAN pool; the first one stays. Nothing on a client.
    pub fn set_roll(&self, roll: Roll) {
        if let Some(server) = &self.0.server {
            let _ = server.roll.set(roll);
        }
    }
}

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
        Query::Members => Reply::Members(server.roll.get().map_or_else(Vec::new, |roll| roll())),
    })
}
