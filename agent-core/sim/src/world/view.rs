//! What the world looks like to its members, and to whoever checks them.

use std::collections::BTreeMap;

use agent_core::gossip::Status;

use super::World;
use crate::engine::Kind;
use crate::ledger::Set;
use crate::node::Node;

impl World {
    /// Tells every status that a full member shows, by name.
    pub fn view(&self, node: usize) -> BTreeMap<String, Status> {
        let members = self.nodes[node].pool().members();
        members.map(|member| (member.name.into(), member.status)).collect()
    }

    /// Tells how a full member shows another one.
    pub fn sees(&self, node: usize, other: usize) -> Option<Status> {
        let name = format!("node{other}");
        let mut members = self.nodes[node].pool().members();
        members.find(|member| member.name == name).map(|member| member.status)
    }

    /// Walks the full members that are up.
    pub fn full(&self) -> impl Iterator<Item = usize> {
        let full = |node: &Node| node.up && node.engine.kind() == Kind::Full;
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(move |(_, node)| full(node)).map(|(number, _)| number)
    }

    /// Tells who is up.
    pub const fn up(&self) -> &Set {
        &self.up
    }

    /// Tells whether every full member that is up, but for the one in question, shows it so.
    pub fn all_see(&self, other: usize, status: Option<Status>) -> bool {
        self.full().filter(|node| *node != other).all(|node| self.sees(node, other) == status)
    }

    /// Tells whether every full member that is up sees all who are up alive, and nobody else.
    pub fn converged(&self) -> bool {
        self.full().all(|node| self.ledger.seen(node).same(&self.up))
    }

    /// Counts the generations that full members took because they were given up.
    pub fn renewals(&self) -> u64 {
        let full = self.nodes.iter().filter(|node| node.engine.kind() == Kind::Full);
        full.map(|node| node.pool().stats().renewals).sum()
    }

    /// Checks that no full member met what it should never meet.
    ///
    /// # Panics
    ///
    /// If one did.
    pub fn faultless(&self) {
        for node in self.nodes.iter().filter(|node| node.engine.kind() == Kind::Full) {
            let stats = node.pool().stats();
            assert_eq!((stats.faults, stats.malformed), (0, 0));
        }
    }
}
