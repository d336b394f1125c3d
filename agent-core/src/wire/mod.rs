//! What travels between agents: bytes are checked, parsed and emitted here and nowhere else.
//!
//! ```text
//! packet     gossip datagram: header, updates, broadcasts; no allocator
//! frame      stream: length, request id, kind; read and written over embedded-io-async
//! ```

pub mod frame;
pub mod packet;
