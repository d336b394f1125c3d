//! How deep the stack ever was. The runtime paints it before the program starts.
#![allow(unsafe_code, reason = "the linker's symbols and the stack itself are read")]

use cortex_m_rt::STACK_PAINT_VALUE;

/// Use of RAM, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Use {
    /// Initialised and zeroed data.
    pub(crate) data: u32,
    /// The stack's high water.
    pub(crate) stack: u32,
    /// Room for the stack.
    pub(crate) stack_max: u32,
}

/// Measures. Costs one look per word of stack never used.
pub(crate) fn measure() -> Use {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
        static __sdata: u32;
        static __ebss: u32;
    }
    let (top, end) = (&raw const _stack_start, &raw const _stack_end);
    let (data, bss) = (&raw const __sdata, &raw const __ebss);
    let mut deepest = end;
    // SAFETY: words between the stack's two ends, which are aligned and in RAM.
    while deepest < top && unsafe { deepest.read_volatile() } == STACK_PAINT_VALUE {
        deepest = deepest.wrapping_add(1);
    }
    Use {
        data: (bss as usize - data as usize) as u32,
        stack: (top as usize - deepest as usize) as u32,
        stack_max: (top as usize - end as usize) as u32,
    }
}
