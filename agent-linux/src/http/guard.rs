//! What the configuration shuts off (`http_config`).

use super::Settings;
use super::reply::Page;
use hyper::{Method, StatusCode};
use std::net::IpAddr;

/// Refuses what the configuration shuts off: paths, and writes from foreign networks. A Unix
/// socket has no network: its file's permissions decide.
pub(super) fn guard(
    settings: &Settings,
    from: Option<IpAddr>,
    method: &Method,
    path: &str,
) -> Option<Page> {
    if settings.block_endpoints.iter().any(|prefix| path.starts_with(prefix.as_str())) {
        let text = "Endpoint is blocked by agent configuration";
        return Some(Page::text(StatusCode::FORBIDDEN, text));
    }
    let is_read = *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS;
    let allowed = &settings.allow_write_from;
    let is_foreign = |from| !allowed.is_empty() && !allowed.iter().any(|net| net.contains(from));
    if !is_read && from.is_some_and(is_foreign) {
        return Some(Page::text(StatusCode::FORBIDDEN, "Access is restricted"));
    }
    None
}
