//! LAN gossip's clockwork, within bounds.

use std::ops::RangeInclusive;

use agent_core::time::Duration;

use super::layer::Error;
use super::reader::Reader;
use super::runtime::{Gossip, View};

/// Bounds of the times of gossip: below, an agent does nothing else; above, failures are not found.
const GOSSIP_SPANS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);

/// Bounds of the numbers of gossip.
const GOSSIP_COUNTS: RangeInclusive<u32> = 1..=64;

/// Reads LAN gossip's clockwork, within bounds.
pub(super) fn read(r: &Reader<'_>, g: Gossip, server: bool) -> Result<Gossip, Error> {
    let span = |key, default| {
        let span = r.span(key, default)?;
        let bounds = || r.fault(key, "must be from 10ms to 10m");
        GOSSIP_SPANS.contains(&span).then_some(span).ok_or_else(bounds)
    };
    let count = |key, default: u32| {
        let count = r.count(key, default)?;
        let bounds = || r.fault(key, "must be from 1 to 64");
        GOSSIP_COUNTS.contains(&count).then_some(count).ok_or_else(bounds)
    };
    let view = match r.some_text("gossip_lan.view") {
        None => g.view,
        Some("full") => View::Full,
        Some("partial") if server => {
            let what = "cannot be \"partial\" on a server, which has to know every member";
            return Err(r.fault("gossip_lan.view", what));
        }
        Some("partial") => View::Partial,
        Some(_) => return Err(r.fault("gossip_lan.view", "must be \"full\" or \"partial\"")),
    };
    Ok(Gossip {
        gossip_nodes: count("gossip_lan.gossip_nodes", g.gossip_nodes)?,
        gossip_interval: span("gossip_lan.gossip_interval", g.gossip_interval)?,
        probe_interval: span("gossip_lan.probe_interval", g.probe_interval)?,
        probe_timeout: span("gossip_lan.probe_timeout", g.probe_timeout)?,
        suspicion_mult: count("gossip_lan.suspicion_mult", g.suspicion_mult)?,
        retransmit_mult: count("gossip_lan.retransmit_mult", g.retransmit_mult)?,
        view,
    })
}
