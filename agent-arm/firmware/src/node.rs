//! The agent on the network: own address, gossip port, checks, and the way back into the pool.
//!
//! Driven as everything in [`agent_core`]: [`Node::step`] does what can be done and answers when to
//! come again, [`Node::poll_notice`] says what happened. Nothing here knows a board.

use crate::argument::Arguments;
use crate::probe::Probe;
pub use crate::server::Papers;
use crate::server::{TEXT_BYTES_MAX, words};
use crate::way::{Doubt, JOIN_WAIT, Way};
use agent_arm::device::{Device, Event, Start};
use agent_arm::{Port, Stream, net};
use agent_core::client::{self, Profile, Wanted};
use agent_core::gossip::seal::{DATAGRAM_BYTES_MAX, Keyring};
use agent_core::gossip::{Config, leaf};
use agent_core::health::Status;
use agent_core::rand::Rng;
use agent_core::time::{Duration, Instant};
use agent_core::wire::message::Tell;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use heapless::{Deque, String};
use smoltcp::iface::{Config as NetConfig, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy;
use smoltcp::socket::{dhcpv4, tcp, udp};
use smoltcp::time::Instant as NetInstant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Cidr};

/// Members known at a time, whatever the pool's size.
pub const CONTACTS: usize = 12;

/// Checks: one over TCP, one of our own.
pub const CHECKS: usize = 2;

/// The port that we gossip at.
pub const GOSSIP_PORT: u16 = 8301;

/// Datagrams that may wait to be read, and their bytes: one of full length, or some of the usual.
pub const RECEIVED_MAX: usize = 4;
/// See [`RECEIVED_MAX`].
pub const RECEIVED_BYTES_MAX: usize = DATAGRAM_BYTES_MAX + 512;

/// Longest output of a check, in bytes.
const OUTPUT_BYTES_MAX: usize = 32;

/// Longest frame to or from a server, in bytes.
pub const FRAME_BYTES_MAX: usize = 512;

/// Sockets: gossip, servers, DHCP and the TCP check.
pub const SOCKETS: usize = 4;

/// Room of a connection that carries nothing.
pub const PROBE_BYTES: usize = 16;

/// Most instances of a service that are looked up.
const INSTANCES_MAX: u8 = 4;

/// The agent of a node. It is lent to it, as the node passes through the stack.
pub type Agent<'a> = Device<'a, CONTACTS, CHECKS, OUTPUT_BYTES_MAX, FRAME_BYTES_MAX>;

/// What happened, for the console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// We have an address.
    Address(Ipv4Cidr),
    /// Our address is no longer ours; whatever knows it has to start anew.
    Moved,
    /// What we are does not fit what servers take.
    Unfit(client::Error),
    /// The first contact was made.
    Joined,
    /// We know nobody and asked this member to take us in; how long until the next is asked, and
    /// why nobody did, as far as it can be told.
    Asked(SocketAddrV4, Duration, Doubt),
    /// The pool had given us up; this is our generation now.
    Renewed(u32),
    /// Our own check is to be run, see [`Node::report`].
    Run,
    /// A check turned.
    Check(Check, Status),
    /// About the servers, in words.
    Server(String<TEXT_BYTES_MAX>),
}

/// Which check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// What the program says of itself.
    Own,
    /// Whether a TCP port takes connections.
    Tcp,
}

/// Memory that a node's sockets are lent: in parts, as a board's stack has no room for it to pass
/// through as a whole.
pub struct Memory<'a> {
    /// Gossip, servers, DHCP and the TCP check.
    pub sockets: &'a mut [SocketStorage<'a>; SOCKETS],
    /// Gossip that came in.
    pub received: &'a mut [u8; RECEIVED_BYTES_MAX],
    /// Where its datagrams begin.
    pub received_marks: &'a mut [udp::PacketMetadata; RECEIVED_MAX],
    /// Gossip that goes out.
    pub sent: &'a mut [u8; DATAGRAM_BYTES_MAX],
    /// Where its datagram begins.
    pub sent_marks: &'a mut [udp::PacketMetadata; 1],
    /// The connection to a server, each way.
    pub stream: &'a mut [[u8; FRAME_BYTES_MAX]; 2],
    /// That of the TCP check.
    pub probe: &'a mut [[u8; PROBE_BYTES]; 2],
    /// What servers are told.
    pub papers: &'a mut Papers<'a>,
}

