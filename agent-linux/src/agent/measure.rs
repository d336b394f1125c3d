//! What can be measured at any moment.

use super::Agent;
use crate::lane;
use crate::metrics::{self, Gauge};

/// Measures the agent as it stands. `num_goroutines` counts the tasks that live in its runtimes,
/// which are to it what goroutines are to Consul.
pub(super) fn measure(agent: &Agent) -> Vec<Gauge> {
    let mut gauges = metrics::process();
    let tasks = lane::load().tasks;
    gauges.push(Gauge::new("runtime.num_goroutines", tasks as f64));
    let health = f64::from(agent.gossip.stats().health_score);
    gauges.push(Gauge::new("memberlist.health.score", health));
    let blocking = metrics::QUERIES_BLOCKING.get();
    gauges.push(Gauge::new("rpc.queries_blocking", blocking as f64));
    if let Some(raft) = &agent.raft {
        gauges.extend([
            Gauge::new("raft.applied_index", raft.applied_index() as f64),
            Gauge::new("raft.last_index", raft.last_log_index() as f64),
        ]);
        if let Some(health) = agent.endpoint.health() {
            let tolerance = health.failure_tolerance as f64;
            gauges.push(Gauge::new("autopilot.healthy", f64::from(u8::from(health.healthy))));
            gauges.push(Gauge::new("autopilot.failure_tolerance", tolerance));
        }
        if raft.is_leader() {
            let active = agent.endpoint.timers().map_or(0, |timers| timers.count());
            gauges.push(Gauge::new("session_ttl.active", active as f64));
        }
    }
    gauges
}

/// Measures at the end of an interval, and adds samples of what grows and shrinks.
pub(super) fn at_interval(agent: &Agent) -> Vec<Gauge> {
    for pool in [Some(&agent.gossip), agent.wan.as_ref()].into_iter().flatten() {
        let stats = pool.stats();
        metrics::SERF_QUEUE_INTENT.add(stats.intent_queue as u64);
        metrics::SERF_QUEUE_EVENT.add(stats.event_queue as u64);
    }
    measure(agent)
}
