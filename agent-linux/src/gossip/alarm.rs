//! One timer of the kernel, for the earliest deadline of a pool.
//!
//! The runtime keeps its timers in a wheel: to sleep for a second it wakes two or three times, and
//! once more to arm a timer that is due before all others. A pool arms one or more a second for
//! life, and such a wake-up costs an idle agent more than what it woke for.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Rings once, at the time that was set last.
pub(super) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    at: Option<Instant>,
}

impl Alarm {
    /// Makes one that is not set, within a runtime.
    ///
    /// # Errors
    ///
    /// What the system says: there are no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: watch(timer)?, at: None })
    }

    /// Sets when to ring, at once if that is past; `None` for never.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        if at == self.at {
            return;
        }
        self.at = at;
        // Nothing left is no time at all, which would switch the timer off.
        let left =
            |at: Instant| at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let left = at.map_or(Duration::ZERO, left);
        let timer = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(left).expect("no deadline is past the end of the clock"),
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &timer)
            .expect("the descriptor is a timer's and the time is valid");
    }

    /// Waits until it rings. It may ring for a time that was set before, too.
    pub(super) async fn ring(&mut self) {
        match self.timer.readable_mut().await {
            Ok(mut ready) => ready.clear_ready(),
            // The runtime ends, and the caller with it.
            Err(_) => std::future::pending().await,
        }
        self.at = None;
    }
}

/// Watches a descriptor, within a runtime, for what comes in only: that there is room to write
/// again would wake whoever waits, too.
///
/// # Errors
///
/// What the system says.
#[expect(unsafe_code, reason = "the descriptor must stay open as long as it is watched")]
pub(super) fn watch<T: Into<OwnedFd> + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: what turns into an `OwnedFd` owns one descriptor, open until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(2)
    }

    #[tokio::test]
    async fn it_rings_at_its_time_and_again_when_set_again() {
        let mut alarm = Alarm::new().unwrap();
        for at in [soon(), soon(), Instant::now()] {
            alarm.set(Some(at));
            alarm.ring().await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn it_does_not_ring_for_a_time_that_was_taken_back() {
        let (mut never, mut later) = (Alarm::new().unwrap(), Alarm::new().unwrap());
        let at = soon();
        never.set(Some(at));
        never.set(None);
        later.set(Some(at + Duration::from_millis(2)));
        tokio::select! {
            biased;
            () = never.ring() => panic!("it was taken back"),
            () = later.ring() => {}
        }
        never.set(Some(at));
        never.ring().await;
    }
}
