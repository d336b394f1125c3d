//! What servers share: tables that only committed log entries change, and bells for those who wait.
//!
//! ```text
//! scope      Scope: what a read hangs on · Touched: what a change rang
//! watch      Watch: rings when one of its scopes is touched
//! apply      the only `match Command`; one arm, one call
//! kv catalog health session query coordinate autopilot txn  per subject: changes, reads
//! register   how a registration changes nodes, instances and checks
//! delay      keys that stay free for a while after their lock was lost
//! snapshot   every row out and in
//! stage      a state on its way through the log, until it replaces the present one
//! ```
//!
//! A change is pure: the same entries in the same order give the same tables on every server. A
//! read works on one state of all tables and says what it depended on ([`Seen`]); whoever blocks
//! waits on exactly those scopes, so no watch can be forgotten. Tables are persistent maps: taking
//! a state is one pointer copy and never delays a writer.

mod apply;
mod autopilot;
mod catalog;
mod coordinate;
mod delay;
mod health;
mod kv;
mod query;
mod register;
mod scope;
mod session;
mod snapshot;
mod stage;
mod txn;
mod watch;

pub use query::{NAME_BYTES_MAX, Template, is_uuid, not_found, unknown};
pub use scope::Scope;
pub use snapshot::{Parts, next_part};
pub use watch::Watch;

use agent_core::model::autopilot::Configuration;
use agent_core::model::check::Check;
use agent_core::model::command::Command;
use agent_core::model::coordinate::Row;
use agent_core::model::kv::Entry;
use agent_core::model::node::Node;
use agent_core::model::request::{Error, Reply};
use agent_core::model::service::Service;
use agent_core::model::session::Session;
use agent_core::model::{Index, Map};
use imbl::{OrdMap, OrdSet};
use scope::{Change, Touched};
use stage::Stage;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A name as the tables compare it: in lower case, as Consul's users expect.
pub type Name = Arc<str>;

/// A key as stored, compared byte by byte.
pub type Key = Arc<str>;

/// Folds a name to the form that tables compare.
fn fold(name: &str) -> Name {
    match name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        true => name.into(),
        false => name.to_lowercase().into(),
    }
}

/// What a read found, how fresh it is, and what it depends on.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// What was found.
    pub value: T,
    /// The index to block on next: never 0, or clients would poll in a busy loop.
    pub index: Index,
    /// What must be touched before the answer can change.
    pub scopes: Vec<Scope>,
}

impl<T> Seen<T> {
    fn new(value: T, index: Index, scopes: Vec<Scope>) -> Self {
        Self { value, index: index.max(1), scopes }
    }

    /// The same sight of something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Seen<U> {
        Seen { value: change(self.value), index: self.index, scopes: self.scopes }
    }
}

/// Indexes of the last disappearances, so that a read of something absent never runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Gone {
    node: Index,
    service: Index,
    session: Index,
    /// The youngest grave that was reaped.
    grave: Index,
}

/// One state of everything that servers share. Copies are cheap and never change.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    index: Index,
    /// How often the whole state was replaced; this server's own count.
    epoch: u64,
    nodes: OrdMap<Name, Arc<Node>>,
    /// Node UUID to node name.
    node_ids: OrdMap<Name, Name>,
    /// By node and instance id.
    services: OrdMap<(Name, Name), Arc<Service>>,
    /// Service name, node, instance id.
    instances: OrdSet<(Name, Name, Name)>,
    /// Name of the service spoken for, node, instance id.
    speakers: OrdSet<(Name, Name, Name)>,
    /// By node and check id.
    checks: OrdMap<(Name, Name), Arc<Check>>,
    /// Node, instance id (empty for the node's own), check id.
    checks_of: OrdSet<(Name, Name, Name)>,
    kv: OrdMap<Key, Arc<Entry>>,
    /// When keys that are gone were deleted.
    graves: OrdMap<Key, Index>,
    graves_by_age: OrdSet<(Index, Key)>,
    sessions: OrdMap<Name, Arc<Session>>,
    /// Node and session.
    sessions_of_node: OrdSet<(Name, Name)>,
    /// Node, check id and session.
    sessions_of_check: OrdSet<(Name, Name, Name)>,
    /// Session and key.
    locks: OrdSet<(Name, Key)>,
    /// When scopes were last touched; keys and prefixes are not here, their rows say it.
    changed: OrdMap<Scope, Index>,
    gone: Gone,
    autopilot: Option<Arc<Configuration>>,
    /// By node and segment.
    coordinates: OrdMap<(Name, Name), Arc<Row>>,
    queries: OrdMap<Name, query::Kept>,
    /// Name of a prepared query to its id, unless it is empty.
    query_names: OrdMap<Name, Name>,
    /// Name of a template, which may be empty, to its id.
    templates: OrdMap<Name, Name>,
    /// Session and prepared query.
    queries_of_session: OrdSet<(Name, Name)>,
    /// How far indexes are ahead of the log's: a restored state may have been further than it.
    ahead: Index,
    /// The index at which the state was last restored by an operator, 0 for never. What is older
    /// says nothing about this state, so no read shows an index below it.
    restored: Index,
    /// The state that is being restored.
    stage: Option<Arc<Stage>>,
}