/// What a node is started with besides its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The hardware address; the node's ID follows from it.
    pub mac: [u8; 6],
    /// Higher than at any start before.
    pub generation: u32,
    /// Any number.
    pub seed: u64,
}

impl Origin {
    /// The node's ID: a UUID of version 8 that the hardware address decides.
    pub fn node_id(&self) -> [u8; 16] {
        let mac = self.mac.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let mut dice = Rng::new(mac);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&dice.next_u64().to_be_bytes());
        id[8..].copy_from_slice(&dice.next_u64().to_be_bytes());
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }
}

/// The agent on the network.
pub struct Node<'a> {
    arguments: Arguments<'a>,
    origin: Origin,
    interface: Interface,
    sockets: SocketSet<'a>,
    port: Port,
    stream: Stream,
    dhcp: Option<SocketHandle>,
    probe: Option<Probe>,
    papers: Option<&'a mut Papers<'a>>,
    device: &'a mut Option<Agent<'a>>,
    way: Way,
    notices: Deque<Notice, 6>,
}

impl<'a> Node<'a> {
    /// Makes a node without a member known and without an address; see [`Node::start`].
    pub fn new<D: phy::Device + ?Sized>(
        arguments: Arguments<'a>,
        origin: Origin,
        memory: Memory<'a>,
        device: &'a mut Option<Agent<'a>>,
        phy: &mut D,
        now: Instant,
    ) -> Self {
        let mut config = NetConfig::new(EthernetAddress(origin.mac).into());
        config.random_seed = origin.seed;
        let interface = Interface::new(config, phy, net_instant(now));
        let mut sockets = SocketSet::new(&mut memory.sockets[..]);
        let received =
            udp::PacketBuffer::new(&mut memory.received_marks[..], &mut memory.received[..]);
        let sent = udp::PacketBuffer::new(&mut memory.sent_marks[..], &mut memory.sent[..]);
        let port = Port::open(&mut sockets, udp::Socket::new(received, sent), GOSSIP_PORT)
            .expect("a new socket, and a port that is not 0");
        let [receive, send] = memory.stream.each_mut().map(|room| &mut room[..]);
        let (receive, send) = (tcp::SocketBuffer::new(receive), tcp::SocketBuffer::new(send));
        let stream = tcp::Socket::new(receive, send);
        let stream = Stream::open(&mut sockets, stream, origin.seed);
        let [receive, send] = memory.probe.each_mut().map(|room| &mut room[..]);
        let probe = arguments.tcp.map(|target| {
            let (receive, send) = (tcp::SocketBuffer::new(receive), tcp::SocketBuffer::new(send));
            let handle = sockets.add(tcp::Socket::new(receive, send));
            Probe::new(handle, target, origin.seed)
        });
        let dhcp = arguments.address.is_none().then(|| sockets.add(dhcpv4::Socket::new()));
        Self {
            arguments,
            origin,
            interface,
            sockets,
            port,
            stream,
            dhcp,
            probe,
            papers: Some(memory.papers),
            device,
            way: Way::new(now),
            notices: Deque::new(),
        }
    }

    /// Takes the address that the arguments give, if they do.
    pub fn start(&mut self, now: Instant) {
        if let Some((address, prefix)) = self.arguments.address {
            self.settle(now, Ipv4Cidr::new(address, prefix), self.arguments.gateway);
        }
    }

    /// Does all that can be done at `now`; answers when to come again at the latest.
    pub fn step<D: phy::Device + ?Sized>(&mut self, now: Instant, phy: &mut D) -> Instant {
        let net_due = self.drive(now, phy);
        self.configure(now);
        self.hear(now);
        self.check(now);
        self.join(now);
        let device_due = self.device.as_ref().and_then(Agent::poll_timeout).map(|(at, _)| at);
        let probe_due = self.probe.as_ref().and_then(Probe::due);
        let due = [device_due, probe_due].into_iter().flatten().fold(net_due, Instant::min);
        // What the last steps left to be sent goes with the next.
        if self.alone() && self.device.is_some() { due.min(self.way.at) } else { due }
    }

