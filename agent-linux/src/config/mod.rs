//! Configuration: files and flags in, one validated [`Config`](self) out.
//!
//! - `definition`: services and checks, shared with the HTTP API and the command line
//! - `field`: JSON fields read as Go reads them

pub mod definition;
mod field;

pub use field::go_text;
