//! What others are shown of the pool.

use std::sync::Arc;

use agent_core::gossip::Status;
use agent_core::gossip::identity::Identity;

use super::super::{Member, MemberStatus, Meta, Stats};
use super::{Engine, Inner, Seal, lock};

impl Inner {
    /// Tells the members; the list is built anew only after a change.
    pub(in crate::gossip) fn members(&self) -> Arc<Vec<Member>> {
        let version = *self.version.borrow();
        let mut cached = lock(&self.cached);
        if cached.0 != version {
            let member = |identity: &Identity, how: Status, meta: Meta| Member {
                name: meta.name.clone(),
                addr: identity.address.socket(),
                status: status(how),
                meta,
            };
            let members = match &*lock(&self.engine) {
                Engine::Full(pool) => pool
                    .members()
                    .map(|view| member(view.identity, view.status, view.meta()))
                    .collect(),
                Engine::Leaf(leaf) => {
                    vec![member(leaf.identity(), leaf.status(), leaf.meta().clone())]
                }
            };
            *cached = (version, Arc::new(members));
        }
        Arc::clone(&cached.1)
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
        let members = self.members();
        let count = |status| members.iter().filter(|member| member.status == status).count();
        let common = Stats {
            members: members.len(),
            failed: count(MemberStatus::Failed),
            left: count(MemberStatus::Left),
            member_time: *self.version.borrow(),
            drops: self.seal.as_ref().map(Seal::drops),
            ..Stats::default()
        };
        match &*lock(&self.engine) {
            Engine::Full(pool) => {
                let (intent_queue, event_queue) = pool.backlog();
                let counters = pool.stats();
                Stats {
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

const fn status(status: Status) -> MemberStatus {
    match status {
        Status::Alive => MemberStatus::Alive,
        Status::Leaving => MemberStatus::Leaving,
        Status::Left => MemberStatus::Left,
        Status::Failed => MemberStatus::Failed,
    }
}
