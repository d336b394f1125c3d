//! Reeve's agent as an image for Cortex-M boards: no operating system, no allocator.
//!
//! ```text
//! bin        one image per board
//! run        the loop: frames, gossip, checks, console; sleeps until the next is due
//! node       the agent on the network: address, gossip port, way back into the pool
//! way        whom to ask to be taken in, and when
//! server     what servers are told, and what they say
//! probe      a TCP check that never waits
//! argument   what the host gives to one instance
//! board      clock, sleep and interrupts of each board  (nic, register)
//! nic        frames in, frames out
//! host       semihosting: console, arguments, exit
//! stack      how deep it ever was
//! ```
//!
//! Whatever touches the machine is below `target_os = "none"`; the rest is tested on the host.
#![no_std]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod argument;
pub mod node;
pub mod probe;
mod server;
pub mod way;

#[cfg(target_os = "none")]
#[macro_use]
pub mod host;
#[cfg(target_os = "none")]
pub mod board;
#[cfg(target_os = "none")]
pub mod nic;
#[cfg(target_os = "none")]
mod register;
#[cfg(target_os = "none")]
pub mod run;
#[cfg(target_os = "none")]
mod stack;
