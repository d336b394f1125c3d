//! The Ethernet controller of Stellaris LM3S parts.
//!
//! Source: LM3S6965 data sheet, chapter "Ethernet Controller". A frame in its FIFO follows two
//! bytes of length; a received one counts itself, these two bytes and the check sequence.

use super::{FRAME_BYTES_MAX, Frame, Frames, Received, Room, Send};
use crate::register::Block;
use smoltcp::phy::{Device, DeviceCapabilities};
use smoltcp::time::Instant;

const INTERRUPT: usize = 0x00;
const INTERRUPT_MASK: usize = 0x04;
const RECEIVE_CONTROL: usize = 0x08;
const TRANSMIT_CONTROL: usize = 0x0c;
const DATA: usize = 0x10;
const ADDRESS: [usize; 2] = [0x14, 0x18];
const THRESHOLD: usize = 0x1c;
const PACKETS: usize = 0x34;
const TRANSMIT_REQUEST: usize = 0x38;

const INTERRUPT_RECEIVED: u32 = 0x01;
const INTERRUPT_ALL: u32 = 0x7f;
const RECEIVE_ON_BAD_CRC_OUT: u32 = 0x01 | 0x08;
const RECEIVE_RESET: u32 = 0x10;
/// On, padded, with check sequence, full duplex.
const TRANSMIT_ON: u32 = 0x01 | 0x02 | 0x04 | 0x10;
/// Sends when asked to, not when the FIFO has a certain level.
const THRESHOLD_NONE: u32 = 0x3f;

const HEADER_BYTES: usize = 14;
const LENGTH_BYTES: usize = 2;
const CRC_BYTES: usize = 4;

/// Looks at the transmitter before a frame is lost: a frame at 10 Mbit/s takes 1.2 ms.
const SEND_LOOKS_MAX: u32 = 20_000;

/// The controller and a frame each way.
pub struct Stellaris {
    controller: Controller,
    received: &'static mut Frame,
    sent: &'static mut Frame,
}

/// Its registers.
#[derive(Clone, Copy)]
pub struct Controller(Block);

impl Stellaris {
    /// Starts the controller at `registers`.
    pub(crate) fn new(registers: Block, [received, sent]: &'static mut Frames) -> Self {
        let nic = Self { controller: Controller(registers), received, sent };
        registers.write(RECEIVE_CONTROL, RECEIVE_RESET);
        registers.write(THRESHOLD, THRESHOLD_NONE);
        registers.write(TRANSMIT_CONTROL, TRANSMIT_ON);
        registers.write(RECEIVE_CONTROL, RECEIVE_ON_BAD_CRC_OUT);
        registers.write(INTERRUPT, INTERRUPT_ALL);
        registers.write(INTERRUPT_MASK, INTERRUPT_RECEIVED);
        nic
    }

    /// Tells the address that the part was given.
    pub(crate) fn mac(&self) -> [u8; 6] {
        let [low, high] = ADDRESS.map(|offset| self.controller.0.read(offset).to_le_bytes());
        [low[0], low[1], low[2], low[3], high[0], high[1]]
    }

    /// Lets the next frame interrupt again. To be called before the last look for frames.
    pub(crate) fn acknowledge(&mut self) {
        self.controller.0.write(INTERRUPT, INTERRUPT_ALL);
    }
}

impl Controller {
    /// Reads the next frame into `room`; answers its length. One longer than the room is lost.
    fn receive(self, room: &mut Frame) -> Option<usize> {
        while self.0.read(PACKETS) & 0x3f != 0 {
            let first = self.0.read(DATA).to_le_bytes();
            let whole = usize::from(u16::from_le_bytes([first[0], first[1]]));
            let len = whole.saturating_sub(LENGTH_BYTES + CRC_BYTES);
            room[..2].copy_from_slice(&first[2..]);
            for at in (4..whole).step_by(4) {
                let word = self.0.read(DATA).to_le_bytes();
                if let Some(place) = room.get_mut(at - 2..at + 2) {
                    place.copy_from_slice(&word);
                }
            }
            if (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&len) {
                return Some(len);
            }
        }
        None
    }

    /// Waits for the last frame to be sent; tells whether it was.
    fn until_idle(self) -> bool {
        (0..SEND_LOOKS_MAX).any(|_| self.0.read(TRANSMIT_REQUEST) & 1 == 0)
    }
}

impl Send for Controller {
    fn send(&mut self, frame: &[u8]) {
        let payload = frame.len().saturating_sub(HEADER_BYTES) as u16;
        let len = payload.to_le_bytes();
        let (head, rest) = frame.split_at(frame.len().min(2));
        let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
        self.0.write(DATA, u32::from_le_bytes([len[0], len[1], byte(head, 0), byte(head, 1)]));
        for word in rest.chunks(4) {
            let word = [0, 1, 2, 3].map(|at| byte(word, at));
            self.0.write(DATA, u32::from_le_bytes(word));
        }
        self.0.write(TRANSMIT_REQUEST, 1);
    }
}

impl Device for Stellaris {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a, Controller>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_, Controller>)> {
        if !self.controller.until_idle() {
            return None;
        }
        let len = self.controller.receive(self.received)?;
        let room = Room { frame: self.sent, controller: self.controller };
        Some((Received(&self.received[..len]), room))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_, Controller>> {
        let idle = self.controller.until_idle();
        idle.then_some(Room { frame: self.sent, controller: self.controller })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        super::capabilities()
    }
}
