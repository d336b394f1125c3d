//! User events of the pool: fired here, heard by gossip, handed to who missed them.

use alloc::vec::Vec;

use super::effects::Due;
use super::{Phase, Pool};
use crate::gossip::Event;
use crate::gossip::event::{EVENTS_MAX, UserEvent};
use crate::gossip::news::News;
use crate::gossip::sync::Error;
use crate::time::Instant;
use crate::wire::event::{self, TooBig};

/// Rounds of gossip that an event waits for those before it.
const HOLD_ROUNDS: u64 = 5;

impl Pool {
    /// Fires an event to the whole pool, ourselves included; answers its time. `event` comes
    /// without one.
    ///
    /// # Errors
    ///
    /// [`TooBig`]; then nothing was sent.
    pub fn fire(&mut self, now: Instant, event: UserEvent) -> Result<u64, TooBig> {
        self.effects.now = now;
        let time = self.events.next_time();
        let event = UserEvent { time, ..event };
        self.events.hear(&event.lend())?;
        self.spread(&News::Event(event.lend()));
        self.settle(now);
        Ok(time)
    }

    /// Tells the highest Lamport time of events seen.
    pub const fn event_time(&self) -> u64 {
        self.events.clock()
    }

    /// Tells the Lamport time up to which events were told: what [`Pool::resume_events`] takes.
    pub const fn events_told(&self) -> u64 {
        self.events.told()
    }

    /// Takes up where an earlier run of this member stopped, before anything else is done: events
    /// up to its [`Pool::events_told`] are not told again, and the next one fired is above them.
    pub fn resume_events(&mut self, told: u64) {
        self.events.skip(told);
    }

    /// Takes an event that came by gossip.
    pub(super) fn hear_event(&mut self, event: event::Event<'_>) {
        if self.events.hear(&event) == Ok(true) {
            self.spread(&News::Event(event));
        }
    }

    /// Takes events of an exchange, with the peer's clock. They are not gossiped on: who lacks
    /// them as well has exchanges of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]; the events before the damaged one were taken.
    pub(super) fn merge_events(&mut self, events: &[Vec<u8>], clock: u64) -> Result<(), Error> {
        if events.len() > EVENTS_MAX {
            return Err(Error::Malformed);
        }
        for bytes in events {
            let event = event::Event::parse(bytes).ok_or(Error::Malformed)?;
            self.events.hear(&event).map_err(|_| Error::Malformed)?;
        }
        self.events.catch_up(clock);
        Ok(())
    }

    /// Tells what is due, and sees to it that nothing waits too long.
    pub(super) fn settle_events(&mut self) {
        let told = self.events.tell().into_iter().map(Event::User);
        if self.local.phase == Phase::Active {
            self.roster.events.extend(told);
        }
        if self.events.waits() && !self.event_armed {
            self.event_armed = true;
            self.effects.arm(self.config.gossip_period.times(HOLD_ROUNDS), Due::Event);
        }
    }

    /// Ends the wait for events that did not come.
    pub(super) fn event_due(&mut self) {
        self.event_armed = false;
        self.events.give_up();
    }
}
