//! SMSC LAN9118, a controller behind two FIFOs.
//!
//! Source: LAN9118 data sheet, chapters 3.12 (transmit), 3.13 (receive) and 5 (registers).

use super::{FRAME_BYTES_MAX, Frame, Frames, Received, Room, Send};
use crate::register::Block;
use smoltcp::phy::{Device, DeviceCapabilities};
use smoltcp::time::Instant;

const RX_DATA: usize = 0x00;
const TX_DATA: usize = 0x20;
const RX_STATUS: usize = 0x40;
const TX_STATUS: usize = 0x48;
const IRQ_CONFIG: usize = 0x54;
const INTERRUPT: usize = 0x58;
const INTERRUPT_ENABLE: usize = 0x5c;
const TX_CONFIG: usize = 0x70;
const RX_CONTROL: usize = 0x78;
const RX_USED: usize = 0x7c;
const TX_USED: usize = 0x80;
const FREE_RUN: usize = 0x9c;
const MAC_COMMAND: usize = 0xa4;
const MAC_DATA: usize = 0xa8;

/// Enabled, active high, driven.
const IRQ_ON: u32 = 0x111;
/// The receive status FIFO holds something.
const INTERRUPT_RECEIVED: u32 = 1 << 3;
const TX_ON: u32 = 1 << 1;
const TX_FIRST_AND_LAST: u32 = 1 << 13 | 1 << 12;
const RX_ERROR: u32 = 1 << 15;
const RX_FAST_FORWARD: u32 = 1 << 31;

const MAC_BUSY: u32 = 1 << 31;
const MAC_READ: u32 = 1 << 30;
const MAC_CONTROL: u32 = 1;
const MAC_HIGH: u32 = 2;
const MAC_LOW: u32 = 3;
/// Full duplex, transmitter and receiver on.
const MAC_ON: u32 = 1 << 20 | 1 << 3 | 1 << 2;

const CRC_BYTES: usize = 4;

/// Looks at a busy register before giving up; each is an access of 165 ns.
const LOOKS_MAX: u32 = 10_000;

/// Ticks of the free-running counter in a microsecond.
pub(crate) const TICKS_PER_MICRO: u64 = 25;

/// The controller and a frame each way.
pub struct Lan9118 {
    controller: Controller,
    received: &'static mut Frame,
    sent: &'static mut Frame,
}

/// Its registers.
#[derive(Clone, Copy)]
pub struct Controller(Block);

impl Lan9118 {
    /// Starts the controller at `registers`.
    pub(crate) fn new(registers: Block, [received, sent]: &'static mut Frames) -> Self {
        let nic = Self { controller: Controller(registers), received, sent };
        registers.write(IRQ_CONFIG, IRQ_ON);
        registers.write(INTERRUPT_ENABLE, INTERRUPT_RECEIVED);
        registers.write(TX_CONFIG, TX_ON);
        nic.controller.write_mac(MAC_CONTROL, MAC_ON);
        nic
    }

    /// Tells the address that the board was given.
    pub(crate) fn mac(&self) -> [u8; 6] {
        let low = self.controller.read_mac(MAC_LOW).to_le_bytes();
        let high = self.controller.read_mac(MAC_HIGH).to_le_bytes();
        [low[0], low[1], low[2], low[3], high[0], high[1]]
    }

    /// Lets the next frame interrupt again. To be called before the last look for frames.
    pub(crate) fn acknowledge(&mut self) {
        self.controller.0.write(INTERRUPT, u32::MAX);
    }

    /// Reads the counter that never stops, [`TICKS_PER_MICRO`] ticks each microsecond.
    pub(crate) fn ticks(&self) -> u32 {
        self.controller.0.read(FREE_RUN)
    }
}

impl Controller {
    fn mac_ready(self) {
        for _ in 0..LOOKS_MAX {
            if self.0.read(MAC_COMMAND) & MAC_BUSY == 0 {
                break;
            }
        }
    }

    fn read_mac(self, index: u32) -> u32 {
        self.mac_ready();
        self.0.write(MAC_COMMAND, MAC_BUSY | MAC_READ | index);
        self.mac_ready();
        self.0.read(MAC_DATA)
    }

    fn write_mac(self, index: u32, value: u32) {
        self.mac_ready();
        self.0.write(MAC_DATA, value);
        self.0.write(MAC_COMMAND, MAC_BUSY | index);
        self.mac_ready();
    }

    /// Reads the next frame into `room`; answers its length. A broken or too long one is lost.
    fn receive(self, room: &mut Frame) -> Option<usize> {
        while self.0.read(RX_USED) >> 16 & 0xff != 0 {
            let status = self.0.read(RX_STATUS);
            let whole = (status >> 16 & 0x3fff) as usize;
            let len = whole.saturating_sub(CRC_BYTES);
            if status & RX_ERROR != 0 || len > FRAME_BYTES_MAX {
                self.skip(whole);
                continue;
            }
            for at in (0..whole).step_by(4) {
                let word = self.0.read(RX_DATA).to_le_bytes();
                let end = room.len().min(at + 4);
                if let Some(place) = room.get_mut(at..end) {
                    place.copy_from_slice(&word[..place.len()]);
                }
            }
            return Some(len);
        }
        None
    }

    /// Throws away a frame; the controller does so by itself from four words on.
    fn skip(self, whole: usize) {
        if whole < 16 {
            for _ in (0..whole).step_by(4) {
                self.0.read(RX_DATA);
            }
            return;
        }
        self.0.write(RX_CONTROL, RX_FAST_FORWARD);
        for _ in 0..LOOKS_MAX {
            if self.0.read(RX_CONTROL) & RX_FAST_FORWARD == 0 {
                break;
            }
        }
    }

    /// Tells whether a whole frame fits; takes away what the controller says of earlier ones.
    fn idle(self) -> bool {
        let used = self.0.read(TX_USED);
        for _ in 0..used >> 16 & 0xff {
            self.0.read(TX_STATUS);
        }
        used & 0xffff >= FRAME_BYTES_MAX as u32 + 16
    }
}

impl Send for Controller {
    fn send(&mut self, frame: &[u8]) {
        let len = frame.len() as u32;
        self.0.write(TX_DATA, TX_FIRST_AND_LAST | len);
        self.0.write(TX_DATA, len << 16 | len);
        for word in frame.chunks(4) {
            let word = [0, 1, 2, 3].map(|at| word.get(at).copied().unwrap_or(0));
            self.0.write(TX_DATA, u32::from_le_bytes(word));
        }
    }
}

impl Device for Lan9118 {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a, Controller>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_, Controller>)> {
        if !self.controller.idle() {
            return None;
        }
        let len = self.controller.receive(self.received)?;
        let room = Room { frame: self.sent, controller: self.controller };
        Some((Received(&self.received[..len]), room))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_, Controller>> {
        self.controller.idle().then_some(Room { frame: self.sent, controller: self.controller })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        super::capabilities()
    }
}
