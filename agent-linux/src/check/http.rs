//! HTTP checks: the answer's status code, and the last bytes of its body.

use super::{Outcome, dial, tail, text_of};
use crate::tls::{self, Own, Verify};
use agent_core::health::{Status, Tail};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Redirects followed before the check fails, as Go's client has it.
const REDIRECTS_MAX: usize = 10;

/// Bytes of a body read: more than any health page, less than a download without end.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What an HTTP check calls itself.
const USER_AGENT: &str = "Consul Health Check";

/// An HTTP check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// What to fetch.
    pub url: String,
    /// The method, empty for GET.
    pub method: String,
    /// Headers to send; `Host` names another host than the URL's.
    pub header: BTreeMap<String, Vec<String>>,
    /// What to send.
    pub body: String,
    /// Whether to ask for a certificate that can be believed.
    pub verify: Verify,
    /// The agent's own way to speak TLS, if it is to be used.
    pub own: Option<Own>,
    /// Time for the whole exchange.
    pub timeout: Duration,
    /// Bytes of the body kept.
    pub output_bytes: usize,
}

/// One request of a chain of redirects.
struct Hop {
    method: Method,
    uri: Uri,
    header: HeaderMap,
    body: String,
}

impl Http {
    /// Asks once: 2xx is passing, 429 warning, anything else critical.
    pub async fn run(&self) -> Outcome {
        let method = if self.method.is_empty() { "GET" } else { &self.method };
        let asked = tokio::time::timeout(self.timeout, self.ask(method)).await;
        let fault = match asked {
            Ok(Ok((code, body))) => {
                let status = match code {
                    StatusCode::TOO_MANY_REQUESTS => Status::Warning,
                    code if code.is_success() => Status::Passing,
                    _ => Status::Critical,
                };
                let reason = code.canonical_reason().unwrap_or("");
                let answer = format!("{} {reason}", code.as_u16());
                let body = text_of(&body);
                let output =
                    format!("HTTP {method} {}: {} Output: {body}", self.url, answer.trim_end());
                return Outcome { status, output };
            }
            Ok(Err(fault)) => fault,
            Err(_) => "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                .to_owned(),
        };
        Outcome::critical(format!("{} \"{}\": {fault}", capitalized(method), self.url))
    }

    /// Asks, following redirects; answers the last status code and the body's end.
    async fn ask(&self, method: &str) -> Result<(StatusCode, Tail<Box<[u8]>>), String> {
        let mut hop = self.first_hop(method)?;
        for _ in 0..=REDIRECTS_MAX {
            let mut body = tail(self.output_bytes);
            let mut take = |data: &[u8]| body.push(data);
            let (code, location) = self.exchange(&hop, &mut take).await?;
            match location.filter(|_| is_redirect(code)) {
                Some(location) => hop = hop.redirected(code, &location)?,
                None => return Ok((code, body)),
            }
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects"))
    }

    /// Puts the first request together.
    fn first_hop(&self, method: &str) -> Result<Hop, String> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("net/http: invalid method \"{method}\""))?;
        let uri: Uri = self.url.parse().map_err(|error| format!("{error}"))?;
        let mut header = HeaderMap::new();
        for (name, values) in &self.header {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("net/http: invalid header field name \"{name}\""))?;
            for value in values {
                let value = HeaderValue::from_str(value)
                    .map_err(|_| format!("net/http: invalid header field value for {name}"))?;
                header.append(name.clone(), value);
            }
        }
        header.entry(header::USER_AGENT).or_insert_with(|| HeaderValue::from_static(USER_AGENT));
        header
            .entry(header::ACCEPT)
            .or_insert_with(|| HeaderValue::from_static("text/plain, text/*, */*"));
        Ok(Hop { method, uri, header, body: self.body.clone() })
    }

    /// Sends one request and reads its answer.
    async fn exchange(
        &self,
        hop: &Hop,
        take: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<(StatusCode, Option<String>), String> {
        let host =
            hop.uri.host().filter(|host| !host.is_empty()).ok_or("no Host in request URL")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match hop.uri.scheme_str() {
            Some("http") => {
                let stream = dial::dial(host, hop.uri.port_u16().unwrap_or(80)).await?;
                transfer(stream, hop.request()?, take).await
            }
            Some("https") => {
                let (name, config) = match &self.own {
                    Some(own) => own.way(self.verify),
                    None => {
                        let name = ServerName::try_from(host.to_owned());
                        (name.map_err(|e| e.to_string())?, tls::client(self.verify))
                    }
                };
                let stream = dial::dial(host, hop.uri.port_u16().unwrap_or(443)).await?;
                let stream = TlsConnector::from(config).connect(name, stream).await;
                let stream = stream.map_err(|error| tls_fault(&error))?;
                transfer(stream, hop.request()?, take).await
            }
            Some(other) => Err(format!("unsupported protocol scheme \"{other}\"")),
            None => Err("unsupported protocol scheme \"\"".to_owned()),
        }
    }
}

