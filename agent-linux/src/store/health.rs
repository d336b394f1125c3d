//! Reads of checks, and of instances with the checks that count for them.

use super::catalog::has_tags;
use super::{Name, Scope, Seen, Tables, fold, has_meta};
use agent_core::model::Map;
use agent_core::model::check::{Check, Status};
use agent_core::model::health::{Instance, NodeDump, Query, Reply, ServiceQuery};
use agent_core::model::node::Node;
use agent_core::model::service::Service;
use std::sync::Arc;

/// What a read of everything hangs on.
const ALL: [Scope; 3] = [Scope::Nodes, Scope::Services, Scope::Checks];

impl Tables {
    /// Reads health.
    pub fn health(&self, query: &Query) -> Seen<Reply> {
        match query {
            Query::Node(name) => {
                let node = fold(name);
                let scope = Scope::Node(node.clone());
                let index = self.changed.get(&scope).copied().unwrap_or(self.gone.node);
                Seen::new(Reply::Checks(self.checks_on(&node)), index, vec![scope])
            }
            Query::Checks { service, node_meta } => self.checks_of_service(service, node_meta),
            Query::State { status, node_meta } => self.checks_in_state(*status, node_meta),
            Query::Service(query) => self.healthy_instances(query),
            Query::Ingress(_) => self.seen(Reply::Instances(Vec::new()), vec![Scope::Services]),
            Query::Nodes => {
                let dumps = self.nodes.iter().map(|(name, node)| self.dump(name, node)).collect();
                self.seen(Reply::Nodes(dumps), ALL.into())
            }
            Query::Dump(name) => self.dump_of(&fold(name)),
            Query::Instances => self.all_instances(),
        }
    }

    /// A node with everything on it.
    fn dump(&self, name: &Name, node: &Arc<Node>) -> NodeDump {
        let services = self.service_ids(name).into_iter();
        let services = services.filter_map(|id| self.services.get(&(name.clone(), id)).cloned());
        NodeDump { node: node.clone(), services: services.collect(), checks: self.checks_on(name) }
    }

    fn dump_of(&self, name: &Name) -> Seen<Reply> {
        let found = self.nodes.get(name).map(|node| self.dump(name, node));
        let scope = Scope::Node(name.clone());
        let index = self.changed.get(&scope).copied().unwrap_or(self.gone.node);
        Seen::new(Reply::Nodes(found.into_iter().collect()), index, vec![scope])
    }

    fn all_instances(&self) -> Seen<Reply> {
        let row = |((on, id), service): (&(Name, Name), &Arc<Service>)| {
            let node = self.nodes.get(on)?.clone();
            let mut checks = self.checks_of(on, &Name::default());
            checks.extend(self.checks_of(on, id));
            Some(Instance { node, service: service.clone(), checks })
        };
        let instances = self.services.iter().filter_map(row).collect();
        self.seen(Reply::Instances(instances), ALL.into())
    }

    /// All checks on a node, in id order.
    fn checks_on(&self, node: &Name) -> Vec<Arc<Check>> {
        self.checks
            .range((node.clone(), Name::default())..)
            .take_while(|((on, _), _)| on == node)
            .map(|(_, check)| check.clone())
            .collect()
    }

    fn checks_of(&self, node: &Name, service: &Name) -> Vec<Arc<Check>> {
        let ids = self.check_ids(node, service);
        ids.into_iter().filter_map(|id| self.checks.get(&(node.clone(), id)).cloned()).collect()
    }

    fn checks_of_service(&self, service: &str, meta: &Map) -> Seen<Reply> {
        let name = fold(service);
        let checks = self
            .instances_of(&name)
            .filter(|(node, _)| self.node_has(node, meta))
            .flat_map(|(node, id)| self.checks_of(&node, &id))
            .collect();
        let scope = Scope::Service(name);
        Seen::new(Reply::Checks(checks), self.service_index(&scope), vec![scope])
    }

    fn checks_in_state(&self, status: Option<Status>, meta: &Map) -> Seen<Reply> {
        let checks = self
            .checks
            .iter()
            .filter(|((node, _), check)| {
                status.is_none_or(|status| check.status == status) && self.node_has(node, meta)
            })
            .map(|(_, check)| check.clone())
            .collect();
        let mut scopes = vec![Scope::Checks];
        if !meta.is_empty() {
            scopes.push(Scope::Nodes);
        }
        self.seen(Reply::Checks(checks), scopes)
    }

    fn node_has(&self, node: &Name, meta: &Map) -> bool {
        meta.is_empty() || self.nodes.get(node).is_some_and(|node| has_meta(&node.meta, meta))
    }

    fn healthy_instances(&self, query: &ServiceQuery) -> Seen<Reply> {
        let seen = self.instance_rows(&query.name, query.connect);
        // Instances come node by node.
        let mut on_node: Option<(Name, Vec<Arc<Check>>)> = None;
        seen.map(|rows| {
            let fits = rows.into_iter().filter(|(_, instance)| {
                has_meta(&instance.node.meta, &query.node_meta)
                    && has_tags(&instance.service, &query.tags)
            });
            let with_checks = fits.map(|((node, id), instance)| {
                let mut checks = match &on_node {
                    Some((known, checks)) if *known == node => checks.clone(),
                    Some(_) | None => {
                        let checks = self.checks_of(&node, &Name::default());
                        on_node.insert((node.clone(), checks)).1.clone()
                    }
                };
                checks.extend(self.checks_of(&node, &id));
                Instance { node: instance.node, service: instance.service, checks }
            });
            let healthy = with_checks.filter(|instance: &Instance| {
                query.worst.is_none_or(|worst| instance.checks.iter().all(|c| c.status <= worst))
            });
            Reply::Instances(healthy.collect())
        })
    }
}
