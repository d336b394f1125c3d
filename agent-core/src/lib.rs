//! Reeve's protocols as values: no I/O, no clock, no log, and without `alloc` no allocator.
//!
//! ```text
//! client                     a device's way to a server: find, register, keep registered, look up
//! gossip   health            SWIM membership          check state machines
//! wire                       datagrams and stream frames: check -> parse -> emit
//! model  (alloc)             rows, commands, queries: what servers store and are asked
//! time   rand                our instants and dice; the driver lends both
//! ```
//!
//! # The five-call contract
//!
//! Every state machine in this crate is driven by exactly these calls; the tokio, smoltcp, poll(2)
//! and simulator drivers differ in nothing else:
//!
//! - `handle_datagram(now, from, bytes)`: input from the network;
//! - `handle_timeout(now)`: the instant that `poll_timeout` named has come;
//! - `poll_transmit(now, &mut [u8]) -> Option<Transmit>`: output, until it answers `None`;
//! - `poll_timeout() -> Option<(Instant, Reason)>`: when to call again, and why;
//! - `poll_event() -> Option<Event>`: what the application should know, until it answers `None`.
//!
//! After any `handle_*` call, poll transmits and events until both are empty, then ask for the
//! timeout.
//!
//! # The panic contract
//!
//! No byte from outside can make this crate panic: parsers return errors, and a value that parsed
//! can be emitted again. Misuse by the driver (time running backwards) is tolerated, never trusted.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
pub mod gossip;
pub mod health;
#[cfg(feature = "alloc")]
pub mod model;
pub mod rand;
pub mod time;
pub mod wire;
