//! `/v1/agent/monitor`: the agent's log as it is written.

use super::Lines;
use super::connection::Body;
use super::reply::Refusal;
use super::route::Call;
use hyper::Response;
use hyper::header::{HeaderValue, VARY};
use tracing::Level;

/// Reads which level is asked for, and subscribes.
pub(super) fn follow(call: &Call<'_>) -> Result<Lines, Refusal> {
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
pub(super) fn stream(lines: Lines) -> Response<Body> {
    let mut response = Response::new(Body::Stream(lines));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
