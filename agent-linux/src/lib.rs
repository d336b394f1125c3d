//! Reeve's agent for Linux.
pub mod agent;
pub mod check;
pub mod config;
pub mod endpoint;
pub mod gossip;
pub mod raft;
pub mod rpc;
pub mod store;
pub mod version;
