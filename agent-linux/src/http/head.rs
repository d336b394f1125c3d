//! Heads of requests (RFC 9112, sections 2 to 6): bytes in, a head or a status code out.
//!
//! What could be read in two ways is refused, as a proxy in front might read it in the other: both
//! `Content-Length` and `Transfer-Encoding`, lengths that differ or are no plain number, a coding
//! other than `chunked`, folded lines, blanks before a colon, bytes that no field may hold, no
//! `Host` or more than one. A line may end with a line feed alone, as in Go's server.

use hyper::{Method, StatusCode};
use std::mem::MaybeUninit;

/// Most header fields of a request; more are answered with 431.
const FIELDS_MAX: usize = 100;

/// What a request asks, but for its body.
pub(super) struct Head {
    /// The method.
    pub(super) method: Method,
    /// What it is about.
    pub(super) target: Target,
    /// The header fields.
    pub(super) fields: Fields,
}

/// Path and query as they came, with their escapes. Any byte that prints may stand in them, as in
/// Go's server: what people type into a shell has quotes and brackets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    text: Box<str>,
    /// Where the query starts, behind its `?`.
    query: Option<usize>,
}

impl Target {
    /// Reads a target; a scheme and a host before the path are skipped. Nothing if it is none.
    pub(super) fn of(target: &str) -> Option<Self> {
        let text = match target.split_once("://") {
            _ if target.starts_with(['/', '*']) => target,
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]
            }
            _ => return None,
        };
        Some(Self { text: text.into(), query: text.find('?').map(|at| at + 1) })
    }

    /// The path.
    pub(super) fn path(&self) -> &str {
        let path = self.query.map_or(&*self.text, |start| &self.text[..start - 1]);
        if path.is_empty() { "/" } else { path }
    }

    /// The query, if there is one.
    pub(super) fn query(&self) -> Option<&str> {
        self.query.map(|start| &self.text[start..])
    }

    /// Both, as they came.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Header fields as they came: a line each. Empty by default.
#[derive(Clone, Default, Debug)]
pub(super) struct Fields(Box<[u8]>);

impl Fields {
    /// Finds the first value of a field, without blanks around it; nothing if it holds other bytes
    /// than visible ASCII, blanks and tabs. The case of `name` does not matter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Finds all values of a field.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.0.split(|byte| *byte == b'\n');
        lines.filter_map(move |line| {
            let (have, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            if !have.eq_ignore_ascii_case(name.as_bytes()) {
                return None;
            }
            let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r');
            let text = std::str::from_utf8(value).ok()?;
            value.iter().all(is_plain).then(|| text.trim_matches([' ', '\t', '\r']))
        })
    }

    /// Tells whether a field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Fields that a test asks with.
    #[cfg(test)]
    pub(super) fn of(lines: &str) -> Self {
        Self(lines.as_bytes().into())
    }
}

/// Why a request is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// The status code of the answer.
    pub(super) status: StatusCode,
    /// What the answer adds to it; empty if nothing.
    pub(super) why: &'static str,
}

impl Refused {
    /// A bad request, and what is bad about it.
    fn bad(why: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why }
    }
}

impl From<StatusCode> for Refused {
    fn from(status: StatusCode) -> Self {
        Self { status, why: "" }
    }
}

/// How the body of a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// What a request says about its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Manner {
    /// How its body ends.
    pub(super) framing: Framing,
    /// Whether another request may follow.
    pub(super) keeps: bool,
    /// Whether it is of HTTP/1.0, which knows no chunks.
    pub(super) is_old: bool,
    /// Whether the client waits to be told to send the body (`Expect: 100-continue`).
    pub(super) waits: bool,
    /// Whether it has the method `HEAD`, whose answer has no body.
    pub(super) is_head: bool,
}

/// A head that has come whole.
pub(super) struct Whole {
    /// What is asked.
    pub(super) head: Head,
    /// How.
    pub(super) manner: Manner,
    /// Bytes of the head; the body follows.
    pub(super) used: usize,
}

