//! A leader whose process is gone is replaced as soon as its promises have lapsed.
//!
//! A follower without word from its leader asks the kernel of the leader's machine: who refuses
//! connections on the leader's port has no leader. That is certain where silence is not, so the
//! followers need not draw the long lots that keep a slow leader in office. Once the promise that
//! all gave has lapsed they stand for election in turn, by their ids, each while no other leads:
//! a first time in one direction, and a second time in the other, for whoever has the longest log
//! and lost its first turn to the votes that others had just given. Then lots decide as ever, lest
//! one that cannot win keeps the others from it. A machine that does not answer at all (no power,
//! no network) refuses nothing, and its leader is replaced by lot, too.

use super::leadership::{Judge, Metrics};
use openraft::ServerState;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Follows who led last, and stands for election when that leader's process is gone.
#[derive(Default)]
pub(super) struct Succession {
    leader: Option<(u64, SocketAddr)>,
    attempt: Option<JoinHandle<()>>,
    /// Whether this server has had its turns since a leader was last heard of.
    stood: Arc<AtomicBool>,
}

impl Succession {
    /// Looks at where raft stands; called before the promise of a silent leader lapses.
    pub(super) fn look(&mut self, judge: &Judge, metrics: &Metrics) {
        let members = metrics.membership_config.membership();
        if let Some(leader) = metrics.current_leader {
            let node = members.get_node(&leader).filter(|_| leader != judge.id);
            self.leader = node.map(|node| (leader, judge.network.address_of(leader, node)));
        }
        let missed = judge.timing.heartbeat + judge.timing.heartbeat / 2;
        if judge.contact.elapsed().is_none_or(|since| since <= missed) {
            self.stood.store(false, Ordering::Relaxed);
            return;
        }
        let busy = self.attempt.as_ref().is_some_and(|attempt| !attempt.is_finished());
        let stands = matches!(metrics.state, ServerState::Follower | ServerState::Candidate);
        let Some((leader, address)) = self.leader else { return };
        if busy || !stands || self.stood.load(Ordering::Relaxed) {
            return;
        }
        let voters: Vec<u64> = members.voter_ids().filter(|voter| *voter != leader).collect();
        if let Some(turns) = turns(&voters, judge.id) {
            let stood = Arc::clone(&self.stood);
            self.attempt = Some(tokio::spawn(stand(judge.clone(), address, turns, stood)));
        }
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        if let Some(attempt) = &self.attempt {
            attempt.abort();
        }
    }
}

/// Tells the two turns of a server among those that are left: up by id, then down again.
fn turns(voters: &[u64], this: u64) -> Option<[u32; 2]> {
    if !voters.contains(&this) {
        return None;
    }
    let below = voters.iter().filter(|voter| **voter < this).count();
    let turn = |place: usize| u32::try_from(place).ok();
    Some([turn(below)?, turn(2 * voters.len() - 1 - below)?])
}

/// Stands for election at its turns if nobody is at the leader's address, until there is another.
async fn stand(judge: Judge, leader: SocketAddr, turns: [u32; 2], stood: Arc<AtomicBool>) {
    let timing = judge.timing;
    let silence = || judge.contact.elapsed().unwrap_or(Duration::MAX);
    if !is_gone(leader, timing.heartbeat).await {
        return;
    }
    // The others may have been promised a little later.
    let first = timing.promise.saturating_sub(silence()) + timing.heartbeat / 8;
    let first = Instant::now() + first;
    for turn in turns {
        tokio::time::sleep_until(first + turn * (timing.heartbeat * 3 / 4)).await;
        if silence() < timing.promise {
            return;
        }
        stood.store(true, Ordering::Relaxed);
        tracing::info!(%leader, "the leader's process is gone, standing for election");
        if let Err(fatal) = judge.raft.trigger().elect().await {
            return tracing::warn!("raft did not stand for election: {fatal}");
        }
    }
}

/// Tells whether a machine answers that nobody listens at an address.
async fn is_gone(address: SocketAddr, within: Duration) -> bool {
    match tokio::time::timeout(within, TcpStream::connect(address)).await {
        Ok(Err(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_refusal_says_that_a_leader_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let within = Duration::from_secs(10);
        assert!(!is_gone(address, within).await);
        drop(listener);
        assert!(is_gone(address, within).await);
    }

    #[test]
    fn turns_go_up_by_id_and_down_again() {
        let voters = [30, 10, 20];
        assert_eq!(turns(&voters, 10), Some([0, 5]));
        assert_eq!(turns(&voters, 20), Some([1, 4]));
        assert_eq!(turns(&voters, 30), Some([2, 3]));
        assert_eq!(turns(&voters, 40), None);
    }
}
