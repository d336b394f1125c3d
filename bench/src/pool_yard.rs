//! Thousands of devices under one thread and one epoll: each a leaf and a client of `agent-core`
//! with a UDP socket and a connection of its own, on an address of its own.

use agent_core::client::{Client, Event as Answer, Link, Profile};
use agent_core::gossip::leaf::Event;
use agent_core::gossip::{Card, Config, Leaf};
use agent_core::time::{Duration as Span, Instant};
use agent_core::wire::packet::PACKET_BYTES_MAX;
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant as Clock};

/// The gossip port of every device.
const PORT: u16 = 8301;
/// Events that are taken from the kernel at once.
const EVENTS: usize = 512;
/// Datagrams of one device that are read in a row.
const DATAGRAMS: usize = 64;
/// Time between two attempts to get in, while nobody is known.
const JOIN_PERIOD: Span = Span::from_secs(3);
/// Longest that the thread sleeps: it is told that devices may connect.
const NAP: Duration = Duration::from_millis(100);

/// What boards have: contacts; checks, bytes of an output, bytes of a message.
type Member = Leaf<8>;
type Caller = Client<'static, 1, 16, 512>;

/// How far the devices are, told by their thread, and what it is told.
#[derive(Default)]
pub(crate) struct Shared {
    /// Whether devices may connect to servers.
    pub(crate) calling: AtomicBool,
    /// Devices from this number on are silent, as if their power was cut.
    pub(crate) living: AtomicUsize,
    pub(crate) joined: AtomicUsize,
    pub(crate) registered: AtomicUsize,
    /// How late the latest step was since this was asked, in microseconds.
    pub(crate) late: AtomicU64,
}

/// Bytes that a device takes in this program, its sockets' own memory aside.
pub(crate) const DEVICE_BYTES: usize = size_of::<Member>() + size_of::<Caller>();

fn address(first: Ipv4Addr, at: usize) -> Ipv4Addr {
    // 250 to a network, so that none ends in 0 or 255.
    let (network, host) = (at as u32 / 250, at as u32 % 250);
    Ipv4Addr::from_bits((first.to_bits() & !0xff) + (network << 8) + host + 1)
}

/// The connection to a server.
struct Stream {
    link: Link,
    socket: TcpStream,
    connected: bool,
    unsent: Vec<u8>,
    untaken: Vec<u8>,
}

struct Device {
    leaf: Box<Member>,
    client: Box<Caller>,
    address: Ipv4Addr,
    server: SocketAddr,
    udp: UdpSocket,
    stream: Option<Stream>,
    join_at: Option<Instant>,
    /// For when it is in the queue.
    queued: Option<Instant>,
    joined: bool,
    registered: bool,
}

impl Device {
    fn new(
        number: usize,
        address: Ipv4Addr,
        server: Ipv4Addr,
        delay: u64,
    ) -> Result<Device, String> {
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let mut node_id = [0x5a; 16];
        node_id[8..].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        let name = leak(format!("leaf-{number:05}"));
        let profile = Profile {
            node: name,
            node_id,
            datacenter: "dc1",
            address: leak(address.to_string()),
            token: "",
            meta: &[],
            servers: &[],
            services: &[],
            checks: &[],
        };
        let bound = SocketAddr::from((address, PORT));
        let udp = UdpSocket::bind(bound).map_err(|error| error.to_string())?;
        udp.set_nonblocking(true).map_err(|error| error.to_string())?;
        let card = Card::client(name, "dc1", node_id, "1.8.7:");
        let (seed, start) = (number as u64 + 1, Instant::default());
        let leaf = Member::new(Config::lan(), &card, bound, 1, seed, start);
        let client = Caller::new(profile, seed, start);
        Ok(Device {
            leaf: Box::new(leaf.map_err(|error| error.to_string())?),
            client: Box::new(client.map_err(|error| error.to_string())?),
            address,
            server: SocketAddr::from((server, PORT)),
            udp,
            stream: None,
            join_at: Some(start + Span::from_micros(delay)),
            queued: None,
            joined: false,
            registered: false,
        })
    }

    /// When it is to be stepped next, though nothing arrives.
    fn due(&self, calling: bool) -> Instant {
        let client = self.client.poll_timeout().filter(|_| calling).map(|(at, _)| at);
        let leaf = self.leaf.poll_timeout().map(|(at, _)| at);
        [client, leaf, self.join_at].into_iter().flatten().min().unwrap_or_default()
    }

