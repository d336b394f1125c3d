//! Reeve's agent for Linux.
pub mod config;
pub mod gossip;
pub mod raft;
pub mod rpc;
pub mod store;
pub mod version;
