//! Group commit: commands that are proposed together share one log entry, hence one write to each
//! disk.
//!
//! While an entry is on its way, further commands gather for the next. One command alone goes at
//! once.

use super::entry::{Answers, Batch, Types};
use super::timing::Timing;
use crate::metrics::{self, Stopwatch};
use agent_core::model::request::{Error, Kind, Reply};
use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Commands that wait for an entry; further proposers wait for room.
const QUEUE_MAX: usize = 1024;

/// Commands in one entry.
const BATCH_MAX: usize = 256;

/// Bytes of commands in one entry, unless a single one is longer: one append to a peer.
const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Entries on their way at once: one is written here while the one before is written by the peers.
/// With more, entries are smaller and no sooner there.
const ENTRIES_IN_FLIGHT: usize = 2;

/// What the state machine answered.
pub(super) type Applied = Result<Reply, Error>;

/// A command and who waits for its answer.
struct Proposal {
    command: Bytes,
    answer: oneshot::Sender<Result<Applied, Error>>,
}

/// The way into the log.
#[derive(Clone)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    timing: Timing,
}

impl Proposer {
    /// Starts the task that gathers; it ends with the last proposer.
    pub(super) fn start(raft: openraft::Raft<Types>, timing: Timing) -> Self {
        let (queue, proposals) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(gather(raft, proposals));
        Self { queue, timing }
    }

    /// Proposes a command and waits until it is applied here.
    pub(super) async fn propose(&self, command: Bytes) -> Result<Applied, Error> {
        let (answer, answered) = oneshot::channel();
        let queued =
            self.queue.send_timeout(Proposal { command, answer }, self.timing.commit).await;
        match queued {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                return Err(Error::with(Kind::Failed, "too many changes wait for the log"));
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                return Err(Error::with(Kind::Failed, "raft has stopped"));
            }
        }
        match tokio::time::timeout(self.timing.commit, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::with(Kind::Unknown, "raft stopped before the answer")),
            Err(_) => Err(Error::with(Kind::Unknown, "timed out waiting for a quorum of servers")),
        }
    }
}

async fn gather(raft: openraft::Raft<Types>, mut proposals: mpsc::Receiver<Proposal>) {
    let in_flight = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
    while let Some(first) = proposals.recv().await {
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        let mut bytes = first.command.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Ok(next) = proposals.try_recv()
        {
            bytes += next.command.len();
            batch.push(next);
        }
        // Whoever gave up while waiting is not proposed for.
        batch.retain(|proposal| !proposal.answer.is_closed());
        if !batch.is_empty() {
            tokio::spawn(write(raft.clone(), batch, permit));
        }
    }
}

/// Writes one entry and hands out the answers.
async fn write(
    raft: openraft::Raft<Types>,
    proposals: Vec<Proposal>,
    permit: OwnedSemaphorePermit,
) {
    let logged = Arc::new(AtomicBool::new(false));
    let commands = proposals.iter().map(|proposal| proposal.command.clone()).collect();
    let batch = Batch { commands, logged: Some(Arc::clone(&logged)) };
    let watch = Stopwatch::start();
    let result = raft.client_write(batch).await;
    watch.stop(&metrics::RAFT_COMMIT_TIME);
    drop(permit);
    let error = match result {
        Ok(response) => {
            let Answers(answers) = response.data;
            for (proposal, answer) in proposals.into_iter().zip(answers) {
                // A proposer that gave up needs no answer.
                let _ = proposal.answer.send(Ok(answer));
            }
            return;
        }
        Err(error) => failure(&error, logged.load(Ordering::Acquire)),
    };
    for proposal in proposals {
        let _ = proposal.answer.send(Err(error.clone()));
    }
}

/// Tells what came of an entry that was not applied here. Once it was in the log, another leader
/// may still have found it there and committed it.
fn failure(error: &RaftError<u64, ClientWriteError<u64, super::Server>>, logged: bool) -> Error {
    match (error, logged) {
        (RaftError::APIError(ClientWriteError::ForwardToLeader(_)), false) => {
            Error::new(Kind::NoLeader)
        }
        (RaftError::APIError(ClientWriteError::ForwardToLeader(_)), true) => {
            Error::with(Kind::Unknown, "leadership lost while committing log")
        }
        (RaftError::APIError(ClientWriteError::ChangeMembershipError(_)), _)
        | (RaftError::Fatal(_), false) => Error::with(Kind::Failed, error.to_string()),
        (RaftError::Fatal(_), true) => Error::with(Kind::Unknown, error.to_string()),
    }
}
