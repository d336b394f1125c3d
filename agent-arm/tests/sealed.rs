//! A device in an encrypted pool, with a full member on the other side of a perfect cable.

use agent_arm::Device;
use agent_arm::device::Start;
use agent_core::client::Profile;
use agent_core::gossip::seal::query::{Answer, Message, Op};
use agent_core::gossip::seal::{
    DATAGRAM_BYTES_MAX, Key, Keyring, Nonces, Opened, Sealer, Strictness,
};
use agent_core::gossip::{Card, Config, Meta, Pool, Status};
use agent_core::time::{Duration, Instant};
use std::net::SocketAddr;

const PROFILE: Profile<'static> = Profile {
    node: "board",
    node_id: *b"board-0123456789",
    datacenter: "dc1",
    address: "10.0.0.1",
    token: "",
    meta: &[],
    servers: &[SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2)), 8300)],
    services: &[],
    checks: &[],
};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 8301))
}

struct World {
    now: Instant,
    device: Device<'static>,
    member: Pool,
    sealer: Sealer<4, 16>,
    answers: Vec<Message>,
}

impl World {
    /// A device and a member, each with a key.
    fn new(device_key: &[u8], member_key: &[u8]) -> Self {
        let mut world = Self::of("dc1", member_key);
        world.device.seal(Self::ring(device_key), 5);
        world
    }

    fn ring(key: &[u8]) -> Keyring<4> {
        Keyring::new(Key::new(key).expect("a fit length"))
    }

    /// A device of that datacentre, without a key, and a member of `dc1` with one.
    fn of(datacenter: &'static str, member_key: &[u8]) -> Self {
        let now = Instant::from_micros(1_000_000);
        let start = Start {
            config: Config::lan(),
            profile: Profile { datacenter, ..PROFILE },
            address: address(1),
            generation: 1,
            seed: 7,
        };
        let mut device = Device::new(start, now).expect("fits");
        device.join(address(2));
        let card = Card::client("full", "dc1", *b"full-9876543210-", "1.8.7:");
        let mut bytes = [0; 256];
        let len = card.emit(&mut bytes).expect("room");
        let meta = Meta::parse(&bytes[..len]).expect("a card encodes as metadata does");
        let member = Pool::new(Config::lan(), meta, address(2), 1, 8, now).expect("fits");
        let sealer = Sealer::new(Self::ring(member_key), Nonces::new(2, 1), Strictness::FULL);
        Self { now, device, member, sealer, answers: Vec::new() }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut packet = [0; DATAGRAM_BYTES_MAX];
        while self.now < end {
            self.now = self.now + Duration::from_millis(5);
            let now = self.now;
            self.device.handle_timeout(now);
            self.member.handle_timeout(now);
            while self.device.poll_event(now).is_some() {}
            while let Some(transmit) = self.device.poll_transmit(now, &mut packet) {
                match self.sealer.open_datagram(&mut packet[..transmit.len]) {
                    Ok(Opened::Gossip(body)) => {
                        self.member.handle_datagram(now, address(1), body);
                    }
                    Ok(Opened::Query(body)) => self.answers.extend(Message::parse(body)),
                    Err(_) => {}
                }
            }
            while let Some(transmit) = self.member.poll_transmit(now, &mut packet) {
                let len = self.sealer.seal_datagram(&mut packet, transmit.len).expect("room");
                self.device.handle_datagram(now, address(2), &packet[..len]);
            }
        }
    }

    /// Asks the device about its keys, and changes the member's own alike.
    fn ask(&mut self, id: u64, op: &Op) -> Message {
        let target = *self.device.leaf().identity();
        let message = Message::Ask { target, id, op: op.clone() };
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let len = self.sealer.seal_query(&message, &mut out).expect("room");
        self.device.handle_datagram(self.now, address(2), &out[..len]);
        self.run(Duration::from_millis(5));
        self.sealer.obey(op).expect("done");
        self.answers.pop().expect("an answer")
    }

    fn seen(&self) -> Option<Status> {
        let mut members = self.member.members();
        members.find(|member| member.name == "board").map(|member| member.status)
    }
}

#[test]
fn a_device_with_the_key_is_a_member_and_changes_keys_with_the_pool() {
    let mut world = World::new(&[1; 16], &[1; 16]);
    world.run(Duration::from_secs(10));
    assert_eq!(world.seen(), Some(Status::Alive));
    assert!(world.device.link().is_some(), "the servers are asked");
    let (old, new) = (Op::key(&[1; 16]), Op::key(&[2; 32]));
    let node = world.device.leaf().identity().node;
    let steps = [
        (Op::Install(new.clone()), vec![&old, &new]),
        (Op::Use(new.clone()), vec![&new, &old]),
        (Op::Remove(old.clone()), vec![&new]),
    ];
    for (id, (op, keys)) in (7..).zip(steps) {
        let keys = keys.into_iter().cloned().collect();
        let want = Answer { id, node, fault: None, keys };
        assert_eq!(world.ask(id, &op), Message::Answer(want), "{op:?}");
    }
    world.run(Duration::from_secs(60));
    assert_eq!(world.seen(), Some(Status::Alive), "under the new key");
    let ring = world.device.ring().expect("sealed");
    assert_eq!(ring.keys().map(Key::as_bytes).collect::<Vec<_>>(), [[2; 32]]);
    assert_eq!(world.device.drops().total(), 0);
}

#[test]
fn a_device_with_another_key_hears_and_says_nothing() {
    let mut world = World::new(&[1; 16], &[9; 16]);
    world.run(Duration::from_secs(10));
    assert_eq!(world.seen(), None);
    assert!(world.sealer.drops().unknown_key > 0, "{:?}", world.sealer.drops());
    assert_eq!(world.device.link(), None, "servers take frames from whoever speaks to them");
    world.device.handle_datagram(world.now, address(2), &[1; 60]);
    assert_eq!(world.device.drops().plaintext, 1);
}

#[test]
fn a_device_without_a_key_speaks_to_no_server_of_a_sealed_pool() {
    let mut world = World::of("dc1", &[1; 16]);
    world.run(Duration::from_secs(10));
    assert!(world.sealer.drops().plaintext > 0, "{:?}", world.sealer.drops());
    assert_eq!((world.seen(), world.device.link()), (None, None));
}

#[test]
fn a_device_of_another_datacentre_with_the_key_speaks_to_servers_that_can_tell_it_so() {
    let mut world = World::of("dc9", &[1; 16]);
    world.device.seal(World::ring(&[1; 16]), 5);
    world.run(Duration::from_secs(10));
    assert_eq!(world.seen(), None);
    assert!(world.device.link().is_some());
}
