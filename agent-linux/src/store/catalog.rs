//! Reads of nodes and services.

use super::{Name, Scope, Seen, Tables, fold, has_meta};
use agent_core::model::catalog::{Instance, NodeServices, Query, Reply};
use agent_core::model::node::Node;
use agent_core::model::service::Service;
use agent_core::model::{Index, Map};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Shortest start of a UUID that finds a node, as Consul has it.
const ID_PREFIX_LEN_MIN: usize = 2;

impl Tables {
    /// Tells how many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Finds the name of a node with this address; the empty one if there is none.
    pub fn node_at(&self, address: &str) -> &str {
        let mut nodes = self.nodes.values().filter(|node| node.address == address);
        nodes.next().map_or("", |node| &node.name)
    }

    /// Reads nodes and services. Datacentres are not the store's to know: it answers none.
    pub fn catalog(&self, query: &Query) -> Seen<Reply> {
        match query {
            Query::Datacenters => Seen::new(Reply::Datacenters(Vec::new()), 0, Vec::new()),
            Query::Nodes { node_meta } => self.nodes_with(node_meta),
            Query::Services { node_meta } => self.service_names(node_meta),
            Query::Service { name, tags, node_meta, connect } => {
                let mut seen = self.instances(name, *connect);
                seen.value.retain(|instance| {
                    has_meta(&instance.node.meta, node_meta)
                        && (*connect || has_tags(&instance.service, tags))
                });
                seen.map(Reply::Instances)
            }
            Query::Node(name) => self.node_services(name),
            Query::Address(address) => self.users_of(address),
            Query::GatewayServices(_) => {
                let index = self.changed(&Scope::Services);
                Seen::new(Reply::Instances(Vec::new()), index, vec![Scope::Services])
            }
        }
    }

    fn nodes_with(&self, meta: &Map) -> Seen<Reply> {
        let nodes = self.nodes.values().filter(|node| has_meta(&node.meta, meta)).cloned();
        let index = self.changed(&Scope::Nodes);
        Seen::new(Reply::Nodes(nodes.collect()), index, vec![Scope::Nodes])
    }

    fn service_names(&self, meta: &Map) -> Seen<Reply> {
        let mut found: Vec<(String, BTreeSet<&str>)> = Vec::new();
        let mut last: Option<&Name> = None;
        for (name, node, id) in &self.instances {
            let Some(service) = self.services.get(&(node.clone(), id.clone())) else { continue };
            let fits = meta.is_empty()
                || self.nodes.get(node).is_some_and(|node| has_meta(&node.meta, meta));
            if !fits {
                continue;
            }
            if last != Some(name) {
                found.push((service.name.clone(), BTreeSet::new()));
                last = Some(name);
            }
            if let Some((_, tags)) = found.last_mut() {
                tags.extend(service.tags.iter().map(String::as_str));
            }
        }
        let services = found
            .into_iter()
            .map(|(name, tags)| (name, tags.into_iter().map(String::from).collect()))
            .collect();
        let mut scopes = vec![Scope::Services];
        if !meta.is_empty() {
            scopes.push(Scope::Nodes);
        }
        self.seen(Reply::Services(services), scopes)
    }

    /// The instances of a service, or those that speak for it in the mesh.
    fn instances(&self, name: &str, connect: bool) -> Seen<Vec<Instance>> {
        let rows = self.instance_rows(name, connect);
        rows.map(|rows| rows.into_iter().map(|(_, instance)| instance).collect())
    }

    /// The same, each with its node and instance id as the tables have them.
    pub(super) fn instance_rows(
        &self,
        name: &str,
        connect: bool,
    ) -> Seen<Vec<((Name, Name), Instance)>> {
        let name = fold(name);
        let row = |key: (Name, Name)| {
            let service = self.services.get(&key)?.clone();
            let node = self.nodes.get(&key.0)?.clone();
            Some((key, Instance { node, service }))
        };
        let rows = match connect {
            true => self.speakers_for(&name).filter_map(row).collect(),
            false => self.instances_of(&name).filter_map(row).collect(),
        };
        let scope = if connect { Scope::Connect(name) } else { Scope::Service(name) };
        Seen::new(rows, self.service_index(&scope), vec![scope])
    }

