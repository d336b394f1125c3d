//! Changes of services and checks, on disk first, and their return at start.

use super::disk::{Durability, Folder, Staged};
use super::local::{Configured, Leftover, Local, OpenError, Scripts, lock};
use super::maintenance;
use super::register::{self, Origin, Registration, failed};
use super::state::cut;
use crate::check::Work;
use crate::config::definition::{CheckDefinition, ServiceDefinition};
use agent_core::health::Status;
use agent_core::model::request::Error;
use agent_core::time::Duration;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a service's or check's id at most.
const ID_BYTES_MAX: usize = 1024;

impl Local {
    /// Registers or replaces a service and its checks.
    ///
    /// # Errors
    ///
    /// Consul's text; nothing was changed, unless the disk failed half way.
    pub(super) fn register_service(
        &self,
        definition: ServiceDefinition,
        leftover: Leftover,
        origin: Origin,
    ) -> Result<(), Error> {
        let registration = register::service(definition.clone())?;
        let Registration { service, token, checks } = registration;
        check_id(&service.id)?;
        let mut works = Vec::new();
        for check in &checks {
            check_id(&check.id)?;
            works.push(self.work(check, origin)?);
        }
        let mut files = Vec::new();
        if origin == Origin::Api {
            let kept = ServiceDefinition { checks: Vec::new(), ..definition };
            let value = json!({ "Service": kept.to_json() });
            files.push(self.stage(Folder::Services, &service.id, &value)?);
            for check in &checks {
                let value = json!({ "Check": check.to_json() });
                files.push(self.stage(Folder::Checks, &check.id, &value)?);
            }
        }
        let writer = self.write_lock();
        self.with(|state, _| state.room(&service.id, checks.len()))?;
        self.place(files)?;
        let id = service.id.clone();
        let named: BTreeSet<&str> = checks.iter().map(|check| check.id.as_str()).collect();
        let removed: Vec<String> = match leftover {
            Leftover::Keep => Vec::new(),
            Leftover::Remove => {
                let all = self.with(|state, _| state.checks_of(&id));
                all.into_iter().filter(|check| !named.contains(check.as_str())).collect()
            }
        };
        for check in &removed {
            self.erase_check(check)?;
        }
        self.with(|state, now| {
            state.put_service(service, token, origin);
            for (check, work) in checks.iter().zip(works) {
                state.put_check(now, check, check.kind(), work, origin);
            }
            for check in &removed {
                state.remove_check(check);
            }
        });
        drop(writer);
        Ok(())
    }

    /// Registers or replaces a check.
    ///
    /// # Errors
    ///
    /// Consul's text; nothing was changed.
    pub(super) fn register_check(
        &self,
        definition: CheckDefinition,
        origin: Origin,
    ) -> Result<(), Error> {
        let definition = register::check(definition)?;
        self.keep_check(&definition, definition.kind(), origin)
    }

    /// Keeps a complete check.
    ///
    /// # Errors
    ///
    /// Consul's text; nothing was changed.
    pub(super) fn keep_check(
        &self,
        definition: &CheckDefinition,
        kind: &str,
        origin: Origin,
    ) -> Result<(), Error> {
        check_id(&definition.id)?;
        let work = self.work(definition, origin)?;
        let service_id = &definition.service_id;
        let mut files = Vec::new();
        if origin == Origin::Api {
            let mut value = json!({ "Check": definition.to_json() });
            if kind == maintenance::KIND {
                value["Type"] = Value::from(kind);
            }
            files.push(self.stage(Folder::Checks, &definition.id, &value)?);
        }
        let _writer = self.write_lock();
        self.with(|state, _| {
            if !service_id.is_empty() && !state.services.contains_key(service_id) {
                return Err(failed(format!("ServiceID \"{service_id}\" does not exist")));
            }
            state.room_for_checks(1)
        })?;
        self.place(files)?;
        self.with(|state, now| state.put_check(now, definition, kind, work, origin));
        Ok(())
    }

    /// Finds out how to run a check, and whether that is allowed.
    fn work(&self, definition: &CheckDefinition, origin: Origin) -> Result<Work, Error> {
        if definition.is_script() || !definition.docker_container_id.is_empty() {
            match (self.settings.scripts, origin) {
                (Scripts::All, Origin::Api | Origin::Config)
                | (Scripts::Config, Origin::Config) => {}
                (Scripts::Off, Origin::Config) => {
                    return Err(failed(
                        "Scripts are disabled on this agent; to enable, configure \
                         'enable_script_checks' or 'enable_local_script_checks' to true",
                    ));
                }
                (Scripts::Off | Scripts::Config, Origin::Api) => {
                    return Err(failed(
                        "Scripts are disabled on this agent from remote calls; to enable, \
                         configure 'enable_script_checks' to true",
                    ));
                }
            }
        }
        let bytes = self.with(|state, _| state.output_bytes());
        let mut work = Work::of(definition, bytes);
        work.speak_as(lock(&self.tls).clone());
        Ok(work)
    }

