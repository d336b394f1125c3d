//! `/v1/agent/monitor`: the agent's log as it is written.

use super::connection::Body;
use super::head::Fields;
use super::reply::{Refusal, accepts_gzip};
use super::route::Call;
use super::{LineForm, Lines};
use hyper::Response;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
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
    let form = match call.params.has("logjson") {
        true => LineForm::Json,
        false => LineForm::Text,
    };
    match &call.settings.monitor {
        Some(monitor) => Ok(monitor(level, form)),
        None => Err(Refusal::failed("This agent keeps no log to follow")),
    }
}

/// Streams lines until the client goes, each at once, compressed if the client likes.
pub(super) fn stream(lines: Lines, asked: &Fields) -> Response<Body> {
    let packed = accepts_gzip(asked);
    let body = if packed { Body::packed(lines) } else { Body::Stream(lines) };
    let mut response = Response::new(body);
    if packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
