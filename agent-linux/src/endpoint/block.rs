//! Blocking queries: reads that wait until the answer is newer than the client's.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/features/blocking>.

use super::Read;
use crate::metrics;
use crate::raft::{Leadership, Raft};
use crate::store::{Seen, Store, Watch};
use agent_core::model::Index;
use agent_core::model::request::{Consistency, Error, Kind, Reply};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A wait grows by at most this part of itself: clients leave that much room in their own timeouts.
pub(super) const JITTER_PART: u32 = 16;

/// Until when to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// The answer must be newer than this; 0 does not wait at all.
    pub(super) after: Index,
    /// How long at most.
    pub(super) time: Duration,
}

/// What makes a read fresh enough, and ends it when that can no longer be had.
pub(super) enum Gate<'a> {
    /// Any state will do.
    Open,
    /// The leader's state, by its lease.
    Lease(&'a Raft),
    /// The leader's state, after asking a quorum.
    Quorum(&'a Raft),
}

impl<'a> Gate<'a> {
    pub(super) fn of(consistency: Consistency, raft: &'a Raft) -> Self {
        match consistency {
            Consistency::Stale => Self::Open,
            Consistency::Default => Self::Lease(raft),
            Consistency::Consistent => Self::Quorum(raft),
        }
    }

    pub(super) async fn pass(&self) -> Result<(), Error> {
        match self {
            Self::Open => Ok(()),
            Self::Lease(raft) => raft.lease().await,
            Self::Quorum(raft) => Box::pin(raft.read_index()).await,
        }
    }

    /// Tells whether the state can no longer be had, as this server no longer leads.
    fn is_lost(&self) -> bool {
        match self {
            Self::Open => false,
            Self::Lease(raft) | Self::Quorum(raft) => !raft.is_leader(),
        }
    }
}

/// Wakes whoever waits for a change whenever this server no longer leads, so that none of them has
/// to watch for that, too. Ends with raft.
pub(super) async fn wake_on_loss(store: Arc<Store>, mut leadership: watch::Receiver<Leadership>) {
    while leadership.wait_for(|now| now.is_self).await.is_ok() {
        // An error means that raft has stopped, which is as good as lost.
        drop(leadership.wait_for(|now| !now.is_self).await);
        store.ring_all();
    }
}

/// Reads until the answer is newer than `wait.after`, time is up, or the store was replaced.
///
/// # Errors
///
/// Those of the gate: there is no leader, or it changed while the query waited.
pub(super) async fn block(
    store: &Store,
    gate: &Gate<'_>,
    wait: Wait,
    read: Read<'_>,
) -> Result<Seen<Reply>, Error> {
    let deadline = Instant::now() + wait.time;
    let mut watch: Option<Watch> = None;
    let (mut epoch, mut blocking) = (None, None);
    let mut is_over = false;
    loop {
        gate.pass().await?;
        let scopes = {
            let tables = store.tables();
            let mut seen = read(&tables);
            seen.index = seen.index.max(tables.restored());
            let replaced = *epoch.get_or_insert(tables.epoch()) != tables.epoch();
            if wait.after == 0 || seen.index > wait.after || replaced || is_over {
                return Ok(seen);
            }
            // What was read is not kept while the query waits: it may be much.
            seen.scopes
        };
        blocking.get_or_insert_with(|| metrics::QUERIES_BLOCKING.hold());
        match &watch {
            Some(watch) if watch.scopes() == scopes => {
                drop(scopes);
                is_over = timeout_at(deadline, watch.rung()).await.is_err();
                if gate.is_lost() {
                    return Err(Error::new(Kind::NoLeader));
                }
            }
            // Then read again, now that nothing can be missed.
            Some(_) | None => watch = Some(store.watch(&scopes)),
        }
    }
}
