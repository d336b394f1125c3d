//! User events: fired into the pool, heard from it, kept for those who ask.
//!
//! Every agent keeps the latest events that are meant for it, in the order in which it heard them.

use super::Agent;
use super::{exec, local::Local};
use crate::endpoint::agent::Reply;
use crate::endpoint::filter;
use crate::gossip::UserEvent;
use agent_core::model::request::{Error, Kind};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// How long who fires an event waits for this agent to keep it: another thread hands it over.
const KEPT_TIMEOUT: Duration = Duration::from_secs(1);

/// Most events kept, as Consul's.
const EVENTS_MAX: usize = 256;

/// The latest events.
pub(super) struct Events {
    recent: Mutex<VecDeque<Arc<UserEvent>>>,
    /// Counts events.
    heard: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self { recent: Mutex::default(), heard: watch::Sender::new(0) }
    }
}

impl Events {
    /// Keeps an event; the oldest makes room.
    fn push(&self, event: UserEvent) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= EVENTS_MAX {
            recent.pop_front();
        }
        recent.push_back(Arc::new(event));
        drop(recent);
        self.heard.send_modify(|count| *count += 1);
    }

    /// Lists the events of a name, or all for no name, with the index of the list.
    fn list(&self, name: &str) -> (Vec<Arc<UserEvent>>, u64) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let named = recent.iter().filter(|event| name.is_empty() || event.name == name);
        let events: Vec<_> = named.cloned().collect();
        let index = events.last().map_or(1, |event| index(event));
        (events, index)
    }

    /// Waits until an event is kept; no longer than [`KEPT_TIMEOUT`], should others push it out.
    async fn kept(&self, id: [u8; 16]) {
        let deadline = Instant::now() + KEPT_TIMEOUT;
        let mut heard = self.heard.subscribe();
        loop {
            heard.mark_unchanged();
            let is_kept = {
                let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                recent.iter().rev().any(|event| event.id == id)
            };
            if is_kept || !matches!(timeout_at(deadline, heard.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Lists events once the list's index is not `after`, or time is up. Indexes have no order.
    pub(super) async fn wait(&self, name: &str, after: u64, wait: Duration) -> Reply {
        let deadline = Instant::now() + wait;
        let mut heard = self.heard.subscribe();
        loop {
            heard.mark_unchanged();
            let (events, index) = self.list(name);
            if after == 0 || index != after {
                return Reply::Events { events, index };
            }
            if !matches!(timeout_at(deadline, heard.changed()).await, Ok(Ok(()))) {
                return Reply::Events { events, index };
            }
        }
    }
}

/// Tells an event's index: the halves of its id, one over the other.
const fn index(event: &UserEvent) -> u64 {
    let (high, low) = Uuid::from_bytes(event.id).as_u64_pair();
    high ^ low
}

/// Fires an event into the own datacentre. Who lists events after that finds it, if it is meant for
/// this node.
///
/// # Errors
///
/// With Consul's texts, [`Kind::Failed`]: a filter that is none, an event that is too long; and
/// [`Kind::NoPath`] for another datacentre.
pub(super) async fn fire(
    agent: &Agent,
    event: UserEvent,
    datacenter: &str,
) -> Result<Reply, Error> {
    check(&event).map_err(|text| Error::with(Kind::Failed, text))?;
    let config = agent.config();
    // Consul's clients ask a server to fire.
    let told = |error: Error| if config.server { error } else { error.hop() };
    if !datacenter.is_empty() && datacenter != config.datacenter {
        return Err(told(Error::new(Kind::NoPath)));
    }
    let event = UserEvent { id: Uuid::new_v4().into_bytes(), ..event };
    agent.gossip.fire(event.clone()).map_err(|error| {
        if agent.gossip.servers().is_some() {
            return Error::with(Kind::Failed, error);
        }
        let text =
            format!("1 error occurred:\n\t* error broadcasting event to segment \"\": {error}\n\n");
        told(Error::with(Kind::Failed, text))
    })?;
    let is_ours = matches!(concerns(&event, &config.node_name, &agent.local), Ok(true));
    if is_ours && event.name != exec::EVENT {
        agent.events.kept(event.id).await;
    }
    Ok(Reply::Event(Box::new(event)))
}

/// Checks an event's filters.
fn check(event: &UserEvent) -> Result<(), String> {
    if !event.tag.is_empty() && event.service.is_empty() {
        return Err("Cannot provide tag filter without service filter".to_owned());
    }
    for (what, text) in [("node", &event.node), ("service", &event.service), ("tag", &event.tag)] {
        filter::pattern(text).map_err(|error| format!("Invalid {what} filter: {error}"))?;
    }
    Ok(())
}

/// Tells whether an event is meant for this node.
fn concerns(event: &UserEvent, node: &str, local: &Local) -> Result<bool, regex_lite::Error> {
    if !filter::pattern(&event.node)?.is_match(node) {
        return Ok(false);
    }
    if event.service.is_empty() {
        return Ok(true);
    }
    let (service, tag) = (filter::pattern(&event.service)?, filter::pattern(&event.tag)?);
    Ok(local.with(|state, _| {
        state.services.iter().any(|(id, kept)| {
            let tags = &kept.row.tags;
            let tagged = event.tag.is_empty() || tags.iter().any(|one| tag.is_match(one));
            service.is_match(id) && tagged
        })
    }))
}

impl Agent {
    /// Takes the events of the pool until it ends.
    pub(super) async fn follow_events(self: Arc<Self>) {
        let mut events = self.gossip.events();
        let runs = Arc::new(Semaphore::new(exec::RUNS_MAX));
        loop {
            match events.recv().await {
                Ok(event) => self.take(event, &runs),
                Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "user events were lost"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Takes one event, if it is meant for this node.
    fn take(self: &Arc<Self>, event: UserEvent, runs: &Arc<Semaphore>) {
        match concerns(&event, &self.config().node_name, &self.local) {
            Ok(true) if event.name == exec::EVENT => self.execute(event, runs),
            Ok(true) => {
                let id = Uuid::from_bytes(event.id);
                tracing::debug!("agent: new event: event_name={} event_id={id}", event.name);
                self.events.push(event);
            }
            Ok(false) => {}
            Err(error) => tracing::error!("agent: event with a filter that is none: {error}"),
        }
    }

    /// Runs what an event of remote execution asks for, if that is allowed.
    fn execute(self: &Arc<Self>, event: UserEvent, runs: &Arc<Semaphore>) {
        if self.config().disable_remote_exec {
            tracing::info!("agent: ignoring remote exec event, disabled.");
            return;
        }
        let Ok(run) = Arc::clone(runs).try_acquire_owned() else {
            tracing::warn!("agent: ignoring remote exec event, too many commands run.");
            return;
        };
        let agent = self.clone();
        tokio::spawn(self.clone().until_stopped(async move {
            exec::run(&agent, event).await;
            drop(run);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, id: u8) -> UserEvent {
        UserEvent { name: name.into(), id: [id; 16], ..UserEvent::default() }
    }

    async fn names(events: &Events, name: &str, after: u64) -> (Vec<String>, u64) {
        let Reply::Events { events, index } = events.wait(name, after, Duration::ZERO).await else {
            panic!("events were asked for")
        };
        (events.iter().map(|event| event.name.clone()).collect(), index)
    }

    #[tokio::test]
    async fn the_latest_events_are_listed_by_name() {
        let events = Events::default();
        assert_eq!(names(&events, "", 1).await, (Vec::new(), 1));
        for id in 0..=u8::MAX {
            events.push(event("early", id));
        }
        events.push(UserEvent { id: *b"0123456789abcdef", ..event("late", 0) });
        let (all, index) = names(&events, "", 0).await;
        assert_eq!((all.len(), all[EVENTS_MAX - 1].as_str()), (EVENTS_MAX, "late"));
        assert_eq!(index, u64::from_be_bytes(*b"01234567") ^ u64::from_be_bytes(*b"89abcdef"));
        assert_eq!(names(&events, "late", 0).await, (vec!["late".to_owned()], index));
        assert_eq!(names(&events, "early", 0).await.0.len(), EVENTS_MAX - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_fires_waits_until_the_event_is_kept() {
        let events = Arc::new(Events::default());
        let waiting = events.clone();
        let task = tokio::spawn(async move { waiting.kept([2; 16]).await });
        tokio::task::yield_now().await;
        events.push(event("other", 1));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        events.push(event("mine", 2));
        task.await.unwrap();
        let began = Instant::now();
        events.kept([2; 16]).await;
        assert!(began.elapsed().is_zero(), "it is kept already");
        events.kept([3; 16]).await;
        assert_eq!(began.elapsed(), KEPT_TIMEOUT, "it never came");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_by_an_event_of_its_name_only() {
        let events = Arc::new(Events::default());
        let wait = Duration::from_secs(10);
        let began = Instant::now();
        events.push(event("other", 1));
        assert!(matches!(events.wait("mine", 1, wait).await, Reply::Events { index: 1, .. }));
        assert_eq!(began.elapsed(), wait, "time was up");
        let waiting = events.clone();
        let task = tokio::spawn(async move { waiting.wait("mine", 1, wait).await });
        tokio::task::yield_now().await;
        events.push(event("mine", 2));
        let Ok(Reply::Events { events: found, .. }) = task.await else { panic!("it ends") };
        assert_eq!(found.len(), 1);
        assert_eq!(began.elapsed(), wait, "at once");
    }

    #[test]
    fn filters_are_checked_before_anything_is_fired() {
        let filtered = |node: &str, service: &str, tag: &str| UserEvent {
            node: node.into(),
            service: service.into(),
            tag: tag.into(),
            ..UserEvent::default()
        };
        assert_eq!(check(&filtered("^a", "b+", "c")), Ok(()));
        let text = "Cannot provide tag filter without service filter";
        assert_eq!(check(&filtered("", "", "c")), Err(text.to_owned()));
        for (event, what) in [
            (filtered("(", "", ""), "Invalid node filter: "),
            (filtered("", "(", ""), "Invalid service filter: "),
            (filtered("", "a", "("), "Invalid tag filter: "),
        ] {
            let text = check(&event).unwrap_err();
            assert!(text.starts_with(what), "{text}");
        }
    }
}
