//! `/v1/agent/monitor`: the agent's log as it is written.

use super::reply::{Body, Refusal};
use super::route::Call;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{HeaderValue, VARY};
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;
use tracing::Level;

/// Subscribes to the log from a level up: each piece is a line with its newline. The source drops
/// lines for a reader that does not keep up, and ends when the receiver is dropped.
pub type Monitor = Arc<dyn Fn(Level) -> Receiver<Bytes> + Send + Sync>;

/// Reads which level is asked for, and subscribes.
pub(super) fn follow(call: &Call<'_>) -> Result<Receiver<Bytes>, Refusal> {
    let given = call.params.get("loglevel");
    let level = match given.to_ascii_uppercase().as_str() {
        "TRACE" => Level::TRACE,
        "DEBUG" => Level::DEBUG,
        "" | "INFO" => Level::INFO,
        "WARN" => Level::WARN,
        "ERR" | "ERROR" => Level::ERROR,
        _ => return Err(Refusal::bad(format!("Bad request: Unknown log level: {given}"))),
    };
    match &call.settings.monitor {
        Some(monitor) => Ok(monitor(level)),
        None => Err(Refusal::failed("This agent keeps no log to follow")),
    }
}

/// Streams lines until the client goes.
pub(super) fn stream(lines: Receiver<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Stream(lines));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