    fn step(&mut self, now: Instant, calling: bool, packet: &mut [u8]) {
        for _ in 0..DATAGRAMS {
            // Whatever fails here is a packet lost.
            let Ok((len, from)) = self.udp.recv_from(packet) else { break };
            self.leaf.handle_datagram(now, from, &packet[..len]);
        }
        if self.join_at.is_some_and(|at| at <= now) {
            self.leaf.join(self.server);
            self.join_at = Some(now + JOIN_PERIOD);
        }
        self.leaf.handle_timeout(now);
        while let Some(event) = self.leaf.poll_event() {
            match event {
                Event::Joined => (self.joined, self.join_at) = (true, None),
                Event::Alone => (self.joined, self.join_at) = (false, Some(now)),
                Event::Servers => {
                    for server in self.leaf.servers() {
                        self.client.offer_server(now, server);
                    }
                }
                Event::Renewed { .. } => self.client.resync(now),
            }
        }
        if calling {
            self.client.handle_timeout(now);
            self.follow(now);
            let mut more = true;
            while more {
                if let Some(stream) = self.stream.as_mut().filter(|stream| stream.connected)
                    && stream.carry(now, &mut self.client).is_err()
                {
                    self.client.handle_closed(now);
                }
                // An event that is taken makes room for the bytes that waited.
                more = match self.client.poll_event() {
                    Some(Answer::NoServer) => {
                        self.leaf.seek_servers();
                        true
                    }
                    event => event.is_some(),
                };
            }
            self.registered = self.client.is_registered();
        }
        while let Some(transmit) = self.leaf.poll_transmit(now, packet) {
            let _ = self.udp.send_to(&packet[..transmit.len], transmit.to);
        }
    }

