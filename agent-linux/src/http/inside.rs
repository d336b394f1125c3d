//! Reads by the agent's own parts: through the same table of routes, without a socket.

use super::head::{Fields, Head, Target};
use super::path::{encode, encode_param};
use super::reply::INDEX;
use super::{Http, route};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;

/// What a read gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The index to block on, 0 if there is none.
    pub index: u64,
    /// The body.
    pub body: Bytes,
}

/// Reads a path, which is not yet escaped.
///
/// # Errors
///
/// Words for a path that no request can carry, or a body that broke off.
pub async fn inquire(http: &Http, path: &str, params: &[(&str, String)]) -> Result<Answer, String> {
    let pair = |(name, value): &(&str, String)| format!("{name}={}", encode_param(value));
    let query: Vec<String> = params.iter().map(pair).collect();
    let target = Target::of(&format!("{}?{}", encode(path), query.join("&")));
    let target = target.ok_or_else(|| format!("{path:?} is no path"))?;
    let head = Head { method: Method::GET, target, fields: Fields::default() };
    let response = route::answer(http, None, &head, None).await;
    let index = response.headers().get(INDEX).and_then(|index| index.to_str().ok());
    let index = index.and_then(|index| index.parse().ok()).unwrap_or_default();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(Answer { code, index, body: body.to_bytes() })
}
