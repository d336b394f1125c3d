//! The agent: what it keeps for this node, and how the catalog learns of it.
//!
//! ```text
//! local      services and checks of this node: requests served, rows kept
//! register   from a definition to rows, with the texts of refusals
//! maintenance  the checks that take an instance or the node out
//! state      rows, engine, sync flags: pure          plan    how the catalog differs: pure
//! keep disk  changes, on disk first, and their return at start
//! runner     runs the checks                         remote  alias checks of other nodes
//! sync       makes the catalog agree
//! ```

mod disk;
mod hash;
mod keep;
pub mod local;
mod maintenance;
mod plan;
mod register;
mod remote;
pub mod runner;
mod state;
pub mod sync;

pub use disk::Error as DiskError;
pub use plan::Role;
