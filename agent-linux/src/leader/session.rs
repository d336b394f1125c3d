//! Ends sessions that were not renewed in time.

use super::ask;
use crate::endpoint::Endpoint;
use agent_core::model::command::Command;
use agent_core::model::session::Op;
use std::time::{Duration, Instant};

/// How long to wait before trying again to end a session.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Starts every session's time in full, as a new leader cannot know better, and ends what runs out.
pub(super) async fn run(endpoint: &Endpoint) {
    let (Some(timers), Some(tables)) = (endpoint.timers(), endpoint.tables()) else { return };
    timers.keep(tables.sessions().map(|session| &**session));
    drop(tables);
    loop {
        match timers.next() {
            Some(next) => {
                tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = timers.armed() => {}
                }
            }
            None => timers.armed().await,
        }
        for id in timers.take_due(Instant::now()) {
            tracing::debug!(session = id, "leader: session TTL expired");
            let ended = ask(endpoint, Command::Session(Op::Destroy(id.clone()))).await;
            if let Err(error) = ended {
                tracing::warn!(session = id, %error, "leader: session could not be ended");
                timers.postpone(id, RETRY_PAUSE);
            }
        }
    }
}
