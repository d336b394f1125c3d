//! Pages: what goes back to a client. The one place of status codes, error texts and headers.

use super::connection::Body;
use super::head::Fields;
use super::pack::gzip;
use super::path::encode;
use super::route::Call;
use super::view;
use crate::ui::Asset;
use agent_core::model::request::{Consistency, Error, Kind, Meta};
use hyper::header::{
    AGE, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// Bodies below this go out as they are: they fit one packet with their headers anyway.
const COMPRESS_BYTES_MIN: usize = 1024;

pub(super) const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const EFFECTIVE: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
pub(super) const CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");
pub(super) const REASON: HeaderName = HeaderName::from_static("x-consul-reason");

/// Type of a plain text, as Go finds it out.
const TEXT: &str = "text/plain; charset=utf-8";

/// A request that is answered without asking anybody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// The status code.
    pub status: StatusCode,
    /// The text that clients compare.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// Refuses with 400.
    pub(super) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    /// Refuses with 500, where Consul does so.
    pub(super) fn failed(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: text.into() }
    }

    /// Refuses what Consul's servers would: 500, and one hop away for clients.
    pub(super) fn by_server(call: &Call<'_>, text: impl Into<String>) -> Self {
        let error = Error::with(Kind::Invalid, text);
        let error = if call.settings.server { error } else { error.hop() };
        Self::failed(error.to_string())
    }
}

impl From<Refusal> for Page {
    fn from(refusal: Refusal) -> Self {
        Self::text(refusal.status, refusal.text)
    }
}

/// A page before it is put on the wire.
#[derive(Debug)]
pub(super) struct Page {
    /// The status code.
    pub status: StatusCode,
    /// The `Content-Type`, or empty for none.
    pub kind: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Page {
    /// An empty page.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, kind: "", body: Vec::new(), headers: Vec::new() }
    }

    /// A plain text.
    pub(super) fn text(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        let body = text.into().into_owned().into_bytes();
        let kind = if body.is_empty() { "" } else { TEXT };
        Self { status, kind, body, headers: Vec::new() }
    }

    /// Bytes as they are stored. A browser must not run them, whatever they look like.
    pub(super) fn raw(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, kind: "text/plain", body, headers: Vec::new() }
            .header(CONTENT_SECURITY_POLICY, "sandbox")
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
    }

    /// A JSON value, indented if the client likes.
    pub(super) fn json<T: Serialize + ?Sized>(call: &Call<'_>, value: &T) -> Self {
        let body = view::to_bytes(value, call.is_pretty());
        Self { status: StatusCode::OK, kind: "application/json", body, headers: Vec::new() }
    }

    /// The same page under another status.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same page with a further header; a value that no header can hold is left out.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The answer to a method that the path does not know.
    pub(super) fn not_allowed(method: &Method, allow: &str) -> Self {
        let text = format!("method {method} not allowed");
        Self::text(StatusCode::METHOD_NOT_ALLOWED, text).header(ALLOW, allow)
    }

    /// Sends the client to another path, with the same query.
    pub(super) fn moved(method: &Method, path: &str, query: Option<&str>) -> Self {
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        let to = format!("{path}{query}");
        let mut page = Self::empty(StatusCode::MOVED_PERMANENTLY);
        if method == Method::GET || method == Method::HEAD {
            page.kind = "text/html; charset=utf-8";
            page.body = format!("<a href=\"{}\">Moved Permanently</a>.\n\n", html(&to)).into();
        }
        page.header(LOCATION, &to)
    }

    /// Sends the client to a path relative to its own, with the same query.
    pub(super) fn sent_on(to: &str, query: Option<&str>) -> Self {
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        let to = format!("{}{query}", encode(to));
        Self::empty(StatusCode::MOVED_PERMANENTLY).header(LOCATION, &to)
    }

    /// Sends the client to a path that is not yet encoded.
    pub(super) fn moved_plain(method: &Method, path: &str, query: Option<&str>) -> Self {
        Self::moved(method, &encode(path), query)
    }

    /// The answer to a path that cannot be read.
    pub(super) fn broken() -> Self {
        Self::text(StatusCode::BAD_REQUEST, "400 Bad Request").header(CONNECTION, "close")
    }

    /// Something came back that the question does not have: both ends are of different builds.
    pub(super) fn unexpected() -> Self {
        Self::text(StatusCode::INTERNAL_SERVER_ERROR, "unexpected reply")
    }
}

