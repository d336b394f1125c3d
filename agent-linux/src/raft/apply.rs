//! The state machine as openraft sees it.
//!
//! An entry holds many commands, but every change must have an index of its own: a watcher that has
//! seen index 7 waits for one above it. So the index of the state is not that of the log: it counts
//! commands, plus one for every entry that holds none (a new leader's blank entry, a
//! configuration). Every server counts alike, because the log is the same, and a snapshot carries
//! the count. It never falls and is never less than the number of entries.

use super::StateMachine;
use super::entry::{
    Answers, Batch, Entry, LogId, Snapshot, SnapshotMeta, StorageError, StorageIoError,
    StoredMembership, Types,
};
use super::snapshot::{self, Data, Head, Shelf};
use crate::metrics::{self, Stopwatch};
use agent_core::model::Index;
use agent_core::model::request;
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// A handle on the state machine and its snapshots.
#[derive(Clone)]
pub(super) struct Machine {
    inner: Arc<dyn StateMachine>,
    pub(super) shelf: Arc<Shelf>,
    applied: Arc<Mutex<Applied>>,
}

/// How far the log has been applied.
#[derive(Clone, Default)]
pub(super) struct Applied {
    pub(super) last: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) index: Index,
}

impl Machine {
    /// Puts the current snapshot into the state machine. Blocks.
    ///
    /// # Errors
    ///
    /// Those of the snapshot or of the state machine.
    pub(super) fn open(inner: Arc<dyn StateMachine>, shelf: Shelf) -> io::Result<Self> {
        let applied = match shelf.load(&*inner)? {
            Some(Head { meta, index }) => {
                Applied { last: meta.last_log_id, membership: meta.last_membership, index }
            }
            None => Applied::default(),
        };
        let applied = Arc::new(Mutex::new(applied));
        Ok(Self { inner, shelf: Arc::new(shelf), applied })
    }

    /// Tells how far the log has been applied.
    pub(super) fn applied(&self) -> Applied {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().expect("no holder panics")
    }

    /// Tells the index of the last change that was applied.
    pub(super) fn index(&self) -> Index {
        self.lock().index
    }

    fn apply_batch(&self, mut index: Index, batch: &Batch) -> Result<Answers, request::Error> {
        let watch = Stopwatch::start();
        let mut answers = Vec::with_capacity(batch.commands.len());
        for command in &batch.commands {
            index += 1;
            match self.inner.apply(index, command) {
                Err(error) if error.kind == request::Kind::Failed => return Err(error),
                answer => answers.push(answer),
            }
        }
        watch.stop(&metrics::RAFT_FSM_APPLY);
        Ok(Answers(answers))
    }

    /// Applies entries in turn.
    pub(super) fn apply_all(
        &self,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Vec<Answers>, Box<StorageError>> {
        let mut all = Vec::new();
        for entry in entries {
            let mut index = self.lock().index;
            let mut membership = None;
            let answers = match entry.payload {
                EntryPayload::Blank => Answers::default(),
                EntryPayload::Membership(new) => {
                    membership = Some(StoredMembership::new(Some(entry.log_id), new));
                    Answers::default()
                }
                EntryPayload::Normal(batch) => {
                    let at = entry.log_id;
                    self.apply_batch(index, &batch).map_err(|error| {
                        let text = format!("entry {at} cannot be applied, stopping: {error}");
                        tracing::error!("{text}");
                        StorageError::from(StorageIoError::apply(at, AnyError::error(text)))
                    })?
                }
            };
            index += answers.0.len().max(1) as u64;
            let mut applied = self.lock();
            applied.last = Some(entry.log_id);
            applied.index = index;
            if let Some(membership) = membership {
                applied.membership = membership;
            }
            drop(applied);
            all.push(answers);
        }
        Ok(all)
    }

    fn builder(&self) -> Builder {
        let Applied { last, membership, index } = self.lock().clone();
        let meta = SnapshotMeta {
            last_log_id: last,
            last_membership: membership,
            snapshot_id: snapshot::name(last),
        };
        let frozen = Mutex::new(Some((Head { meta, index }, self.inner.freeze())));
        Builder { frozen, shelf: Arc::clone(&self.shelf) }
    }

    /// Keeps the state as a snapshot under another configuration. Blocks.
    pub(super) fn keep_under(&self, membership: StoredMembership) -> io::Result<()> {
        self.lock().membership = membership;
        let Builder { frozen, shelf } = self.builder();
        let frozen = frozen.into_inner().expect("no holder panics");
        let (head, freeze) = frozen.expect("it was just frozen");
        shelf.write(head, freeze).map(|_| ())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.lock();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.apply_all(entries).map_err(|error| *error)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Data>, StorageError> {
        Ok(Box::new(Data::Empty))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Data>,
    ) -> Result<(), StorageError> {
        let (machine, shelf) = (Arc::clone(&self.inner), Arc::clone(&self.shelf));
        let install = move || {
            let watch = Stopwatch::start();
            let done = shelf.install(*snapshot, &*machine);
            watch.stop(&metrics::RAFT_FSM_RESTORE);
            done
        };
        let done = tokio::task::spawn_blocking(install)
            .await
            .unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        let head = done.map_err(|error| {
            StorageIoError::write_snapshot(Some(meta.signature()), AnyError::new(&error))
        })?;
        *self.lock() = Applied {
            last: head.meta.last_log_id,
            membership: head.meta.last_membership,
            index: head.index,
        };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(self
            .shelf
            .current()
            .map(|(head, data)| Snapshot { meta: head.meta, snapshot: Box::new(data) }))
    }
}

/// A frozen state on its way to a snapshot.
pub(super) struct Builder {
    /// Taken once; the lock is only there because openraft wants to share builders.
    frozen: Mutex<Option<(Head, super::Freeze)>>,
    shelf: Arc<Shelf>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let failed = |error: &io::Error| {
            StorageError::from(StorageIoError::write_snapshot(None, AnyError::new(error)))
        };
        let frozen = self.frozen.lock().expect("no holder panics").take();
        let Some((head, freeze)) = frozen else {
            return Err(failed(&io::Error::other("this state was written already")));
        };
        let meta = head.meta.clone();
        let shelf = Arc::clone(&self.shelf);
        let watch = Stopwatch::start();
        let written = tokio::task::spawn_blocking(move || shelf.write(head, freeze)).await;
        watch.stop(&metrics::RAFT_SNAPSHOT_CREATE);
        match written.unwrap_or_else(|stopped| Err(io::Error::other(stopped))) {
            Ok(data) => Ok(Snapshot { meta, snapshot: Box::new(data) }),
            // The log still has everything since the one before: keep that one and go on.
            Err(error) => match self.shelf.current() {
                None => Err(failed(&error)),
                Some((head, data)) => {
                    tracing::error!("snapshot not written, the one before is kept: {error}");
                    Ok(Snapshot { meta: head.meta, snapshot: Box::new(data) })
                }
            },
        }
    }
}
