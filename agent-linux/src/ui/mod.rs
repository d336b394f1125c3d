//! The page under `/ui/`: services, nodes, key/value store, all over the public API.
//!
//! Three files, no resource from elsewhere, compressed once when first asked for.

use crate::http::{Body, gzip};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};
use std::sync::OnceLock;

/// One file of the page.
struct Asset {
    /// Path below `/ui/`.
    path: &'static str,
    /// `Content-Type`.
    kind: &'static str,
    /// Content.
    plain: &'static [u8],
    /// The same compressed, once somebody took it so.
    packed: OnceLock<Vec<u8>>,
}

/// The page itself stands first: it is also the answer to paths that only its script knows.
static ASSETS: [Asset; 3] = [
    Asset {
        path: "index.html",
        kind: "text/html; charset=utf-8",
        plain: include_bytes!("index.html"),
        packed: OnceLock::new(),
    },
    Asset {
        path: "app.js",
        kind: "text/javascript; charset=utf-8",
        plain: include_bytes!("app.js"),
        packed: OnceLock::new(),
    },
    Asset {
        path: "style.css",
        kind: "text/css; charset=utf-8",
        plain: include_bytes!("style.css"),
        packed: OnceLock::new(),
    },
];

/// Nothing runs in the page but its own script, and it talks to its own agent only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Which form of a file the client takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// As it is.
    Plain,
    /// Compressed with gzip.
    Packed,
}

/// Serves a path that starts with `/ui/`.
pub(crate) fn serve(path: &str, method: &Method, form: Form) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = Response::new(Body::from(Vec::new()));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
        return response;
    }
    let name = path.strip_prefix("/ui/").unwrap_or(path);
    let asset = ASSETS.iter().find(|asset| asset.path == name).unwrap_or(&ASSETS[0]);
    let bytes: &'static [u8] = match form {
        Form::Plain => asset.plain,
        Form::Packed => asset.packed.get_or_init(|| gzip(asset.plain)),
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if form == Form::Packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_paths_get_the_page() {
        for path in ["/ui/", "/ui/dc1/services", "/ui/index.html"] {
            let response = serve(path, &Method::GET, Form::Plain);
            assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        }
        let script = serve("/ui/app.js", &Method::GET, Form::Packed);
        assert_eq!(script.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(serve("/ui/", &Method::PUT, Form::Plain).status(), 405);
    }

    #[test]
    fn the_page_takes_nothing_from_elsewhere() {
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.plain).unwrap();
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", asset.path);
        }
    }
}
