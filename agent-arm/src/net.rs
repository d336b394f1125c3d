//! Drives a device over smoltcp: a gossip port and a stream, no waiting.

use crate::{Device, Port, Stream};
use agent_core::gossip::seal::DATAGRAM_BYTES_MAX;
use agent_core::time::{Duration, Instant};
use core::net::SocketAddr;
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy;
use smoltcp::time::Instant as NetInstant;

/// Does all that can be done at `now`: moves frames, hands datagrams and stream bytes in, takes
/// them out.
///
/// Poll the device's events after each call. Answers when to call again at the latest; frames that
/// come earlier, or events that led to anything, are a reason to call earlier.
pub fn step<
    D: phy::Device + ?Sized,
    const CONTACTS: usize,
    const CHECKS: usize,
    const OUTPUT: usize,
    const BUFFER: usize,
>(
    now: Instant,
    interface: &mut Interface,
    phy: &mut D,
    sockets: &mut SocketSet<'_>,
    port: &mut Port,
    stream: &mut Stream,
    device: &mut Device<'_, CONTACTS, CHECKS, OUTPUT, BUFFER>,
) -> Instant {
    let net_now = net_instant(now);
    interface.poll(net_now, phy, sockets);
    let mut packet = [0; DATAGRAM_BYTES_MAX];
    while let Some((len, from)) = port.receive(sockets, &mut packet) {
        device.handle_datagram_in_place(now, from, &mut packet[..len]);
    }
    stream.follow(now, interface.context(), sockets, device);
    if device.poll_timeout().is_some_and(|(at, _)| at <= now) {
        device.handle_timeout(now);
        stream.follow(now, interface.context(), sockets, device);
    }
    stream.carry(now, sockets, device);
    let mut port_due = port.release(now, sockets);
    while port.is_ready(sockets) {
        let Some(transmit) = device.poll_transmit(now, &mut packet) else { break };
        // IPv6 is not compiled in; what cannot be sent is a packet lost.
        if let SocketAddr::V4(to) = transmit.to {
            port.send(sockets, to, &packet[..transmit.len]);
            interface.poll_egress(net_now, phy, sockets);
            port_due = port.release(now, sockets);
        }
    }
    interface.poll_egress(net_now, phy, sockets);
    let device_due = device.poll_timeout().map(|(at, _)| at);
    let net_due = interface.poll_delay(net_now, sockets);
    let net_due = net_due.map(|delay| now + Duration::from_micros(delay.total_micros()));
    [device_due, net_due, port_due].into_iter().flatten().min().unwrap_or(now + IDLE_MAX)
}

/// How long to wait when nothing is due at all: a device without gossip and checks.
const IDLE_MAX: Duration = Duration::from_secs(1);

