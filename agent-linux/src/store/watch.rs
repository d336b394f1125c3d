//! Bells: who waits for which scope.

use super::scope::{Scope, Touched};
use super::{Key, lock};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Bells that ring together, by watch.
type Bells = BTreeMap<u64, Arc<Notify>>;

/// Everybody who waits. Its size is bounded by the edges' limits on connections and requests.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    keys: BTreeMap<Key, Bells>,
    prefixes: BTreeMap<Key, Bells>,
    rest: BTreeMap<Scope, Bells>,
    next: u64,
}

/// Rings when any of its scopes is touched; forgotten when dropped.
///
/// A ring that comes while nobody listens is kept for the next [`rung`](Self::rung), so none is
/// lost between a read and the wait after it.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Mutex<Watchers>>,
    scopes: Vec<Scope>,
    id: u64,
    bell: Arc<Notify>,
}

impl Watch {
    pub(super) fn register(watchers: &Arc<Mutex<Watchers>>, scopes: &[Scope]) -> Self {
        let bell = Arc::new(Notify::new());
        let mut all = lock(watchers);
        let id = all.next;
        all.next += 1;
        for scope in scopes {
            all.bells(scope).insert(id, bell.clone());
        }
        drop(all);
        Self { watchers: watchers.clone(), scopes: scopes.to_vec(), id, bell }
    }

    /// Waits for the next ring, or takes the one that came meanwhile.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Tells what it listens to.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut all = lock(&self.watchers);
        for scope in &self.scopes {
            all.remove(scope, self.id);
        }
    }
}

impl Watchers {
    fn bells(&mut self, scope: &Scope) -> &mut Bells {
        match scope {
            Scope::Key(key) => self.keys.entry(key.clone()).or_default(),
            Scope::Prefix(prefix) => self.prefixes.entry(prefix.clone()).or_default(),
            Scope::Nodes
            | Scope::Services
            | Scope::Checks
            | Scope::Node(_)
            | Scope::Service(_)
            | Scope::Connect(_)
            | Scope::Sessions
            | Scope::Queries
            | Scope::Coordinates
            | Scope::Session(_) => self.rest.entry(scope.clone()).or_default(),
        }
    }

    fn remove(&mut self, scope: &Scope, id: u64) {
        let bells = self.bells(scope);
        bells.remove(&id);
        if bells.is_empty() {
            match scope {
                Scope::Key(key) => drop(self.keys.remove(key)),
                Scope::Prefix(prefix) => drop(self.prefixes.remove(prefix)),
                Scope::Nodes
                | Scope::Services
                | Scope::Checks
                | Scope::Node(_)
                | Scope::Service(_)
                | Scope::Connect(_)
                | Scope::Sessions
                | Scope::Queries
                | Scope::Coordinates
                | Scope::Session(_) => drop(self.rest.remove(scope)),
            }
        }
    }

    /// Rings everybody whom the change may concern.
    pub(super) fn ring(&self, touched: &Touched) {
        for scope in &touched.scopes {
            match scope {
                Scope::Key(key) => self.ring_key(key),
                Scope::Prefix(_)
                | Scope::Nodes
                | Scope::Services
                | Scope::Checks
                | Scope::Node(_)
                | Scope::Service(_)
                | Scope::Connect(_)
                | Scope::Sessions
                | Scope::Queries
                | Scope::Coordinates
                | Scope::Session(_) => ring(self.rest.get(scope)),
            }
        }
        for tree in &touched.trees {
            self.ring_tree(tree);
        }
    }

    fn ring_key(&self, key: &str) {
        ring(self.keys.get(key));
        self.ring_prefixes_of(key);
    }

    /// Rings the watches on every prefix of a key, itself included.
    fn ring_prefixes_of(&self, key: &str) {
        if self.prefixes.is_empty() {
            return;
        }
        for end in (0..=key.len()).filter(|&end| key.is_char_boundary(end)) {
            ring(self.prefixes.get(&key[..end]));
        }
    }

    /// Rings the watches on keys and prefixes under a prefix, and those above it.
    fn ring_tree(&self, tree: &str) {
        self.ring_prefixes_of(tree);
        for map in [&self.keys, &self.prefixes] {
            let from = (Bound::Included(tree), Bound::Unbounded);
            for (_, bells) in map.range::<str, _>(from).take_while(|(key, _)| key.starts_with(tree))
            {
                ring(Some(bells));
            }
        }
    }

    /// Rings everybody.
    pub(super) fn ring_all(&self) {
        for bells in self.keys.values().chain(self.prefixes.values()).chain(self.rest.values()) {
            ring(Some(bells));
        }
    }

    /// Counts who waits, once for each of their scopes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let named = self.keys.values().chain(self.prefixes.values());
        named.chain(self.rest.values()).map(Bells::len).sum()
    }
}

fn ring(bells: Option<&Bells>) {
    for bell in bells.into_iter().flat_map(Bells::values) {
        bell.notify_one();
    }
}
