//! The services and checks of this node as values: no disk, no clock, no tasks.
//!
//! The agent is the source of truth for its node: what is here is what the catalog shall show.
//! `plan` tells how the catalog differs; this file keeps the rows and remembers which of them the
//! catalog may not have seen.

use super::register::{Origin, failed, plan, row};
use crate::check::alias::{Alias, Target};
use crate::check::{Outcome, Work, output_limit};
use crate::config::definition::CheckDefinition;
use agent_core::health::{Engine, Event, Key, Slot, Status};
use agent_core::model::check::Check;
use agent_core::model::node::Node;
use agent_core::model::request::Error;
use agent_core::model::service::Service;
use agent_core::rand::Rng;
use agent_core::time::{Duration, Instant};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Services that one agent keeps at most: a node with more is no node but a registry.
pub(super) const SERVICES_MAX: usize = 8_192;

/// Checks that one agent keeps at most, maintenance included.
pub(super) const CHECKS_MAX: usize = 16_384;

/// What becomes of a check's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OutputRules {
    /// Time after which the catalog is told of an output that changed without its status.
    pub(super) update_interval: Duration,
    /// Bytes kept unless a check says otherwise.
    pub(super) bytes: usize,
    /// Whether it is thrown away.
    pub(super) discard: bool,
}

/// A service and how the catalog stands to it.
#[derive(Debug)]
pub(super) struct ServiceEntry {
    pub(super) row: Arc<Service>,
    pub(super) token: String,
    pub(super) origin: Origin,
    pub(super) in_sync: bool,
}

/// A check, how it is run, and how the catalog stands to it.
#[derive(Debug)]
pub(super) struct CheckEntry {
    pub(super) row: Arc<Check>,
    pub(super) token: String,
    pub(super) origin: Origin,
    pub(super) in_sync: bool,
    /// When the catalog is to be told of a changed output.
    pub(super) deferred: Option<Instant>,
    pub(super) work: Arc<Work>,
    key: Key,
    /// Until when the status on disk outlives a restart, for a TTL check.
    pub(super) kept_until: Option<Instant>,
    /// Bytes of output kept.
    pub(super) output_bytes: usize,
    /// The run under way, ended when the check goes.
    run: Option<Run>,
}

/// A run under way; dropping it ends it and everything it started.
#[derive(Debug)]
pub(super) struct Run(pub(super) tokio::task::AbortHandle);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a change of the state means to others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signals {
    /// Rows changed: readers that wait look again.
    pub(super) changed: bool,
    /// The catalog has to be told.
    pub(super) dirty: bool,
    /// Something may be due earlier than was thought.
    pub(super) rescheduled: bool,
}

/// Something to do, found due.
#[derive(Debug)]
pub(super) enum Due {
    /// Run the check and hand the outcome to [`State::handle_outcome`].
    Run(Key, Arc<Work>),
    /// Remove the service: it was critical for too long.
    Reap { service_id: String, check_id: String },
}

/// The services and checks of this node.
#[derive(Debug)]
pub(super) struct State {
    pub(super) node: Node,
    pub(super) node_in_sync: bool,
    pub(super) services: BTreeMap<String, ServiceEntry>,
    pub(super) checks: BTreeMap<String, CheckEntry>,
    /// Services removed here that the catalog may still have, with the tokens to remove them.
    pub(super) gone_services: BTreeMap<String, String>,
    /// Checks removed here that the catalog may still have, with the tokens to remove them.
    pub(super) gone_checks: BTreeMap<String, String>,
    by_key: HashMap<Key, String>,
    engine: Engine<Vec<Slot>>,
    /// No deferred output is due before this; none at all if `None`.
    deferred_from: Option<Instant>,
    rng: Rng,
    output: OutputRules,
    signals: Signals,
}

impl State {
    /// Starts with nothing registered.
    pub(super) fn new(node: Node, output: OutputRules, mut rng: Rng) -> Self {
        let engine = Engine::new(Vec::new(), Rng::new(rng.next_u64()));
        Self {
            node,
            node_in_sync: false,
            services: BTreeMap::new(),
            checks: BTreeMap::new(),
            gone_services: BTreeMap::new(),
            gone_checks: BTreeMap::new(),
            by_key: HashMap::new(),
            engine,
            deferred_from: None,
            rng,
            output,
            signals: Signals::default(),
        }
    }

