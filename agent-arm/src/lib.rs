//! What runs on the board: no operating system, no allocator, constant memory.
//!
//! ```text
//! device   leaf, health loop and client behind the five calls; capacities are const parameters
//! net      drives them over smoltcp
//! port     the UDP socket for it, which no silent neighbour can block
//! posix    drives them on Linux: one thread, poll(2)
//! stream   the TCP socket for it, which follows the connection that the device wants
//! ```
//!
//! The board's program owns the network interface, a clock, a source of random numbers and the
//! checks themselves. It calls [`net::step`] in its loop, polls events, runs the checks that
//! [`device::Event::Run`] names, and hands their results back. Nothing here blocks.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(any(test, unix))]
extern crate std;

pub mod device;
pub mod net;
pub mod port;
#[cfg(unix)]
pub mod posix;
pub mod stream;

pub use device::Device;
pub use port::Port;
pub use stream::Stream;
