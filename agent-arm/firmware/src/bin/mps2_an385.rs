//! The image for the MPS2 board with AN385.
#![no_std]
#![no_main]

use cortex_m::singleton;
use cortex_m_rt::entry;
use firmware::board::Mps2An385;
use firmware::nic::{FRAMES, Frames};

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("the program starts once");
    let frames = singleton!(: Frames = FRAMES).expect("once, too");
    firmware::run::run(Mps2An385::new(core, frames))
}