    /// Opens the connection that the client wants, closes any other, and tells of its fate.
    fn follow(&mut self, now: Instant) {
        let wanted = self.client.link();
        if self.stream.as_ref().map(|stream| stream.link) != wanted {
            self.stream = None;
        }
        let Some(link) = wanted else { return };
        match &mut self.stream {
            None => match dial(self.address, link.server) {
                Ok(socket) => {
                    let (unsent, untaken) = (Vec::new(), Vec::new());
                    self.stream = Some(Stream { link, socket, connected: false, unsent, untaken });
                }
                Err(_) => self.client.handle_closed(now),
            },
            Some(stream) if !stream.connected => match stream.socket.take_error() {
                Ok(None) if stream.socket.peer_addr().is_ok() => {
                    stream.connected = true;
                    let _ = stream.socket.set_nodelay(true);
                    self.client.handle_connected(now);
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => self.client.handle_closed(now),
            },
            Some(_) => {}
        }
    }
}

/// Starts a connection from an address without waiting for it: servers count connections by it.
fn dial(from: Ipv4Addr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    match connect(&socket, &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

impl Stream {
    /// Moves bytes in both directions until the socket or the client has no more.
    fn carry(&mut self, now: Instant, client: &mut Caller) -> std::io::Result<()> {
        let mut piece = [0; 1024];
        let blocked = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        loop {
            if self.untaken.is_empty() {
                match self.socket.read(&mut piece) {
                    Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => self.untaken.extend_from_slice(&piece[..count]),
                    Err(error) if blocked(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            let taken = client.handle_bytes(now, &self.untaken);
            self.untaken.drain(..taken);
            if !self.untaken.is_empty() {
                break;
            }
        }
        loop {
            while !self.unsent.is_empty() {
                match self.socket.write(&self.unsent) {
                    Ok(count) => _ = self.unsent.drain(..count),
                    Err(error) if blocked(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            match client.poll_transmit_stream(now, &mut piece) {
                Some(count) => self.unsent.extend_from_slice(&piece[..count]),
                None => return Ok(()),
            }
        }
    }
}

/// The devices and when each is due.
pub(crate) struct Yard {
    origin: Clock,
    epoll: OwnedFd,
    devices: Vec<Device>,
    /// Of them, how many have a contact, and how many are registered.
    joined: usize,
    registered: usize,
    queue: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Yard {
    /// Makes devices `at`, `at + all`, ... of so many, on addresses from `first` on, which join
    /// through one of the servers each, evenly within `span`.
    ///
    /// # Errors
    ///
    /// If an address is taken, or files are not enough.
    pub(crate) fn with_devices(
        (at, all, count): (usize, usize, usize),
        first: Ipv4Addr,
        servers: &[Ipv4Addr],
        span: Duration,
    ) -> Result<Yard, String> {
        let mut yard = Yard::new(Clock::now())?;
        for number in (at..count).step_by(all) {
            let delay = span.as_micros() as u64 * number as u64 / count.max(1) as u64;
            let address = address(first, number);
            let device = Device::new(number, address, servers[number % servers.len()], delay)
                .map_err(|error| format!("device {number} at {address}: {error}"))?;
            yard.add(device)?;
        }
        Ok(yard)
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    fn new(origin: Clock) -> Result<Yard, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| e.to_string())?;
        let (devices, queue) = (Vec::new(), BinaryHeap::new());
        Ok(Yard { origin, epoll, devices, joined: 0, registered: 0, queue })
    }

    fn add(&mut self, device: Device) -> Result<(), String> {
        let data = epoll::EventData::new_u64(self.devices.len() as u64);
        epoll::add(&self.epoll, &device.udp, data, epoll::EventFlags::IN)
            .map_err(|error| error.to_string())?;
        self.devices.push(device);
        self.enqueue(self.devices.len() - 1, false);
        Ok(())
    }

    /// Queues a device for when it is due, unless it is queued for no later.
    fn enqueue(&mut self, at: usize, calling: bool) {
        let device = &mut self.devices[at];
        let due = device.due(calling);
        if device.queued.is_none_or(|queued| due < queued) {
            device.queued = Some(due);
            self.queue.push(Reverse((due, at)));
        }
    }

    /// Steps one device and looks after its connection's place in epoll.
    fn step(&mut self, at: usize, now: Instant, calling: bool, packet: &mut [u8]) {
        let device = &mut self.devices[at];
        let link = |device: &Device| device.stream.as_ref().map(|stream| stream.link);
        let before = link(device);
        self.joined -= usize::from(device.joined);
        self.registered -= usize::from(device.registered);
        device.step(now, calling, packet);
        self.joined += usize::from(device.joined);
        self.registered += usize::from(device.registered);
        let after = link(device);
        if let Some(stream) = device.stream.as_ref().filter(|_| before != after) {
            let data = epoll::EventData::new_u64(at as u64);
            // A connection that comes up is told once; what is unsent waits for the next step.
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            if epoll::add(&self.epoll, &stream.socket, data, flags).is_err() {
                device.client.handle_closed(now);
            }
        }
        self.enqueue(at, calling);
    }

    /// Lets the devices live, until the process ends.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn run(mut self, shared: &Shared) -> Result<Infallible, String> {
        let mut packet = [0; PACKET_BYTES_MAX + 1];
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut called = false;
        loop {
            let now = Instant::from_micros(self.origin.elapsed().as_micros() as u64);
            let wait = self.queue.peek().map_or(NAP, |Reverse((due, _))| {
                Duration::from_micros(due.since(now).micros()).min(NAP)
            });
            events.clear();
            let wait = rustix::event::Timespec::try_from(wait).map_err(|e| e.to_string())?;
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.to_string()),
            }
            let now = Instant::from_micros(self.origin.elapsed().as_micros() as u64);
            let calling = shared.calling.load(Ordering::Relaxed);
            let living = shared.living.load(Ordering::Relaxed);
            if self.devices.len() > living {
                // Their sockets close: nobody answers any more.
                self.devices.truncate(living);
                self.joined = self.devices.iter().filter(|device| device.joined).count();
                let registered = self.devices.iter().filter(|device| device.registered);
                self.registered = registered.count();
            }
            if calling && !called {
                called = true;
                (0..self.devices.len()).for_each(|at| self.enqueue(at, true));
            }
            for event in &events {
                let at = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                if at < self.devices.len() {
                    self.step(at, now, calling, &mut packet);
                }
            }
            while let Some(Reverse((due, at))) = self.queue.peek().copied() {
                if due > now {
                    break;
                }
                self.queue.pop();
                let late = self.origin.elapsed().as_micros() as u64;
                shared.late.fetch_max(late.saturating_sub(due.micros()), Ordering::Relaxed);
                if at < self.devices.len() {
                    self.devices[at].queued = None;
                    self.step(at, now, calling, &mut packet);
                }
            }
            shared.joined.store(self.joined, Ordering::Relaxed);
            shared.registered.store(self.registered, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_all_different_and_none_is_a_network() {
        let first = Ipv4Addr::new(127, 100, 0, 0);
        let all: std::collections::BTreeSet<Ipv4Addr> =
            (0..10_000).map(|at| address(first, at)).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|address| !matches!(address.octets()[3], 0 | 255)));
    }
}
