//! A TCP check: whether a port takes a connection. It never waits.

use agent_core::health::Status;
use agent_core::time::{Duration, Instant};
use core::net::SocketAddrV4;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;

/// How long a connection may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// First of the ports that connections start from, and how many are used in turn.
const PORTS: (u16, u16) = (49152, 8192);

/// A socket that connects and lets go.
pub struct Probe {
    handle: SocketHandle,
    target: SocketAddrV4,
    next: u16,
    deadline: Option<Instant>,
}

impl Probe {
    /// Checks `target` with a socket of `sockets`; `seed` picks the first port.
    pub fn new(handle: SocketHandle, target: SocketAddrV4, seed: u64) -> Self {
        let next = (seed % u64::from(PORTS.1)) as u16;
        Self { handle, target, next, deadline: None }
    }

    /// Starts to connect. Answers a result at once if that cannot be.
    pub fn start(
        &mut self,
        now: Instant,
        interface: &mut Interface,
        sockets: &mut SocketSet<'_>,
    ) -> Option<Status> {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        // Whatever is left of the last connection would refuse the new one.
        socket.abort();
        self.next = (self.next + 1) % PORTS.1;
        match socket.connect(interface.context(), self.target, PORTS.0 + self.next) {
            Ok(()) => {
                self.deadline = Some(now + TIMEOUT);
                None
            }
            Err(_) => Some(Status::Critical),
        }
    }

    /// Looks how the connection does; answers its result once.
    pub fn poll(&mut self, now: Instant, sockets: &mut SocketSet<'_>) -> Option<Status> {
        let deadline = self.deadline?;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        let result = match socket.state() {
            tcp::State::Established | tcp::State::CloseWait => Status::Passing,
            tcp::State::Closed => Status::Critical,
            _ if deadline <= now => Status::Critical,
            _ => return None,
        };
        socket.abort();
        self.deadline = None;
        Some(result)
    }

    /// Tells when to look at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.deadline
    }
}