/// Parses the head at the start of `bytes`; nothing if some of it is still to come.
///
/// # Errors
///
/// A refusal with the status code 400, 414, 417, 431 or 501.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Whole>, Refused> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let used = match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into());
        }
        Err(_) => return Err(StatusCode::BAD_REQUEST.into()),
    };
    let method = request.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
    let target = request.path.unwrap_or_default();
    if target.len() > usize::from(u16::MAX) - 1 {
        return Err(StatusCode::URI_TOO_LONG.into());
    }
    let target = match Target::of(target) {
        Some(target) => target,
        // A host and a port, which leads nowhere here.
        None if method == Method::CONNECT => Target { text: "".into(), query: None },
        None => return Err(StatusCode::BAD_REQUEST.into()),
    };
    let manner = manner(request.headers, request.version, &method)?;
    let start = request
        .headers
        .first()
        .map_or(used, |first| first.name.as_ptr().addr() - bytes.as_ptr().addr());
    let head = Head { method, target, fields: Fields(bytes[start..used].into()) };
    Ok(Some(Whole { head, manner, used }))
}

/// Reads what the fields say about body and connection.
fn manner(
    fields: &[httparse::Header<'_>],
    minor_version: Option<u8>,
    method: &Method,
) -> Result<Manner, Refused> {
    let is_old = minor_version == Some(0);
    let (mut hosts, mut host): (usize, &[u8]) = (0, b"");
    let (mut length, mut chunked, mut waits) = (None, false, false);
    let (mut close, mut keep) = (false, false);
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // By length first: most fields are none of these.
        match field.name.len() {
            4 if is("host") => {
                hosts += 1;
                host = field.value;
            }
            14 if is("content-length") => {
                let given = number(field.value).ok_or(StatusCode::BAD_REQUEST)?;
                if *length.get_or_insert(given) != given {
                    return Err(StatusCode::BAD_REQUEST.into());
                }
            }
            17 if is("transfer-encoding") => {
                if is_old || chunked {
                    return Err(StatusCode::BAD_REQUEST.into());
                }
                if !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(StatusCode::NOT_IMPLEMENTED.into());
                }
                chunked = true;
            }
            10 if is("connection") => {
                for word in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    close |= word.eq_ignore_ascii_case(b"close");
                    keep |= word.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            6 if is("expect") && !is_old => {
                if !field.value.trim_ascii().eq_ignore_ascii_case(b"100-continue") {
                    return Err(StatusCode::EXPECTATION_FAILED.into());
                }
                waits = true;
            }
            _ => {}
        }
    }
    if hosts == 0 && !is_old && method != Method::CONNECT {
        return Err(Refused::bad("missing required Host header"));
    }
    if hosts > 1 {
        return Err(Refused::bad("too many Host headers"));
    }
    if !host.iter().all(|byte| is_of_host(*byte)) {
        return Err(Refused::bad("malformed Host header"));
    }
    let framing = match (length, chunked) {
        (Some(_), true) => return Err(StatusCode::BAD_REQUEST.into()),
        (None, true) => Framing::Chunked,
        (length, false) => Framing::Length(length.unwrap_or(0)),
    };
    let waits = waits && framing != Framing::Length(0);
    let keeps = !close && (keep || !is_old);
    Ok(Manner { framing, keeps, is_old, waits, is_head: method == Method::HEAD })
}

/// Tells whether the name of a host, and its port, may have a byte (RFC 3986, section 3.2.2).
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

