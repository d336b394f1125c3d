//! What reads hang on, and what changes touch.

use super::{Key, Name, Tables};
use agent_core::model::Index;
use agent_core::model::service::Service;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Something that a read depends on and a change may touch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// Any node's row.
    Nodes,
    /// Any instance's row.
    Services,
    /// Any check's row.
    Checks,
    /// A node's row, its instances and its checks.
    Node(Name),
    /// A service's instances, their checks, and the rows and checks of their nodes.
    Service(Name),
    /// The same of the proxies and native instances that speak for a service in the mesh.
    Connect(Name),
    /// One key.
    Key(Key),
    /// Every key that starts so.
    Prefix(Key),
    /// Any session.
    Sessions,
    /// One session.
    Session(Name),
    /// Any prepared query.
    Queries,
    /// Any node's place.
    Coordinates,
}

/// What a change touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) scopes: BTreeSet<Scope>,
    /// Prefixes under which many keys may have changed at once.
    pub(super) trees: Vec<Key>,
    /// Keys whose lock was lost, and for how many nanoseconds they stay free.
    pub(super) lost_locks: Vec<(Key, u64)>,
}

/// A change in the making: the tables it starts from, its log index, and what it touched so far.
pub(super) struct Change<'a> {
    pub(super) tables: &'a mut Tables,
    pub(super) index: Index,
    pub(super) touched: Touched,
}

impl<'a> Change<'a> {
    pub(super) fn new(tables: &'a mut Tables, index: Index) -> Self {
        Self { tables, index, touched: Touched::default() }
    }

    pub(super) fn into_touched(self) -> Touched {
        self.touched
    }

    /// Notes that a scope changed at this change's index.
    pub(super) fn touch(&mut self, scope: Scope) {
        match scope {
            Scope::Key(_) | Scope::Prefix(_) | Scope::Session(_) => {}
            Scope::Nodes
            | Scope::Services
            | Scope::Checks
            | Scope::Node(_)
            | Scope::Service(_)
            | Scope::Connect(_)
            | Scope::Sessions
            | Scope::Queries
            | Scope::Coordinates => {
                self.tables.changed.insert(scope.clone(), self.index);
            }
        }
        self.touched.scopes.insert(scope);
    }

    /// Notes that a scope has nothing left in it: it rings, but is not remembered.
    pub(super) fn touch_gone(&mut self, scope: Scope) {
        self.tables.changed.remove(&scope);
        self.touched.scopes.insert(scope);
    }
}

/// Tells the name of the service that an instance speaks for in the mesh, if it does.
pub(super) fn spoken_for(service: &Service) -> Option<Name> {
    match &service.proxy {
        Some(proxy) if !proxy.destination_service_name.is_empty() => {
            Some(super::fold(&proxy.destination_service_name))
        }
        Some(_) | None => service.connect_native.then(|| super::fold(&service.name)),
    }
}
