//! Opening what is on disk, and starting the node.

use super::apply::Machine;
use super::compact::compact;
use super::confirm::Confirmer;
use super::disk::Space;
use super::leadership::{self, Contact, Judge};
use super::log::{Disk, Fault};
use super::network::Network;
use super::propose::Proposer;
use super::recover::recover;
use super::snapshot::Shelf;
use super::storage::Log;
use super::timing::Timing;
use super::{Compaction, Error, Leadership, Node, Options, Raft, StateMachine};
use openraft::SnapshotPolicy;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// What is opened before the node starts.
pub(super) struct Opened {
    pub(super) id: u64,
    pub(super) log: Log,
    pub(super) machine: Machine,
    space: Option<Space>,
}

impl Raft {
    /// Opens the log and starts the node. A damaged log is set aside, and the node has a new id.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] if the directory cannot be used; [`Error::Stopped`] if what it holds cannot
    /// be applied.
    pub async fn open(options: Options, machine: Arc<dyn StateMachine>) -> Result<Self, Error> {
        let timing = Timing::new(options.raft_multiplier);
        let dir = options.data_dir.as_ref().map(|dir| dir.join("raft"));
        let opening = tokio::task::spawn_blocking(move || open_or_begin(dir.as_deref(), machine));
        let opened = opening.await.map_err(|error| Error::Disk(error.to_string()))?;
        let Opened { id, log, machine, space } =
            opened.map_err(|fault| Error::Disk(fault.to_string()))?;
        let network = Network::new(timing, options.source);
        let compaction = options.compaction;
        let config = Arc::new(config(timing, compaction));
        let storage = (log.clone(), machine.clone());
        let raft = openraft::Raft::new(id, config, network.clone(), storage.0, storage.1)
            .await
            .map_err(|fatal| Error::Stopped(fatal.to_string()))?;
        let contact = Contact::default();
        let judge = Judge {
            id,
            raft: raft.clone(),
            network: network.clone(),
            contact: contact.clone(),
            timing,
        };
        let (sender, leadership) = watch::channel(Leadership::default());
        let watcher = tokio::spawn(leadership::watch(judge.clone(), log.clone(), sender));
        let compacter = compaction
            .look
            .map(|look| tokio::spawn(compact(raft.clone(), compaction.every, look)).abort_handle());
        let proposer = Proposer::start(raft.clone(), timing);
        let confirmer = Confirmer::start(raft.clone(), timing);
        tracing::info!(id, "raft started");
        Ok(Self {
            node: Arc::new(Node {
                id,
                raft,
                log,
                machine,
                network,
                proposer,
                confirmer,
                judge,
                contact,
                leadership,
                timing,
                space,
                changing: tokio::sync::Mutex::default(),
                receiving: tokio::sync::Mutex::default(),
                watcher: watcher.abort_handle(),
                compacter,
            }),
        })
    }
}

fn config(timing: Timing, compaction: Compaction) -> openraft::Config {
    let millis = |span: Duration| u64::try_from(span.as_millis()).expect("timings are short");
    openraft::Config {
        cluster_name: "reeve".into(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        install_snapshot_timeout: millis(timing.catch_up),
        max_payload_entries: 512,
        snapshot_policy: match compaction.look {
            None => SnapshotPolicy::LogsSinceLast(compaction.every),
            Some(_) => SnapshotPolicy::Never,
        },
        max_in_snapshot_log_to_keep: compaction.keep,
        purge_batch_size: 64,
        ..openraft::Config::default()
    }
}

fn new_id() -> u64 {
    // Never 0, which is nobody's.
    RandomState::new().hash_one(SystemTime::now()).max(1)
}

/// Opens what is in `dir`; sets it aside and begins anew if it cannot be trusted. Blocks.
pub(super) fn open_or_begin(
    dir: Option<&Path>,
    machine: Arc<dyn StateMachine>,
) -> Result<Opened, Fault> {
    let Some(dir) = dir else {
        let machine = Machine::open(machine, Shelf::open(None)?)?;
        return Ok(Opened { id: new_id(), log: Log::in_memory(), machine, space: None });
    };
    match open_dir(dir, Arc::clone(&machine)) {
        Err(Fault::Damaged(what)) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let aside = dir.with_file_name(format!("raft.damaged-{}", now.as_secs()));
            std::fs::rename(dir, &aside)?;
            tracing::error!(
                "raft log is damaged ({what}); set aside as {}. This server starts anew with a new \
                 raft id and takes the state from the others",
                aside.display()
            );
            open_dir(dir, machine)
        }
        opened => opened,
    }
}

pub(super) fn open_dir(dir: &Path, machine: Arc<dyn StateMachine>) -> Result<Opened, Fault> {
    let (disk, mut found) = Disk::open(dir, new_id())?;
    let opened = Shelf::open(Some(dir.join("snapshot"))).and_then(|shelf| {
        let have = shelf.current().and_then(|(head, _)| head.meta.last_log_id);
        if have < found.purged {
            return Err(Fault::Damaged("the snapshot of entries no longer in the log".into()));
        }
        if have.is_some() && found.vote.is_none() {
            return Err(Fault::Damaged("there is a snapshot but no vote".into()));
        }
        let machine = Machine::open(machine, shelf)?;
        recover(dir, &disk, &mut found, &machine)?;
        Ok(machine)
    });
    match opened {
        Ok(machine) => {
            let (id, space) = (found.id, Some(Space::new(dir)));
            Ok(Opened { id, log: Log::on_disk(disk, &found), machine, space })
        }
        Err(fault) => {
            disk.close();
            Err(fault)
        }
    }
}