    /// Hands out what changed since the last call.
    pub(super) fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }

    /// Tells how much output a check that has no wish of its own may keep.
    pub(super) fn output_bytes(&self) -> usize {
        self.output.bytes
    }

    /// Changes who the node is.
    pub(super) fn set_node(&mut self, node: Node) {
        if self.node != node {
            self.node = node;
            self.node_in_sync = false;
            self.signals.dirty = true;
        }
    }

    /// Tells whether there is room for a service and `checks` more checks.
    ///
    /// # Errors
    ///
    /// What is full.
    pub(super) fn room(&self, service_id: &str, checks: usize) -> Result<(), Error> {
        if !self.services.contains_key(service_id) && self.services.len() >= SERVICES_MAX {
            return Err(failed(format!("An agent keeps at most {SERVICES_MAX} services")));
        }
        self.room_for_checks(checks)
    }

    /// Tells whether there is room for `checks` more checks.
    ///
    /// # Errors
    ///
    /// What is full.
    pub(super) fn room_for_checks(&self, checks: usize) -> Result<(), Error> {
        if self.checks.len() + checks > CHECKS_MAX {
            return Err(failed(format!("An agent keeps at most {CHECKS_MAX} checks")));
        }
        Ok(())
    }

    /// Registers or replaces a service. Its checks learn its name and tags.
    pub(super) fn put_service(&mut self, service: Service, token: String, origin: Origin) {
        self.gone_services.remove(&service.id);
        let of_service =
            self.checks.values_mut().filter(|entry| entry.row.service_id == service.id);
        for entry in of_service {
            if entry.row.service_name != service.name || entry.row.service_tags != service.tags {
                let row = Arc::make_mut(&mut entry.row);
                row.service_name.clone_from(&service.name);
                row.service_tags.clone_from(&service.tags);
                entry.in_sync = false;
            }
        }
        let old = self.services.get(&service.id);
        let in_sync = old.is_some_and(|old| old.in_sync && *old.row == service);
        let id = service.id.clone();
        let entry = ServiceEntry { row: Arc::new(service), token, origin, in_sync };
        self.services.insert(id, entry);
        self.signals.changed = true;
        self.signals.dirty |= !in_sync;
    }

    /// Registers or replaces a check; one that is replaced keeps its status and output, so that
    /// registering again does not make it flap.
    pub(super) fn put_check(
        &mut self,
        now: Instant,
        definition: &CheckDefinition,
        kind: &str,
        work: Work,
        origin: Origin,
    ) {
        let service = self.services.get(&definition.service_id).map(|entry| &*entry.row);
        let mut row = row(definition, &self.node.name, kind, service);
        let old = self.checks.remove(&definition.id);
        let mut in_sync = false;
        if let Some(old) = &old {
            row.status = old.row.status;
            row.output.clone_from(&old.row.output);
            in_sync = old.in_sync && *old.row == row;
            self.forget_key(old.key);
        }
        self.gone_checks.remove(&definition.id);
        let key = self.new_key(now, plan(definition, &work, row.status));
        self.by_key.insert(key, definition.id.clone());
        let entry = CheckEntry {
            row: Arc::new(row),
            token: definition.token.clone(),
            origin,
            in_sync,
            deferred: old.and_then(|old| old.deferred),
            work: Arc::new(work),
            key,
            kept_until: None,
            output_bytes: output_limit(definition, self.output.bytes),
            run: None,
        };
        self.checks.insert(definition.id.clone(), entry);
        self.signals.changed = true;
        self.signals.rescheduled = true;
        self.signals.dirty |= !in_sync;
    }

    /// Finds a slot for a check, appending free ones as needed.
    fn new_key(&mut self, now: Instant, plan: agent_core::health::Plan) -> Key {
        if let Ok(key) = self.engine.insert(now, plan) {
            return key;
        }
        let slots = self.engine.slots_mut();
        slots.resize((slots.len() * 2).max(4), Slot::default());
        self.engine.insert(now, plan).expect("free slots were appended")
    }

    /// Forgets a check's slot.
    fn forget_key(&mut self, key: Key) {
        self.engine.remove(key);
        self.by_key.remove(&key);
    }

    /// Removes a service with its checks; tells whether it was there, and the ids of its checks.
    pub(super) fn remove_service(&mut self, id: &str) -> Option<Vec<String>> {
        let entry = self.services.remove(id)?;
        let checks = self.checks_of(id);
        for check in &checks {
            if let Some(entry) = self.checks.remove(check) {
                self.forget_key(entry.key);
            }
        }
        self.gone_services.insert(id.to_owned(), entry.token);
        self.signals = Signals { changed: true, dirty: true, rescheduled: true };
        Some(checks)
    }

    /// Lists the ids of a service's checks.
    pub(super) fn checks_of(&self, service_id: &str) -> Vec<String> {
        let of_service = |(_, entry): &(&String, &CheckEntry)| entry.row.service_id == service_id;
        self.checks.iter().filter(of_service).map(|(id, _)| id.clone()).collect()
    }

    /// Removes a check; tells whether it was there.
    pub(super) fn remove_check(&mut self, id: &str) -> bool {
        let Some(entry) = self.checks.remove(id) else { return false };
        self.forget_key(entry.key);
        self.gone_checks.insert(id.to_owned(), entry.token.clone());
        self.signals = Signals { changed: true, dirty: true, rescheduled: true };
        true
    }

    /// Takes a TTL check's owner's word on it; tells whether there is such a check.
    pub(super) fn handle_report(
        &mut self,
        now: Instant,
        id: &str,
        status: Status,
        output: &str,
    ) -> bool {
        let Some(entry) = self.checks.get(id) else { return false };
        self.engine.handle_report(now, entry.key, status);
        self.signals.rescheduled = true;
        self.show(now, id, status, output);
        true
    }

    /// Sets a TTL check to where it stood before the agent was restarted.
    pub(super) fn restore(&mut self, now: Instant, id: &str, status: Status, output: &str) {
        if let Some(entry) = self.checks.get(id) {
            self.engine.restore(now, entry.key, status);
            self.show(now, id, status, output);
        }
    }

    /// Takes a run's outcome. A check that is gone is ignored.
    pub(super) fn handle_outcome(&mut self, now: Instant, key: Key, outcome: &Outcome) {
        let Some(id) = self.by_key.get(&key).cloned() else { return };
        let verdict = self.engine.handle_result(now, key, outcome.status);
        if let Some(entry) = self.checks.get_mut(&id) {
            // It has ended by itself: nothing is left to abort.
            entry.run = None;
        }
        self.signals.rescheduled = true;
        if let Some(status) = verdict {
            self.show(now, &id, status, &outcome.output);
        }
    }

    /// Takes an alias check's outcome.
    pub(super) fn handle_alias(&mut self, now: Instant, id: &str, outcome: &Outcome) {
        let Some(entry) = self.checks.get(id) else { return };
        if !matches!(*entry.work, Work::Alias(_)) {
            return;
        }
        self.engine.handle_report(now, entry.key, outcome.status);
        let output = cut(&outcome.output, entry.output_bytes).to_owned();
        self.show(now, id, outcome.status, &output);
    }

    /// Notes the run that a check is in.
    pub(super) fn set_run(&mut self, key: Key, run: Run) {
        let entry = self.by_key.get(&key).and_then(|id| self.checks.get_mut(id));
        if let Some(entry) = entry {
            entry.run = Some(run);
        }
    }

    /// Shows a check's status and output. The catalog hears of a new status at once, of new output
    /// alone after a while.
    fn show(&mut self, now: Instant, id: &str, status: Status, output: &str) {
        let output = if self.output.discard { "" } else { output };
        let Some(entry) = self.checks.get_mut(id) else { return };
        if entry.row.status == status && entry.row.output == output {
            return;
        }
        let only_output = entry.row.status == status;
        let row = Arc::make_mut(&mut entry.row);
        row.status = status;
        output.clone_into(&mut row.output);
        self.signals.changed = true;
        let interval = self.output.update_interval;
        if only_output && interval > Duration::ZERO && entry.in_sync {
            if entry.deferred.is_none() {
                let stagger = Duration::from_micros(self.rng.below(interval.micros()));
                let half = Duration::from_micros(interval.micros() / 2);
                let due = now + half + stagger;
                entry.deferred = Some(due);
                self.deferred_from = Some(self.deferred_from.map_or(due, |from| from.min(due)));
                self.signals.rescheduled = true;
            }
            return;
        }
        entry.in_sync = false;
        entry.deferred = None;
        self.signals.dirty = true;
    }

    /// Finds everything that is due: statuses turn, and what needs doing is told.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        self.engine.handle_timeout(now);
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Run(key) => {
                    let entry = self.by_key.get(&key).and_then(|id| self.checks.get(id));
                    due.extend(entry.map(|entry| Due::Run(key, Arc::clone(&entry.work))));
                }
                Event::Expired(key) => self.expire(now, key),
                Event::Overdue(key) => {
                    let entry = self.by_key.get(&key).and_then(|id| self.checks.get(id));
                    due.extend(entry.map(|entry| Due::Reap {
                        service_id: entry.row.service_id.clone(),
                        check_id: entry.row.id.clone(),
                    }));
                }
            }
        }
        if self.deferred_from.is_some_and(|from| from <= now) {
            self.release_deferred(now);
        }
        due
    }

    /// Lets the catalog hear of outputs that changed a while ago.
    fn release_deferred(&mut self, now: Instant) {
        for entry in self.checks.values_mut() {
            if entry.deferred.is_some_and(|deferred| deferred <= now) {
                entry.deferred = None;
                entry.in_sync = false;
                self.signals.dirty = true;
            }
        }
        self.deferred_from = self.checks.values().filter_map(|entry| entry.deferred).min();
    }

    /// Turns a TTL check critical.
    fn expire(&mut self, now: Instant, key: Key) {
        let Some(id) = self.by_key.get(&key).cloned() else { return };
        let last = self.checks.get(&id).map(|entry| entry.row.output.clone()).unwrap_or_default();
        let mut output = "TTL expired".to_owned();
        if !last.is_empty() {
            output = format!("{output} (last output before timeout follows): {last}");
        }
        tracing::warn!(check = id, "check missed its TTL, is now critical");
        self.show(now, &id, Status::Critical, &output);
    }

    /// Tells when something is due next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let engine = self.engine.poll_timeout().map(|(due, _)| due);
        self.deferred_from.into_iter().chain(engine).min()
    }

    /// Brings the alias checks of this node's own services up to date.
    pub(super) fn handle_aliases(&mut self, now: Instant) {
        let own = |alias: &Alias| alias.node.is_empty() || alias.node == self.node.name;
        let mut outcomes = Vec::new();
        for (id, entry) in &self.checks {
            let Work::Alias(alias) = &*entry.work else { continue };
            if !own(alias) {
                continue;
            }
            let known = self.services.contains_key(&alias.service_id);
            let target = if known { Target::Known } else { Target::Unknown };
            let others = self.checks.iter().filter(|(other, _)| *other != id);
            let rows = others.map(|(_, other)| &*other.row);
            outcomes.push((id.clone(), alias.judge(rows, target)));
        }
        for (id, outcome) in outcomes {
            self.handle_alias(now, &id, &outcome);
        }
    }

    /// Lists the alias checks of other nodes: check ids and what they copy.
    pub(super) fn remote_aliases(&self) -> Vec<(String, Alias)> {
        let remote = self.checks.iter().filter_map(|(id, entry)| match &*entry.work {
            Work::Alias(alias) if !alias.node.is_empty() && alias.node != self.node.name => {
                Some((id.clone(), alias.clone()))
            }
            Work::Alias(_) | Work::Run(_) | Work::Ttl(_) | Work::Nothing => None,
        });
        remote.collect()
    }
}

/// Cuts a text at a character, `bytes` long at most.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
