//! How long things take, as multiples of `performance.raft_multiplier`.
//!
//! A server without word from the leader waits for the leader's promise to lapse (`promise`), then
//! for its own lot between `election_min` and `election_max`, checked every tick of one and a half
//! heartbeats. So with multiplier 1 a leader that fell silent is replaced after 1.2 to 1.7 s; one
//! whose process is gone, see [`succession`](super::succession), mostly after 0.6 to 0.9 s.

use std::time::Duration;

/// Multipliers that are accepted, as Consul's.
pub const MULTIPLIER_MAX: u32 = 10;

/// The timings of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Between heartbeats at least, and how long an append may take before it is sent again.
    pub(super) heartbeat: Duration,
    /// Least of the lot that a follower draws.
    pub(super) election_min: Duration,
    /// Most of it.
    pub(super) election_max: Duration,
    /// How long a follower that took an append votes for nobody else: openraft's lease, which is
    /// its longest election timeout.
    pub(super) promise: Duration,
    /// How long the leader answers reads on that promise: shorter, for clocks that drift.
    pub(super) lease: Duration,
    /// How long without a quorum until the leader no longer counts itself as one, and without word
    /// until a follower no longer counts on its leader.
    pub(super) lost: Duration,
    /// How long a change may wait for a quorum.
    pub(super) commit: Duration,
    /// How long one call waits for a new server to catch up; the server goes on meanwhile.
    pub(super) catch_up: Duration,
}

impl Timing {
    pub(super) fn new(multiplier: u32) -> Self {
        let millis =
            |millis: u64| Duration::from_millis(millis) * multiplier.clamp(1, MULTIPLIER_MAX);
        let timing = Self {
            heartbeat: millis(200),
            election_min: millis(500),
            election_max: millis(700),
            promise: millis(700),
            lease: millis(500),
            lost: millis(1000),
            commit: millis(10_000),
            catch_up: millis(15_000),
        };
        debug_assert!(timing.lease < timing.promise && timing.heartbeat * 2 < timing.election_min);
        timing
    }
}
