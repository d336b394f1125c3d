//! Tells the servers where this node is.
//!
//! The pool as a whole sends no more than a number of updates in a second, whatever its size.

use super::Agent;
use crate::endpoint::coordinate::Chart;
use crate::gossip::Gossip;
use agent_core::model::coordinate::{Query, Row};
use agent_core::model::request::{Body, Options, Query as AnyQuery, Request};
use agent_core::rand::Rng;
use std::sync::Arc;
use std::time::Duration;

/// Updates that the whole pool sends in a second at most (`sync_coordinate_rate_target`).
const RATE_TARGET: u64 = 64;

/// Tells over and over where this node is, once a server is known; nothing if that is switched off.
pub(super) async fn run(agent: Arc<Agent>, seed: u64) {
    let config = agent.config();
    if config.disable_coordinates {
        return;
    }
    let mut dice = Rng::new(seed);
    let mut servers = agent.servers.subscribe();
    if servers.wait_for(|servers| *servers > 0).await.is_err() {
        return;
    }
    loop {
        let members = agent.gossip.count();
        let least = config.sync_coordinate_interval_min.to_core();
        let time = interval(members, least);
        let stagger = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tokio::time::sleep(time + Duration::from_micros(dice.below(stagger.max(1)))).await;
        let node = config.node_name.clone();
        // A leaf measures nothing.
        let Some(place) = agent.gossip.place() else { return };
        let row = Row { node, segment: String::new(), place };
        let body = Body::Query(AnyQuery::Coordinate(Query::Update(row)));
        if let Err(error) =
            agent.endpoint.serve(Request { options: Options::default(), body }).await
        {
            tracing::debug!(%error, "agent: coordinate update failed");
        }
    }
}

/// How long to wait between two updates, before up to as much again.
fn interval(members: usize, least: Duration) -> Duration {
    Duration::from_secs(members as u64 / RATE_TARGET).max(least)
}

/// Tells where the servers of a pool are, without the datacentre at the end of their names.
pub(super) fn chart(wan: Gossip, datacenter: &str) -> Chart {
    let suffix = format!(".{datacenter}");
    Box::new(move || {
        let rows = wan.places().into_iter().filter_map(|(name, place)| {
            let node = name.strip_suffix(&suffix)?.to_owned();
            Some(Row { node, segment: String::new(), place })
        });
        rows.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_pool_tells_less_often() {
        let least = Duration::from_secs(15);
        for (members, seconds) in [(1, 15), (960, 15), (6_400, 100), (64_000, 1000)] {
            assert_eq!(interval(members, least), Duration::from_secs(seconds), "{members}");
        }
    }
}
