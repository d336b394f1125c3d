//! An HTTP/1.1 request: parsed from what has arrived so far. Pure.

use std::string::String;
use std::vec::Vec;

/// A whole request.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Without escapes and query.
    pub(super) path: String,
    query: Vec<(String, String)>,
    pub(super) body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Parses the front of what arrived; nothing while more must come.
    ///
    /// # Errors
    ///
    /// What is wrong, for the peer.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Option<Self>, &'static str> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = core::str::from_utf8(&bytes[..end]).map_err(|_| "head is not text")?;
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("malformed request line");
        };
        let mut length = 0;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or("malformed header")?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| "malformed Content-Length")?;
            }
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err("a body needs a Content-Length here");
            }
        }
        if length > super::REQUEST_BYTES_MAX {
            return Err("body too large");
        }
        let Some(body) = bytes[end + 4..].get(..length) else { return Ok(None) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((plain(key)?, plain(&value.replace('+', " "))?));
        }
        Ok(Some(Self { method, path: plain(path)?, query: pairs, body }))
    }

    /// Tells a parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

/// Takes percent escapes away.
fn plain(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.split_at_checked(2).ok_or("malformed escape")?;
        let text = core::str::from_utf8(digits.0).map_err(|_| "malformed escape")?;
        bytes.push(u8::from_str_radix(text, 16).map_err(|_| "malformed escape")?);
        rest = digits.1;
    }
    String::from_utf8(bytes).map_err(|_| "an escape that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_when_it_is_whole() {
        let text = b"PUT /v1/kv/a%2Fb?flags=3&x HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
        for cut in 0..text.len() {
            assert!(matches!(Request::parse(&text[..cut]), Ok(None)), "cut at {cut}");
        }
        let request = Request::parse(text).ok().flatten().expect("whole");
        assert_eq!((request.method, request.path.as_str()), ("PUT", "/v1/kv/a/b"));
        assert_eq!(request.body, b"hi");
        assert_eq!(request.query("flags").as_deref(), Some("3"));
        assert_eq!(request.query("x").as_deref(), Some(""));
        assert_eq!(request.query("y"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "GET\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET /%zz HTTP/1.1\r\n\r\n",
            "GET /%f HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n",
            "GET / HTTP/1.1\r\nno header\r\n\r\n",
        ] {
            assert!(Request::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