impl Hop {
    /// Writes the request as the server sees it.
    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let body = Full::new(Bytes::copy_from_slice(self.body.as_bytes()));
        let mut request =
            Request::builder().method(self.method.clone()).uri(path).body(body).map_err(text)?;
        *request.headers_mut() = self.header.clone();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
        let header = request.headers_mut();
        if !header.contains_key(header::HOST) {
            header.insert(header::HOST, HeaderValue::from_str(host).map_err(text)?);
        }
        if let Some(user) = user
            && !header.contains_key(header::AUTHORIZATION)
        {
            let secret = base64::engine::general_purpose::STANDARD.encode(user);
            let value = HeaderValue::from_str(&format!("Basic {secret}")).map_err(text)?;
            header.insert(header::AUTHORIZATION, value);
        }
        header.insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }

    /// Makes the request that a redirect asks for; secrets stay with the host they are for.
    fn redirected(mut self, code: StatusCode, location: &str) -> Result<Self, String> {
        let uri = resolve(&self.uri, location)
            .ok_or_else(|| format!("failed to parse Location header \"{location}\""))?;
        if uri.host() != self.uri.host() {
            self.header.remove(header::AUTHORIZATION);
            self.header.remove(header::COOKIE);
            self.header.remove(header::HOST);
        }
        let keeps = matches!(code.as_u16(), 307 | 308);
        if !keeps {
            self.body.clear();
            self.header.remove(header::CONTENT_TYPE);
            if self.method != Method::HEAD {
                self.method = Method::GET;
            }
        }
        self.uri = uri;
        Ok(self)
    }
}

/// Sends a request over a connection of its own and hands out the answer's body as it comes.
pub(super) async fn transfer<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    take: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<(StatusCode, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(text)?;
        receive(response, take).await
    };
    // The connection may end before the last bytes of the answer are taken out of it.
    tokio::pin!(exchange);
    tokio::select! {
        result = &mut exchange => result,
        _ = connection => exchange.await,
    }
}

/// Reads an answer.
async fn receive(
    response: Response<Incoming>,
    take: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<(StatusCode, Option<String>), String> {
    let code = response.status();
    let location = response.headers().get(header::LOCATION);
    let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = response.into_body();
    let mut taken = 0;
    while taken < BODY_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    take(data);
                    taken += data.len();
                }
            }
            // What came is enough to judge by.
            Some(Err(_)) | None => break,
        }
    }
    Ok((code, location))
}

/// Tells whether an answer sends the asker on.
fn is_redirect(code: StatusCode) -> bool {
    matches!(code.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Resolves a `Location` against the URL that answered it (RFC 3986, section 5, without dot
/// segments).
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or("");
    let scheme = base.scheme_str()?;
    let absolute = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else {
        let authority = base.authority()?;
        let path = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{}{location}", base.path()),
            Some(_) | None => {
                let (folder, _) = base.path().rsplit_once('/').unwrap_or(("", ""));
                format!("{folder}/{location}")
            }
        };
        format!("{scheme}://{authority}{path}")
    };
    absolute.parse().ok()
}

/// Says what Go says about a TLS handshake with something that does not speak TLS.
fn tls_fault(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Some(other) => other.to_string(),
        None => dial::go_fault(error),
    }
}

/// Writes any error.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Writes a method as Go's errors do: `Get`.
fn capitalized(method: &str) -> String {
    let mut chars = method.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + &chars.as_str().to_ascii_lowercase()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base: Uri = "http://h:80/a/b?q".parse().unwrap();
        for (location, want) in [
            ("https://x/y", "https://x/y"),
            ("//x/y#f", "http://x/y"),
            ("/c?d", "http://h:80/c?d"),
            ("c", "http://h:80/a/c"),
            ("?z", "http://h:80/a/b?z"),
        ] {
            assert_eq!(resolve(&base, location).unwrap().to_string(), want);
        }
        assert_eq!(resolve(&base, "http://a b/"), None);
    }

    #[test]
    fn methods_read_like_gos() {
        assert_eq!(capitalized("GET"), "Get");
        assert_eq!(capitalized("pOST"), "Post");
    }
}
