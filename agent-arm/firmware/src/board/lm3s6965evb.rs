//! Stellaris LM3S6965.
//!
//! Source: LM3S6965 data sheet, chapters "System Control", "General-Purpose Timers" and
//! "Watchdog Timer".

use super::{Board, Interrupt, ticks_until, unmask};
use crate::nic::Frames;
use crate::nic::stellaris::Stellaris;
use crate::register::Block;
use agent_core::time::Instant;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, Peripherals, SCB, SYST};

const ETHERNET: Interrupt = Interrupt(42);
const TIMER: Interrupt = Interrupt(19);

/// The core's clock, in half ticks per microsecond: 12.5 MHz.
const TWICE_MHZ: u64 = 25;

mod system {
    pub(super) const INTERRUPT: usize = 0x50;
    pub(super) const CLOCK: usize = 0x60;
    pub(super) const GATE_WATCHDOG: usize = 0x100;
    pub(super) const GATE_TIMER: usize = 0x104;
    pub(super) const GATE_ETHERNET: usize = 0x108;
    pub(super) const PLL_LOCKED: u32 = 1 << 6;
    /// 8 MHz crystal, main oscillator, divider on, by 16.
    pub(super) const CLOCK_12_5_MHZ: u32 = 15 << 23 | 1 << 22 | 0xe << 6;
    pub(super) const PLL_OFF: u32 = 1 << 13;
    pub(super) const PLL_AROUND: u32 = 1 << 11;
}

mod timer {
    pub(super) const CONFIG: usize = 0x00;
    pub(super) const MODE: usize = 0x04;
    pub(super) const CONTROL: usize = 0x0c;
    pub(super) const INTERRUPT_MASK: usize = 0x18;
    pub(super) const INTERRUPT_CLEAR: usize = 0x24;
    pub(super) const LOAD: usize = 0x28;
    pub(super) const MATCH: usize = 0x30;
    pub(super) const VALUE: usize = 0x48;
    pub(super) const ONE_SHOT: u32 = 1;
    pub(super) const EXPIRED: u32 = 1;
    pub(super) const ON: u32 = 1;
    /// A clock of seconds.
    pub(super) const CONFIG_CLOCK: u32 = 1;
    pub(super) const CONTROL_CLOCK: u32 = 1 << 4 | 1;
}

/// The board.
pub struct Lm3s6965evb {
    nic: Stellaris,
    systick: SYST,
    /// How often the core's 24-bit counter has come round, every 1.34 s.
    rounds: u64,
    alarm: Block,
    seconds: Block,
    watchdog: super::Watchdog,
}

const ROUND: u32 = 0x00ff_ffff;

impl Lm3s6965evb {
    /// Sets the clock and starts the devices; `core` are the core's own,
    /// `frames` room for the network's.
    #[allow(unsafe_code, reason = "these are the devices, and a board is made once")]
    pub fn new(core: Peripherals, frames: &'static mut Frames) -> Self {
        cortex_m::interrupt::disable();
        // SAFETY: the data sheet's addresses; `Peripherals` exists once, so nobody else has them.
        let [system, watchdog, alarm, seconds, ethernet] =
            [0x400f_e000, 0x4000_0000, 0x4003_0000, 0x4003_1000, 0x4004_8000]
                .map(|base| unsafe { Block::new(base) });
        set_clock(system);
        system.write(system::GATE_WATCHDOG, 1 << 3);
        system.write(system::GATE_TIMER, 1 << 16 | 1 << 17);
        system.write(system::GATE_ETHERNET, 1 << 28 | 1 << 30);
        // Three clocks until a gated device answers, says the data sheet.
        cortex_m::asm::delay(8);
        seconds.write(timer::CONFIG, timer::CONFIG_CLOCK);
        seconds.write(timer::MATCH, u32::MAX);
        seconds.write(timer::CONTROL, timer::CONTROL_CLOCK);
        alarm.write(timer::CONFIG, 0);
        alarm.write(timer::MODE, timer::ONE_SHOT);
        alarm.write(timer::INTERRUPT_MASK, timer::EXPIRED);
        let mut systick = core.SYST;
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(ROUND);
        systick.clear_current();
        systick.enable_interrupt();
        systick.enable_counter();
        unmask(ETHERNET);
        unmask(TIMER);
        let nic = Stellaris::new(ethernet, frames);
        let watchdog = super::Watchdog::new(watchdog, TWICE_MHZ);
        Self { nic, systick, rounds: 0, alarm, seconds, watchdog }
    }
}

/// Goes from the internal oscillator to 200 MHz by the PLL, divided by 16. The data sheet has the
/// PLL ready within 0.5 ms, so there is no way back if it is not.
fn set_clock(system: Block) {
    let around = system.read(system::CLOCK) | system::PLL_AROUND;
    system.write(system::CLOCK, around & !(1 << 22));
    system.write(system::CLOCK, system::CLOCK_12_5_MHZ | system::PLL_AROUND);
    for _ in 0..100_000 {
        if system.read(system::INTERRUPT) & system::PLL_LOCKED != 0 {
            break;
        }
    }
    system.write(system::CLOCK, system::CLOCK_12_5_MHZ & !system::PLL_OFF);
}

impl Board for Lm3s6965evb {
    type Nic = Stellaris;

    const NAME: &'static str = "lm3s6965evb";

    fn nic(&mut self) -> &mut Stellaris {
        &mut self.nic
    }

    fn mac(&self) -> [u8; 6] {
        self.nic.mac()
    }

    fn now(&mut self) -> Instant {
        // Reading the flag clears it: a round that ends between two reads is seen by the second.
        self.rounds += u64::from(self.systick.has_wrapped());
        let mut left = SYST::get_current();
        if self.systick.has_wrapped() {
            self.rounds += 1;
            left = SYST::get_current();
        }
        let ticks = self.rounds * u64::from(ROUND + 1) + u64::from(left.wrapping_neg() & ROUND);
        Instant::from_micros(ticks * 2 / TWICE_MHZ)
    }

    fn seconds(&self) -> u32 {
        self.seconds.read(timer::VALUE)
    }

    fn arm(&mut self) {
        self.nic.acknowledge();
        NVIC::unpend(ETHERNET);
    }

    fn sleep(&mut self, due: Instant) {
        self.watchdog.feed();
        let ticks = ticks_until(self.now(), due, TWICE_MHZ);
        if ticks == 0 {
            return;
        }
        self.alarm.write(timer::LOAD, ticks);
        self.alarm.write(timer::CONTROL, timer::ON);
        cortex_m::asm::wfi();
        self.alarm.write(timer::CONTROL, 0);
        self.alarm.write(timer::INTERRUPT_CLEAR, timer::EXPIRED);
        NVIC::unpend(TIMER);
        SCB::clear_pendst();
    }
}
