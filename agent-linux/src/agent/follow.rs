//! What the pool's changes mean for routing, for raft and for the WAN pool.

use super::{Agent, member};
use crate::gossip::Gossip;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Time between two looks for servers that the WAN pool lacks, as Consul's.
const FLOOD_PAUSE: Duration = Duration::from_secs(60);

impl Agent {
    /// Keeps the router's servers those that gossip sees alive.
    pub(super) async fn follow_servers(self: Arc<Self>) {
        let mut changed = self.gossip.subscribe_servers();
        let datacenter = self.config().datacenter.clone();
        loop {
            changed.mark_unchanged();
            let members = self.gossip.server_members();
            if let Some(raft) = &self.raft {
                let places = members.iter().filter_map(member::server);
                raft.set_addresses(places.map(|server| (server.id, server.address)));
            }
            let servers = self.gossip.servers();
            let servers = servers.unwrap_or_else(|| member::rpc_addresses(&members, &datacenter));
            let known = self.router.servers();
            if servers.iter().any(|server| !known.contains(server)) {
                self.servers.send_modify(|count| *count += 1);
            }
            self.router.set_servers(servers);
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets the WAN pool grow by the servers that LAN gossip sees: joining one pool is enough.
    pub(super) async fn flood_wan(self: Arc<Self>, wan: Gossip) {
        let mut changed = self.gossip.subscribe_servers();
        loop {
            changed.mark_unchanged();
            let missing = member::missing_in_wan(&self.gossip.server_members(), &wan.members());
            if !missing.is_empty() {
                for (address, error) in wan.join(&missing).await.1 {
                    tracing::debug!(%address, "could not join WAN: {error}");
                }
            }
            let again = timeout(FLOOD_PAUSE, changed.changed()).await;
            if matches!(again, Ok(Err(_))) {
                return;
            }
        }
    }
}
