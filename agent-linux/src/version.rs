//! The versions that this build shows.

/// Reeve's own version.
pub const REEVE: &str = env!("CARGO_PKG_VERSION");

/// The Consul version whose API, DNS and command line this build speaks; clients gate on its shape.
pub const CONSUL: &str = "1.8.7";