    /// Moves what is to be moved. Not inlined: other steps do not need its room on the stack.
    #[inline(never)]
    fn drive<D: phy::Device + ?Sized>(&mut self, now: Instant, phy: &mut D) -> Instant {
        let (interface, sockets) = (&mut self.interface, &mut self.sockets);
        if let Some(device) = self.device {
            let (port, stream) = (&mut self.port, &mut self.stream);
            return net::step(now, interface, phy, sockets, port, stream, device);
        }
        interface.poll(net_instant(now), phy, sockets);
        let delay = interface.poll_delay(net_instant(now), sockets);
        now + delay.map_or(JOIN_WAIT, |delay| Duration::from_micros(delay.total_micros()))
    }

    /// Takes the result of our own check, after [`Notice::Run`].
    pub fn report(&mut self, now: Instant, status: Status) {
        self.result(now, Check::Own, status);
    }

    /// Tells what happened.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Counts the members known now, at most [`CONTACTS`].
    pub fn contacts(&self) -> usize {
        self.device.as_ref().map_or(0, |device| device.leaf().contacts().count())
    }

    fn alone(&self) -> bool {
        self.contacts() == 0
    }

    fn tell(&mut self, notice: Notice) {
        if self.notices.is_full() {
            self.notices.pop_front();
        }
        let _ = self.notices.push_back(notice);
    }

    /// Takes what DHCP says.
    fn configure(&mut self, now: Instant) {
        let Some(handle) = self.dhcp else { return };
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(config)) => {
                let (address, router) = (config.address, config.router);
                self.settle(now, address, router);
            }
            // smoltcp says so at the start, too.
            Some(dhcpv4::Event::Deconfigured) if self.device.is_some() => self.tell(Notice::Moved),
            Some(dhcpv4::Event::Deconfigured) | None => {}
        }
    }

    /// Takes an address, once: who has another later starts anew. Not inlined: parts of a new
    /// device pass through the stack, and the steps that follow do not need that room.
    #[inline(never)]
    fn settle(&mut self, now: Instant, address: Ipv4Cidr, router: Option<Ipv4Addr>) {
        let own = SocketAddr::new(IpAddr::V4(address.address()), GOSSIP_PORT);
        if let Some(device) = self.device {
            if device.leaf().identity().address.socket() != own {
                self.tell(Notice::Moved);
            }
            return;
        }
        let Some(papers) = self.papers.take() else { return };
        self.interface.update_ip_addrs(|list| {
            list.clear();
            let _ = list.push(IpCidr::Ipv4(address));
        });
        if let Some(router) = router {
            // The only route, so there is room.
            let _ = self.interface.routes_mut().add_default_ipv4_route(router);
        }
        self.tell(Notice::Address(address));
        papers.fill(&self.arguments, address.address());
        let papers: &'a Papers<'a> = papers;
        let profile = Profile {
            node: self.arguments.name,
            node_id: self.origin.node_id(),
            datacenter: self.arguments.dc,
            address: papers.address.as_str(),
            token: "",
            meta: &[],
            servers: &papers.servers,
            services: &papers.services,
            checks: &papers.checks,
        };
        let Origin { generation, seed, .. } = self.origin;
        let start = Start { config: Config::lan(), profile, address: own, generation, seed };
        match Agent::new_in(self.device, start, now) {
            Ok(device) => {
                if let Some(key) = self.arguments.key {
                    device.seal(Keyring::new(key), seed);
                }
            }
            Err(agent_arm::device::Error::Client(error)) => self.tell(Notice::Unfit(error)),
            // Names are so short that the card fits.
            Err(agent_arm::device::Error::Leaf(_)) => self.tell(Notice::Unfit(client::Error::Node)),
        }
        self.way = Way::new(now);
    }

    /// Takes what the device says. Not inlined, as [`Node::drive`].
    #[inline(never)]
    fn hear(&mut self, now: Instant) {
        loop {
            let event = self.device.as_mut().and_then(|device| device.poll_event(now));
            let Some((notice, next)) = event.map(sort) else { return };
            if let Some(notice) = notice {
                self.tell(notice);
            }
            match next {
                Some(Next::Joined) => self.way.wait = JOIN_WAIT,
                Some(Next::Join) => self.way.at = now,
                Some(Next::Probe) => self.run(now),
                Some(Next::LookUp(lookup)) => self.look_up(now, lookup),
                None => {}
            }
        }
    }

    /// Asks for the key, or if none is wanted for the service.
    fn look_up(&mut self, now: Instant, lookup: Lookup) {
        let Some(device) = self.device else { return };
        let client = device.client_mut();
        // Nothing else is looked up, and names are short: it is neither busy nor too long.
        let _ = match (lookup, self.arguments.kv, self.arguments.lookup) {
            (Lookup::Key, Some(key), _) => client.get(now, key),
            (_, _, Some(service)) => {
                let most = INSTANCES_MAX;
                client.find(now, Wanted { service, tag: "", passing: false, most })
            }
            _ => Ok(()),
        };
    }

    fn run(&mut self, now: Instant) {
        let Some(probe) = &mut self.probe else { return };
        let refused = probe.start(now, &mut self.interface, &mut self.sockets);
        if let Some(status) = refused {
            self.result(now, Check::Tcp, status);
        }
    }

    /// Looks how the TCP check does.
    fn check(&mut self, now: Instant) {
        let result = self.probe.as_mut().and_then(|probe| probe.poll(now, &mut self.sockets));
        if let Some(status) = result {
            self.result(now, Check::Tcp, status);
        }
    }

    fn result(&mut self, now: Instant, check: Check, status: Status) {
        let Some(device) = self.device else { return };
        let before = device.check(check as usize).map(|(status, _)| status);
        let output = match (check, status) {
            (Check::Own, _) => "stack in use",
            (Check::Tcp, Status::Passing) => "connected",
            (Check::Tcp, _) => "no connection",
        };
        let after = device.handle_result(now, check as usize, status, output);
        if let Some(status) = after.filter(|_| after != before) {
            self.tell(Notice::Check(check, status));
        }
    }

    /// Asks the next member to take us in, if we know none and it is time.
    fn join(&mut self, now: Instant) {
        if !self.alone() || self.way.at > now {
            return;
        }
        let Some(device) = self.device else { return };
        let refused = (u64::from(device.leaf().foreign()), device.drops().total());
        let doubt = self.way.doubt(refused, self.arguments.key.is_some());
        let (peer, wait) = self.way.take(now, &self.arguments.peers, refused);
        device.join(SocketAddr::V4(peer));
        self.tell(Notice::Asked(peer, wait, doubt));
    }
}

