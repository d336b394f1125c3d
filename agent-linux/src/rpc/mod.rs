//! Requests between agents, and calls between raft peers, over one port.
//!
//! ```text
//! route        Router: which server a request goes to next; sticky, rotates on failure
//! client       pooled connections that carry many calls at once; dropping a call cancels it
//! server       one listener: the first byte of a connection selects requests, raft or a device
//! device       the compact messages of devices: each becomes ordinary requests
//! connection   the two halves of a socket: Inbox cuts frames, Outbox writes them
//! ```
//!
//! The frames are those of [`agent_core::wire::frame`]. Nothing in this module but `device` looks
//! into a request.

pub mod client;
mod connection;
pub mod device;
pub mod route;
pub mod server;
