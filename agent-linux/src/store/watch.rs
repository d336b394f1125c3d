//! Bells: who waits for which scope.
//!
//! To wake a task of another runtime takes a call to the kernel each time, so the bells of one
//! change are rung together where those who wait for them run.

use super::scope::{Scope, Touched};
use super::{Key, lock};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

/// A bell, and where it is listened to, if that is on a runtime.
#[derive(Debug)]
struct Bell {
    notify: Notify,
    home: Option<Handle>,
}

/// Bells that ring together, by watch.
type Bells = BTreeMap<u64, Arc<Bell>>;

/// Bells to ring, those of other runtimes by runtime.
struct Round {
    here: Option<Id>,
    others: HashMap<Id, (Handle, Vec<Arc<Bell>>)>,
}

impl Round {
    /// Starts on the runtime that this is called within, if it is one.
    fn new() -> Self {
        let here = Handle::try_current().ok().map(|handle| handle.id());
        Self { here, others: HashMap::new() }
    }

    fn add(&mut self, bells: Option<&Bells>) {
        for bell in bells.into_iter().flat_map(Bells::values) {
            match &bell.home {
                Some(home) if Some(home.id()) != self.here => {
                    let (_, bells) =
                        self.others.entry(home.id()).or_insert_with(|| (home.clone(), Vec::new()));
                    bells.push(Arc::clone(bell));
                }
                Some(_) | None => bell.notify.notify_one(),
            }
        }
    }

    /// Rings those of other runtimes; one alone from here.
    fn end(self) {
        for (home, bells) in self.others.into_values() {
            match bells.as_slice() {
                [bell] => bell.notify.notify_one(),
                _ => drop(home.spawn(async move {
                    for bell in bells {
                        bell.notify.notify_one();
                    }
                })),
            }
        }
    }
}

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
    bell: Arc<Bell>,
}

impl Watch {
    pub(super) fn register(watchers: &Arc<Mutex<Watchers>>, scopes: &[Scope]) -> Self {
        let bell = Arc::new(Bell { notify: Notify::new(), home: Handle::try_current().ok() });
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
        self.bell.notify.notified().await;
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
        let mut round = Round::new();
        for scope in &touched.scopes {
            match scope {
                Scope::Key(key) => self.ring_key(&mut round, key),
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
                | Scope::Session(_) => round.add(self.rest.get(scope)),
            }
        }
        for tree in &touched.trees {
            self.ring_tree(&mut round, tree);
        }
        round.end();
    }

    fn ring_key(&self, round: &mut Round, key: &str) {
        round.add(self.keys.get(key));
        self.ring_prefixes_of(round, key);
    }

    /// Rings the watches on every prefix of a key, itself included.
    fn ring_prefixes_of(&self, round: &mut Round, key: &str) {
        if self.prefixes.is_empty() {
            return;
        }
        for end in (0..=key.len()).filter(|&end| key.is_char_boundary(end)) {
            round.add(self.prefixes.get(&key[..end]));
        }
    }

    /// Rings the watches on keys and prefixes under a prefix, and those above it.
    fn ring_tree(&self, round: &mut Round, tree: &str) {
        self.ring_prefixes_of(round, tree);
        for map in [&self.keys, &self.prefixes] {
            let from = (Bound::Included(tree), Bound::Unbounded);
            for (_, bells) in map.range::<str, _>(from).take_while(|(key, _)| key.starts_with(tree))
            {
                round.add(Some(bells));
            }
        }
    }

    /// Rings everybody.
    pub(super) fn ring_all(&self) {
        let mut round = Round::new();
        for bells in self.keys.values().chain(self.prefixes.values()).chain(self.rest.values()) {
            round.add(Some(bells));
        }
        round.end();
    }

    /// Counts who waits, once for each of their scopes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let named = self.keys.values().chain(self.prefixes.values());
        named.chain(self.rest.values()).map(Bells::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    #[test]
    fn bells_ring_where_they_are_listened_to() {
        let far = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let watchers = Arc::new(Mutex::new(Watchers::default()));
        let prefixes = ["a", "ab", "abc"].map(|prefix| [Scope::Prefix(prefix.into())]);
        let waiting: Vec<_> = prefixes
            .iter()
            .map(|scopes| {
                let watch = far.block_on(async { Watch::register(&watchers, scopes) });
                far.spawn(async move { watch.rung().await })
            })
            .collect();
        let here = Watch::register(&watchers, &prefixes[0]);
        let scopes = [Scope::Key("abc/d".into())].into_iter().collect();
        lock(&watchers).ring(&Touched { scopes, ..Touched::default() });
        far.block_on(async {
            for one in waiting {
                one.await.expect("it was rung");
            }
            here.rung().await;
        });
        far.shutdown_background();
    }
}
