//! Configuration: files and flags in, one validated [`Config`] out.
//!
//! ```text
//! flags, files, -dev  --source-->  Layer (only what was written)  --resolve-->  Config
//! ```
//! - `setting`: what a setting is · `table`, `accepted`: one row for each
//! - `source`: reads and merges files and flags · `layer`: what was written, with its origin
//! - `hcl`: HCL 1 · `field`: JSON read as Go reads it · `definition`: services and checks
//! - `resolve`, `address`: defaults, checks, addresses · `template`, `cidr`: parts of these
//! - `debug`: the configuration as `agent/self` shows it
//!
//! Source: <https://developer.hashicorp.com/consul/docs/agent/config>.

pub mod cidr;
pub mod definition;
mod field;
mod hcl;
mod runtime;
pub mod source;
mod template;

pub use field::go_text;
pub use runtime::*;
