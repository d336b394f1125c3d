//! Sealed frames of push/pull: the head stays plain, the body is sealed.
//!
//! Every frame is bound to the one before it, so that an old reply never answers a new hello.

use alloc::vec::Vec;

use super::nonce::Nonce;
use super::{Place, Refused, SEAL_BYTES, SEALED, Sealer, TAG_BYTES};
use crate::gossip::sync::{Body, Frame, HEAD_BYTES};

/// The last frame of an exchange; starts as none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread(Option<Nonce>);

impl<const KEYS: usize, const SENDERS: usize> Sealer<KEYS, SENDERS> {
    /// Seals a frame as it was emitted, head included; nothing if there is no nonce left.
    pub fn seal_frame(
        &mut self,
        frame: Frame,
        mut bytes: Vec<u8>,
        thread: &mut Thread,
    ) -> Option<Vec<u8>> {
        if !self.strictness.verify_outgoing {
            return Some(bytes);
        }
        let len = bytes.len().checked_sub(HEAD_BYTES)?;
        bytes.resize(bytes.len() + SEAL_BYTES, 0);
        let place = Place::Frame { kind: frame.kind(), after: thread.0 };
        thread.0 = Some(self.seal(&mut bytes[HEAD_BYTES..], len, place)?);
        bytes[0] = SEALED;
        let sealed = u32::try_from(len + SEAL_BYTES).ok()?;
        bytes[2..HEAD_BYTES].copy_from_slice(&sealed.to_be_bytes());
        Some(bytes)
    }

    /// Opens the body of a frame; `head` is what [`Frame::check`] said of it.
    ///
    /// # Errors
    ///
    /// [`Refused`], counted.
    pub fn open_frame(
        &mut self,
        frame: Frame,
        head: Body,
        mut body: Vec<u8>,
        thread: &mut Thread,
    ) -> Result<Vec<u8>, Refused> {
        let opened = if head.sealed {
            let place = Place::Frame { kind: frame.kind(), after: thread.0 };
            self.open(&mut body, place).map(|(nonce, _)| thread.0 = Some(nonce))
        } else if self.strictness.verify_incoming {
            Err(Refused::Plaintext)
        } else {
            return Ok(body);
        };
        opened.inspect_err(|why| self.drops.count(*why))?;
        body.truncate(body.len() - TAG_BYTES);
        body.drain(..super::HEAD_BYTES);
        Ok(body)
    }
}
