//! Reeve's agent for Linux.
pub mod version;
