//! A busy client's connection goes to the leader.
//!
//! Any server takes a client's requests, and passes on what is the leader's: one hop more, and the
//! work of one server more. Clients by the thousand are spread over the servers and ask for little.
//! One that asks for much asks who leads, again and again, and stays with that server meanwhile.

use super::rule::is_local;
use super::{Endpoint, Inner};
use agent_core::model::request::{self, Body, Options, Query, Reply, Request};
use agent_core::model::status;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many requests of the leader within a [`WINDOW`] make a client busy.
const BUSY: u32 = 200;

/// Time in which they are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Time between two questions for the leader.
const ASK_PERIOD: Duration = Duration::from_secs(10);

/// How long one may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How much a client asks of the leader.
#[derive(Default)]
pub(super) struct Load {
    count: AtomicU32,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    /// When the requests of before had been counted.
    since: Option<Instant>,
    asked: Option<Instant>,
}

impl Load {
    /// Counts a request of the leader; true if it is time to ask who that is.
    fn note(&self, now: impl FnOnce() -> Instant) -> bool {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 != BUSY {
            return false;
        }
        self.count.store(0, Ordering::Relaxed);
        let now = now();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let since = marks.since.replace(now);
        let busy = since.is_some_and(|since| now.saturating_duration_since(since) <= WINDOW);
        let due = marks.asked.is_none_or(|at| now.saturating_duration_since(at) >= ASK_PERIOD);
        if busy && due {
            marks.asked = Some(now);
        }
        busy && due
    }
}

impl Endpoint {
    /// Notes a request that a client passes on.
    pub(super) fn note_load(&self, request: &Request) {
        if !is_local(request) && self.0.load.note(Instant::now) {
            tokio::spawn(Arc::clone(&self.0).turn_to_leader());
        }
    }
}

impl Inner {
    async fn turn_to_leader(self: Arc<Self>) {
        let body = Body::Query(Query::Status(status::Query::Leader));
        let bytes = request::emit(&Request { options: Options::default(), body });
        let sent = self.router.forward_any(&bytes, Instant::now() + ASK_TIMEOUT).await;
        let Ok(answer) = self.carried(sent).decode() else { return };
        let Reply::Status(status::Reply::Leader(address)) = answer.reply else { return };
        if let Ok(leader) = address.parse() {
            self.router.stay_with(leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_busy_that_asks_for_much_in_little_time() {
        let (load, start) = (Load::default(), Instant::now());
        let ask = |count: u32, at: u64| {
            (0..count).filter(|_| load.note(|| start + Duration::from_millis(at))).count()
        };
        assert_eq!(ask(BUSY, 0), 0, "nothing is known of the time before");
        assert_eq!(ask(BUSY, 5000), 0, "over five seconds");
        assert_eq!(ask(BUSY - 1, 5500), 0);
        assert_eq!(ask(1, 6000), 1);
        assert_eq!(ask(10 * BUSY, 6500), 0, "it was asked just now");
        assert_eq!((ask(BUSY, 16_100), ask(BUSY, 16_200)), (0, 1), "again");
    }
}
