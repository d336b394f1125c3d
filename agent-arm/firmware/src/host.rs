//! The host behind the debugger: console, arguments, time of day, exit (Arm semihosting).
#![allow(unsafe_code, reason = "a semihosting call is a breakpoint with two registers")]

use core::fmt::{self, Write};
use cortex_m_semihosting::{debug, nr, syscall, syscall1};

/// Longest line on the console, in bytes; the rest is cut off.
const LINE_BYTES_MAX: usize = 160;

/// Longest arguments, in bytes.
pub const ARGUMENT_BYTES_MAX: usize = 512;

/// Writes one line to the host, with the seconds since the start before it.
macro_rules! say {
    ($now:expr, $($argument:tt)*) => {
        $crate::host::line($now, format_args!($($argument)*))
    };
}

/// A line that is cut off where its room ends.
struct Line {
    bytes: [u8; LINE_BYTES_MAX + 2],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().take(LINE_BYTES_MAX - self.len) {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Writes a line. Use `say!`.
#[inline(never)]
pub fn line(now: agent_core::time::Instant, text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_BYTES_MAX + 2], len: 0 };
    let millis = now.micros() / 1000;
    let _ = write!(line, "[{:>6}.{:03}] ", millis / 1000, millis % 1000);
    let _ = line.write_fmt(text);
    line.bytes[line.len] = b'\n';
    // SAFETY: a text that ends with zero; the host only reads it.
    unsafe {
        syscall1(nr::WRITE0, line.bytes.as_ptr() as usize);
    }
}

/// Answers the arguments that the host gives, without the program's name.
///
/// # Errors
///
/// If there is no host, or if they are longer than [`ARGUMENT_BYTES_MAX`] or not UTF-8.
pub fn arguments(room: &mut [u8; ARGUMENT_BYTES_MAX]) -> Result<&str, &'static str> {
    let mut block = [room.as_mut_ptr() as usize, room.len()];
    // SAFETY: the host writes at most as many bytes as it is told, and their number.
    let answer = unsafe { syscall1(nr::GET_CMDLINE, block.as_mut_ptr() as usize) };
    if answer != 0 {
        return Err("the host gives no arguments, or more than 512 bytes");
    }
    let len = block[1].min(room.len());
    let text = core::str::from_utf8(&room[..len]).map_err(|_| "the arguments are not UTF-8")?;
    let text = text.trim_end_matches('\0');
    Ok(text.split_once(' ').map_or("", |(_, rest)| rest))
}

/// Answers the seconds since 1970, as the host has them; 0 without a host.
pub fn time() -> u32 {
    // SAFETY: takes nothing.
    let time = unsafe { syscall!(TIME) } as u32;
    if time == u32::MAX { 0 } else { time }
}

/// Ends the instance; the host's program exits with 1.
pub fn fail() -> ! {
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
