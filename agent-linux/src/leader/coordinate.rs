//! Writes down where nodes say that they are: many at once, so that thousands of agents make few
//! entries of the log.

use super::{Settings, ask};
use crate::endpoint::Endpoint;
use agent_core::model::command::Command;
use agent_core::model::coordinate::Op;
use std::time::Duration;

/// Time between two writes (`coordinate_update_period`).
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// The same for `-dev`, as Consul has it: an update is seen at once.
pub(super) const PERIOD_DEV: Duration = Duration::from_millis(100);

/// Most places of one entry of the log (`coordinate_update_batch_size`).
const BATCH_MAX: usize = 128;

/// Writes what was noted, every period.
pub(super) async fn run(endpoint: &Endpoint, settings: &Settings) {
    let Some(places) = endpoint.places() else { return };
    // What was noted while this server led before is old.
    drop(places.take());
    let mut tick = tokio::time::interval(settings.coordinate_period);
    loop {
        tick.tick().await;
        for batch in places.take().chunks(BATCH_MAX) {
            let command = Command::Coordinate(Op::Set(batch.to_vec()));
            if let Err(error) = ask(endpoint, command).await {
                tracing::warn!(%error, "leader: coordinates could not be written");
            }
        }
    }
}
