//! Reads that can be blocked on: one query in the background for all who ask the same.

use super::super::block::Wait;
use super::shelf::{Entry, Key, Shelf};
use super::{Cache, Cached, Endpoint, common, fresh};
use crate::metrics;
use agent_core::model::Index;
use agent_core::model::request::{Answer, Error, Kind, Outcome, Request};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// First pause after a failure, and least time between two answers with the same index.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between two attempts to reach the servers.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// What is known of an answer.
#[derive(Debug)]
pub(super) enum State {
    /// The servers were asked and have not yet answered.
    Asked,
    /// They answered; since then this is kept fresh.
    Known {
        /// The last answer.
        answer: Answer,
        /// Since when they fail, if they do.
        lost: Option<Instant>,
    },
    /// They did not answer; nothing more is tried.
    Refused(Error),
}

impl State {
    fn index(&self) -> Option<Index> {
        match self {
            Self::Known { answer, .. } => Some(answer.meta.index),
            Self::Asked | Self::Refused(_) => None,
        }
    }
}

impl Cache {
    /// Tells the followed answer, at once or when it is newer than the asker's.
    pub(super) async fn follow(&self, key: Key, request: Request) -> Result<Cached, Error> {
        let Wait { after, time } = self.endpoint.0.wait(&request);
        let entry = self.shelf.entry(&key, || {
            let (updates, watcher) = watch::channel(State::Asked);
            let shelf = Arc::downgrade(&self.shelf);
            let endpoint = self.endpoint.clone();
            tokio::spawn(keep_fresh(endpoint, common(&request), updates, shelf, key.clone()));
            Entry::Followed(watcher)
        });
        let Entry::Followed(mut updates) = entry else {
            return fresh(self.endpoint.serve(request).await);
        };
        if let State::Known { answer, lost } = &*updates.borrow()
            && (after == 0 || answer.meta.index > after)
        {
            let age = lost.map_or(Duration::ZERO, |since| since.elapsed());
            return Ok(Cached { answer: answer.clone(), age: Some(age) });
        }
        let _ = updates.wait_for(|state| !matches!(state, State::Asked)).await;
        let first = updates.borrow().index();
        // An index that goes back comes of a restored snapshot: everything may have changed.
        let is_news =
            |state: &State| state.index().is_none_or(|now| now > after || Some(now) < first);
        let _blocking = metrics::QUERIES_BLOCKING.hold();
        let _ = tokio::time::timeout(time, updates.wait_for(is_news)).await;
        let state = updates.borrow();
        match &*state {
            State::Known { answer, .. } => Ok(Cached { answer: answer.clone(), age: None }),
            State::Refused(error) => Err(error.clone()),
            State::Asked => Err(Error::new(Kind::Unknown)),
        }
    }
}

/// Asks again and again, as long as somebody holds a receiver. Gives up if the first answer is a
/// failure: those who wait for it must be told.
async fn keep_fresh(
    endpoint: Endpoint,
    mut request: Request,
    updates: watch::Sender<State>,
    shelf: Weak<Shelf>,
    key: Key,
) {
    let mut pause = PAUSE_MIN;
    loop {
        let asked = Instant::now();
        let outcome = tokio::select! {
            outcome = endpoint.serve(request.clone()) => outcome,
            () = updates.closed() => return,
        };
        let before = request.options.min_index;
        pause = match note(&updates, outcome) {
            Noted::Refused => return,
            // Then at once, without blocking: an unchanged answer must lose its age, too.
            Noted::Lost => {
                request.options.min_index = 0;
                (pause * 2).min(PAUSE_MAX)
            }
            Noted::Known(index) => {
                request.options.min_index = index;
                PAUSE_MIN
            }
        };
        let is_news = request.options.min_index != before;
        if !is_news && asked.elapsed() < PAUSE_MIN {
            tokio::time::sleep(endpoint.0.roll(pause)).await;
        }
        let Some(shelf) = shelf.upgrade() else { return };
        shelf.drop_idle(&key);
    }
}

/// What came of an attempt.
enum Noted {
    Known(Index),
    Lost,
    Refused,
}

/// Notes an outcome; wakes those who watch if there is something new to tell.
fn note(updates: &watch::Sender<State>, outcome: Outcome) -> Noted {
    match outcome {
        Ok(answer) => {
            let index = answer.meta.index;
            updates.send_if_modified(|state| {
                let is_new = state.index() != Some(index);
                *state = State::Known { answer, lost: None };
                is_new
            });
            Noted::Known(index)
        }
        Err(error) => {
            let mut noted = Noted::Lost;
            updates.send_if_modified(|state| match state {
                State::Known { lost, .. } => {
                    lost.get_or_insert_with(Instant::now);
                    false
                }
                State::Asked | State::Refused(_) => {
                    noted = Noted::Refused;
                    *state = State::Refused(error);
                    true
                }
            });
            noted
        }
    }
}
