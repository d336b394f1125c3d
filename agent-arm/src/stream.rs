//! The TCP socket that carries a device's connection to a server.

use crate::Device;
use agent_core::client::Link;
use agent_core::time::Instant;
use core::net::SocketAddr;
use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp;

/// First local port of connections: RFC 6335's dynamic ports.
const PORT_FIRST: u16 = 49_152;

/// A TCP socket, and which connection it carries.
#[derive(Debug)]
pub struct Stream {
    handle: SocketHandle,
    /// The link that the socket was opened for, and whether the device heard that it is up.
    link: Option<(Link, bool)>,
    /// The local port of the last connection.
    port: u16,
}

impl Stream {
    /// Adds the socket; 512 bytes each way do. It has no timeout of its own, which would also end a
    /// connection that is merely quiet: the client gives a silent server up. `seed` is any number
    /// that differs from boot to boot, so that a server does not take a new connection for a late
    /// packet of an old one.
    ///
    /// # Panics
    ///
    /// If the set is full.
    pub fn open<'a>(sockets: &mut SocketSet<'a>, mut socket: tcp::Socket<'a>, seed: u64) -> Self {
        socket.set_nagle_enabled(false);
        let port = PORT_FIRST + (seed % u64::from(u16::MAX - PORT_FIRST)) as u16;
        Self { handle: sockets.add(socket), link: None, port }
    }

    fn next_port(&mut self) -> u16 {
        self.port = self.port.checked_add(1).unwrap_or(PORT_FIRST);
        self.port
    }

    /// Opens the connection that the device wants, closes any other, and tells of its fate.
    pub(crate) fn follow<const A: usize, const B: usize, const C: usize, const D: usize>(
        &mut self,
        now: Instant,
        context: &mut Context,
        sockets: &mut SocketSet<'_>,
        device: &mut Device<'_, A, B, C, D>,
    ) {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        let wanted = device.link();
        if self.link.map(|(link, _)| link) != wanted {
            socket.abort();
            self.link = None;
        }
        let Some(link) = wanted else { return };
        let Some((_, told)) = self.link else {
            let port = self.next_port();
            // IPv6 is not compiled in; such a server cannot be reached.
            let SocketAddr::V4(server) = link.server else { return device.handle_closed(now) };
            if socket.connect(context, server, port).is_err() {
                return device.handle_closed(now);
            }
            self.link = Some((link, false));
            return;
        };
        if !told && socket.may_send() {
            self.link = Some((link, true));
            device.handle_connected(now);
        }
        // What arrived before the end still counts.
        if !socket.is_active() || (told && !socket.may_recv() && !socket.can_recv()) {
            device.handle_closed(now);
        }
    }

    /// Moves bytes in both directions.
    pub(crate) fn carry<const A: usize, const B: usize, const C: usize, const D: usize>(
        &self,
        now: Instant,
        sockets: &mut SocketSet<'_>,
        device: &mut Device<'_, A, B, C, D>,
    ) {
        if self.link.is_none() || self.link.map(|(link, _)| link) != device.link() {
            return;
        }
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                let taken = device.handle_bytes(now, bytes);
                (taken, taken)
            });
            if !taken.is_ok_and(|taken| taken > 0) {
                break;
            }
        }
        while socket.can_send() {
            let sent = socket.send(|room| {
                let sent = device.poll_transmit_stream(now, room).unwrap_or(0);
                (sent, sent)
            });
            if !sent.is_ok_and(|sent| sent > 0) {
                break;
            }
        }
    }
}
