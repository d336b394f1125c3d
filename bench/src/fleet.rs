//! Many connections under one thread: a parked one costs the client no thread.

use crate::client::{Answer, parse};
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Connections from one source address: agents take 200 of one client unless told otherwise.
const PER_SOURCE: usize = 150;
/// Events that are taken from the kernel at once.
const EVENTS: usize = 256;
/// Longest DNS answer over UDP that the clients ask for.
const DATAGRAM_MAX: usize = 4096;

/// Connections to one server; they close with the value.
pub(crate) struct Fleet {
    epoll: OwnedFd,
    lines: Vec<Line>,
    events: Vec<epoll::Event>,
}

#[derive(Debug)]
enum Line {
    Http(TcpStream, Vec<u8>),
    Dns(UdpSocket),
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Http(stream, _) => stream.as_fd(),
            Self::Dns(socket) => socket.as_fd(),
        }
    }
}

/// An answer, on which connection and when it was read.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) line: usize,
    pub(crate) answer: Answer,
    pub(crate) at: Instant,
}

impl Fleet {
    /// Opens HTTP connections.
    ///
    /// # Errors
    ///
    /// If one cannot be opened; those before it are closed.
    pub(crate) fn http(server: SocketAddr, count: usize) -> Result<Fleet, String> {
        let mut fleet = Fleet::new()?;
        for number in 0..count {
            let stream = dial(server, number)
                .map_err(|error| format!("connection {number} to {server}: {error}"))?;
            fleet.add(Line::Http(stream, Vec::new()))?;
        }
        Ok(fleet)
    }

    /// Opens UDP sockets for DNS.
    ///
    /// # Errors
    ///
    /// If one cannot be opened.
    pub(crate) fn dns(server: SocketAddr, count: usize) -> Result<Fleet, String> {
        let mut fleet = Fleet::new()?;
        let open = || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        for _ in 0..count {
            fleet.add(Line::Dns(open().map_err(|error| error.to_string())?))?;
        }
        Ok(fleet)
    }

    fn new() -> Result<Fleet, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| e.to_string())?;
        Ok(Fleet { epoll, lines: Vec::new(), events: Vec::with_capacity(EVENTS) })
    }

    fn add(&mut self, line: Line) -> Result<(), String> {
        let data = epoll::EventData::new_u64(self.lines.len() as u64);
        epoll::add(&self.epoll, &line, data, epoll::EventFlags::IN).map_err(|e| e.to_string())?;
        self.lines.push(line);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Sends one request; the connection's last one has been answered.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub(crate) fn send(&mut self, line: usize, request: &[u8]) -> Result<(), String> {
        let sent = match &mut self.lines[line] {
            // One request always fits the socket's buffer.
            Line::Http(stream, _) => stream.write_all(request),
            Line::Dns(socket) => socket.send(request).map(|_| ()),
        };
        sent.map_err(|error| format!("connection {line}: {error}"))
    }

    /// Waits for answers at most so long and adds those that came.
    ///
    /// # Errors
    ///
    /// If a connection was closed or what came is no answer.
    pub(crate) fn wait(&mut self, span: Duration, taken: &mut Vec<Taken>) -> Result<(), String> {
        let span = rustix::event::Timespec::try_from(span).map_err(|error| error.to_string())?;
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, room, Some(&span)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        for event in &self.events {
            let line = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            read(&mut self.lines[line], line, taken)
                .map_err(|error| format!("connection {line}: {error}"))?;
        }
        Ok(())
    }
}

/// Reads what is there and adds the answer if it is whole.
fn read(line: &mut Line, number: usize, taken: &mut Vec<Taken>) -> Result<(), String> {
    let mut piece = [0; 16 * 1024];
    match line {
        Line::Http(stream, inbox) => {
            match stream.read(&mut piece) {
                Ok(0) => return Err("closed by the server".into()),
                Ok(length) => inbox.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
            if let Some((answer, length)) = parse(inbox)? {
                inbox.drain(..length);
                taken.push(Taken { line: number, answer, at: Instant::now() });
            }
        }
        Line::Dns(socket) => match socket.recv(&mut piece[..DATAGRAM_MAX]) {
            Ok(length) if length >= 12 => {
                let answer = Answer {
                    status: u16::from(piece[3] & 15),
                    index: None,
                    body: piece[..length].to_vec(),
                };
                taken.push(Taken { line: number, answer, at: Instant::now() });
            }
            Ok(length) => return Err(format!("an answer of {length} bytes")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        },
    }
    Ok(())
}

/// Connects from a source address of its own for every [`PER_SOURCE`], if the server is on
/// loopback.
fn dial(server: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    if server.ip().is_loopback() {
        let [_, high, low, _] = match server.ip() {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => return Err(std::io::Error::other("IPv4 only")),
        };
        let source = u8::try_from(number / PER_SOURCE / 254).map_err(std::io::Error::other)?;
        let host = u8::try_from(number / PER_SOURCE % 254 + 1).map_err(std::io::Error::other)?;
        let source = Ipv4Addr::new(127, high ^ 64, low.wrapping_add(source), host);
        bind(&descriptor, &SocketAddr::from((source, 0)))?;
    }
    connect(&descriptor, &server)?;
    let stream = TcpStream::from(descriptor);
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn answers_come_from_the_connection_that_was_asked() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut fleet = Fleet::http(server.local_addr().expect("bound"), 3).expect("connections");
        let mut far: Vec<TcpStream> =
            (0..3).map(|_| server.accept().expect("a connection").0).collect();
        fleet.send(2, b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        let mut request = [0; 18];
        far[2].read_exact(&mut request).expect("the request");
        far[2].write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("written");
        let mut taken = Vec::new();
        while taken.is_empty() {
            fleet.wait(Duration::from_secs(10), &mut taken).expect("an answer");
        }
        assert_eq!((taken[0].line, taken[0].answer.status), (2, 204));
        drop(far);
        let closed = fleet.wait(Duration::from_secs(10), &mut taken);
        assert!(closed.is_err_and(|error| error.contains("closed")));
    }
}
