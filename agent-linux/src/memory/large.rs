//! Large pieces of memory straight from the kernel, for programs that are linked with musl.
//!
//! Memory that the kernel just gave is zeros, and takes no page before it is written to. The musl
//! that such programs are linked with writes the zeros that are asked for all the same: 21 MB for
//! sled's histograms, which nobody fills. So a large piece is a mapping of its own here, as it is
//! there.

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr::{copy_nonoverlapping, null_mut};

/// Bytes from which on a piece is a mapping: musl's own threshold.
const LARGE: usize = 128 * 1024;

/// What the kernel aligns a mapping to, at the least.
const PAGE: usize = 4096;

/// The system's allocator, but for large pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mapped;

const fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

/// Maps memory full of zeros; null if there is none.
#[expect(unsafe_code, reason = "mmap takes a raw range")]
fn map(size: usize) -> *mut u8 {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: without an address and a file it takes nobody's memory.
    unsafe { mmap_anonymous(null_mut(), size, access, MapFlags::PRIVATE) }
        .map_or(null_mut(), <*mut c_void>::cast)
}

// SAFETY: a piece is mapped, changed and unmapped if and only if its layout is large, which its
// owner gives back unchanged; the kernel aligns mappings to PAGE, and they do not overlap. All else
// is the system's.
#[expect(unsafe_code, reason = "an allocator is")]
unsafe impl GlobalAlloc for Mapped {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: as we were called.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: as we were called.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if !is_large(layout) {
            // SAFETY: as we were called.
            return unsafe { System.dealloc(piece, layout) };
        }
        // SAFETY: this is a mapping of that size, which nobody uses any more. It is the kernel's
        // to keep if it refuses.
        let _ = unsafe { munmap(piece.cast(), layout.size()) };
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller sees to it that `size` is one of a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            // SAFETY: as we were called.
            (false, false) => unsafe { System.realloc(piece, layout, size) },
            // SAFETY: this is a mapping of that size; who holds it takes the new place.
            (true, true) => unsafe {
                mremap(piece.cast(), layout.size(), size, MremapFlags::MAYMOVE)
                    .map_or(null_mut(), <*mut c_void>::cast)
            },
            // SAFETY: both pieces are as long as what is copied, and apart; the old one is given
            // back once the new one is there.
            (true, false) | (false, true) => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    copy_nonoverlapping(piece, moved, layout.size().min(size));
                    self.dealloc(piece, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "an allocator is called")]
mod tests {
    use super::*;

    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
    }

    #[test]
    fn large_zeros_take_no_memory_before_they_are_written_to() {
        let layout = Layout::from_size_align(256 << 20, 8).unwrap();
        let before = resident();
        // SAFETY: of a layout that is not empty, and given back with it.
        unsafe {
            let piece = Mapped.alloc_zeroed(layout);
            assert!(!piece.is_null());
            assert_eq!((piece.read(), piece.add(layout.size() - 1).read()), (0, 0));
            let after = resident();
            assert!(after < before + (128 << 20), "{before} bytes before, {after} after");
            Mapped.dealloc(piece, layout);
        }
    }

    #[test]
    fn a_piece_keeps_what_it_holds_however_it_grows_and_shrinks() {
        let mut layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: each piece is changed and given back with the layout that it has, and read up to
        // its size.
        unsafe {
            let mut piece = Mapped.alloc(layout);
            for at in 0..1000 {
                piece.add(at).write(at as u8);
            }
            for size in [2000, LARGE - 1, LARGE, 5 * LARGE + 7, LARGE + 1, LARGE - 1, 1000] {
                piece = Mapped.realloc(piece, layout, size);
                assert!(!piece.is_null());
                layout = Layout::from_size_align(size, 8).unwrap();
                assert!((0..1000).all(|at| piece.add(at).read() == at as u8), "{size} bytes");
                piece.add(size - 1).write((size - 1) as u8);
            }
            Mapped.dealloc(piece, layout);
        }
    }

    #[test]
    fn what_is_not_to_be_had_is_null() {
        let layout = Layout::from_size_align(isize::MAX as usize - PAGE, 1).unwrap();
        // SAFETY: of a layout that is not empty.
        assert!(unsafe { Mapped.alloc(layout) }.is_null());
    }
}
