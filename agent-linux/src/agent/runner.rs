//! Runs this node's checks: one task that waits for what is due, one short task a run.

use super::local::Local;
use super::state::{Due, Run};
use crate::check::{Job, Work};
use agent_core::health::Key;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, sleep_until};

/// HTTP, gRPC and TCP checks under way at once: each takes a socket and some 10 KB.
const NETWORK_RUNS_MAX: usize = 256;

/// Scripts under way at once, here and in containers: each takes a process or more.
const SCRIPT_RUNS_MAX: usize = 32;

/// Time between two looks at what is due: outcomes that come in between are taken together, so
/// that thousands of checks cost no more looks than a hundred.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Turns for runs. Who finds none waits; its interval starts when it is through.
struct Turns {
    network: Semaphore,
    scripts: Semaphore,
}

/// Runs checks until the agent stops; runs under way are ended then.
pub async fn run(local: Arc<Local>, mut shutdown: watch::Receiver<bool>) {
    let turns = Arc::new(Turns {
        network: Semaphore::new(NETWORK_RUNS_MAX),
        scripts: Semaphore::new(SCRIPT_RUNS_MAX),
    });
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (due, next) = local.with(|state, now| {
            state.handle_aliases(now);
            let due = state.handle_timeout(now);
            (due, state.poll_timeout())
        });
        for due in due {
            handle(&local, &turns, due);
        }
        let next = next.map(|next| local.deadline(next));
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = local.rescheduled.notified() => {}
            () = async { match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            } } => {}
        }
    }
}

/// Does what is due.
fn handle(local: &Arc<Local>, turns: &Arc<Turns>, due: Due) {
    match due {
        Due::Run(key, work) => start(local, turns, key, work),
        Due::Reap { service_id, check_id } => {
            tracing::info!(
                service = service_id,
                check = check_id,
                "service was critical for too long: deregistering it"
            );
            let local = Arc::clone(local);
            tokio::task::spawn_blocking(move || {
                let removed = local.deregister_service(&service_id);
                if let Err(error) = removed.and_then(|()| local.settle_disk()) {
                    tracing::error!(service = service_id, %error, "cannot deregister");
                }
            });
        }
    }
}

/// Starts one run; it reports back when it is through.
fn start(local: &Arc<Local>, turns: &Arc<Turns>, key: Key, work: Arc<Work>) {
    let (home, turns) = (Arc::clone(local), Arc::clone(turns));
    let task = tokio::spawn(async move {
        let Work::Run(job) = &*work else { return };
        let turn = match job {
            Job::Script(_) | Job::Docker(_) => &turns.scripts,
            Job::Http(_) | Job::Tcp(_) | Job::Grpc(_) => &turns.network,
        };
        let _turn = turn.acquire().await.expect("the semaphore is never closed");
        let outcome = job.run().await;
        home.with(|state, now| state.handle_outcome(now, key, &outcome));
    });
    local.with(|state, _| state.set_run(key, Run(task.abort_handle())));
}
