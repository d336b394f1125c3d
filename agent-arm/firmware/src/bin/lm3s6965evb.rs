//! The image for the LM3S6965 board.
#![no_std]
#![no_main]

use cortex_m::singleton;
use cortex_m_rt::entry;
use firmware::board::Lm3s6965evb;
use firmware::nic::{FRAMES, Frames};

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("the program starts once");
    let frames = singleton!(: Frames = FRAMES).expect("once, too");
    firmware::run::run(Lm3s6965evb::new(core, frames))
}
