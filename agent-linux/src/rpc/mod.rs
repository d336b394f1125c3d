//! Requests between agents over one port.
//!
//! ```text
//! server     one listener: the first byte of a connection selects requests or raft
//! route      Router: which server a request goes to next
//! ```

pub mod route;
pub mod server;
