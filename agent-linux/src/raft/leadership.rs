//! Who leads, and the chores that go with watching it.
//!
//! openraft tells who won the last vote. Whether that still holds is judged here: a leader that no
//! quorum has answered for [`Timing::lost`] no longer counts itself as one, and a follower that has
//! not heard of its leader for as long no longer sends requests there.

use super::entry::{LogId, StoredMembership, Types, Vote};
use super::network::{Network, term_of};
use super::succession::Succession;
use super::timing::Timing;
use super::{Leadership, log_index};
use crate::metrics as counts;
use openraft::error::Fatal;
use openraft::{ChangeMembers, RaftMetrics, ServerState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Bytes of log after which a snapshot is taken, however few entries they are: bounds the log of a
/// cluster with large values.
const SNAPSHOT_BYTES: u64 = 32 * 1024 * 1024;

/// How long a change of servers may stay half-way (its leader died) before this leader finishes it.
const JOINT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type Metrics = RaftMetrics<u64, super::Server>;

/// When the leader was last heard of.
#[derive(Clone, Default)]
pub(super) struct Contact(Arc<Mutex<Option<Instant>>>);

impl Contact {
    pub(super) fn now(&self) {
        *self.0.lock().expect("no holder panics") = Some(Instant::now());
    }

    pub(super) fn elapsed(&self) -> Option<Duration> {
        self.0.lock().expect("no holder panics").map(|at| at.elapsed())
    }
}

/// What is needed to judge who leads.
#[derive(Clone)]
pub(super) struct Judge {
    pub(super) id: u64,
    pub(super) raft: openraft::Raft<Types>,
    pub(super) network: Network,
    pub(super) contact: Contact,
    pub(super) timing: Timing,
}

impl Judge {
    /// Tells whether this server leads and a quorum promised so within `span`.
    pub(super) fn holds(
        &self,
        state: ServerState,
        vote: Vote,
        membership: &StoredMembership,
        span: Duration,
    ) -> bool {
        state == ServerState::Leader
            && membership.voter_ids().any(|voter| voter == self.id)
            && (self.network.promised_at(self.id, vote, membership))
                .is_some_and(|at| at.elapsed() < span)
    }

    /// Tells whether reads may be answered by the leader's lease.
    pub(super) fn has_lease(&self, metrics: &Metrics) -> bool {
        self.holds(metrics.state, metrics.vote, &metrics.membership_config, self.timing.lease)
    }

    /// Judges who leads.
    pub(super) fn judge(&self, metrics: &Metrics) -> Leadership {
        let term = metrics.current_term;
        if metrics.running_state.is_err() {
            return Leadership { term, ..Leadership::default() };
        }
        if metrics.state == ServerState::Leader {
            let members = &metrics.membership_config;
            let is_self = self.holds(metrics.state, metrics.vote, members, self.timing.lost);
            let established = is_self && applied_own_entry(metrics);
            return Leadership { leader: is_self.then_some(self.id), term, is_self, established };
        }
        let heard = self.contact.elapsed().is_some_and(|since| since < self.timing.lost);
        let leader = metrics.current_leader.filter(|leader| heard && *leader != self.id);
        Leadership { leader, term, is_self: false, established: false }
    }
}

impl Judge {
    /// Tells how long to wait for the next look. While all is well nothing can change, unless
    /// openraft says so, until what was last heard is old: on the leader, until a quorum's promises
    /// lapse; on a follower, until there is just time to ask for the leader before its own promise
    /// lapses. Otherwise it is half a heartbeat.
    fn pause(&self, now: Leadership, metrics: &Metrics) -> Duration {
        let timing = self.timing;
        let (heard, fresh) = match metrics.state {
            ServerState::Leader => {
                let members = &metrics.membership_config;
                let promised = self.network.promised_at(self.id, metrics.vote, members);
                (promised.map(|at| at.elapsed()), timing.lost)
            }
            ServerState::Candidate
            | ServerState::Follower
            | ServerState::Learner
            | ServerState::Shutdown => {
                (self.contact.elapsed(), timing.promise - timing.heartbeat / 2)
            }
        };
        match heard {
            Some(since) if now.leader.is_some() && since < fresh => {
                (fresh - since).min(timing.lease)
            }
            Some(_) | None => timing.heartbeat / 2,
        }
    }
}

/// How a state is reached is counted from one look to the next.
type Before = Option<(ServerState, bool)>;

impl Judge {
    /// Counts changes of state, and how long the voters have been silent.
    fn measure(&self, metrics: &Metrics, now: Leadership, before: &mut Before) {
        let is_new = before.is_none_or(|(state, _)| state != metrics.state);
        match metrics.state {
            ServerState::Leader => {
                if is_new {
                    counts::RAFT_STATE_LEADER.count();
                }
                if before.is_some_and(|(_, led)| led && !now.is_self) {
                    counts::RAFT_LEASE_TIMEOUT.count();
                }
                let voters = metrics.membership_config.voter_ids().filter(|id| *id != self.id);
                for at in voters.filter_map(|voter| self.network.taken_at(voter, metrics.vote)) {
                    counts::RAFT_LEADER_LAST_CONTACT.add_time(at.elapsed());
                }
            }
            ServerState::Candidate if is_new => {
                counts::RAFT_STATE_CANDIDATE.count();
                counts::RAFT_HEARTBEAT_TIMEOUT.count();
            }
            ServerState::Follower if is_new => counts::RAFT_STATE_FOLLOWER.count(),
            ServerState::Candidate
            | ServerState::Follower
            | ServerState::Learner
            | ServerState::Shutdown => {}
        }
        *before = Some((metrics.state, now.is_self));
    }
}

/// Tells whether an entry of the leader's own term has been applied: then every entry committed
/// before has been, too.
pub(super) fn applied_own_entry(metrics: &Metrics) -> bool {
    term_of(metrics.last_applied.as_ref()) == metrics.current_term
}

/// Keeps `leadership` current, takes snapshots by volume, and finishes changes that stayed
/// half-way.
pub(super) async fn watch(
    judge: Judge,
    log: super::storage::Log,
    leadership: watch::Sender<Leadership>,
) {
    let mut servers = judge.raft.server_metrics();
    let mut metrics = judge.raft.metrics();
    let mut snapshot_at = log.appended_bytes();
    let mut joint_since = None;
    let mut has_ended = false;
    let mut state = None;
    let mut succession = Succession::default();
    loop {
        let now = judge.judge(&metrics.borrow_and_update());
        judge.measure(&metrics.borrow(), now, &mut state);
        leadership.send_if_modified(|known| {
            let is_new = *known != now;
            if is_new {
                tracing::info!(
                    leader = now.leader,
                    term = now.term,
                    is_self = now.is_self,
                    established = now.established,
                    "raft leadership"
                );
            }
            *known = now;
            is_new
        });
        let latest = metrics.borrow().clone();
        if let Err(fatal) = &latest.running_state {
            match fatal {
                Fatal::Stopped => tracing::info!("raft has stopped"),
                Fatal::StorageError(_) | Fatal::Panicked => {
                    tracing::error!("raft has stopped: {fatal}");
                }
            }
            has_ended = true;
        }
        if has_ended {
            leadership
                .send_replace(Leadership { term: latest.current_term, ..Leadership::default() });
            return;
        }
        if log.appended_bytes().saturating_sub(snapshot_at) > SNAPSHOT_BYTES {
            snapshot_at = log.appended_bytes();
            compact(&judge.raft, latest.snapshot.as_ref()).await;
        }
        finish_change(&judge, now, &latest, &mut joint_since);
        succession.look(&judge, &latest);
        let waits_for_own_entry =
            now.is_self && !now.established || latest.state == ServerState::Leader && !now.is_self;
        tokio::select! {
            changed = servers.changed() => has_ended = changed.is_err(),
            changed = metrics.changed(), if waits_for_own_entry => has_ended = changed.is_err(),
            () = tokio::time::sleep(judge.pause(now, &latest)) => {}
        }
    }
}

/// Takes a snapshot, and drops the entries that the one before has.
async fn compact(raft: &openraft::Raft<Types>, before: Option<&LogId>) {
    if let Some(before) = before
        && let Err(fatal) = raft.trigger().purge_log(before.index).await
    {
        tracing::warn!("raft log not compacted: {fatal}");
    }
    if let Err(fatal) = raft.trigger().snapshot().await {
        tracing::warn!("raft snapshot not taken: {fatal}");
    }
}

/// Leaves a joint configuration that a former leader did not live to leave.
fn finish_change(
    judge: &Judge,
    now: Leadership,
    metrics: &Metrics,
    joint_since: &mut Option<(Option<LogId>, Instant)>,
) {
    let members = &metrics.membership_config;
    let configs = members.membership().get_joint_config();
    let goal = match configs.as_slice() {
        [_, goal] if now.established => goal.clone(),
        _ => return *joint_since = None,
    };
    match joint_since {
        Some((id, since)) if id == members.log_id() => {
            if since.elapsed() < JOINT_TIMEOUT {
                return;
            }
        }
        Some(_) | None => return *joint_since = Some((*members.log_id(), Instant::now())),
    }
    *joint_since = None;
    tracing::info!(index = log_index(members.log_id().as_ref()), "finishing a change of servers");
    let raft = judge.raft.clone();
    tokio::spawn(async move {
        if let Err(error) =
            raft.change_membership(ChangeMembers::ReplaceAllVoters(goal), false).await
        {
            tracing::warn!("change of servers not finished: {error}");
        }
    });
}
