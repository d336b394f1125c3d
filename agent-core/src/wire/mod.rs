//! What travels between agents: bytes are checked, parsed and emitted here and nowhere else.
//!
//! ```text
//! packet     gossip datagram: header, updates, broadcasts; no allocator
//! event      user event, as news and exchanges carry it; no allocator
//! frame      stream: length, request id, kind; read and written over embedded-io-async
//! message    what a device and a server say to each other in frames
//! memory     where such a message keeps its text and lists: lent or on the heap
//! ```

pub mod event;
pub mod frame;
pub mod memory;
pub mod message;
pub mod packet;
