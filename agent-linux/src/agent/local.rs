//! The services and checks of this very node: kept, run, shown, and told to the catalog.
//!
//! - [`Local::open`]: what configuration and data directory hold
//! - [`Local::serve`]: the requests of [`Op`] about services, checks, maintenance and health
//! - `runner` runs the checks, `sync` makes the catalog agree; both live as long as the agent
//!
//! The agent is the source of truth for its node. A change is on disk before it is acknowledged.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/architecture/anti-entropy>.

use super::disk::{self, Disk, Folder};
use super::plan::Role;
use super::register::{Origin, failed, invalid};
use super::state::{OutputRules, State};
use super::{hash, maintenance};
use crate::config::definition::{CheckDefinition, ServiceDefinition};
use crate::endpoint::agent::{InstanceHealth, Maintenance, Op, Reply};
use crate::endpoint::filter::{self, Fault};
use crate::tls::Own;
use agent_core::model::check::Check;
use agent_core::model::node::Node;
use agent_core::model::request::{Error, Kind};
use agent_core::model::service::Service;
use agent_core::rand::Rng;
use agent_core::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Longest wait for the catalog to take a change before it is acknowledged anyway: it is safe on
/// disk, but who registers and then asks the catalog expects to find it.
const SETTLE_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Whose script checks are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scripts {
    /// Nobody's.
    #[default]
    Off,
    /// Those of configuration files (`enable_local_script_checks`).
    Config,
    /// Those of configuration files and of the API (`enable_script_checks`).
    All,
}

/// How the agent keeps its services and checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Whether this node runs a server.
    pub role: Role,
    /// Whose script checks are run.
    pub scripts: Scripts,
    /// Time after which the catalog is told of an output that changed alone. Consul's: 5 min.
    pub check_update_interval: Duration,
    /// Bytes of a check's output kept. Consul's: 4096.
    pub check_output_bytes: usize,
    /// Whether checks' output is thrown away.
    pub discard_check_output: bool,
}

/// Services and checks of the configuration files.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Services, with their checks.
    pub services: Vec<ServiceDefinition>,
    /// Checks of the node, or of services by id.
    pub checks: Vec<CheckDefinition>,
    /// How checks speak TLS, unless as anybody does.
    pub tls: Option<Own>,
}