    /// Removes a service with its checks; one that is not there is no failure.
    ///
    /// # Errors
    ///
    /// An empty id, or the disk.
    pub(super) fn deregister_service(&self, id: &str) -> Result<(), Error> {
        if id.is_empty() {
            return Err(failed("ServiceID missing"));
        }
        let _writer = self.write_lock();
        let (known, checks) =
            self.with(|state, _| (state.services.contains_key(id), state.checks_of(id)));
        if !known {
            tracing::warn!(service = id, "service to deregister is not registered");
            return Ok(());
        }
        self.erase(Folder::Services, id)?;
        for check in &checks {
            self.erase_check(check)?;
        }
        self.with(|state, _| state.remove_service(id));
        tracing::info!(service = id, "removed service");
        Ok(())
    }

    /// Removes a check; one that is not there is no failure.
    ///
    /// # Errors
    ///
    /// An empty id, or the disk.
    pub(super) fn deregister_check(&self, id: &str) -> Result<(), Error> {
        if id.is_empty() {
            return Err(failed("CheckID missing"));
        }
        let _writer = self.write_lock();
        if self.with(|state, _| state.checks.contains_key(id)) {
            self.erase_check(id)?;
            self.with(|state, _| state.remove_check(id));
        }
        Ok(())
    }

    /// Takes a TTL check's owner's word on it. It is on disk first, unless the disk already says so
    /// for half of the TTL: heartbeats are many, and flash wears.
    ///
    /// # Errors
    ///
    /// There is no such TTL check, or the disk failed.
    pub(super) fn report(&self, id: &str, status: Status, output: &str) -> Result<(), Error> {
        let _writer = self.write_lock();
        let (ttl, bytes) = self
            .with(|state, _| {
                let entry = state.checks.get(id)?;
                match *entry.work {
                    Work::Ttl(ttl) => Some((ttl, entry.output_bytes)),
                    Work::Run(_) | Work::Alias(_) | Work::Nothing => None,
                }
            })
            .ok_or_else(|| failed(format!("CheckID \"{id}\" does not have associated TTL")))?;
        let mut shown = output.to_owned();
        if output.len() > bytes {
            let kept = cut(output, bytes);
            shown = format!("{kept} ... (captured {} of {} bytes)", kept.len(), output.len());
        }
        let durability = self.with(|state, now| {
            let entry = state.checks.get(id)?;
            let fresh = entry.kept_until.is_some_and(|until| until.since(now) > half(ttl));
            let same_status = entry.row.status == status;
            match (same_status, same_status && entry.row.output == shown && fresh) {
                (_, true) => None,
                (true, false) => Some(Durability::Process),
                (false, false) => Some(Durability::Machine),
            }
        });
        if let Some(durability) = durability {
            self.store_state(id, status, &shown, ttl, durability)?;
        }
        self.with(|state, now| {
            if let Some(entry) = state.checks.get_mut(id)
                && durability.is_some()
            {
                entry.kept_until = Some(now + ttl);
            }
            state.handle_report(now, id, status, &shown);
        });
        Ok(())
    }

    /// Takes the configuration's services and checks; removes those that it no longer has.
    ///
    /// # Errors
    ///
    /// The first definition that is wrong.
    pub(super) fn configure(&self, configured: Configured) -> Result<(), OpenError> {
        let fault = |what: String| move |error| OpenError::Definition { what, error };
        *lock(&self.tls) = configured.tls;
        let (old_services, old_checks) = self.configured_ids();
        let mut services = BTreeSet::new();
        let mut checks = BTreeSet::new();
        for definition in configured.services {
            let id = if definition.id.is_empty() { &definition.name } else { &definition.id };
            let id = id.clone();
            let named =
                register::service(definition.clone()).map_err(fault(format!("service '{id}'")))?;
            checks.extend(named.checks.into_iter().map(|check| check.id));
            self.register_service(definition, Leftover::Keep, Origin::Config)
                .map_err(fault(format!("service '{id}'")))?;
            self.erase_quietly(Folder::Services, &id);
            services.insert(id);
        }
        for definition in configured.checks {
            let id = if definition.id.is_empty() { &definition.name } else { &definition.id };
            let id = id.clone();
            self.register_check(definition, Origin::Config)
                .map_err(fault(format!("check '{id}'")))?;
            checks.insert(id);
        }
        for id in &checks {
            self.erase_quietly(Folder::Checks, id);
        }
        let stale_checks = old_checks.difference(&checks).map(|id| self.deregister_check(id));
        let results: Vec<_> = stale_checks
            .chain(old_services.difference(&services).map(|id| self.deregister_service(id)))
            .collect();
        results.into_iter().collect::<Result<(), Error>>().map_err(fault("removal".to_owned()))
    }

    /// Lists the services and checks that came from the configuration.
    fn configured_ids(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        self.with(|state, _| {
            let services = state.services.iter().filter(|(_, e)| e.origin == Origin::Config);
            let checks = state.checks.iter().filter(|(_, e)| e.origin == Origin::Config);
            (
                services.map(|(id, _)| id.clone()).collect(),
                checks.map(|(id, _)| id.clone()).collect(),
            )
        })
    }

