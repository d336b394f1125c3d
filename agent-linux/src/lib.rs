//! Reeve's agent for Linux.
pub mod config;
pub mod version;
