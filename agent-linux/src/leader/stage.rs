//! Gives up a restore whose sender is gone.

use super::ask;
use crate::endpoint::Endpoint;
use agent_core::model::command::Command;
use agent_core::model::snapshot::Op;
use std::time::Duration;

/// How long a restore may stand still: longer than a sender waits for one of its parts.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Looks whether a restore stands still.
pub(super) async fn run(endpoint: &Endpoint) {
    let mut before = None;
    loop {
        let tables = endpoint.tables();
        let staged = tables.as_ref().and_then(|tables| tables.staged());
        let staged = staged.map(|(id, parts)| (id.to_owned(), parts));
        if staged.is_some() && staged == before {
            let (id, _) = staged.clone().expect("looked at above");
            tracing::warn!(restore = id, "leader: an unfinished restore is given up");
            if let Err(error) = ask(endpoint, Command::Snapshot(Op::Abandon(id))).await {
                tracing::warn!(%error, "leader: the restore could not be given up");
            }
        }
        before = staged;
        drop(tables);
        tokio::time::sleep(IDLE_MAX).await;
    }
}
