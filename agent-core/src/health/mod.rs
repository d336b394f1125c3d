//! Health checks without I/O, clock or allocator: when to run one, and what its results mean.
//!
//! ```text
//! engine     every check of an agent: who is due next, TTL deadlines, thresholds, reaping
//! judge      one check: results in a row against its thresholds -> a new status, or patience
//! output     the last bytes of what a check said, in lent memory
//! status     passing, warning, critical
//! ```
//!
//! The driver runs what [`Event::Run`] names and hands the result back; that is all it does. A
//! board lends `[Slot; N]`, a Linux agent a vector. There is no network here, so of the five calls
//! that `crate` describes only three exist: `handle_timeout`, `poll_timeout` and `poll_event`.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/services/usage/checks>.

pub mod engine;
pub mod judge;
pub mod output;
pub mod status;

pub use engine::{Engine, Event, Full, Key, Pace, Plan, Reason, Slot};
pub use judge::{Judge, Thresholds};
pub use output::Tail;
pub use status::Status;
