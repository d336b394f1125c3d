//! What `info` tells about raft, with Consul's names.

use super::{Progress, Raft, Server, log_index, network};
use openraft::ServerState;
use std::collections::BTreeMap;
use std::time::Duration;

impl Raft {
    /// Tells the `raft` section of `info`, with Consul's names.
    pub fn stats(&self) -> BTreeMap<String, String> {
        let metrics = self.metrics();
        let (configuration_index, servers) = self.configuration();
        let voters = servers.iter().filter(|(_, is_voter)| *is_voter).count();
        let is_voter = servers.iter().any(|(server, voter)| *voter && server.id == self.node.id);
        let state = match metrics.state {
            ServerState::Leader => "Leader",
            ServerState::Candidate => "Candidate",
            ServerState::Follower | ServerState::Learner => "Follower",
            ServerState::Shutdown => "Shutdown",
        };
        let last_contact = match self.last_contact() {
            None => "never".to_owned(),
            Some(Duration::ZERO) => "0".to_owned(),
            Some(since) => {
                let nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
                agent_core::time::GoDuration(nanos).to_string()
            }
        };
        let last = self.node.log.last();
        let snapshot = metrics.snapshot;
        let numbers = [
            ("applied_index", log_index(metrics.last_applied.as_ref())),
            ("commit_index", log_index(metrics.last_applied.as_ref())),
            ("fsm_pending", 0),
            ("last_log_index", log_index(last.as_ref())),
            ("last_log_term", network::term_of(last.as_ref())),
            ("last_snapshot_index", log_index(snapshot.as_ref())),
            ("last_snapshot_term", network::term_of(snapshot.as_ref())),
            ("latest_configuration_index", configuration_index),
            ("num_peers", (voters.saturating_sub(usize::from(is_voter))) as u64),
            ("protocol_version", 3),
            ("protocol_version_max", 3),
            ("protocol_version_min", 0),
            ("snapshot_version_max", 1),
            ("snapshot_version_min", 0),
            ("term", metrics.current_term),
        ];
        let mut stats: BTreeMap<String, String> =
            numbers.into_iter().map(|(name, value)| (name.into(), value.to_string())).collect();
        stats.insert("state".into(), state.into());
        stats.insert("last_contact".into(), last_contact);
        stats.insert("latest_configuration".into(), configuration_text(&servers));
        stats
    }
}

impl Raft {
    /// Tells how far each server has come; only what a leader tells means something.
    pub fn progress(&self) -> Vec<Progress> {
        let metrics = self.metrics();
        let (_, servers) = self.configuration();
        let replication = metrics.replication.unwrap_or_default();
        let one = |(server, voter): (Server, bool)| {
            let leader = server.id == self.node.id;
            let (last, silence) = if leader {
                (self.node.log.last(), Some(Duration::ZERO))
            } else {
                let answered = self.node.network.taken_at(server.id, metrics.vote);
                let pause = self.node.timing.heartbeat;
                let silence = answered.map(|at| at.elapsed().saturating_sub(pause));
                (replication.get(&server.id).copied().flatten(), silence)
            };
            let last = (network::term_of(last.as_ref()), log_index(last.as_ref()));
            Progress { server, voter, leader, last, silence }
        };
        servers.into_iter().map(one).collect()
    }
}

/// Go's text form of a configuration, as Consul's `info` prints it.
fn configuration_text(servers: &[(Server, bool)]) -> String {
    let servers: Vec<String> = servers
        .iter()
        .map(|(server, is_voter)| {
            let suffrage = if *is_voter { "Voter" } else { "Nonvoter" };
            format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", server.node_id, server.address)
        })
        .collect();
    format!("[{}]", servers.join(" "))
}