    /// Brings back what the data directory holds.
    pub(super) fn restore(&self) {
        let Some(disk) = &self.disk else { return };
        for value in disk.load(Folder::Services) {
            self.restore_service(value);
        }
        for value in disk.load(Folder::Checks) {
            self.restore_check(value);
        }
        for value in disk.load(Folder::CheckStates) {
            self.restore_state(&value);
        }
    }

    /// Brings back one service; the configuration's own wins.
    fn restore_service(&self, mut value: Value) {
        let definition = ServiceDefinition::from_json(value["Service"].take());
        let definition = definition.map_err(|error| error.to_string());
        let registration = definition.and_then(|definition| {
            let registration = register::service(definition.clone());
            registration.map_err(|error| error.to_string())
        });
        match registration {
            Ok(Registration { service, token, .. }) => self.with(|state, _| {
                if !state.services.contains_key(&service.id) {
                    state.put_service(service, token, Origin::Api);
                }
            }),
            Err(error) => tracing::warn!(error, "a kept service is damaged and not restored"),
        }
    }

    /// Brings back one check, critical until it has run; the configuration's own wins.
    fn restore_check(&self, mut value: Value) {
        let kind = value["Type"].as_str() == Some(maintenance::KIND);
        let definition = match CheckDefinition::from_json(value["Check"].take()) {
            Ok(definition) => CheckDefinition { status: String::new(), ..definition },
            Err(error) => {
                tracing::warn!(%error, "a kept check is damaged and not restored");
                return;
            }
        };
        let kind = if kind { maintenance::KIND } else { definition.kind() };
        let id = &definition.id;
        let work = match self.work(&definition, Origin::Api) {
            Ok(work) => work,
            Err(error) => {
                tracing::warn!(check = id, %error, "a kept check cannot be restored");
                return;
            }
        };
        let service_id = &definition.service_id;
        self.with(|state, now| {
            if state.checks.contains_key(id) {
                return;
            }
            if !service_id.is_empty() && !state.services.contains_key(service_id) {
                tracing::warn!(check = id, service = service_id, "a kept check has no service");
                return;
            }
            state.put_check(now, &definition, kind, work, Origin::Api);
        });
    }

    /// Brings back how a TTL check stood, if its TTL has not run out since.
    fn restore_state(&self, value: &Value) {
        let id = value["CheckID"].as_str().unwrap_or_default();
        let status = value["Status"].as_str().and_then(Status::parse);
        let output = value["Output"].as_str().unwrap_or_default();
        let (Some(status), Some(expires)) = (status, value["Expires"].as_u64()) else {
            tracing::warn!(check = id, "a kept check status is damaged and not restored");
            return;
        };
        if expires > unix_ms() {
            self.with(|state, now| state.restore(now, id, status, output));
        }
    }

    /// Writes a file beside its place, if files are kept. Before the lock is taken, so that those
    /// who register together share flushes of the disk.
    fn stage(&self, folder: Folder, id: &str, value: &Value) -> Result<Option<Staged>, Error> {
        let Some(disk) = &self.disk else { return Ok(None) };
        let staged = disk.stage(folder, id, value, Durability::Machine);
        staged.map(Some).map_err(|error| failed(error.to_string()))
    }

    /// Moves files to their places.
    fn place(&self, files: impl IntoIterator<Item = Option<Staged>>) -> Result<(), Error> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut files = files.into_iter().flatten();
        files.try_for_each(|file| disk.place(&file)).map_err(|error| failed(error.to_string()))
    }

    /// Keeps how a TTL check stands.
    fn store_state(
        &self,
        id: &str,
        status: Status,
        output: &str,
        ttl: Duration,
        durability: Durability,
    ) -> Result<(), Error> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let value = json!({
            "CheckID": id,
            "Status": status.as_str(),
            "Output": output,
            "Expires": unix_ms().saturating_add(ttl.millis()),
        });
        let staged = disk.stage(Folder::CheckStates, id, &value, durability);
        let placed = staged.and_then(|staged| disk.place(&staged));
        placed.map_err(|error| failed(error.to_string()))
    }

    /// Removes a check's files.
    fn erase_check(&self, id: &str) -> Result<(), Error> {
        self.erase(Folder::Checks, id)?;
        self.erase(Folder::CheckStates, id)
    }

    /// Removes a file that the configuration makes superfluous; if it stays, it does no harm.
    fn erase_quietly(&self, folder: Folder, id: &str) {
        if let Err(error) = self.erase(folder, id) {
            tracing::warn!(id, %error, "cannot remove what the configuration replaces");
        }
    }
}

/// Halves a span.
fn half(span: Duration) -> Duration {
    Duration::from_micros(span.micros() / 2)
}

/// Refuses an id that is too long.
fn check_id(id: &str) -> Result<(), Error> {
    if id.len() > ID_BYTES_MAX {
        return Err(register::invalid(format!("ID is too long (limit: {ID_BYTES_MAX} bytes)")));
    }
    Ok(())
}

/// Tells the wall clock: kept deadlines must mean something after a restart.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
