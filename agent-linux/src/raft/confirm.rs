//! Reads that must see every write: one round to a quorum confirms all that wait for it.
//!
//! A read that comes while a round is under way waits for the next one, since the leader may have
//! been replaced before that read came but after the round began. One read alone goes at once.

use super::entry::Types;
use super::parcel::{Waiter, deliver};
use super::timing::Timing;
use agent_core::model::request::{Error, Kind};
use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::sync::mpsc;

/// Reads that wait for a round; further ones wait for room.
const QUEUE_MAX: usize = 1024;

/// Reads that one round confirms.
const ROUND_MAX: usize = 1024;

type Reader = Waiter<Result<(), Error>>;

/// The way to a confirmation.
#[derive(Clone)]
pub(super) struct Confirmer(mpsc::Sender<Reader>);

impl Confirmer {
    /// Starts the task that asks; it ends with the last confirmer.
    pub(super) fn start(raft: openraft::Raft<Types>, timing: Timing) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(ask(raft, waiting, timing));
        Self(queue)
    }

    /// Waits until a round that began after this call has confirmed that this server leads, and
    /// the state machine has caught up with it. That takes two rounds at most, each of which has
    /// [`Timing::commit`].
    ///
    /// # Errors
    ///
    /// [`Kind::NoLeader`] if this server does not lead or finds no quorum; [`Kind::Failed`] if
    /// raft has stopped.
    pub(super) async fn confirm(&self) -> Result<(), Error> {
        let stopped = || Error::with(Kind::Failed, "raft has stopped");
        let (reader, answered) = Waiter::new();
        self.0.send(reader).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn ask(raft: openraft::Raft<Types>, mut waiting: mpsc::Receiver<Reader>, timing: Timing) {
    let mut readers = Vec::new();
    while waiting.recv_many(&mut readers, ROUND_MAX).await > 0 {
        let round = tokio::time::timeout(timing.commit, raft.ensure_linearizable());
        let confirmed = match round.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(
                CheckIsLeaderError::ForwardToLeader(_) | CheckIsLeaderError::QuorumNotEnough(_),
            )))
            | Err(_) => Err(Error::new(Kind::NoLeader)),
            Ok(Err(RaftError::Fatal(fatal))) => Err(Error::with(Kind::Failed, fatal.to_string())),
        };
        deliver(readers.drain(..).map(|reader| (reader, confirmed.clone())));
    }
}
