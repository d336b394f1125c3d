//! Arm MPS2 with FPGA image AN385.
//!
//! Source: Arm application note AN385; CMSDK technical reference manual for the watchdog.

use super::{Board, Interrupt, ticks_until, unmask};
use crate::nic::Frames;
use crate::nic::lan9118::{Lan9118, TICKS_PER_MICRO};
use crate::register::Block;
use agent_core::time::Instant;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, Peripherals, SCB, SYST};

const ETHERNET: Interrupt = Interrupt(13);

/// The core's clock, in half ticks per microsecond: 25 MHz.
const TWICE_MHZ: u64 = 50;

/// A counter of seconds in the FPGA's I/O block.
const COUNT_1_HZ: usize = 0x10;

/// The board.
pub struct Mps2An385 {
    nic: Lan9118,
    systick: SYST,
    fpga: Block,
    watchdog: super::Watchdog,
    ticks: u64,
    last: u32,
}

impl Mps2An385 {
    /// Starts the devices; `core` are the core's own,
    /// `frames` room for the network's.
    #[allow(unsafe_code, reason = "these are the devices, and a board is made once")]
    pub fn new(core: Peripherals, frames: &'static mut Frames) -> Self {
        cortex_m::interrupt::disable();
        // SAFETY: the application note's addresses; `Peripherals` exists once.
        let [watchdog, fpga, ethernet] =
            [0x4000_8000, 0x4002_8000, 0x4020_0000].map(|base| unsafe { Block::new(base) });
        let mut systick = core.SYST;
        systick.set_clock_source(SystClkSource::Core);
        systick.enable_interrupt();
        unmask(ETHERNET);
        fpga.write(COUNT_1_HZ, 0);
        let nic = Lan9118::new(ethernet, frames);
        let last = nic.ticks();
        let watchdog = super::Watchdog::new(watchdog, TWICE_MHZ);
        Self { nic, systick, fpga, watchdog, ticks: 0, last }
    }
}

impl Board for Mps2An385 {
    type Nic = Lan9118;

    const NAME: &'static str = "mps2-an385";

    fn nic(&mut self) -> &mut Lan9118 {
        &mut self.nic
    }

    fn mac(&self) -> [u8; 6] {
        self.nic.mac()
    }

    fn now(&mut self) -> Instant {
        // The counter comes round every 171 s; nobody sleeps that long.
        let ticks = self.nic.ticks();
        self.ticks += u64::from(ticks.wrapping_sub(self.last));
        self.last = ticks;
        Instant::from_micros(self.ticks / TICKS_PER_MICRO)
    }

    fn seconds(&self) -> u32 {
        self.fpga.read(COUNT_1_HZ)
    }

    fn arm(&mut self) {
        self.nic.acknowledge();
        NVIC::unpend(ETHERNET);
    }

    fn sleep(&mut self, due: Instant) {
        self.watchdog.feed();
        // The core's timer has 24 bits, 0.67 s.
        let ticks = ticks_until(self.now(), due, TWICE_MHZ).min(0x00ff_ffff);
        if ticks < 2 {
            return;
        }
        self.systick.set_reload(ticks);
        self.systick.clear_current();
        self.systick.enable_counter();
        cortex_m::asm::wfi();
        self.systick.disable_counter();
        SCB::clear_pendst();
    }
}
