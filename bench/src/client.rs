//! Clients that ask as fast as one thread goes: HTTP with keep-alive, DNS over UDP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One HTTP connection, opened when first needed and again after an error.
#[derive(Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Http {
        Http { address, stream: None }
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
        let answer = self.exchange(method, path, body).map_err(|error| error.to_string());
        match answer {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => Err(format!("{status} {}", String::from_utf8_lossy(&body))),
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let stream = match self.stream.take() {
            Some(stream) => self.stream.insert(stream),
            None => {
                let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_nodelay(true)?;
                self.stream.insert(BufReader::new(stream))
            }
        };
        let (address, length) = (self.address, body.len());
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.get_mut().write_all(&request)?;
        answer(stream)
    }
}

fn answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<(u16, Vec<u8>)> {
    let mut line = String::new();
    let mut next = |stream: &mut BufReader<TcpStream>| -> std::io::Result<String> {
        line.clear();
        match stream.read_line(&mut line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_string()),
        }
    };
    let status = next(stream)?;
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("not HTTP"))?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = next(stream)?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        chunked |= line == "transfer-encoding: chunked";
    }
    let mut body = Vec::new();
    loop {
        if chunked {
            let size = next(stream)?;
            length = usize::from_str_radix(&size, 16).map_err(std::io::Error::other)?;
        }
        let from = body.len();
        body.resize(from + length, 0);
        stream.read_exact(&mut body[from..])?;
        if chunked {
            next(stream)?;
        }
        if !chunked || length == 0 {
            return Ok((status, body));
        }
    }
}

/// DNS record types.
pub(crate) const A: u16 = 1;
pub(crate) const SRV: u16 = 33;

/// One UDP socket that asks one question at a time.
#[derive(Debug)]
pub(crate) struct Dns {
    socket: UdpSocket,
    id: u16,
}

impl Dns {
    /// # Errors
    ///
    /// Of the socket.
    pub(crate) fn new(server: SocketAddr) -> std::io::Result<Dns> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(Dns { socket, id: 0 })
    }

    /// Asks with EDNS, room for 4096 bytes; answers the response code and the number of records.
    ///
    /// # Errors
    ///
    /// Of the socket, and when no answer comes in time.
    pub(crate) fn ask(&mut self, name: &str, kind: u16) -> std::io::Result<(u8, u16)> {
        self.id = self.id.wrapping_add(1);
        let mut query = Vec::with_capacity(512);
        query.extend_from_slice(&self.id.to_be_bytes());
        query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        for label in name.split('.').filter(|label| !label.is_empty()) {
            query.push(u8::try_from(label.len()).map_err(std::io::Error::other)?);
            query.extend_from_slice(label.as_bytes());
        }
        query.push(0);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&[0, 1, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        self.socket.send(&query)?;
        let mut answer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut answer)?;
            if length >= 12 && answer[..2] == self.id.to_be_bytes() {
                return Ok((answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]])));
            }
        }
    }
}
