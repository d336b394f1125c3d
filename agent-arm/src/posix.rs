//! Drives a device on Linux: one thread, sockets that never wait, poll(2).
//!
//! ```text
//! Sockets   gossip's UDP socket and the connection to a server
//! config    the configuration file
//! keyring   keys of a sealed pool, kept from start to start
//! probe     runs checks without waiting: tcp, http, script, gpio-file
//! http      the local HTTP interface
//! base64    keys and values as texts
//! ```

pub mod base64;
pub mod config;
pub mod http;
pub mod keyring;
pub mod probe;

use crate::Device;
use agent_core::client::Link;
use agent_core::gossip::seal::DATAGRAM_BYTES_MAX;
use agent_core::time::Instant;
use core::net::SocketAddr;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::boxed::Box;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::vec;
use std::vec::Vec;

/// Most datagrams read in a row before timers get their turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// Bytes moved at once on the connection to a server.
const PIECE_BYTES: usize = 1024;

/// The sockets of a device.
pub struct Sockets {
    udp: UdpSocket,
    stream: Option<Stream>,
    packet: Box<[u8]>,
}

/// The connection to a server.
struct Stream {
    link: Link,
    socket: TcpStream,
    connected: bool,
    /// Bytes that the device gave and the socket did not take yet.
    unsent: Vec<u8>,
    /// Bytes that arrived and the device did not take yet.
    untaken: Vec<u8>,
}

/// Starts a connection without waiting for it.
///
/// # Errors
///
/// What the system says at once; the rest is told by the socket.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Tells whether a connection came up: `None` while it is on its way.
pub(crate) fn connected(socket: &TcpStream) -> Option<io::Result<()>> {
    match socket.take_error() {
        Err(error) | Ok(Some(error)) => return Some(Err(error)),
        Ok(None) => {}
    }
    match socket.peer_addr() {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        Err(error) => Some(Err(error)),
    }
}

impl Sockets {
    /// Binds the gossip port.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(address)?;
        udp.set_nonblocking(true)?;
        // One byte more than there may be: a longer datagram is cut, and stays too long.
        let packet = vec![0; DATAGRAM_BYTES_MAX + 1].into();
        Ok(Self { udp, stream: None, packet })
    }

    /// Does all that can be done at `now`. Poll the device's events after each call.
    pub fn step<const A: usize, const B: usize, const C: usize, const D: usize>(
        &mut self,
        now: Instant,
        device: &mut Device<'_, A, B, C, D>,
    ) {
        for _ in 0..DATAGRAMS_PER_TURN {
            // Whatever fails here is a packet lost; a closed port answers by ICMP.
            let Ok((len, from)) = self.udp.recv_from(&mut self.packet) else { break };
            device.handle_datagram_in_place(now, from, &mut self.packet[..len]);
        }
        self.follow(now, device);
        if device.poll_timeout().is_some_and(|(at, _)| at <= now) {
            device.handle_timeout(now);
            self.follow(now, device);
        }
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.connected)
            && stream.carry(now, device).is_err()
        {
            device.handle_closed(now);
        }
        while let Some(transmit) = device.poll_transmit(now, &mut self.packet) {
            let _ = self.udp.send_to(&self.packet[..transmit.len], transmit.to);
        }
    }

    /// Opens the connection that the device wants, closes any other, and tells of its fate.
    fn follow<const A: usize, const B: usize, const C: usize, const D: usize>(
        &mut self,
        now: Instant,
        device: &mut Device<'_, A, B, C, D>,
    ) {
        let wanted = device.link();
        if self.stream.as_ref().map(|stream| stream.link) != wanted {
            self.stream = None;
        }
        let Some(link) = wanted else { return };
        match &mut self.stream {
            None => match connect(link.server) {
                Ok(socket) => {
                    let (unsent, untaken) = (Vec::new(), Vec::new());
                    let connected = false;
                    self.stream = Some(Stream { link, socket, connected, unsent, untaken });
                }
                Err(_) => device.handle_closed(now),
            },
            Some(stream) if !stream.connected => match connected(&stream.socket) {
                None => {}
                Some(Ok(())) => {
                    stream.connected = true;
                    // Without it a small request may wait for the last one's acknowledgement.
                    let _ = stream.socket.set_nodelay(true);
                    device.handle_connected(now);
                }
                Some(Err(_)) => device.handle_closed(now),
            },
            Some(_) => {}
        }
    }

    /// Adds what to wait for.
    pub fn poll_fds<'s>(&'s self, fds: &mut Vec<PollFd<'s>>) {
        fds.push(PollFd::new(&self.udp, PollFlags::IN));
        if let Some(stream) = &self.stream {
            let waits = !stream.connected || !stream.unsent.is_empty();
            let flags = if waits { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::new(&stream.socket, flags));
        }
    }
}

impl Stream {
    /// Moves bytes in both directions until the socket or the device has no more.
    fn carry<const A: usize, const B: usize, const C: usize, const D: usize>(
        &mut self,
        now: Instant,
        device: &mut Device<'_, A, B, C, D>,
    ) -> io::Result<()> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            if self.untaken.is_empty() {
                match self.socket.read(&mut piece) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => self.untaken.extend_from_slice(&piece[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            let taken = device.handle_bytes(now, &self.untaken);
            self.untaken.drain(..taken);
            if !self.untaken.is_empty() {
                break;
            }
        }
        loop {
            while !self.unsent.is_empty() {
                match self.socket.write(&self.unsent) {
                    Ok(count) => _ = self.unsent.drain(..count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            match device.poll_transmit_stream(now, &mut piece) {
                Some(count) => self.unsent.extend_from_slice(&piece[..count]),
                None => return Ok(()),
            }
        }
    }
}
