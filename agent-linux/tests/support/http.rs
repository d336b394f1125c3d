//! A blocking HTTP/1.1 client: one request a connection, so that tests stay simple.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An agent's HTTP address.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub timeout: Duration,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Answers the body as JSON; panics with the body when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {:?}", self.status, self.text()))
    }

    /// Answers `X-Consul-Index`, 0 when it is missing.
    pub fn index(&self) -> u64 {
        self.header("x-consul-index").and_then(|index| index.parse().ok()).unwrap_or(0)
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address, timeout: Duration::from_secs(20) }
    }

    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, b"")
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.request("PUT", path, body.as_ref())
    }

    pub fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path, b"")
    }

    /// Sends one request; panics when there is no answer.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Response {
        self.try_request(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path} on {}: {error}", self.address))
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Of the connection; of an answer that is not HTTP.
    pub fn try_request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Response> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.address,
            body.len()
        );
        let answer = self.raw(&[head.as_bytes(), body].concat())?;
        parse(&answer, method == "HEAD").ok_or_else(|| io::Error::other("no whole answer"))
    }

    /// Sends bytes as they are and answers everything until the far side closes.
    ///
    /// # Errors
    /// Of the connection.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        // A server that refuses early closes while we still write: its answer counts.
        let written = stream.write_all(bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if answer.is_empty() => Err(written.err().unwrap_or(error)),
            _ => Ok(answer),
        }
    }
}

/// Parses a whole answer; that to HEAD has the length of a body and none.
fn parse(answer: &[u8], bare: bool) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    let mut response = Response { status, headers, body: answer[end + 4..].to_vec() };
    if bare {
        response.body.clear();
    } else if response.header("transfer-encoding") == Some("chunked") {
        response.body = unchunk(&response.body)?;
    } else if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().ok()?;
        if response.body.len() < length {
            return None;
        }
        response.body.truncate(length);
    }
    Some(response)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = String::from_utf8_lossy(&rest[..line]);
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
