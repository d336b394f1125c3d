//! How the catalog differs from this node, and the writes that make it agree. Pure.

use super::state::State;
use agent_core::model::Stamp;
use agent_core::model::catalog::{Deregister, Register};
use agent_core::model::check::{Check, SERF_HEALTH};
use agent_core::model::command::Command;
use agent_core::model::node::Node;
use agent_core::model::service::Service;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The service that the leader registers for every server.
const SERVER_SERVICE: &str = "consul";

/// Checks that one write carries at most, so that it stays a small raft entry.
const BATCH_CHECKS_MAX: usize = 64;

/// Whether this node runs a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A client agent: everything on the node is the agent's, but for `serfHealth`.
    Client,
    /// A server: the leader keeps the service `consul` on the node, too.
    Server,
}

/// A write to the catalog, and what it makes agree.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) token: String,
    pub(super) command: Command,
    pub(super) phase: Phase,
    covers: Covers,
}

/// Steps of a phase may be done at once; a phase follows the one before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// Services, with their checks, come and go.
    Services,
    /// Checks of services that are there by now, or of the node.
    Checks,
}

/// What a write makes agree. The rows as they were sent: one that changed since is not covered.
#[derive(Debug, Default)]
struct Covers {
    node: Option<Node>,
    service: Option<Arc<Service>>,
    checks: Vec<Arc<Check>>,
    gone_service: Option<String>,
    gone_check: Option<String>,
}

impl State {
    /// Compares with what the catalog has for this node and notes every difference.
    pub(super) fn compare(
        &mut self,
        role: Role,
        node: Option<&Node>,
        services: &[Arc<Service>],
        checks: &[Arc<Check>],
    ) {
        let like_ours = |theirs: &Node| {
            theirs.id == self.node.id
                && theirs.address == self.node.address
                && theirs.tagged_addresses == self.node.tagged_addresses
                && theirs.meta == self.node.meta
        };
        self.node_in_sync = node.is_some_and(like_ours);
        self.compare_services(role, services);
        self.compare_checks(checks);
    }

    /// Notes which services differ.
    fn compare_services(&mut self, role: Role, theirs: &[Arc<Service>]) {
        let by_id: BTreeMap<&str, &Arc<Service>> =
            theirs.iter().map(|service| (service.id.as_str(), service)).collect();
        for (id, entry) in &mut self.services {
            entry.in_sync = by_id.get(id.as_str()).is_some_and(|theirs| {
                if entry.row.enable_tag_override && entry.row.tags != theirs.tags {
                    Arc::make_mut(&mut entry.row).tags.clone_from(&theirs.tags);
                }
                Service { stamp: Stamp::default(), ..Service::clone(theirs) } == *entry.row
            });
        }
        self.gone_services.retain(|id, _| by_id.contains_key(id.as_str()));
        for id in by_id.keys() {
            let leaders = role == Role::Server && *id == SERVER_SERVICE;
            if !leaders && !self.services.contains_key(*id) {
                self.gone_services.entry((*id).to_owned()).or_default();
            }
        }
    }

    /// Notes which checks differ. Those of a service that goes, go with it.
    fn compare_checks(&mut self, theirs: &[Arc<Check>]) {
        let by_id: BTreeMap<&str, &Arc<Check>> =
            theirs.iter().map(|check| (check.id.as_str(), check)).collect();
        for (id, entry) in &mut self.checks {
            let deferred = entry.deferred.is_some();
            entry.in_sync = by_id
                .get(id.as_str())
                .is_some_and(|theirs| same_check(&entry.row, theirs, deferred));
        }
        self.gone_checks.retain(|id, _| by_id.contains_key(id.as_str()));
        for (id, check) in by_id {
            let with_service = self.gone_services.contains_key(&check.service_id);
            if id != SERF_HEALTH && !with_service && !self.checks.contains_key(id) {
                self.gone_checks.entry(id.to_owned()).or_default();
            }
        }
    }