/// The services and checks could not be loaded.
#[derive(Debug)]
pub enum OpenError {
    /// The data directory cannot be used.
    Disk(disk::Error),
    /// A configured definition is wrong.
    Definition {
        /// The service or check.
        what: String,
        /// Why.
        error: Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Definition { what, error } => write!(f, "Failed to register {what}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// The services and checks of this node.
pub struct Local {
    pub(super) settings: Settings,
    pub(super) disk: Option<Disk>,
    /// Held by whoever changes disk and state together, so that both change in the same order.
    pub(super) writer: Mutex<()>,
    state: Mutex<State>,
    /// How checks that are registered from now on speak TLS.
    pub(super) tls: Mutex<Option<Own>>,
    epoch: std::time::Instant,
    /// Counts changes of rows, for those that wait for one.
    changed: watch::Sender<u64>,
    /// Counts changes that the catalog has to be told.
    dirty: watch::Sender<u64>,
    /// The count of `dirty` that the last writes to the catalog covered.
    settled: watch::Sender<u64>,
    /// Whether the catalog takes writes, as far as is known.
    syncing: AtomicBool,
    /// Wakes the runner: something may be due earlier than it thinks.
    pub(super) rescheduled: Notify,
}

impl Local {
    /// Loads what the configuration and the data directory hold; the configuration wins. Without a
    /// data directory nothing is kept.
    ///
    /// # Errors
    ///
    /// [`OpenError`] for a data directory that cannot be used or a configured definition that is
    /// wrong. A damaged file in the data directory is no error: it is named in the log.
    pub fn open(
        data_dir: Option<&Path>,
        node: Node,
        settings: Settings,
        configured: Configured,
    ) -> Result<Arc<Self>, OpenError> {
        let disk = data_dir.map(Disk::open).transpose().map_err(OpenError::Disk)?;
        let output = OutputRules {
            update_interval: settings.check_update_interval,
            bytes: settings.check_output_bytes,
            discard: settings.discard_check_output,
        };
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let local = Arc::new(Self {
            settings,
            disk,
            writer: Mutex::new(()),
            state: Mutex::new(State::new(node, output, Rng::new(seed))),
            tls: Mutex::default(),
            epoch: std::time::Instant::now(),
            changed: watch::Sender::new(0),
            dirty: watch::Sender::new(0),
            settled: watch::Sender::new(0),
            syncing: AtomicBool::new(false),
            rescheduled: Notify::new(),
        });
        local.configure(configured)?;
        local.restore();
        Ok(local)
    }

    /// Takes the services and checks of the configuration files anew: those that are gone from the
    /// files are removed, those of the API stay.
    ///
    /// # Errors
    ///
    /// The first definition that is wrong; those before it were taken, none was removed.
    pub async fn reload(self: &Arc<Self>, configured: Configured) -> Result<(), OpenError> {
        let local = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || local.configure(configured));
        let stopping = |_| OpenError::Definition {
            what: "definitions".to_owned(),
            error: failed("the agent is stopping"),
        };
        task.await.map_err(stopping)??;
        self.settle().await;
        Ok(())
    }

    /// Changes who the node is: its address, tagged addresses or metadata.
    pub fn set_node(&self, node: Node) {
        self.with(|state, _| state.set_node(node));
    }

    /// Serves a request about services, checks, maintenance or health.
    ///
    /// # Errors
    ///
    /// With Consul's texts: `Kind::Invalid` where it answers 400, `Kind::NotFound` for 404,
    /// `Kind::Failed` for 500. Nothing was changed.
    pub async fn serve(self: &Arc<Self>, _token: &str, op: Op) -> Result<Reply, Error> {
        match op {
            Op::Services { filter } => self.services(&filter).map(Reply::Services),
            Op::Checks { filter } => self.checks(&filter).map(Reply::Checks),
            Op::Service { id, hash, wait } => self.service(&id, &hash, wait).await,
            Op::HealthByName { name } => Ok(self.health(|service| service.name == name)),
            Op::HealthById { id } => Ok(self.health(|service| service.id == id)),
            Op::RegisterService { definition, replace_existing_checks } => {
                let leftover =
                    if replace_existing_checks { Leftover::Remove } else { Leftover::Keep };
                self.change(move |local| local.register_service(*definition, leftover, Origin::Api))
                    .await
            }
            Op::DeregisterService { id } => {
                self.change(move |local| local.deregister_service(&id)).await
            }
            Op::RegisterCheck { definition } => {
                self.change(move |local| local.register_check(*definition, Origin::Api)).await
            }
            Op::DeregisterCheck { id } => {
                self.change(move |local| local.deregister_check(&id)).await
            }
            Op::UpdateCheck { id, status, output } => {
                self.change(move |local| local.report(&id, status, &output)).await
            }
            Op::MaintainService { id, change } => {
                self.change(move |local| local.maintain_service(&id, change)).await
            }
            Op::Maintain { change } => self.change(move |local| local.maintain_node(change)).await,
            Op::Describe
            | Op::Members { .. }
            | Op::Join { .. }
            | Op::Leave
            | Op::ForceLeave { .. }
            | Op::Keyring { .. }
            | Op::Reload
            | Op::Host
            | Op::FireEvent { .. }
            | Op::ListEvents { .. }
            | Op::Measure => Err(failed("not a request about services or checks")),
        }
    }

    /// Makes a change to its end, even if nobody waits for it any more, and waits for the catalog.
    async fn change(
        self: &Arc<Self>,
        change: impl FnOnce(&Self) -> Result<(), Error> + Send + 'static,
    ) -> Result<Reply, Error> {
        if self.disk.is_some() {
            let local = Arc::clone(self);
            let task = tokio::task::spawn_blocking(move || {
                let changed = change(&local);
                // The catalog is told meanwhile.
                changed.and(local.settle_disk())
            });
            task.await.map_err(|_| failed("the agent is stopping"))??;
        } else {
            change(self)?;
        }
        self.settle().await;
        Ok(Reply::Done)
    }

    /// Waits until the catalog was told of the changes so far, if it takes any, but not for long.
    async fn settle(&self) {
        let wanted = *self.dirty.borrow();
        if !self.syncing.load(Ordering::Relaxed) {
            return;
        }
        let mut settled = self.settled.subscribe();
        let waiting = settled.wait_for(|settled| *settled >= wanted);
        let _ = tokio::time::timeout(SETTLE_MAX, waiting).await;
    }

    /// Counts what `reeve info` shows: services, checks, scripts among them, TTLs among them.
    pub(super) fn counts(&self) -> [(&'static str, usize); 4] {
        self.with(|state, _| {
            let of_kind =
                |kind: &str| state.checks.values().filter(|entry| entry.row.kind == kind).count();
            [
                ("check_monitors", of_kind("script")),
                ("check_ttls", of_kind("ttl")),
                ("checks", state.checks.len()),
                ("services", state.services.len()),
            ]
        })
    }

    /// Lists the services that meet a filter.
    fn services(&self, text: &str) -> Result<BTreeMap<String, Arc<Service>>, Error> {
        let rows = self.with(|state, _| {
            let rows = state.services.iter();
            rows.map(|(id, entry)| (id.clone(), Arc::clone(&entry.row))).collect::<BTreeMap<_, _>>()
        });
        filter::apply(text, rows).map_err(|fault| failed(fault.to_string()))
    }

    /// Lists the checks that meet a filter.
    fn checks(&self, text: &str) -> Result<BTreeMap<String, Arc<Check>>, Error> {
        let rows = self.with(|state, _| {
            let rows = state.checks.iter();
            rows.map(|(id, entry)| (id.clone(), Arc::clone(&entry.row))).collect::<BTreeMap<_, _>>()
        });
        filter::apply(text, rows).map_err(|fault| match fault {
            Fault::Grammar(_) => failed(fault.to_string()),
            // Consul finds these out only when it looks at the checks, and says so.
            Fault::Unfit(why) => failed(why),
        })
    }

    /// Tells one service; waits while its hash is `hash` (unless empty), for `wait` at most.
    async fn service(
        &self,
        id: &str,
        hash: &str,
        wait: std::time::Duration,
    ) -> Result<Reply, Error> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let service =
                self.with(|state, _| state.services.get(id).map(|entry| Arc::clone(&entry.row)));
            let service = service
                .ok_or_else(|| Error::with(Kind::NotFound, format!("unknown service ID: {id}")))?;
            let own = content_hash(&service);
            let same = !hash.is_empty() && own == hash;
            if !same || tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                return Ok(Reply::Service { service, hash: own });
            }
        }
    }

