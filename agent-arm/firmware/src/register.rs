//! A device's registers.
#![allow(unsafe_code, reason = "volatile access to a device's registers is what this file is for")]

/// A block of 32-bit registers.
#[derive(Clone, Copy)]
pub(crate) struct Block(usize);

impl Block {
    /// Names the device whose registers start at `base`.
    ///
    /// # Safety
    ///
    /// There must be a device, and nobody else may use it.
    pub(crate) const unsafe fn new(base: usize) -> Self {
        Self(base)
    }

    /// Reads the register at an offset in bytes.
    pub(crate) fn read(self, offset: usize) -> u32 {
        // SAFETY: `new` promised a device here; offsets are constants of its driver.
        unsafe { core::ptr::read_volatile((self.0 + offset) as *const u32) }
    }

    /// Writes the register at an offset in bytes.
    pub(crate) fn write(self, offset: usize, value: u32) {
        // SAFETY: as for `read`.
        unsafe { core::ptr::write_volatile((self.0 + offset) as *mut u32, value) }
    }
}