/// What an event leads to.
enum Next {
    Joined,
    Join,
    Probe,
    LookUp(Lookup),
}

/// Tells what an event means for the console and for the node.
fn sort(event: Event<'_>) -> (Option<Notice>, Option<Next>) {
    match event {
        Event::Gossip(leaf::Event::Joined) => (Some(Notice::Joined), Some(Next::Joined)),
        Event::Gossip(leaf::Event::Alone) => (None, Some(Next::Join)),
        Event::Gossip(leaf::Event::Renewed { generation }) => {
            // Whoever has no contact left told nobody of the new generation.
            (Some(Notice::Renewed(generation)), Some(Next::Join))
        }
        Event::Gossip(leaf::Event::Servers) => (None, None),
        Event::Run(at) if at == Check::Own as usize => (Some(Notice::Run), None),
        Event::Run(_) => (None, Some(Next::Probe)),
        Event::Expired(_) | Event::Overdue(_) => (None, None),
        Event::Client(event) => {
            let lookup = match event {
                client::Event::Registered => Some(Lookup::Key),
                client::Event::Answer(Tell::Missing | Tell::Value { .. }) => Some(Lookup::Service),
                _ => None,
            };
            (Some(Notice::Server(words(&event))), lookup.map(Next::LookUp))
        }
    }
}

/// What is asked of servers next.
#[derive(Clone, Copy)]
enum Lookup {
    Key,
    Service,
}

fn net_instant(now: Instant) -> NetInstant {
    NetInstant::from_micros(i64::try_from(now.micros()).unwrap_or(i64::MAX))
}
