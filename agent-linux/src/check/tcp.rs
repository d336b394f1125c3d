//! TCP checks: passing if something accepts the connection.

use super::{Outcome, dial};
use agent_core::health::Status;
use std::time::Duration;

/// A TCP check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// `host:port` to connect to.
    pub target: String,
    /// Time for the connection.
    pub timeout: Duration,
}

impl Tcp {
    /// Connects once and hangs up.
    pub async fn run(&self) -> Outcome {
        let result = match dial::split(&self.target) {
            Ok((host, port)) => dial::dial_within(host, port, self.timeout).await,
            Err(fault) => Err(fault),
        };
        match result {
            Ok(_) => Outcome {
                status: Status::Passing,
                output: format!("TCP connect {}: Success", self.target),
            },
            Err(fault) => Outcome::critical(fault),
        }
    }
}