    /// Tells the health of the instances that are asked for.
    fn health(&self, wanted: impl Fn(&Service) -> bool) -> Reply {
        let instances = self.with(|state, _| {
            let wanted = state.services.values().filter(|entry| wanted(&entry.row));
            let instance = |service: &Arc<Service>| {
                let rows = state.checks.values().map(|entry| &entry.row);
                let counts =
                    |row: &&Arc<Check>| row.service_id.is_empty() || row.service_id == service.id;
                let checks: Vec<Arc<Check>> = rows.filter(counts).cloned().collect();
                let status = maintenance::aggregate(&checks);
                InstanceHealth { service: Arc::clone(service), checks, status }
            };
            wanted.map(|entry| instance(&entry.row)).collect::<Vec<_>>()
        });
        Reply::Health(instances)
    }

    /// Sets or lifts an instance's maintenance mode.
    fn maintain_service(&self, id: &str, change: Maintenance) -> Result<(), Error> {
        if id.is_empty() {
            return Err(invalid("Missing service ID"));
        }
        if !self.with(|state, _| state.services.contains_key(id)) {
            let text = format!("No service registered with ID \"{id}\"");
            return Err(Error::with(Kind::NotFound, text));
        }
        let check = maintenance::service_check_id(id);
        match change {
            Maintenance::On { reason } => {
                self.maintain(&check, maintenance::service_check(id, reason))
            }
            Maintenance::Off => self.deregister_check(&check),
        }
    }

