//! Drives a device over smoltcp: one UDP socket, no waiting.

use crate::Device;
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::PACKET_BYTES_MAX;
use core::net::SocketAddr;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy;
use smoltcp::socket::udp;
use smoltcp::time::Instant as NetInstant;

/// Does all that can be done at `now`: moves frames, hands datagrams in, takes datagrams out.
///
/// `handle` names a UDP socket bound to the gossip port, with room for a few packets of
/// [`PACKET_BYTES_MAX`] each way; what does not fit is lost, as on any network. Answers when to
/// call again at the latest; frames that come earlier are a reason to call earlier.
pub fn step<D, const CONTACTS: usize, const CHECKS: usize>(
    now: Instant,
    interface: &mut Interface,
    phy: &mut D,
    sockets: &mut SocketSet<'_>,
    handle: SocketHandle,
    device: &mut Device<CONTACTS, CHECKS>,
) -> Instant
where
    D: phy::Device + ?Sized,
{
    let net_now = net_instant(now);
    interface.poll(net_now, phy, sockets);
    let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
    let mut packet = [0; PACKET_BYTES_MAX];
    while let Ok((len, from)) = socket.recv_slice(&mut packet) {
        let from = SocketAddr::new(from.endpoint.addr.into(), from.endpoint.port);
        device.handle_datagram(now, from, &packet[..len]);
    }
    if device.poll_timeout().is_some_and(|(at, _)| at <= now) {
        device.handle_timeout(now);
    }
    while socket.can_send() {
        let Some(transmit) = device.poll_transmit(now, &mut packet) else { break };
        // IPv6 is not compiled in; what cannot be sent is a packet lost.
        if let SocketAddr::V4(to) = transmit.to {
            let _ = socket.send_slice(&packet[..transmit.len], to);
        }
    }
    interface.poll(net_now, phy, sockets);
    let device_due = device.poll_timeout().map(|(at, _)| at);
    let net_due = interface.poll_delay(net_now, sockets);
    let net_due = net_due.map(|delay| now + Duration::from_micros(delay.total_micros()));
    [device_due, net_due].into_iter().flatten().min().unwrap_or(now + IDLE_MAX)
}

/// How long to wait when nothing is due at all: a device without gossip and checks.
const IDLE_MAX: Duration = Duration::from_secs(1);

fn net_instant(now: Instant) -> NetInstant {
    NetInstant::from_micros(i64::try_from(now.micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Event;
    use agent_core::gossip::meta::Card;
    use agent_core::gossip::{Config, Meta, Pool, Role, Status, leaf};
    use agent_core::health::{self, Pace, Plan, Thresholds};
    use smoltcp::iface::Config as NetConfig;
    use smoltcp::phy::{Loopback, Medium};
    use smoltcp::socket::udp::{PacketBuffer, PacketMetadata};
    use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
    use std::vec;
    use std::vec::Vec;

    const DEVICE: SocketAddr = address(8301);
    const MEMBER: SocketAddr = address(8311);

    const fn address(port: u16) -> SocketAddr {
        SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(127, 0, 0, 1)), port)
    }

    fn socket(port: u16) -> udp::Socket<'static> {
        let buffer =
            || PacketBuffer::new(vec![PacketMetadata::EMPTY; 8], vec![0; 8 * PACKET_BYTES_MAX]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).expect("a free port");
        socket
    }

    /// A device and a full member on one loopback interface.
    struct World {
        now: Instant,
        interface: Interface,
        phy: Loopback,
        sockets: SocketSet<'static>,
        ours: SocketHandle,
        theirs: SocketHandle,
        device: Device<8, 2>,
        member: Pool,
        events: Vec<Event>,
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
            let mut sockets = SocketSet::new(Vec::new());
            let (ours, theirs) =
                (sockets.add(socket(DEVICE.port())), sockets.add(socket(MEMBER.port())));
            let device = Device::new(Config::lan(), &card(), DEVICE, 1, 7, now).expect("fits");
            let member = Pool::new(Config::lan(), meta(), MEMBER, 1, 8, now).expect("fits");
            let events = Vec::new();
            World { now, interface, phy, sockets, ours, theirs, device, member, events }
        }

        /// Lets time pass; `alive` says whether the device takes part.
        fn run(&mut self, span: Duration, alive: bool) {
            let end = self.now + span;
            let mut packet = [0; PACKET_BYTES_MAX];
            while self.now < end {
                self.now = self.now + Duration::from_millis(5);
                let now = self.now;
                if alive {
                    let (phy, sockets) = (&mut self.phy, &mut self.sockets);
                    let device = &mut self.device;
                    step(now, &mut self.interface, phy, sockets, self.ours, device);
                    self.events.extend(core::iter::from_fn(|| device.poll_event()));
                }
                self.interface.poll(net_instant(now), &mut self.phy, &mut self.sockets);
                let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.theirs);
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
        }

        fn seen(&self) -> Option<Status> {
            let mut members = self.member.members();
            members.find(|member| member.meta.name == "board").map(|member| member.status)
        }
    }

    fn card() -> Card<'static> {
        Card {
            name: "board",
            role: Role::Client,
            dc: "dc1",
            node_id: *b"board-0123456789",
            build: "1.8.7:",
            protocol: 2,
            rpc_port: 0,
            wan_port: 0,
            expect: 0,
            bootstrap: false,
            non_voter: false,
            raft_id: 0,
            tags: &[],
        }
    }

    fn meta() -> Meta {
        Meta {
            name: "server".into(),
            role: Role::Server,
            dc: "dc1".into(),
            node_id: *b"server-987654321",
            build: "1.8.7:".into(),
            protocol: 2,
            rpc_port: 8300,
            wan_port: 0,
            expect: 1,
            bootstrap: false,
            non_voter: false,
            raft_id: 1,
            tags: Vec::new(),
        }
    }

    #[test]
    fn a_device_is_a_member_for_as_long_as_it_runs() {
        let mut world = World::new();
        world.device.join(MEMBER);
        world.run(Duration::from_secs(10), true);
        assert!(world.events.contains(&Event::Gossip(leaf::Event::Joined)), "{:?}", world.events);
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
        world.run(Duration::from_secs(30), true);
        assert_eq!(world.seen(), Some(Status::Left));
    }

    #[test]
    fn checks_are_run_and_judged_by_their_thresholds() {
        let mut world = World::new();
        let thresholds = Thresholds { success_before_passing: 0, failures_before_critical: 3 };
        let plan = Plan {
            pace: Pace::Every(Duration::from_secs(2)),
            thresholds,
            status: health::Status::Critical,
            critical_max: Duration::from_micros(0),
        };
        let key = world.device.insert_check(world.now, plan).expect("room for two");
        world.run(Duration::from_secs(3), true);
        assert!(world.events.contains(&Event::Health(health::Event::Run(key))));
        let now = world.now;
        assert_eq!(
            world.device.handle_result(now, key, health::Status::Passing),
            Some(health::Status::Passing)
        );
        assert_eq!(world.device.handle_result(now, key, health::Status::Critical), None);
        assert_eq!(world.device.status(key), Some(health::Status::Passing));
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
