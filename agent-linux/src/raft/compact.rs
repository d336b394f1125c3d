//! Looks now and then whether a snapshot is due (`raft_snapshot_interval`).

use super::entry::Types;
use super::log_index;
use std::time::Duration;

/// Takes a snapshot whenever at least `every` entries were applied since the last one, as found
/// at looks with `pause` between them; ends with the node.
pub(super) async fn compact(raft: openraft::Raft<Types>, every: u64, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let (applied, covered) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            (log_index(metrics.last_applied.as_ref()), log_index(metrics.snapshot.as_ref()))
        };
        if applied.saturating_sub(covered) < every {
            continue;
        }
        if let Err(fatal) = raft.trigger().snapshot().await {
            tracing::debug!(%fatal, "no more snapshots");
            return;
        }
    }
}