/// Reads a length: digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Err(refused) => refused.status.as_u16(),
            Ok(found) => panic!("{text:?} is taken: {:?}", found.map(|whole| whole.manner)),
        }
    }

    fn whole(text: &str) -> Whole {
        parse(text.as_bytes()).expect("it is good").expect("it is whole")
    }

    #[test]
    fn a_head_is_read_with_what_follows_left() {
        let text = "GET /v1/kv/a?raw HTTP/1.1\r\nHost: a\r\nX-B:\t 1 2 \r\nx-b: 3\r\n\r\nrest";
        let found = whole(text);
        assert_eq!(&text[found.used..], "rest");
        assert_eq!(
            (found.head.target.path(), found.head.target.query()),
            ("/v1/kv/a", Some("raw"))
        );
        let fields = &found.head.fields;
        assert_eq!((fields.get("host"), fields.get("x-b")), (Some("a"), Some("1 2")));
        assert_eq!(fields.all("X-B").collect::<Vec<_>>(), ["1 2", "3"]);
        assert!(!fields.has("x") && !fields.has("hos") && !fields.has("1 2"));
        let plain = Manner {
            framing: Framing::Length(0),
            keeps: true,
            is_old: false,
            waits: false,
            is_head: false,
        };
        assert_eq!(found.manner, plain);
        assert_eq!(whole("GET / HTTP/1.1\nHost:\n\n").manner, plain, "line feeds alone");
        for end in 0..text.len() - "rest".len() {
            assert!(parse(&text.as_bytes()[..end]).expect("it is good").is_none(), "{end}");
        }
    }

    #[test]
    fn targets_are_paths_with_queries() {
        for (text, path, query) in [
            ("/", "/", None),
            ("/a?b=c?d", "/a", Some("b=c?d")),
            ("/a?", "/a", Some("")),
            ("/a\"[]{}<>|^`#b?c[\"d\"]", "/a\"[]{}<>|^`#b", Some("c[\"d\"]")),
            ("/a://b", "/a://b", None),
            ("http://h:1/a?b", "/a", Some("b")),
            ("http://h", "/", None),
            ("http://h?b", "/", Some("b")),
            ("*", "*", None),
        ] {
            let target = Target::of(text).expect("it is one");
            assert_eq!((target.path(), target.query()), (path, query), "{text}");
        }
        for text in ["", "a", "a/b", "h:1", "?a", "1://h/", "a b://h/"] {
            assert_eq!(Target::of(text), None, "{text}");
        }
    }

    #[test]
    fn connections_are_kept_as_the_version_has_it() {
        for (version, connection, keeps) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "connection: keep-alive, Close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let found = whole(&format!("HEAD / HTTP/{version}\r\nHost: a\r\n{connection}\r\n"));
            assert_eq!(found.manner.keeps, keeps, "{version} {connection}");
            assert!(found.manner.is_head);
        }
    }

    #[test]
    fn bodies_end_in_one_way() {
        let put = |fields: &str| format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let framing = |fields: &str| whole(&put(fields)).manner.framing;
        assert_eq!(framing("Content-Length: 12\r\n"), Framing::Length(12));
        assert_eq!(framing("Content-Length: 3\r\ncontent-length: 3\r\n"), Framing::Length(3));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
        for (fields, status) in [
            ("Content-Length: 3\r\nContent-Length: 4\r\n", 400),
            ("Content-Length: 3, 3\r\n", 400),
            ("Content-Length: +3\r\n", 400),
            ("Content-Length: -3\r\n", 400),
            ("Content-Length: 0x3\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 99999999999999999999\r\n", 400),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("X: a\r\n b\r\n", 400),
            (" X: a\r\n", 400),
            ("X: a\rTransfer-Encoding: chunked\r\n", 400),
            ("X: \0\r\n", 400),
            ("Expect: a miracle\r\n", 417),
        ] {
            assert_eq!(refused(&put(fields)), status, "{fields:?}");
        }
        assert_eq!(refused("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert!(whole(&put("Expect: 100-Continue\r\nContent-Length: 1\r\n")).manner.waits);
        assert!(!whole(&put("Expect: 100-continue\r\n")).manner.waits, "there is nothing to send");
    }

    #[test]
    fn a_request_names_one_host() {
        for (text, why) in [
            ("GET / HTTP/1.1\r\n\r\n", "missing required Host header"),
            ("GET http://a/ HTTP/1.1\r\n\r\n", "missing required Host header"),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "too many Host headers"),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "too many Host headers"),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "malformed Host header"),
            ("GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", "malformed Host header"),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "malformed Host header"),
        ] {
            let refused = parse(text.as_bytes()).err();
            assert_eq!(refused, Some(Refused::bad(why)), "{text:?}");
        }
        for text in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]:8500\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
        ] {
            whole(text);
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in
            ["GARBAGE\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "\x16\x03\x01", "GET /\0 HTTP/1.1"]
        {
            assert_eq!(refused(text), 400, "{text:?}");
        }
        let many = "X: 1\r\n".repeat(FIELDS_MAX + 1);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
        assert_eq!(refused(&format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(65_535))), 414);
    }
}