    /// Tells when a service last changed, or when last a service went away if this one is absent.
    pub(super) fn service_index(&self, scope: &Scope) -> Index {
        self.changed.get(scope).copied().unwrap_or(self.gone.service)
    }

    fn node_services(&self, wanted: &str) -> Seen<Reply> {
        let Some((name, node)) = self.find_node(wanted) else {
            let scopes = vec![Scope::Node(fold(wanted)), Scope::Nodes];
            return Seen::new(Reply::Node(None), self.gone.node, scopes);
        };
        let services = self
            .service_ids(&name)
            .into_iter()
            .filter_map(|id| self.services.get(&(name.clone(), id)).cloned())
            .collect();
        let found = NodeServices { node, services };
        self.seen(Reply::Node(Some(found)), vec![Scope::Node(name)])
    }

    /// Finds a node by name, by UUID, or by the start of a UUID that no other node shares.
    fn find_node(&self, wanted: &str) -> Option<(Name, Arc<Node>)> {
        let folded = fold(wanted);
        if let Some(node) = self.nodes.get(&folded) {
            return Some((folded, node.clone()));
        }
        if folded.len() < ID_PREFIX_LEN_MIN {
            return None;
        }
        let mut fits = self.node_ids.range(folded.clone()..);
        let (_, name) = fits.next().filter(|(id, _)| id.starts_with(&*folded))?;
        if fits.next().is_some_and(|(id, _)| id.starts_with(&*folded)) {
            return None;
        }
        Some((name.clone(), self.nodes.get(name)?.clone()))
    }

    /// The nodes that have an address, or else the instances that have one of their own.
    fn users_of(&self, address: &str) -> Seen<Reply> {
        let scopes = vec![Scope::Nodes, Scope::Services];
        let nodes: Vec<_> =
            self.nodes.values().filter(|node| node.address == address).cloned().collect();
        if !nodes.is_empty() {
            return self.seen(Reply::Nodes(nodes), scopes);
        }
        let instances = self
            .services
            .iter()
            .filter(|(_, service)| service.address == address)
            .filter_map(|((node, _), service)| {
                let node = self.nodes.get(node)?.clone();
                Some(Instance { node, service: service.clone() })
            })
            .collect();
        self.seen(Reply::Instances(instances), scopes)
    }

    /// What was seen through scopes whose index is kept.
    pub(super) fn seen<T>(&self, value: T, scopes: Vec<Scope>) -> Seen<T> {
        let index = scopes.iter().map(|scope| self.changed(scope)).max().unwrap_or(0);
        Seen::new(value, index, scopes)
    }

    /// Node and instance id of each instance of a service.
    pub(super) fn instances_of(&self, name: &Name) -> impl Iterator<Item = (Name, Name)> {
        within(&self.instances, name)
    }

    /// Node and instance id of each instance that speaks for a service.
    pub(super) fn speakers_for(&self, name: &Name) -> impl Iterator<Item = (Name, Name)> {
        within(&self.speakers, name)
    }

    /// Ids of the instances on a node.
    pub(super) fn service_ids(&self, node: &Name) -> Vec<Name> {
        self.services
            .range((node.clone(), Name::default())..)
            .take_while(|((on, _), _)| on == node)
            .map(|((_, id), _)| id.clone())
            .collect()
    }

    /// Ids of the checks of an instance, or of the node itself for an empty id.
    pub(super) fn check_ids(&self, node: &Name, service: &Name) -> Vec<Name> {
        self.checks_of
            .range((node.clone(), service.clone(), Name::default())..)
            .take_while(|(on, of, _)| on == node && of == service)
            .map(|(_, _, id)| id.clone())
            .collect()
    }
}

/// The rest of each entry that starts with a name.
fn within(
    set: &imbl::OrdSet<(Name, Name, Name)>,
    name: &Name,
) -> impl Iterator<Item = (Name, Name)> {
    let wanted = name.clone();
    set.range((name.clone(), Name::default(), Name::default())..)
        .take_while(move |(found, _, _)| *found == wanted)
        .map(|(_, node, id)| (node.clone(), id.clone()))
}

/// Tells whether an instance has all of `wanted`, compared without case.
pub(super) fn has_tags(service: &Service, wanted: &[String]) -> bool {
    wanted.iter().all(|tag| service.tags.iter().any(|has| has.to_lowercase() == tag.to_lowercase()))
}
