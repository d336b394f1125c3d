//! Group commit: commands that are proposed together share one log entry, hence one write to each
//! disk.
//!
//! While an entry is on its way, further commands gather for the next. One command alone goes at
//! once.
//!
//! Time is kept for an entry, not for each command: to set a timer on a thread that has no other
//! takes a call to the kernel.

use super::entry::{Answers, Batch, Types};
use super::parcel::{Waiter, deliver};
use super::timing::Timing;
use crate::metrics::{self, Stopwatch};
use agent_core::model::request::{Error, Kind, Reply};
use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

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
    waiter: Waiter<Result<Applied, Error>>,
    /// Until when it may wait for an entry. That entry may take as long again.
    deadline: Instant,
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
        tokio::spawn(gather(raft, proposals, timing));
        Self { queue, timing }
    }

    /// Proposes a command and waits until it is applied here.
    pub(super) async fn propose(&self, command: Bytes) -> Result<Applied, Error> {
        let (waiter, answered) = Waiter::new();
        let deadline = Instant::now() + self.timing.commit;
        let proposal = Proposal { command, waiter, deadline };
        let queued = self.queue.send_timeout(proposal, self.timing.commit).await;
        match queued {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                return Err(Error::with(Kind::Failed, "too many changes wait for the log"));
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                return Err(Error::with(Kind::Failed, "raft has stopped"));
            }
        }
        let stopped = |_| Err(Error::with(Kind::Unknown, "raft stopped before the answer"));
        answered.await.unwrap_or_else(stopped)
    }
}

async fn gather(
    raft: openraft::Raft<Types>,
    mut proposals: mpsc::Receiver<Proposal>,
    timing: Timing,
) {
    let in_flight = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
    while let Some(first) = proposals.recv().await {
        let room = Arc::clone(&in_flight).acquire_owned();
        let permit = match timeout_at(first.deadline, room).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return,
            Err(_) => {
                deliver([(first.waiter, Err(late()))]);
                continue;
            }
        };
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
        batch.retain(|proposal| !proposal.waiter.is_gone());
        if !batch.is_empty() {
            tokio::spawn(write(raft.clone(), batch, permit, timing.commit));
        }
    }
}

/// What came of a command that took too long: it may be committed yet.
fn late() -> Error {
    Error::with(Kind::Unknown, "timed out waiting for a quorum of servers")
}

/// Writes one entry and hands out the answers, after `patience` at the latest. The place of the
/// entry is given back once it is known what came of it.
async fn write(
    raft: openraft::Raft<Types>,
    proposals: Vec<Proposal>,
    permit: OwnedSemaphorePermit,
    patience: Duration,
) {
    let logged = Arc::new(AtomicBool::new(false));
    let commands = proposals.iter().map(|proposal| proposal.command.clone()).collect();
    let batch = Batch { commands, logged: Some(Arc::clone(&logged)) };
    let waiters = proposals.into_iter().map(|proposal| proposal.waiter);
    let watch = Stopwatch::start();
    let mut writing = pin!(raft.client_write(batch));
    let Ok(result) = timeout(patience, writing.as_mut()).await else {
        deliver(waiters.map(|waiter| (waiter, Err(late()))));
        // Whoever it was for has been answered.
        let _ = writing.await;
        return drop(permit);
    };
    watch.stop(&metrics::RAFT_COMMIT_TIME);
    drop(permit);
    match result {
        Ok(response) => {
            let Answers(answers) = response.data;
            deliver(waiters.zip(answers.into_iter().map(Ok)));
        }
        Err(error) => {
            let error = failure(&error, logged.load(Ordering::Acquire));
            deliver(waiters.map(|waiter| (waiter, Err(error.clone()))));
        }
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
