//! Network controllers as smoltcp knows them: one frame buffer each way.
//!
//! ```text
//! stellaris   the controller inside LM3S parts
//! lan9118     SMSC LAN9118, on the MPS2 boards
//! ```

pub(crate) mod lan9118;
pub(crate) mod stellaris;

use smoltcp::phy::{Checksum, DeviceCapabilities, Medium, RxToken, TxToken};

/// Largest frame without its check sequence, in bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 1514;

/// Room for a frame; controllers take whole words.
pub type Frame = [u8; FRAME_BYTES_MAX + 2];

/// A frame each way.
pub type Frames = [Frame; 2];

/// No frames yet.
pub const FRAMES: Frames = [[0; FRAME_BYTES_MAX + 2]; 2];

/// A controller that takes a frame.
pub(crate) trait Send {
    /// Sends a frame of at most [`FRAME_BYTES_MAX`] bytes.
    fn send(&mut self, frame: &[u8]);
}

pub(crate) fn capabilities() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = FRAME_BYTES_MAX;
    capabilities.max_burst_size = Some(1);
    capabilities.checksum.icmpv4 = Checksum::Both;
    capabilities
}

/// A frame that came in.
pub struct Received<'a>(pub(crate) &'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

/// Room for a frame that goes out.
pub struct Room<'a, C> {
    pub(crate) frame: &'a mut Frame,
    pub(crate) controller: C,
}

impl<C: Send> TxToken for Room<'_, C> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, fill: F) -> R {
        let len = len.min(FRAME_BYTES_MAX);
        let answer = fill(&mut self.frame[..len]);
        self.controller.send(&self.frame[..len]);
        answer
    }
}
