//! The watchdog of Arm's CMSDK, which the Stellaris parts have too.

use crate::register::Block;
use agent_core::time::Duration;

const LOAD: usize = 0x00;
const CONTROL: usize = 0x08;
const CLEAR: usize = 0x0c;
const LOCK: usize = 0xc00;
const KEY: u32 = 0x1acc_e551;
/// The first time-out is noted, the second resets.
const RESETS: u32 = 0b11;

/// Half of the time after which a loop that hangs is reset; a sleep lasts at most a second.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Resets the part unless it is fed.
pub(super) struct Watchdog(Block);

impl Watchdog {
    /// Starts it at a clock of half as many ticks per microsecond.
    pub(super) fn new(registers: Block, twice_mhz: u64) -> Self {
        registers.write(LOCK, KEY);
        registers.write(LOAD, (TIMEOUT.micros() * twice_mhz / 2) as u32);
        registers.write(CONTROL, RESETS);
        Self(registers)
    }

    /// Begins the time-out anew.
    pub(super) fn feed(&self) {
        self.0.write(CLEAR, 1);
    }
}
