//! What others are shown of the pool.

use std::sync::Arc;

use agent_core::gossip::identity::Identity;
use agent_core::gossip::pool::MemberView;
use agent_core::gossip::{Role, Status};

use super::super::{Member, MemberStatus, Meta, Stats};
use super::{Engine, Inner, Seal, lock};

impl Inner {
    /// Tells the members; the list is built anew only after a change.
    pub(in crate::gossip) fn members(&self) -> Arc<Vec<Member>> {
        let version = *self.version.borrow();
        let mut cached = lock(&self.cached);
        if cached.0 != version {
            let members = match &*lock(&self.engine) {
                Engine::Full(pool) => pool.members().map(shown).collect(),
                Engine::Leaf(leaf) => {
                    vec![member(leaf.identity(), leaf.status(), leaf.meta().clone())]
                }
            };
            *cached = (version, Arc::new(members));
        }
        Arc::clone(&cached.1)
    }

    /// Tells the members that are servers; a leaf knows of none.
    pub(in crate::gossip) fn servers(&self) -> Vec<Member> {
        match &*lock(&self.engine) {
            Engine::Full(pool) => {
                let servers = pool.members().filter(|member| member.role == Role::Server);
                servers.map(shown).collect()
            }
            Engine::Leaf(_) => Vec::new(),
        }
    }

    /// Counts the members; a leaf counts itself.
    pub(in crate::gossip) fn count(&self) -> usize {
        match &*lock(&self.engine) {
            Engine::Full(pool) => pool.members().count(),
            Engine::Leaf(_) => 1,
        }
    }

    /// Tells our name, and who else lives, with names.
    pub(in crate::gossip) fn living(&self) -> (String, Vec<(Identity, String)>) {
        let engine = lock(&self.engine);
        let name = engine.meta().name.clone();
        let Engine::Full(pool) = &*engine else { return (name, Vec::new()) };
        let others = pool.members().skip(1).filter(|member| member.status == Status::Alive);
        (name, others.map(|member| (*member.identity, member.name.into())).collect())
    }

    pub(in crate::gossip) fn stats(&self) -> Stats {
        let common = Stats {
            members: self.count(),
            member_time: *self.version.borrow(),
            drops: self.seal.as_ref().map(Seal::drops),
            ..Stats::default()
        };
        match &*lock(&self.engine) {
            Engine::Full(pool) => {
                let count =
                    |status| pool.members().filter(|member| member.status == status).count();
                let (intent_queue, event_queue) = pool.backlog();
                let counters = pool.stats();
                Stats {
                    failed: count(Status::Failed),
                    left: count(Status::Left),
                    health_score: pool.health_score(),
                    place_resets: pool.place_resets(),
                    event_time: pool.event_time(),
                    intent_queue,
                    event_queue,
                    received: counters.received,
                    sent: counters.sent,
                    malformed: counters.malformed,
                    refused: counters.refused,
                    ..common
                }
            }
            Engine::Leaf(leaf) => Stats {
                received: leaf.received,
                sent: leaf.sent,
                malformed: leaf.malformed,
                ..common
            },
        }
    }
}

/// Shows a member of a full view.
fn shown(view: MemberView<'_>) -> Member {
    member(view.identity, view.status, view.meta())
}

fn member(identity: &Identity, how: Status, meta: Meta) -> Member {
    let addr = identity.address.socket();
    Member { name: meta.name.clone(), addr, status: status(how), meta }
}

const fn status(status: Status) -> MemberStatus {
    match status {
        Status::Alive => MemberStatus::Alive,
        Status::Leaving => MemberStatus::Leaving,
        Status::Left => MemberStatus::Left,
        Status::Failed => MemberStatus::Failed,
    }
}