    /// Lists the writes that make the catalog agree: services with their checks, then checks of
    /// their own in batches, removals, and the node alone if nothing else carries it.
    pub(super) fn changes(&self) -> Vec<Step> {
        let mut loose: BTreeMap<&str, Vec<Arc<Check>>> = BTreeMap::new();
        let mut with_service: BTreeMap<&str, Vec<Arc<Check>>> = BTreeMap::new();
        for entry in self.checks.values().filter(|entry| !entry.in_sync) {
            let service = self.services.get(&entry.row.service_id);
            let rides = service.filter(|s| !s.in_sync && s.token == entry.token);
            let batch = match rides {
                Some(service) => with_service.entry(service.row.id.as_str()).or_default(),
                None => loose.entry(entry.token.as_str()).or_default(),
            };
            batch.push(Arc::clone(&entry.row));
        }
        let mut steps = Vec::new();
        for (id, entry) in self.services.iter().filter(|(_, entry)| !entry.in_sync) {
            let mut checks = with_service.remove(id.as_str()).unwrap_or_default();
            if checks.len() > BATCH_CHECKS_MAX {
                let rest = checks.split_off(BATCH_CHECKS_MAX);
                loose.entry(entry.token.as_str()).or_default().extend(rest);
            }
            steps.push(self.write(&entry.token, Some(&entry.row), checks));
        }
        for (id, token) in &self.gone_services {
            let covers = Covers { gone_service: Some(id.clone()), ..Covers::default() };
            steps.push(self.removal(token, id.clone(), String::new(), covers));
        }
        for (token, checks) in loose {
            for batch in checks.chunks(BATCH_CHECKS_MAX) {
                steps.push(self.write(token, None, batch.to_vec()));
            }
        }
        for (id, token) in &self.gone_checks {
            let covers = Covers { gone_check: Some(id.clone()), ..Covers::default() };
            steps.push(self.removal(token, String::new(), id.clone(), covers));
        }
        if !self.node_in_sync && steps.iter().all(|step| step.covers.node.is_none()) {
            steps.push(self.write("", None, Vec::new()));
        }
        steps
    }

    /// Makes the write of a service and checks.
    fn write(&self, token: &str, service: Option<&Arc<Service>>, checks: Vec<Arc<Check>>) -> Step {
        let register = Register {
            node: self.node.clone(),
            skip_node_update: self.node_in_sync,
            service: service.map(|service| Service::clone(service)),
            checks: checks.iter().map(|check| Check::clone(check)).collect(),
        };
        let covers = Covers {
            node: (!self.node_in_sync).then(|| self.node.clone()),
            service: service.cloned(),
            checks,
            ..Covers::default()
        };
        let phase = if service.is_some() { Phase::Services } else { Phase::Checks };
        let command = Command::Register(Box::new(register));
        Step { token: token.to_owned(), command, phase, covers }
    }

    /// Makes the removal of a service or a check.
    fn removal(&self, token: &str, service_id: String, check_id: String, covers: Covers) -> Step {
        let node = self.node.name.clone();
        let phase = if check_id.is_empty() { Phase::Services } else { Phase::Checks };
        let command = Command::Deregister(Deregister { node, service_id, check_id });
        Step { token: token.to_owned(), command, phase, covers }
    }

    /// Notes that a write was done (or that trying again is no use): what it covers agrees, unless
    /// it changed since.
    pub(super) fn settle(&mut self, step: &Step) {
        let covers = &step.covers;
        if covers.node.as_ref() == Some(&self.node) {
            self.node_in_sync = true;
        }
        if let Some(sent) = &covers.service
            && let Some(entry) = self.services.get_mut(&sent.id)
        {
            entry.in_sync |= Arc::ptr_eq(sent, &entry.row);
        }
        for sent in &covers.checks {
            if let Some(entry) = self.checks.get_mut(&sent.id)
                && Arc::ptr_eq(sent, &entry.row)
            {
                entry.in_sync = true;
                entry.deferred = None;
            }
        }
        if let Some(id) = &covers.gone_service {
            self.gone_services.remove(id);
        }
        if let Some(id) = &covers.gone_check {
            self.gone_checks.remove(id);
        }
    }
}

/// Tells whether the catalog's check is ours. The store fills in the service's name and tags.
fn same_check(ours: &Check, theirs: &Check, output_deferred: bool) -> bool {
    ours.name == theirs.name
        && ours.status == theirs.status
        && ours.notes == theirs.notes
        && ours.service_id == theirs.service_id
        && ours.kind == theirs.kind
        && ours.definition == theirs.definition
        && (output_deferred || ours.output == theirs.output)
}