impl Tables {
    /// Tells the index of the last change.
    pub fn index(&self) -> Index {
        self.index
    }

    /// Tells the index at which an operator last restored the state, 0 for never.
    pub fn restored(&self) -> Index {
        self.restored
    }

    /// Tells apart states before and after a restored snapshot, whose indexes do not compare.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Changes the tables as the command at the log's `index` says. On an error nothing but the
    /// index changes.
    fn apply(&mut self, index: Index, command: &Command) -> (Result<Reply, Error>, Touched) {
        let index = index + self.ahead;
        let mut next = self.clone();
        let mut change = Change::new(&mut next, index);
        let done = change.apply(command);
        let touched = if done.is_ok() { change.into_touched() } else { Touched::default() };
        if done.is_ok() {
            *self = next;
        }
        // After a restore it is further already.
        self.index = self.index.max(index);
        (done, touched)
    }

    /// Tells when a scope was last touched, 0 for never.
    fn changed(&self, scope: &Scope) -> Index {
        self.changed.get(scope).copied().unwrap_or(0)
    }
}

/// Tells whether `meta` holds all of `wanted`.
fn has_meta(meta: &Map, wanted: &Map) -> bool {
    wanted.iter().all(|(name, value)| meta.get(name) == Some(value))
}

/// The state, its bells, and what a server remembers beside the log.
#[derive(Debug, Default)]
pub struct Store {
    tables: RwLock<Arc<Tables>>,
    /// Held while a change is made, so that two cannot start from one state.
    writer: Mutex<()>,
    watchers: Arc<Mutex<watch::Watchers>>,
    delays: Mutex<delay::Delays>,
}

/// Locks, also after a panic elsewhere: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the current state; constant time.
    pub fn tables(&self) -> Arc<Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies a committed log entry and rings whoever waits for what it touched.
    ///
    /// # Errors
    ///
    /// What the client is told when the state forbids the change; then nothing was changed.
    pub fn commit(&self, index: Index, command: &Command) -> Result<Reply, Error> {
        let _writing = lock(&self.writer);
        let mut next = Tables::clone(&self.tables());
        let epoch = next.epoch;
        let (done, touched) = next.apply(index, command);
        let replaced = next.epoch != epoch;
        self.publish(next);
        lock(&self.delays).note(&touched.lost_locks, Instant::now());
        let watchers = lock(&self.watchers);
        if replaced {
            watchers.ring_all()
        } else {
            watchers.ring(&touched)
        }
        drop(watchers);
        done
    }

    /// Registers for a ring when one of the scopes is touched. Read after this, not before.
    pub fn watch(&self, scopes: &[Scope]) -> Watch {
        Watch::register(&self.watchers, scopes)
    }

    /// Tells how long a key stays free after its lock was lost, `None` if it may be locked now.
    pub fn lock_delay(&self, key: &str) -> Option<Duration> {
        lock(&self.delays).remaining(key, Instant::now())
    }

    /// Rings every watch, though nothing was touched.
    pub fn ring_all(&self) {
        lock(&self.watchers).ring_all();
    }

    /// Tells how many scopes somebody waits for.
    #[cfg(test)]
    pub(crate) fn watched(&self) -> usize {
        lock(&self.watchers).len()
    }

    /// Replaces everything and rings every watch.
    fn replace(&self, mut tables: Tables) {
        let _writing = lock(&self.writer);
        tables.epoch = self.tables().epoch + 1;
        self.publish(tables);
        lock(&self.watchers).ring_all();
    }

    fn publish(&self, tables: Tables) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tables);
    }
}

#[cfg(test)]
mod tests;