    /// Sets or lifts the node's maintenance mode.
    fn maintain_node(&self, change: Maintenance) -> Result<(), Error> {
        match change {
            Maintenance::On { reason } => {
                self.maintain(maintenance::NODE_ID, maintenance::node_check(reason))
            }
            Maintenance::Off => self.deregister_check(maintenance::NODE_ID),
        }
    }

    /// Adds a maintenance check; one that is there already stays, with its reason.
    fn maintain(&self, id: &str, definition: CheckDefinition) -> Result<(), Error> {
        if self.with(|state, _| state.checks.contains_key(id)) {
            return Ok(());
        }
        self.keep_check(&definition, maintenance::KIND, Origin::Api)
    }

    /// Tells the driver's clock.
    pub(super) fn now(&self) -> Instant {
        let micros = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(micros)
    }

    /// Tells the same instant on tokio's clock.
    pub(super) fn deadline(&self, at: Instant) -> tokio::time::Instant {
        (self.epoch + std::time::Duration::from_micros(at.micros())).into()
    }

    /// Uses the state, then wakes those whom the change concerns.
    pub(super) fn with<R>(&self, use_it: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = self.now();
        let mut state = lock(&self.state);
        let result = use_it(&mut state, now);
        let signals = state.take_signals();
        drop(state);
        if signals.changed {
            self.changed.send_modify(|count| *count += 1);
        }
        if signals.dirty {
            self.dirty.send_modify(|count| *count += 1);
        }
        if signals.changed || signals.rescheduled {
            self.rescheduled.notify_one();
        }
        result
    }

    /// Watches the count of changes that the catalog has to be told.
    pub(super) fn watch_dirty(&self) -> watch::Receiver<u64> {
        self.dirty.subscribe()
    }

    /// Watches the count of changes of rows.
    pub(super) fn watch_changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes that the catalog was told of the changes up to this count, or that it takes none now.
    pub(super) fn set_settled(&self, count: u64, catalog: Catalog) {
        self.syncing.store(catalog == Catalog::Takes, Ordering::Relaxed);
        self.settled.send_replace(count);
    }

    /// Takes the lock under which disk and state change together.
    pub(super) fn write_lock(&self) -> MutexGuard<'_, ()> {
        lock(&self.writer)
    }

    /// Makes changes of kept files durable.
    pub(super) fn settle_disk(&self) -> Result<(), Error> {
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.settle().map_err(|error| failed(error.to_string()))
    }

    /// Removes a kept file, if files are kept.
    pub(super) fn erase(&self, folder: Folder, id: &str) -> Result<(), Error> {
        match &self.disk {
            Some(disk) => disk.remove(folder, id).map_err(|error| failed(error.to_string())),
            None => Ok(()),
        }
    }
}

/// What becomes of a service's checks that its new registration does not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leftover {
    /// They stay.
    Keep,
    /// They are removed (`replace-existing-checks`).
    Remove,
}

/// Whether the catalog takes writes, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Catalog {
    /// The last one was taken.
    Takes,
    /// The last one failed.
    Refuses,
}

/// Locks; a thread that panicked left nothing half done that the next full sync would not mend.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the hash that tells whether a service's definition changed.
fn content_hash(service: &Service) -> String {
    let bytes = postcard::to_stdvec(service).expect("a vector takes any service");
    format!("{:016x}", hash::fnv(&bytes))
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
