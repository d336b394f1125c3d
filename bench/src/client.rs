//! HTTP answers as bytes, and a client that asks one question after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most headers of an answer that are understood.
const HEADERS_MAX: usize = 64;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Answer {
    /// HTTP's status, or DNS's response code.
    pub(crate) status: u16,
    /// `X-Consul-Index`.
    pub(crate) index: Option<u64>,
    pub(crate) body: Vec<u8>,
}

/// Reads the answer at the front of bytes and tells its length; nothing if it is not whole yet.
///
/// # Errors
///
/// If the bytes are not HTTP.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not text")?;
    let mut lines = head.split("\r\n").take(HEADERS_MAX);
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let mut answer = Answer { status: status.ok_or("not HTTP")?, ..Answer::default() };
    let (mut length, mut chunked) = (0, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse::<usize>().map_err(|error| error.to_string())?;
        } else if name.eq_ignore_ascii_case("x-consul-index") {
            answer.index = value.parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.eq_ignore_ascii_case("chunked");
        }
    }
    let start = end + 4;
    if chunked {
        let Some((body, taken)) = chunks(&bytes[start..])? else { return Ok(None) };
        answer.body = body;
        return Ok(Some((answer, start + taken)));
    }
    let Some(body) = bytes[start..].get(..length) else { return Ok(None) };
    answer.body = body.to_vec();
    Ok(Some((answer, start + length)))
}

/// Joins the chunks at the front of bytes and tells their length; nothing if the last is missing.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&rest[..end]).map_err(|error| error.to_string())?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|error| error.to_string())?;
        let Some(chunk) = rest.get(end + 2..).and_then(|rest| rest.get(..size + 2)) else {
            return Ok(None);
        };
        body.extend_from_slice(&chunk[..size]);
        at += end + 2 + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// Writes a request.
pub(crate) fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One HTTP connection, opened when first needed and again after an error.
#[derive(Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    timeout: Duration,
    stream: Option<TcpStream>,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Http {
        Http { address, timeout: TIMEOUT, stream: None }
    }

    /// Waits no longer than this for an answer.
    pub(crate) fn within(mut self, timeout: Duration) -> Http {
        self.timeout = timeout;
        self
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Vec<u8>, String> {
        self.ask("GET", path, b"")
    }

    pub(crate) fn put(&mut self, path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        self.ask("PUT", path, body)
    }

    /// Asks and answers the body of a 200.
    ///
    /// # Errors
    ///
    /// For any other status and for a broken connection, which is closed.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        match self.exchange(&request(method, path, body)) {
            Ok(Answer { status: 200, body, .. }) => Ok(body),
            Ok(Answer { status, body, .. }) => {
                Err(format!("{status} {}", String::from_utf8_lossy(&body)))
            }
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Answer, String> {
        let told = |error: std::io::Error| error.to_string();
        let stream = match self.stream.take() {
            Some(stream) => self.stream.insert(stream),
            None => {
                let stream =
                    TcpStream::connect_timeout(&self.address, self.timeout).map_err(told)?;
                stream.set_read_timeout(Some(self.timeout)).map_err(told)?;
                stream.set_nodelay(true).map_err(told)?;
                self.stream.insert(stream)
            }
        };
        stream.write_all(request).map_err(told)?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
        loop {
            match stream.read(&mut piece).map_err(told)? {
                0 => return Err("the connection was closed".into()),
                read => bytes.extend_from_slice(&piece[..read]),
            }
            if let Some((answer, _)) = parse(&bytes)? {
                return Ok(answer);
            }
        }
    }
}

/// DNS record types.
pub(crate) const A: u16 = 1;
pub(crate) const SRV: u16 = 33;

/// Writes a DNS question with EDNS, room for 4096 bytes.
pub(crate) fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut query = Vec::with_capacity(128);
    query.extend_from_slice(&id.to_be_bytes());
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&[0, 1, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_not_yet_there() {
        let bytes = b"HTTP/1.1 200 OK\r\nx-consul-index: 7\r\nContent-Length: 4\r\n\r\ntrueHTTP";
        for end in 0..bytes.len() - 4 {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{end}");
        }
        let answer = Answer { status: 200, index: Some(7), body: b"true".to_vec() };
        assert_eq!(parse(bytes), Ok(Some((answer, bytes.len() - 4))));
    }

    #[test]
    fn chunks_are_joined() {
        let bytes = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n\
                      2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{end}");
        }
        let answer = Answer { status: 404, index: None, body: b"abc".to_vec() };
        assert_eq!(parse(bytes), Ok(Some((answer, bytes.len()))));
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").is_err());
    }

    #[test]
    fn a_question_has_its_labels() {
        let bytes = question(0x0102, "a.bc.", SRV);
        assert_eq!(bytes[..2], [1, 2]);
        assert_eq!(bytes[12..23], [1, b'a', 2, b'b', b'c', 0, 0, 33, 0, 1, 0]);
    }
}
