//! Reeve's agent for Linux.
pub mod agent;
pub mod check;
pub mod cli;
pub mod config;
pub mod dns;
pub mod endpoint;
pub mod gossip;
pub mod http;
pub mod leader;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod raft;
pub mod rpc;
pub mod store;
mod ui;
pub mod version;
