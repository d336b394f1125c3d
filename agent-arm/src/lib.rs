//! What runs on the board: no operating system, no allocator, constant memory.
//!
//! ```text
//! device   a gossip leaf and a health loop behind the five calls; capacities are const parameters
//! net      drives them over a smoltcp UDP socket
//! ```
//!
//! The board's program owns the network interface, a clock, a source of random numbers and the
//! checks themselves. It calls [`net::step`] in its loop, runs the checks that
//! [`device::Event::Health`] names, and hands their results back. Nothing here blocks.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod device;
pub mod net;

pub use device::Device;
