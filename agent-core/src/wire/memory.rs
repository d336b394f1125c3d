//! One declaration of a message; text and lists live where the target can hold them.
//!
//! ```text
//! Lent   text and bytes borrowed from a buffer, lists of up to LIST_MAX: boards
//! Heap   (alloc) text, bytes and lists owned: servers
//! ```
//!
//! Both have the same layout on the wire, so what one emits the other parses.

#[cfg(feature = "alloc")]
use alloc::{string::String, vec::Vec};
use core::fmt::Debug;
use core::marker::PhantomData;

/// Most elements of a list that a board sends or takes; longer ones do not parse there.
pub const LIST_MAX: usize = 8;

/// Where a message keeps its text, bytes and lists.
pub trait Memory: Clone + PartialEq + Debug {
    /// UTF-8 text.
    type Text: Clone + PartialEq + Debug + AsRef<str>;
    /// Bytes of any value.
    type Bytes: Clone + PartialEq + Debug + AsRef<[u8]>;
    /// Elements in order.
    type List<T: Clone + PartialEq + Debug>: Clone + PartialEq + Debug + AsRef<[T]>;
}

/// Borrowed from the caller's buffer. Needs no allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lent<'a>(PhantomData<&'a ()>);

impl<'a> Memory for Lent<'a> {
    type Text = &'a str;
    type Bytes = &'a [u8];
    type List<T: Clone + PartialEq + Debug> = heapless::Vec<T, LIST_MAX>;
}

/// Owned.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heap;

#[cfg(feature = "alloc")]
impl Memory for Heap {
    type Text = String;
    type Bytes = Vec<u8>;
    type List<T: Clone + PartialEq + Debug> = Vec<T>;
}
