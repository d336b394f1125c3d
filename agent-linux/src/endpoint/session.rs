//! Sessions: what is settled before one is made, renewals, and when the leader must end them.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/session>.

use super::{Prepared, Read, Server};
use crate::store::Store;
use agent_core::model::request::{Error, Kind, Reply};
use agent_core::model::session::{Op, Query, Session};
use agent_core::time::GoDuration;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Longest TTL.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// A session ends after this many TTLs without renewal, so that a late renewal is not lost.
const TTL_PATIENCE: u32 = 2;

/// Length of a UUID's text, which Consul insists on.
const UUID_LEN: usize = 36;

fn refuse<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::with(Kind::Invalid, text))
}

fn check_id(id: &str) -> Result<(), Error> {
    if id.len() == UUID_LEN {
        return Ok(());
    }
    refuse("failed session lookup: index error: UUID must be 36 characters")
}

/// Chooses a session's id, and refuses bad settings in Consul's words.
pub(super) fn prepare(op: &mut Op, store: &Store, ttl_min: Duration) -> Result<Prepared, Error> {
    match op {
        Op::Create(session) => {
            if session.node.is_empty() {
                return refuse("Must provide Node");
            }
            check_ttl(session, ttl_min)?;
            let tables = store.tables();
            session.id = loop {
                let id = uuid::Uuid::new_v4().to_string();
                if !tables.has_session(&id) {
                    break id;
                }
            };
            Ok(Prepared::Propose)
        }
        Op::Destroy(id) if id.is_empty() => refuse("Must provide ID"),
        Op::Destroy(id) => {
            check_id(id)?;
            match store.tables().has_session(id) {
                true => Ok(Prepared::Propose),
                false => Ok(Prepared::Answer(Reply::Done)),
            }
        }
    }
}

fn check_ttl(session: &Session, ttl_min: Duration) -> Result<(), Error> {
    let ttl = Duration::from_nanos(session.ttl_ns);
    if session.ttl_ns == 0 || (ttl_min..=TTL_MAX).contains(&ttl) {
        return Ok(());
    }
    let nanos = |time: Duration| GoDuration(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    refuse(format!(
        "Invalid Session TTL '{}', must be between [{}={}]",
        session.ttl_ns,
        nanos(ttl_min),
        nanos(TTL_MAX)
    ))
}

/// Starts or stops the timer of a session that was just made or ended.
pub(super) fn note(server: &Server, op: &Op) {
    match op {
        Op::Create(session) => server.timers.arm(session),
        Op::Destroy(id) => server.timers.stop(id),
    }
}

/// Finds how a query is read.
pub(super) fn reader(query: &Query) -> Result<Read<'_>, Error> {
    if let Query::Info(id) = query {
        check_id(id)?;
    }
    Ok(Box::new(move |tables| tables.session(query).map(Reply::Session)))
}

/// Starts a session's TTL anew and tells the session, none if it has ended.
pub(super) async fn renew(server: &Server, id: &str) -> Result<Reply, Error> {
    check_id(id)?;
    server.raft.lease().await?;
    let found = server.store.tables().session(&Query::Info(id.into())).value;
    if let agent_core::model::session::Reply::Sessions(sessions) = &found {
        sessions.iter().for_each(|session| server.timers.arm(session));
    }
    Ok(Reply::Session(found))
}

/// When sessions end unless they are renewed: in the leader's memory, started in full by each new
/// leader. Bounded by the number of sessions.
#[derive(Debug, Default)]
pub struct Timers {
    due: Mutex<BTreeMap<String, Instant>>,
    changed: Notify,
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a session's time anew; does nothing for one without TTL.
    pub fn arm(&self, session: &Session) {
        if session.ttl_ns > 0 {
            let time = Duration::from_nanos(session.ttl_ns).saturating_mul(TTL_PATIENCE);
            self.lock().insert(session.id.clone(), Instant::now() + time);
            self.changed.notify_one();
        }
    }

    /// Starts the time of those sessions that have no timer, and stops those of sessions gone.
    pub fn keep<'a>(&self, sessions: impl Iterator<Item = &'a Session>) {
        let mut old = std::mem::take(&mut *self.lock());
        for session in sessions {
            match old.remove(&session.id) {
                Some(due) => drop(self.lock().entry(session.id.clone()).or_insert(due)),
                None => self.arm(session),
            }
        }
    }

    /// Tells how many sessions have one.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Lets a session live a little longer, because it could not be ended.
    pub fn postpone(&self, id: String, time: Duration) {
        self.lock().insert(id, Instant::now() + time);
    }

    /// Stops a session's timer.
    pub fn stop(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Stops all timers.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Takes out the sessions whose time is over.
    pub fn take_due(&self, now: Instant) -> Vec<String> {
        self.lock().extract_if(.., |_, due| *due <= now).map(|(id, _)| id).collect()
    }

    /// Tells when the next session ends.
    pub fn next(&self) -> Option<Instant> {
        self.lock().values().min().copied()
    }

    /// Waits until a timer was started.
    pub async fn armed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL_MIN: Duration = Duration::from_secs(10);

    fn session(id: &str, ttl_secs: u64) -> Session {
        let ttl_ns = ttl_secs * 1_000_000_000;
        Session { id: id.into(), node: "n".into(), ttl_ns, ..Session::default() }
    }

    #[test]
    fn a_session_ends_after_twice_its_ttl() {
        let timers = Timers::default();
        timers.arm(&session("a", 10));
        timers.arm(&session("b", 0));
        let now = Instant::now();
        assert!(timers.take_due(now + Duration::from_secs(19)).is_empty());
        assert_eq!(timers.take_due(now + Duration::from_secs(20)), ["a"]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn keeping_starts_new_timers_and_stops_old_ones() {
        let timers = Timers::default();
        timers.arm(&session("gone", 10));
        timers.arm(&session("kept", 10));
        let (kept, new) = (session("kept", 10), session("new", 10));
        let due = timers.next();
        timers.keep([&kept, &new].into_iter());
        assert_eq!(timers.lock().keys().collect::<Vec<_>>(), ["kept", "new"]);
        assert!(timers.next() >= due);
    }

    #[test]
    fn a_ttl_out_of_bounds_is_refused_in_consuls_words() {
        let error = check_ttl(&session("a", 5), TTL_MIN).unwrap_err();
        let text = "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]";
        assert_eq!(error.text, text);
        assert!(check_ttl(&session("a", 0), TTL_MIN).is_ok());
        assert!(check_ttl(&session("a", 86_400), TTL_MIN).is_ok());
        assert!(check_ttl(&session("a", 86_401), TTL_MIN).is_err());
    }
}
