//! Gives back memory that the start needed and running does not.
//!
//! The start runs through most of the program once: flags, configuration, set-up. Its code stays
//! mapped, and on a board it counts as resident, though it is not used again. Handing the pages
//! back costs nothing: whatever is still used comes back from the page cache at its next use.

use rustix::mm::{Advice, madvise};
use std::fs;
use std::io;

/// Unmaps the program's code until it is used again; answers how many bytes were covered.
///
/// # Errors
///
/// What reading `/proc/self` or the system call says; nothing was changed.
#[expect(unsafe_code, reason = "madvise takes a raw range")]
pub fn release_code() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut covered = 0;
    for (start, length) in maps.lines().filter_map(|line| code(line, &program.to_string_lossy())) {
        // SAFETY: the range is a whole mapping of this process, read-only, private and backed by
        // the program's file, so that its pages come back unchanged when they are touched.
        unsafe {
            madvise(start as *mut core::ffi::c_void, length, Advice::LinuxDontNeed)?;
        }
        covered += length;
    }
    Ok(covered)
}

/// Reads a line of `/proc/self/maps`; answers start and length if it maps code of `program`.
fn code(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp" && fields.nth(3)? == program;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    is_code.then(|| (start, end.saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_named() {
        let line = "01105000-016dc000 r-xp 00104000 fe:00 10014938                /usr/bin/reeve";
        assert_eq!(code(line, "/usr/bin/reeve"), Some((0x0110_5000, 0x5d_7000)));
        assert_eq!(code(line, "/usr/bin/other"), None);
        assert_eq!(code(&line.replace("r-xp", "rw-p"), "/usr/bin/reeve"), None);
        assert_eq!(code("7ff0-8000 r-xp 0 00:00 0", "/usr/bin/reeve"), None);
        assert_eq!(code("", "/usr/bin/reeve"), None);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        assert!(release_code().unwrap() > 0);
        assert_eq!(code("", ""), None);
    }
}
