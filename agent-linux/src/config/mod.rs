//! Configuration: files and flags in, one validated [`Config`] out.
//!
//! ```text
//! flags, files, -dev  --source-->  Layer (only what was written)  --resolve-->  Config
//! ```
//! - `setting`: what a setting is · `table`, `accepted`: one row for each
//! - `source`: reads and merges files and flags · `layer`: what was written, with its origin
//! - `hcl`: HCL 1 · `field`: JSON read as Go reads it · `definition`: services and checks
//! - `resolve`, `default`, `reader`, `address`: what was written made complete
//! - `verify`, `meta`: bounds · `watch`: what is watched, and by whom it is handled
//! - `tls`: TLS of the HTTP edge · `operation`: how it is operated · `gossip`: its clockwork
//! - `template`, `cidr`: addresses found on the host, networks
//! - `debug`: the configuration as `agent/self` shows it
//!
//! Source: <https://developer.hashicorp.com/consul/docs/agent/config>.

mod accepted;
mod address;
pub mod cidr;
mod debug;
mod default;
pub mod definition;
pub(crate) mod field;
mod gossip;
mod hcl;
mod layer;
mod meta;
mod operation;
mod reader;
mod resolve;
mod runtime;
pub mod setting;
pub mod source;
mod table;
pub mod template;
#[cfg(test)]
mod tests;
mod tls;
mod verify;
pub mod watch;

pub(crate) use field::{Fields, GoType};
pub use field::{go_bool, go_fault, go_text, os_text};
pub use layer::{Error, Layer};
pub use meta::{META_PAIRS_MAX, Reserved, check_meta};
pub use runtime::*;
