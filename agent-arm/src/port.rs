//! A gossip port that no silent neighbour can block.
//!
//! smoltcp holds a socket back while the first datagram in its queue waits for a neighbour's
//! hardware address, and asks for it for ever. A member that lost its power would so silence
//! everybody that still has a probe for it. Here a datagram waits for a moment, and is then lost
//! like any other.

use agent_core::time::{Duration, Instant};
use core::net::{SocketAddr, SocketAddrV4};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{Socket, udp};

/// How long a datagram waits for its neighbour: long enough for an answer, and short enough that an
/// `Ack` behind it still comes within the 500 ms that others wait for it.
const NEIGHBOR_MAX: Duration = Duration::from_millis(300);

/// A UDP socket in its set, with at most one datagram on its way out.
#[derive(Debug)]
pub struct Port {
    handle: SocketHandle,
    number: u16,
    waits_since: Option<Instant>,
}

impl Port {
    /// Binds a socket to a port and puts it into the set. It needs room for one datagram out, and
    /// for a few in: what does not fit is lost, as on any network.
    ///
    /// # Errors
    ///
    /// If the port is 0 or the socket bound already; the set is as before.
    pub fn open<'a>(
        sockets: &mut SocketSet<'a>,
        mut socket: udp::Socket<'a>,
        number: u16,
    ) -> Result<Self, udp::BindError> {
        socket.bind(number)?;
        Ok(Self { handle: sockets.add(socket), number, waits_since: None })
    }

    /// Takes the next datagram that came in.
    pub fn receive(
        &self,
        sockets: &mut SocketSet<'_>,
        out: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.handle);
        loop {
            match socket.recv_slice(out) {
                Ok((len, from)) => {
                    let from = from.endpoint;
                    return Some((len, SocketAddr::new(from.addr.into(), from.port)));
                }
                Err(udp::RecvError::Truncated) => {}
                Err(udp::RecvError::Exhausted) => return None,
            }
        }
    }

    /// Tells whether the last datagram is gone.
    pub fn is_ready(&self, sockets: &SocketSet<'_>) -> bool {
        sockets.get::<udp::Socket<'_>>(self.handle).send_queue() == 0
    }

    /// Queues a datagram; one that cannot be sent is lost.
    pub fn send(&self, sockets: &mut SocketSet<'_>, to: SocketAddrV4, bytes: &[u8]) {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.handle);
        let _ = socket.send_slice(bytes, to);
    }

    /// Gives a datagram up that has waited for its neighbour for too long, and with it whatever was
    /// not received yet. Answers when to come again.
    pub fn release(&mut self, now: Instant, sockets: &mut SocketSet<'_>) -> Option<Instant> {
        if self.is_ready(sockets) {
            self.waits_since = None;
            return None;
        }
        let since = *self.waits_since.get_or_insert(now);
        if now.since(since) < NEIGHBOR_MAX {
            return Some(since + NEIGHBOR_MAX);
        }
        self.waits_since = None;
        // The set keeps whom a socket waits for, so the socket has to leave it.
        if let Socket::Udp(mut socket) = sockets.remove(self.handle) {
            socket.close();
            let bound = socket.bind(self.number);
            debug_assert!(bound.is_ok(), "it was bound to the same port");
            self.handle = sockets.add(socket);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use smoltcp::iface::{Config, Interface};
    use smoltcp::phy::{Loopback, Medium};
    use smoltcp::time::Instant as NetInstant;
    use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
    use std::vec;
    use std::vec::Vec;

    const OURS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 8301);
    const SILENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 8301);

    #[test]
    fn a_silent_neighbour_holds_up_the_others_for_a_moment_only() {
        // What is sent comes back, so only our own address answers.
        let mut phy = Loopback::new(Medium::Ethernet);
        let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into());
        let mut interface = Interface::new(config, &mut phy, NetInstant::ZERO);
        interface.update_ip_addrs(|list| {
            list.push(IpCidr::new(IpAddress::v4(10, 0, 0, 1), 24)).expect("room");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 2], vec![0; 64]);
        let socket = udp::Socket::new(buffer(), buffer());
        let mut port = Port::open(&mut sockets, socket, 8301).expect("a port");

        let start = Instant::from_micros(5_000_000);
        let mut poll = |now: Instant, sockets: &mut SocketSet<'_>| {
            interface.poll(NetInstant::from_micros(now.micros() as i64), &mut phy, sockets);
        };
        port.send(&mut sockets, SILENT, b"lost");
        poll(start, &mut sockets);
        assert_eq!(port.release(start, &mut sockets), Some(start + NEIGHBOR_MAX));
        assert!(!port.is_ready(&sockets), "it waits");
        let end = start + NEIGHBOR_MAX;
        poll(end, &mut sockets);
        assert_eq!(port.release(end, &mut sockets), None);
        assert!(port.is_ready(&sockets), "it is given up");

        // A second after the last question smoltcp asks again, for another neighbour.
        let later = start + Duration::from_secs(1);
        port.send(&mut sockets, OURS, b"heard");
        for millis in 0..3 {
            poll(later + Duration::from_millis(millis), &mut sockets);
        }
        let mut out = [0; 16];
        let received = port.receive(&mut sockets, &mut out);
        assert_eq!(received, Some((5, SocketAddr::V4(OURS))));
        assert_eq!(&out[..5], b"heard");
    }
}