fn net_instant(now: Instant) -> NetInstant {
    NetInstant::from_micros(i64::try_from(now.micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Event, Start};
    use agent_core::client::{self, Check, Profile, Service};
    use agent_core::gossip::{Config, Meta, Pool, Role, Status, leaf};
    use agent_core::health::{self, Pace, Plan, Thresholds};
    use agent_core::wire::frame::{HEADER_BYTES, Header, Kind};
    use agent_core::wire::memory::Heap;
    use agent_core::wire::message::{Ask, Tell, emit, parse};
    use smoltcp::iface::{Config as NetConfig, SocketHandle};
    use smoltcp::phy::{Loopback, Medium};
    use smoltcp::socket::udp::{PacketBuffer, PacketMetadata};
    use smoltcp::socket::{tcp, udp};
    use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
    use std::vec;
    use std::vec::Vec;

    const DEVICE: SocketAddr = address(8301);
    const MEMBER: SocketAddr = address(8311);
    const SERVER: SocketAddr = address(8300);

    const fn address(port: u16) -> SocketAddr {
        SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(127, 0, 0, 1)), port)
    }

    fn socket() -> udp::Socket<'static> {
        let buffer =
            || PacketBuffer::new(vec![PacketMetadata::EMPTY; 8], vec![0; 8 * DATAGRAM_BYTES_MAX]);
        udp::Socket::new(buffer(), buffer())
    }

    fn stream_socket() -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 512]);
        tcp::Socket::new(buffer(), buffer())
    }

    /// A device and a full member that is a server, on one loopback interface.
    struct World {
        now: Instant,
        interface: Interface,
        phy: Loopback,
        all: SocketSet<'static>,
        ours: Port,
        stream: Stream,
        theirs: SocketHandle,
        listener: SocketHandle,
        /// What arrived at the server, the channel byte included.
        heard: Vec<u8>,
        asked: Vec<Ask<Heap>>,
        pings: usize,
        /// The server takes everything and answers nothing.
        mute: bool,
        device: Device<'static, 8, 2>,
        member: Pool,
        events: Vec<Event<'static>>,
    }

    impl World {
        fn new() -> World {
            let now = Instant::from_micros(1_000_000);
            let mut phy = Loopback::new(Medium::Ip);
            let config = NetConfig::new(HardwareAddress::Ip);
            let mut interface = Interface::new(config, &mut phy, net_instant(now));
            interface.update_ip_addrs(|list| {
                list.push(IpCidr::new(IpAddress::v4(127, 0, 0, 1), 8)).expect("room");
            });
            let mut all = SocketSet::new(Vec::new());
            let ours = Port::open(&mut all, socket(), DEVICE.port()).expect("a port");
            let stream = Stream::open(&mut all, stream_socket(), 7);
            let mut theirs = socket();
            theirs.bind(MEMBER.port()).expect("a port");
            let theirs = all.add(theirs);
            let listener = all.add(stream_socket());
            let start = Start {
                config: Config::lan(),
                profile: PROFILE,
                address: DEVICE,
                generation: 1,
                seed: 7,
            };
            let device = Device::new(start, now).expect("fits");
            let member = Pool::new(Config::lan(), meta(), MEMBER, 1, 8, now).expect("fits");
            World {
                now,
                interface,
                phy,
                all,
                ours,
                stream,
                theirs,
                listener,
                heard: Vec::new(),
                asked: Vec::new(),
                pings: 0,
                mute: false,
                device,
                member,
                events: Vec::new(),
            }
        }

        /// Lets time pass; `alive` says whether the device takes part.
        fn run(&mut self, span: Duration, alive: bool) {
            let end = self.now + span;
            while self.now < end {
                self.now = self.now + Duration::from_millis(5);
                let now = self.now;
                if alive {
                    let (phy, all) = (&mut self.phy, &mut self.all);
                    let (port, stream) = (&mut self.ours, &mut self.stream);
                    let device = &mut self.device;
                    step(now, &mut self.interface, phy, all, port, stream, device);
                    while let Some(event) = device.poll_event(now) {
                        self.events.extend(owned(event));
                    }
                }
                self.interface.poll(net_instant(now), &mut self.phy, &mut self.all);
                self.run_member();
                self.run_server();
            }
        }

        fn run_member(&mut self) {
            let (now, mut packet) = (self.now, [0; DATAGRAM_BYTES_MAX]);
            let socket = self.all.get_mut::<udp::Socket<'_>>(self.theirs);
            while let Ok((len, from)) = socket.recv_slice(&mut packet) {
                let from = SocketAddr::new(from.endpoint.addr.into(), from.endpoint.port);
                self.member.handle_datagram(now, from, &packet[..len]);
            }
            self.member.handle_timeout(now);
            while let Some(transmit) = self.member.poll_transmit(now, &mut packet) {
                let SocketAddr::V4(to) = transmit.to else { continue };
                let _ = socket.send_slice(&packet[..transmit.len], to);
            }
        }

        /// A server that takes everything and holds `v` under every key.
        fn run_server(&mut self) {
            let socket = self.all.get_mut::<tcp::Socket<'_>>(self.listener);
            if !socket.is_open() {
                self.heard.clear();
                socket.listen(SERVER.port()).expect("a closed socket");
            }
            while socket.can_recv() {
                let heard = &mut self.heard;
                socket
                    .recv(|bytes| {
                        heard.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .expect("bytes");
            }
            let Some(frame) = self.heard.get(1..) else { return };
            let Some(head) = frame.first_chunk::<HEADER_BYTES>() else { return };
            assert_eq!(self.heard[0], 0x31);
            let header = Header::parse(head, 2048).expect("a frame");
            if self.mute {
                return self.heard.truncate(1);
            }
            let end = HEADER_BYTES + header.length as usize;
            let Some(body) = frame.get(HEADER_BYTES..end) else { return };
            if header.kind == Kind::Ping {
                self.heard.drain(1..=end);
                self.pings += 1;
                let pong = Header::new(Kind::Pong, header.id, 0).emit();
                socket.send_slice(&pong).expect("room");
                return;
            }
            let ask: Ask<Heap> = parse(body).expect("a message");
            let tell = match &ask {
                Ask::Hello { .. } => {
                    Tell::<Heap>::Welcome { version: 1, sync_secs: 60, datacenter: "dc1".into() }
                }
                Ask::Get { .. } => Tell::Value { value: b"v".to_vec(), flags: 0, index: 9 },
                _ => Tell::Done,
            };
            self.asked.push(ask);
            self.heard.drain(1..=end);
            let mut body = [0; 64];
            let length = emit(&tell, &mut body).expect("room");
            let header = Header::new(Kind::Reply, header.id, length as u32);
            socket.send_slice(&header.emit()).expect("room");
            socket.send_slice(&body[..length]).expect("room");
        }

        fn seen(&self) -> Option<Status> {
            let mut members = self.member.members();
            members.find(|member| member.name == "board").map(|member| member.status)
        }

        fn saw(&self, event: &Event<'static>) -> bool {
            self.events.contains(event)
        }
    }

    /// Events without lent parts, for later looks.
    fn owned(event: Event<'_>) -> Option<Event<'static>> {
        match event {
            Event::Client(client::Event::Answer(Tell::Value { value: b"v", flags, index })) => {
                let tell = Tell::Value { value: &b"v"[..], flags, index };
                Some(Event::Client(client::Event::Answer(tell)))
            }
            Event::Client(client::Event::Answer(_) | client::Event::Refused { .. }) => None,
            Event::Client(client::Event::Connected { server }) => {
                Some(Event::Client(client::Event::Connected { server }))
            }
            Event::Client(client::Event::Lost { server, why }) => {
                Some(Event::Client(client::Event::Lost { server, why }))
            }
            Event::Client(client::Event::NoServer) => Some(Event::Client(client::Event::NoServer)),
            Event::Client(client::Event::Registered) => {
                Some(Event::Client(client::Event::Registered))
            }
            Event::Client(client::Event::Unanswered) => {
                Some(Event::Client(client::Event::Unanswered))
            }
            Event::Gossip(event) => Some(Event::Gossip(event)),
            Event::Run(at) => Some(Event::Run(at)),
            Event::Expired(at) => Some(Event::Expired(at)),
            Event::Overdue(at) => Some(Event::Overdue(at)),
        }
    }

    const PROFILE: Profile<'static> = Profile {
        node: "board",
        node_id: *b"board-0123456789",
        datacenter: "dc1",
        address: "127.0.0.1",
        token: "",
        meta: &[],
        servers: &[],
        services: &[Service {
            id: "pump",
            name: "pump",
            tags: &["wet"],
            address: "",
            port: 80,
            meta: &[],
        }],
        checks: &[Check {
            id: "flow",
            name: "Flow",
            service_id: "pump",
            kind: "closure",
            notes: "",
            plan: Plan {
                pace: Pace::Every(Duration::from_secs(10)),
                thresholds: Thresholds { success_before_passing: 0, failures_before_critical: 3 },
                status: health::Status::Critical,
                critical_max: Duration::ZERO,
            },
        }],
    };

    fn meta() -> Meta {
        Meta {
            role: Role::Server,
            rpc_port: 8300,
            expect: 1,
            raft_id: 1,
            ..Meta::client("server", "dc1", *b"server-987654321", "1.8.7:")
        }
    }

    #[test]
    fn a_device_is_a_member_for_as_long_as_it_runs() {
        let mut world = World::new();
        world.device.join(MEMBER);
        world.run(Duration::from_secs(10), true);
        assert!(world.saw(&Event::Gossip(leaf::Event::Joined)), "{:?}", world.events);
        assert_eq!(world.seen(), Some(Status::Alive));
        world.run(Duration::from_secs(60), true);
        assert_eq!(world.seen(), Some(Status::Alive), "it answers its probes");
        world.run(Duration::from_secs(60), false);
        assert_eq!(world.seen(), Some(Status::Failed), "it stopped answering");
        world.device.join(MEMBER);
        world.run(Duration::from_secs(20), true);
        assert_eq!(world.seen(), Some(Status::Alive), "it renewed itself");
    }

    #[test]
    fn a_device_that_leaves_has_left() {
        let mut world = World::new();
        world.device.join(MEMBER);
        world.run(Duration::from_secs(10), true);
        world.device.leave();
        world.run(Duration::from_secs(20), true);
        assert_eq!(world.seen(), Some(Status::Left));
    }

    #[test]
    fn a_device_finds_a_server_by_gossip_registers_and_reads_a_key() {
        let mut world = World::new();
        world.device.join(MEMBER);
        world.run(Duration::from_secs(15), true);
        assert!(world.saw(&Event::Client(client::Event::Connected { server: SERVER })));
        assert!(world.saw(&Event::Client(client::Event::Registered)), "{:?}", world.events);
        let [hello, service, check, settled, ..] = &world.asked[..] else {
            panic!("{:?}", world.asked);
        };
        assert!(matches!(hello, Ask::Hello { node, .. } if node == "board"));
        assert!(matches!(service, Ask::Service { id, .. } if id == "pump"));
        assert!(matches!(check, Ask::Check { id, .. } if id == "flow"));
        assert_eq!(*settled, Ask::Settled);

        world.device.client_mut().get(world.now, "k").expect("free");
        world.run(Duration::from_secs(1), true);
        let answer = Tell::Value { value: &b"v"[..], flags: 0, index: 9 };
        assert!(world.saw(&Event::Client(client::Event::Answer(answer))), "{:?}", world.events);
    }

    #[test]
    fn a_check_that_turns_is_told_at_once() {
        let mut world = World::new();
        world.device.join(MEMBER);
        world.run(Duration::from_secs(15), true);
        assert!(world.saw(&Event::Run(0)), "its first run is due within the interval");
        let turned = world.device.handle_result(world.now, 0, health::Status::Passing, "42 l/min");
        assert_eq!(turned, Some(health::Status::Passing));
        world.run(Duration::from_secs(1), true);
        let told = world.asked.iter().rev().find_map(|ask| match ask {
            Ask::Check { status, output, .. } => Some((*status, output.as_str())),
            _ => None,
        });
        assert_eq!(told, Some((health::Status::Passing, "42 l/min")));
        let held_back = world.device.handle_result(world.now, 0, health::Status::Critical, "0");
        assert_eq!(held_back, None, "one failure of the three that it takes");
        assert_eq!(world.device.check(0), Some((health::Status::Passing, "42 l/min")));
    }

    #[test]
    fn a_quiet_connection_is_kept_and_a_silent_server_is_left() {
        let mut world = World::new();
        world.device.join(MEMBER);
        world.run(Duration::from_secs(15), true);
        let lost = |world: &World| {
            let mut events = world.events.iter();
            events.any(|event| matches!(event, Event::Client(client::Event::Lost { .. })))
        };
        world.run(Duration::from_secs(120), true);
        assert!(!lost(&world), "{:?}", world.events);
        assert!(world.pings > 0, "between two syncs it asks whether the server lives");
        world.mute = true;
        world.run(Duration::from_secs(60), true);
        let silent = client::Event::Lost { server: SERVER, why: client::Why::Silent };
        assert!(world.saw(&Event::Client(silent)), "{:?}", world.events);
    }

    #[test]
    fn noise_on_the_port_changes_nothing() {
        let mut world = World::new();
        world.device.join(MEMBER);
        world.run(Duration::from_secs(5), true);
        for length in 0..200 {
            let noise: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
            world.device.handle_datagram(world.now, MEMBER, &noise);
        }
        world.run(Duration::from_secs(20), true);
        assert_eq!(world.seen(), Some(Status::Alive));
    }
}
