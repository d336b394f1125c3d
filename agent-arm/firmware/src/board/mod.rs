//! The boards: what differs between them.
//!
//! ```text
//! lm3s6965evb   Stellaris LM3S6965: Cortex-M3, 256 KB flash, 64 KB RAM, Ethernet inside
//! mps2_an385    Arm MPS2 with image AN385: Cortex-M3, LAN9118
//! ```
//!
//! No handler runs: interrupts stay masked, and a masked one still wakes a sleeping core. So there
//! is no race between "nothing to do" and "sleep", and no state is shared.

pub mod lm3s6965evb;
pub mod mps2_an385;
mod watchdog;

pub use lm3s6965evb::Lm3s6965evb;
pub use mps2_an385::Mps2An385;
use watchdog::Watchdog;

use agent_core::time::{Duration, Instant};
use smoltcp::phy;

/// Longest sleep: whatever happens, the loop comes by this often.
pub const SLEEP_MAX: Duration = Duration::from_secs(1);

/// A board at work.
pub trait Board {
    /// Its network controller.
    type Nic: phy::Device;

    /// What it is called.
    const NAME: &'static str;

    /// Lends the network controller.
    fn nic(&mut self) -> &mut Self::Nic;

    /// Tells the hardware address.
    fn mac(&self) -> [u8; 6];

    /// Tells the time since the start. To be called at least once a second.
    fn now(&mut self) -> Instant;

    /// Tells the seconds since the start by another counter than [`Board::now`]'s, to compare.
    fn seconds(&self) -> u32;

    /// Arms the next interrupt by a frame. To be called before the frames are taken.
    fn arm(&mut self);

    /// Sleeps until `due`, a frame or [`SLEEP_MAX`], and feeds the watchdog.
    fn sleep(&mut self, due: Instant);
}

/// An interrupt by its number.
#[derive(Clone, Copy)]
struct Interrupt(u16);

#[allow(unsafe_code, reason = "the numbers are those of the data sheets and never change")]
// SAFETY: see the reason.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

/// Lets an interrupt wake the core.
#[allow(unsafe_code, reason = "see below")]
fn unmask(interrupt: Interrupt) {
    // SAFETY: no critical section depends on masks: no handler runs.
    unsafe { cortex_m::peripheral::NVIC::unmask(interrupt) }
}

/// Time from `now` to `due`, at most [`SLEEP_MAX`], in ticks of a timer; 0 if there is none.
fn ticks_until(now: Instant, due: Instant, ticks_per_micro_times_two: u64) -> u32 {
    let micros = due.since(now).min(SLEEP_MAX).micros();
    (micros * ticks_per_micro_times_two / 2) as u32
}
