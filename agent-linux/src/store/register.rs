//! Registrations and deregistrations: how they change nodes, instances and checks.
//!
//! A row that is already so is left alone, stamp and all, so that anti-entropy wakes nobody. Errors
//! carry Consul's texts. Source: <https://developer.hashicorp.com/consul/api-docs/catalog>.

use super::scope::{Change, spoken_for};
use super::{Name, Scope, fold};
use agent_core::model::Stamp;
use agent_core::model::catalog::{Deregister, Register};
use agent_core::model::check::{Check, SERF_HEALTH, Status};
use agent_core::model::node::Node;
use agent_core::model::request::{Error, Kind, Reply};
use agent_core::model::service::Service;
use std::sync::Arc;

/// A refusal with Consul's text.
fn refuse(text: String) -> Error {
    Error::with(Kind::Invalid, text)
}

/// The stamp of a row that is changed at `index`, or made if there was none.
fn restamp(existing: Option<Stamp>, index: u64) -> Stamp {
    Stamp { create: existing.map_or(index, |stamp| stamp.create), modify: index }
}

impl Change<'_> {
    pub(super) fn register(&mut self, wanted: &Register) -> Result<Reply, Error> {
        let name = fold(&wanted.node.name);
        if !(wanted.skip_node_update && self.tables.nodes.contains_key(&name)) {
            self.register_node(&wanted.node)
                .map_err(|error| refuse(format!("failed inserting node: {}", error.text)))?;
        }
        if let Some(service) = &wanted.service {
            self.register_service(&name, service)
                .map_err(|error| refuse(format!("failed inserting service: {}", error.text)))?;
        }
        for check in &wanted.checks {
            if fold(&check.node) != name {
                let (check, node) = (&check.node, &wanted.node.name);
                return Err(refuse(format!("check node {check:?} does not match node {node:?}")));
            }
            self.register_check(&name, check).map_err(|error| {
                let node = &wanted.node.name;
                refuse(format!("failed inserting check: {} on node {node:?}", error.text))
            })?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn register_node(&mut self, wanted: &Node) -> Result<(), Error> {
        let name = fold(&wanted.name);
        let mut existing = None;
        if !wanted.id.is_empty() {
            let known = self.tables.node_ids.get(&fold(&wanted.id)).cloned();
            existing = known.as_ref().and_then(|name| self.tables.nodes.get(name)).cloned();
            match &existing {
                Some(old) if fold(&old.name) != name => {
                    self.check_name_free(wanted, Unnamed::Refuse).map_err(|why| {
                        let (id, address) = (&wanted.id, &wanted.address);
                        refuse(format!("Error while renaming Node ID: {id:?} ({address}): {why}"))
                    })?;
                    self.remove_node(&fold(&old.name));
                }
                Some(_) => {}
                None => self.check_name_free(wanted, Unnamed::Accept).map_err(|why| {
                    let id = &wanted.id;
                    refuse(format!("Error while renaming Node ID: {id:?}: {why}"))
                })?,
            }
        }
        let existing = existing.or_else(|| self.tables.nodes.get(&name).cloned());
        let mut node = wanted.clone();
        if let Some(old) = &existing {
            node.stamp = old.stamp;
            if node == **old && self.tables.nodes.contains_key(&name) {
                return Ok(());
            }
        }
        node.stamp = restamp(existing.as_ref().map(|old| old.stamp), self.index);
        self.insert_node(name, node);
        Ok(())
    }

    fn insert_node(&mut self, name: Name, node: Node) {
        if let Some(old) = self.tables.nodes.get(&name).filter(|old| !old.id.is_empty()) {
            self.tables.node_ids.remove(&fold(&old.id));
        }
        if !node.id.is_empty() {
            self.tables.node_ids.insert(fold(&node.id), name.clone());
        }
        self.tables.nodes.insert(name.clone(), Arc::new(node));
        self.touch(Scope::Nodes);
        self.touch_services_of(&name);
        self.touch(Scope::Node(name));
    }

    /// Tells why a name may not be taken: a live node has it under another UUID.
    fn check_name_free(&self, wanted: &Node, unnamed: Unnamed) -> Result<(), String> {
        let name = fold(&wanted.name);
        let Some(holder) = self.tables.nodes.get(&name).filter(|node| node.id != wanted.id) else {
            return Ok(());
        };
        let health = self.tables.checks.get(&(name, fold(SERF_HEALTH)));
        let alive = health.is_some_and(|check| check.status != Status::Critical);
        if !alive || (holder.id.is_empty() && unnamed == Unnamed::Accept) {
            return Ok(());
        }
        Err(format!(
            "Node name {} is reserved by node {} with name {} ({})",
            wanted.name, holder.id, holder.name, holder.address
        ))
    }

    pub(super) fn register_service(&mut self, node: &Name, wanted: &Service) -> Result<(), Error> {
        if wanted.id.is_empty() || wanted.name.is_empty() {
            return Err(refuse("failed inserting service: object missing primary index".into()));
        }
        if !self.tables.nodes.contains_key(node) {
            return Err(refuse("Missing node registration".into()));
        }
        let id = fold(&wanted.id);
        let key = (node.clone(), id.clone());
        let existing = self.tables.services.get(&key).cloned();
        let mut service = wanted.clone();
        if let Some(old) = &existing {
            service.stamp = old.stamp;
            if service == **old {
                return Ok(());
            }
        }
        service.stamp = restamp(existing.as_ref().map(|old| old.stamp), self.index);
        let renamed = existing.as_ref().is_some_and(|old| {
            fold(&old.name) != fold(&service.name) || spoken_for(old) != spoken_for(&service)
        });
        if let Some(old) = existing.as_ref().filter(|_| renamed) {
            self.unlist(node, &id, old);
        }
        let relabel = existing
            .as_ref()
            .is_some_and(|old| old.name != service.name || old.tags != service.tags);
        self.list(node, &id, &service);
        let service = Arc::new(service);
        self.tables.services.insert(key, service.clone());
        self.touch_instance(&service);
        self.touch(Scope::Services);
        self.touch(Scope::Node(node.clone()));
        if relabel {
            self.relabel_checks(node, &id, &service);
        }
        Ok(())
    }

    /// Gives the checks of an instance its new name and tags.
    fn relabel_checks(&mut self, node: &Name, id: &Name, service: &Service) {
        for check_id in self.tables.check_ids(node, id) {
            let key = (node.clone(), check_id);
            let Some(check) = self.tables.checks.get(&key) else { continue };
            let mut check = Check::clone(check);
            check.service_name.clone_from(&service.name);
            check.service_tags.clone_from(&service.tags);
            check.stamp.modify = self.index;
            self.tables.checks.insert(key, Arc::new(check));
            self.touch(Scope::Checks);
        }
    }

    pub(super) fn register_check(&mut self, node: &Name, wanted: &Check) -> Result<(), Error> {
        if wanted.id.is_empty() {
            return Err(refuse("failed inserting check: object missing primary index".into()));
        }
        if !self.tables.nodes.contains_key(node) {
            return Err(refuse("Missing node registration".into()));
        }
        let key = (node.clone(), fold(&wanted.id));
        let existing = self.tables.checks.get(&key).cloned();
        let mut check = wanted.clone();
        if check.service_id.is_empty() {
            check.service_name.clear();
            check.service_tags.clear();
        } else {
            let service = self.tables.services.get(&(node.clone(), fold(&check.service_id)));
            let Some(service) = service else {
                return Err(refuse("Missing service registration".into()));
            };
            check.service_name.clone_from(&service.name);
            check.service_tags.clone_from(&service.tags);
        }
        if check.status == Status::Critical {
            self.end_sessions_of_check(node, &key.1);
        }
        if let Some(old) = &existing {
            check.stamp = old.stamp;
            if check == **old {
                return Ok(());
            }
            self.tables.checks_of.remove(&(node.clone(), fold(&old.service_id), key.1.clone()));
            self.touch_checked(node, old);
        }
        check.stamp = restamp(existing.as_ref().map(|old| old.stamp), self.index);
        self.tables.checks_of.insert((node.clone(), fold(&check.service_id), key.1.clone()));
        self.touch_checked(node, &check);
        self.tables.checks.insert(key, Arc::new(check));
        Ok(())
    }

    pub(super) fn deregister(&mut self, unwanted: &Deregister) -> Result<Reply, Error> {
        let node = fold(&unwanted.node);
        if !unwanted.service_id.is_empty() {
            self.remove_service(&node, &fold(&unwanted.service_id));
        } else if !unwanted.check_id.is_empty() {
            self.remove_check(&node, &fold(&unwanted.check_id));
        } else {
            self.remove_node(&node);
        }
        Ok(Reply::Done)
    }

    pub(super) fn remove_node(&mut self, name: &Name) {
        if !self.tables.nodes.contains_key(name) {
            return;
        }
        for id in self.tables.service_ids(name) {
            self.remove_service(name, &id);
        }
        for id in self.tables.check_ids(name, &fold("")) {
            self.remove_check(name, &id);
        }
        self.end_sessions_of_node(name);
        self.forget_coordinates(name);
        if let Some(node) = self.tables.nodes.remove(name).filter(|node| !node.id.is_empty()) {
            self.tables.node_ids.remove(&fold(&node.id));
        }
        self.tables.gone.node = self.index;
        self.touch(Scope::Nodes);
        self.touch_gone(Scope::Node(name.clone()));
    }

    pub(super) fn remove_service(&mut self, node: &Name, id: &Name) {
        let key = (node.clone(), id.clone());
        if !self.tables.services.contains_key(&key) {
            return;
        }
        for check in self.tables.check_ids(node, id) {
            self.remove_check(node, &check);
        }
        let Some(service) = self.tables.services.remove(&key) else { return };
        self.unlist(node, id, &service);
        self.touch(Scope::Services);
        self.touch(Scope::Node(node.clone()));
    }

    pub(super) fn remove_check(&mut self, node: &Name, id: &Name) {
        let Some(check) = self.tables.checks.remove(&(node.clone(), id.clone())) else { return };
        self.tables.checks_of.remove(&(node.clone(), fold(&check.service_id), id.clone()));
        self.touch_checked(node, &check);
        self.end_sessions_of_check(node, id);
    }

    /// Enters an instance into the lists by service name.
    fn list(&mut self, node: &Name, id: &Name, service: &Service) {
        self.tables.instances.insert((fold(&service.name), node.clone(), id.clone()));
        if let Some(name) = spoken_for(service) {
            self.tables.speakers.insert((name, node.clone(), id.clone()));
        }
    }

    /// Strikes an instance from the lists by service name, and notes names that are gone with it.
    fn unlist(&mut self, node: &Name, id: &Name, service: &Service) {
        let name = fold(&service.name);
        self.tables.instances.remove(&(name.clone(), node.clone(), id.clone()));
        let spoken = spoken_for(service);
        if let Some(name) = &spoken {
            self.tables.speakers.remove(&(name.clone(), node.clone(), id.clone()));
        }
        if self.tables.instances_of(&name).next().is_some() {
            self.touch(Scope::Service(name));
        } else {
            self.tables.gone.service = self.index;
            self.touch_gone(Scope::Service(name));
        }
        if let Some(name) = spoken {
            if self.tables.speakers_for(&name).next().is_some() {
                self.touch(Scope::Connect(name));
            } else {
                self.tables.gone.service = self.index;
                self.touch_gone(Scope::Connect(name));
            }
        }
    }

    fn touch_instance(&mut self, service: &Service) {
        if let Some(name) = spoken_for(service) {
            self.touch(Scope::Connect(name));
        }
        self.touch(Scope::Service(fold(&service.name)));
    }

    /// Touches what a check counts for: its instance, or every instance on its node.
    fn touch_checked(&mut self, node: &Name, check: &Check) {
        self.touch(Scope::Checks);
        self.touch(Scope::Node(node.clone()));
        if check.service_id.is_empty() {
            self.touch_services_of(node);
            return;
        }
        let key = (node.clone(), fold(&check.service_id));
        if let Some(service) = self.tables.services.get(&key).cloned() {
            self.touch_instance(&service);
        }
    }

    fn touch_services_of(&mut self, node: &Name) {
        for id in self.tables.service_ids(node) {
            if let Some(service) = self.tables.services.get(&(node.clone(), id)).cloned() {
                self.touch_instance(&service);
            }
        }
    }
}

/// Whether a name may be taken from a live node that has no UUID.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    Accept,
    Refuse,
}
