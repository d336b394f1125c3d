//! Gives back memory of the program itself that is not in use.
//!
//! The start runs through most of the program once: flags, configuration, relocation, set-up. Its
//! pages stay mapped, and on a board they count as resident, though they are not used again. The
//! same goes for the code of a rare request. Handing the pages back costs a hundred page faults at
//! most: whatever is still used comes back from the page cache at its next use.

pub mod large;

use rustix::mm::{Advice, madvise};
use std::fs;
use std::io;

/// Unmaps the program's code and constants until they are used again; answers how many bytes were
/// covered.
///
/// # Errors
///
/// What reading `/proc/self` or the system call says; nothing was changed.
#[expect(unsafe_code, reason = "madvise takes a raw range")]
pub fn release_program() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut covered = 0;
    for (start, length) in
        maps.lines().filter_map(|line| constant(line, &program.to_string_lossy()))
    {
        // SAFETY: the range is a whole mapping of this process, read-only, private and backed by
        // the program's file, so that its pages come back unchanged when they are touched.
        unsafe {
            madvise(start as *mut core::ffi::c_void, length, Advice::LinuxDontNeed)?;
        }
        covered += length;
    }
    Ok(covered)
}

/// Reads a line of `/proc/self/maps`; answers start and length if it maps a part of `program` that
/// is never written: its code, or its first segment. (Other read-only parts may hold relocated
/// addresses, which only this process has.)
fn constant(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (access, offset) = (fields.next()?, fields.next()?);
    let first = access == "r--p" && offset.bytes().all(|digit| digit == b'0');
    let is_constant = (access == "r-xp" || first) && fields.nth(2)? == program;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    is_constant.then(|| (start, end.saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_never_written_is_named() {
        let line = "01105000-016dc000 r-xp 00104000 fe:00 10014938                /usr/bin/reeve";
        assert_eq!(constant(line, "/usr/bin/reeve"), Some((0x0110_5000, 0x5d_7000)));
        assert_eq!(constant(line, "/usr/bin/other"), None);
        let relocated = line.replace("r-xp", "r--p");
        assert_eq!(constant(&relocated, "/usr/bin/reeve"), None);
        let first = relocated.replace("00104000", "00000000");
        assert!(constant(&first, "/usr/bin/reeve").is_some());
        assert_eq!(constant(&first.replace("r--p", "rw-p"), "/usr/bin/reeve"), None);
        assert_eq!(constant("7ff0-8000 r-xp 0 00:00 0", "/usr/bin/reeve"), None);
        assert_eq!(constant("", "/usr/bin/reeve"), None);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        assert!(release_program().unwrap() > 0);
        assert_eq!(constant("still here", ""), None);
    }
}
