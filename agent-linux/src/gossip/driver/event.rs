//! What the driver does about what the engine tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agent_core::gossip::leaf::Event as LeafEvent;
use agent_core::gossip::{Change, Event, Role};

use super::{Inner, Told, lock, partial, stream};
use crate::metrics;

/// Who looks different than before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gossip) enum Changed {
    /// Nobody.
    Nobody,
    /// Members that are clients.
    Clients,
    /// Servers among them, ourselves, or what a leaf knows of others.
    Servers,
}

impl Inner {
    /// Acts on what an engine told; answers who changed by it.
    pub(super) fn handle_told(self: &Arc<Self>, told: Told) -> Changed {
        match told {
            Told::Full(event) => return self.handle_event(event),
            Told::Leaf(event) => self.handle_leaf_event(event),
            Told::Left => self.left.send_modify(|left| *left = true),
            Told::Contacts => {}
        }
        Changed::Servers
    }

    /// Acts on one event; answers who changed by it.
    fn handle_event(self: &Arc<Self>, event: Event) -> Changed {
        let pool = self.name;
        match event {
            Event::Member { name, address, role, change } => {
                count(change);
                match change {
                    Change::Joined => tracing::info!("{pool}: member joined: {name} {address}"),
                    Change::Updated => tracing::debug!("{pool}: member update: {name} {address}"),
                    Change::Leaving => tracing::debug!("{pool}: member leaving: {name} {address}"),
                    Change::Left => tracing::info!("{pool}: member left: {name} {address}"),
                    Change::Failed => tracing::info!("{pool}: member failed: {name} {address}"),
                    Change::Reaped => tracing::info!("{pool}: member reaped: {name} {address}"),
                }
                return match role {
                    Role::Client => Changed::Clients,
                    Role::Server => Changed::Servers,
                };
            }
            Event::Conflict { name, holder, claimant } => {
                let holder = holder.map_or_else(|| "this agent".into(), |at| at.to_string());
                tracing::error!(
                    "{pool}: name conflict for '{name}': {holder} keeps it, {claimant} is ignored"
                );
            }
            Event::Refused { from, why } => tracing::warn!("{pool}: refused {from}: {why}"),
            Event::SyncDue { peer } => stream::spawn_repair(self, peer),
            Event::Renewed { generation } => {
                self.renew(generation);
                return Changed::Servers;
            }
            Event::User(event) => {
                metrics::SERF_EVENTS.count();
                self.heard.store(true, Ordering::Relaxed);
                // Nobody may be listening.
                let _ = self.users.send(event);
            }
            Event::LeaveDone => {
                self.left.send_replace(true);
                return Changed::Servers;
            }
        }
        Changed::Nobody
    }

    /// Acts on one event of a leaf.
    fn handle_leaf_event(self: &Arc<Self>, event: LeafEvent) {
        match event {
            LeafEvent::Joined => tracing::info!("{}: in the pool, with a partial view", self.name),
            LeafEvent::Servers => tracing::debug!("{}: servers changed", self.name),
            LeafEvent::Renewed { generation } => self.renew(generation),
            LeafEvent::Alone => {
                tracing::warn!("{}: no contact is left", self.name);
                let known = self.drive_leaf(|leaf| leaf.known().to_vec());
                let mut members = known.unwrap_or_default();
                if let Some(snapshot) = &self.snapshot {
                    members.extend(lock(snapshot).members());
                }
                self.spawn(partial::rejoin(Arc::clone(self), members));
            }
        }
    }

    /// Keeps the generation that the pool made us take.
    fn renew(&self, generation: u32) {
        tracing::warn!(generation, "the pool held this agent to be gone; back again");
        self.renewed.store(u64::from(generation), Ordering::Relaxed);
        self.dirty.store(true, Ordering::Relaxed);
    }
}

/// Counts a member's change under Serf's names.
fn count(change: Change) {
    match change {
        Change::Joined => metrics::SERF_MEMBER_JOIN.count(),
        Change::Updated => metrics::SERF_MEMBER_UPDATE.count(),
        Change::Left => metrics::SERF_MEMBER_LEFT.count(),
        Change::Failed => metrics::SERF_MEMBER_FAILED.count(),
        Change::Leaving | Change::Reaped => {}
    }
}