/// Escapes what HTML would read as markup.
fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

/// Who told of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Teller {
    /// The servers: Consul's HTTP layer cannot tell what was wrong with a request from what failed.
    Servers,
    /// This very agent: it can.
    Agent,
}

/// Renders a failure.
pub(super) fn fault(error: &Error, teller: Teller) -> Page {
    let status = match error.kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Limited => return Page::empty(StatusCode::TOO_MANY_REQUESTS),
        Kind::Invalid if teller == Teller::Agent => StatusCode::BAD_REQUEST,
        Kind::Invalid
        | Kind::NoLeader
        | Kind::NoServers
        | Kind::NoPath
        | Kind::NotReady
        | Kind::Failed
        | Kind::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = error.to_string();
    let silent = error.text.is_empty() && error.kind.text().is_empty();
    match (silent, error.kind) {
        (true, Kind::Unknown) => Page::text(status, text + "the outcome is not known"),
        (true, _) => Page::text(status, text + "internal error"),
        (false, _) => Page::text(status, text),
    }
}

/// Which of the `X-Consul-*` headers about freshness an answer carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Freshness {
    /// None: writes, status, operator.
    Untold,
    /// Index, leader, contact; on success only.
    Found,
    /// The same, on failure too.
    Told,
    /// The same, but nothing about what is not there.
    Present,
    /// The same with the effective consistency.
    Effective,
    /// The same for answers that may come from the agent's cache when asked for `?cached`.
    Cached,
    /// Only whether the answer came from the cache.
    CacheOnly,
}

impl Freshness {
    /// Tells whether the agent's cache may be asked.
    pub(super) fn is_cached(self) -> bool {
        match self {
            Self::Cached | Self::CacheOnly => true,
            Self::Untold | Self::Found | Self::Told | Self::Present | Self::Effective => false,
        }
    }
}

/// Tells whether an answer was in the cache: then it has an age.
pub(super) fn tell_cache(page: &mut Page, age: Option<Duration>) {
    let word = if age.is_some() { "HIT" } else { "MISS" };
    page.headers.push((CACHE, HeaderValue::from_static(word)));
    if let Some(age) = age {
        page.headers.push((AGE, HeaderValue::from(age.as_secs())));
    }
}

/// Adds the headers about freshness; for a failure there is nothing to tell but defaults, and
/// nothing at all about what is not there.
pub(super) fn tell_freshness(
    page: &mut Page,
    kind: Freshness,
    answer: Option<(Meta, Consistency)>,
) {
    let headers = &mut page.headers;
    let is_told = match kind {
        _ if answer.is_none() && page.status == StatusCode::NOT_FOUND => false,
        Freshness::Untold | Freshness::CacheOnly => false,
        Freshness::Found => answer.is_some(),
        Freshness::Present => page.status != StatusCode::NOT_FOUND,
        Freshness::Told | Freshness::Effective | Freshness::Cached => true,
    };
    if !is_told {
        return;
    }
    if let Some((_, level)) = answer
        && matches!(kind, Freshness::Effective | Freshness::Cached)
    {
        let word = match level {
            Consistency::Default => "leader",
            Consistency::Consistent => "consistent",
            Consistency::Stale => "stale",
        };
        headers.push((EFFECTIVE, HeaderValue::from_static(word)));
    }
    let meta = answer.map_or_else(Meta::default, |(meta, _)| meta);
    tell_meta(headers, meta);
}

/// Adds index, leader, contact.
fn tell_meta(headers: &mut Vec<(HeaderName, HeaderValue)>, meta: Meta) {
    headers.push((INDEX, HeaderValue::from(meta.index.max(1))));
    tell_contact(headers, meta);
}

