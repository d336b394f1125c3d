//! Where every request is served.
//!
//! - `agent`: what is asked of this very agent

pub mod agent;
