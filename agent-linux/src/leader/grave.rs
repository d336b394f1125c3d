//! Lets deleted keys be forgotten once nobody can still wait with an older index.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/agent/config> (`tombstone_ttl`).

use super::ask;
use crate::endpoint::Endpoint;
use agent_core::model::Index;
use agent_core::model::command::Command;
use agent_core::model::kv::Op;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How long a grave is kept: longer than the longest blocking query.
const GRAVE_TIME: Duration = Duration::from_secs(15 * 60);

/// How exactly graves are timed: a note of the youngest one is taken this often.
const GRANULARITY: Duration = Duration::from_secs(30);

/// Which graves are how old. Bounded: one note per granule, dropped when due.
#[derive(Debug, Default)]
struct Notes(VecDeque<(Instant, Index)>);

impl Notes {
    /// Notes the youngest grave, unless it was noted before.
    fn note(&mut self, now: Instant, youngest: Option<Index>) {
        let Some(index) = youngest else { return };
        if self.0.back().is_none_or(|(_, noted)| *noted < index) {
            self.0.push_back((now + GRAVE_TIME, index));
        }
    }

    /// Takes out what is due: the youngest grave to reap.
    fn due(&mut self, now: Instant) -> Option<Index> {
        let mut last = None;
        while let Some((_, index)) = self.0.pop_front_if(|(due, _)| *due <= now) {
            last = Some(index);
        }
        last
    }
}

/// Reaps graves as they come of age.
pub(super) async fn run(endpoint: &Endpoint) {
    let mut notes = Notes::default();
    let mut reaped = 0;
    let mut tick = tokio::time::interval(GRANULARITY);
    loop {
        let now = tick.tick().await;
        let youngest = endpoint.tables().and_then(|tables| tables.youngest_grave());
        notes.note(now, youngest.filter(|index| *index > reaped));
        let Some(index) = notes.due(now) else { continue };
        reaped = index;
        if let Err(error) = ask(endpoint, Command::Kv(Op::Reap(index))).await {
            tracing::warn!(%error, index, "leader: deleted keys could not be forgotten");
            reaped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graves_are_reaped_when_they_are_old_enough() {
        let (mut notes, start) = (Notes::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        notes.note(at(0), None);
        notes.note(at(30), Some(7));
        notes.note(at(60), Some(7));
        notes.note(at(90), Some(9));
        assert_eq!(notes.due(at(900)), None);
        assert_eq!(notes.due(at(930)), Some(7));
        assert_eq!(notes.due(at(989)), None);
        assert_eq!(notes.due(at(2000)), Some(9));
        assert_eq!(notes.due(at(4000)), None);
    }
}