/// Adds the headers about the leader.
pub(super) fn tell_contact(headers: &mut Vec<(HeaderName, HeaderValue)>, meta: Meta) {
    let leader = if meta.known_leader { "true" } else { "false" };
    headers.push((KNOWN_LEADER, HeaderValue::from_static(leader)));
    headers.push((LAST_CONTACT, HeaderValue::from(meta.last_contact_ms)));
}

/// Who asked for a page decides which headers all pages share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Audience {
    /// The API: may be compressed, and says so.
    Api,
    /// Redirects and unknown paths, which Go's router answers by itself.
    Router,
}

/// A streamed response with the headers about freshness.
pub(super) fn finish_stream(body: Body, kind: &'static str, meta: Meta) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    let mut told = Vec::with_capacity(3);
    tell_meta(&mut told, meta);
    headers.extend(told.into_iter().map(|(name, value)| (Some(name), value)));
    response
}

/// Turns a page into a response.
pub(super) fn finish(
    mut page: Page,
    audience: Audience,
    asked: &Fields,
    further: &[(String, String)],
) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(8 + page.headers.len());
    if !page.kind.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    }
    if audience == Audience::Api {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if page.body.len() >= COMPRESS_BYTES_MIN && accepts_gzip(asked) {
            page.body = gzip(&page.body);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in further {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
    }
    for (name, value) in page.headers {
        headers.insert(name, value);
    }
    let mut response = Response::new(Body::from(page.body));
    *response.status_mut() = page.status;
    *response.headers_mut() = headers;
    response
}

/// Tells whether a client takes gzip.
pub(super) fn accepts_gzip(asked: &Fields) -> bool {
    asked.all("accept-encoding").flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight
            .split_once('=')
            .is_some_and(|(_, q)| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Nothing runs in the page but its own script, and it talks to its own agent only.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                           img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Turns a file of the page into a response.
pub(super) fn finish_asset(
    asset: &'static Asset,
    method: &Method,
    asked: &Fields,
) -> Response<Body> {
    let packed = accepts_gzip(asked);
    let bytes = if packed { asset.packed(gzip) } else { asset.plain };
    finish_file(Body::from(bytes), asset.kind, method, asked, packed)
}

/// Turns the page itself, under a path of its own, into a response.
pub(super) fn finish_text(
    text: String,
    kind: &'static str,
    method: &Method,
    asked: &Fields,
) -> Response<Body> {
    finish_file(Body::from(text.into_bytes()), kind, method, asked, false)
}

/// Turns what the page has into a response.
fn finish_file(
    body: Body,
    kind: &'static str,
    method: &Method,
    asked: &Fields,
    packed: bool,
) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let page = Page::empty(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, "GET,HEAD");
        return finish(page, Audience::Router, asked, &[]);
    }
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_only_where_it_is_accepted() {
        for (value, want) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
        ] {
            let asked = Fields::of(&format!("Accept-Encoding: {value}\r\n"));
            assert_eq!(accepts_gzip(&asked), want, "{value}");
        }
    }

    #[test]
    fn failures_get_consuls_codes_and_texts() {
        for (error, status, text) in [
            (Error::new(Kind::NoLeader), 500, "No cluster leader"),
            (Error::new(Kind::NoPath).hop(), 500, "rpc error making call: No path to datacenter"),
            (Error::new(Kind::Denied), 403, "Permission denied"),
            (Error::with(Kind::Invalid, "invalid session \"x\""), 500, "invalid session \"x\""),
            (Error::with(Kind::NotFound, "unknown service ID: x"), 404, "unknown service ID: x"),
            (Error::new(Kind::Unknown), 500, "the outcome is not known"),
        ] {
            let page = fault(&error, Teller::Servers);
            assert_eq!(page.status.as_u16(), status);
            assert_eq!(String::from_utf8(page.body).unwrap(), text);
        }
        let own = Error::with(Kind::Invalid, "Missing check name");
        assert_eq!(fault(&own, Teller::Agent).status, 400);
    }
}
