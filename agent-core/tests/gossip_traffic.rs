//! A full member and a leaf on one wire that loses, doubles, delays and damages: what each emits
//! the other reads, nothing is out of bounds, and both find back to each other.
#![cfg(feature = "alloc")]

use std::net::SocketAddr;

use agent_core::gossip::identity::Identity;
use agent_core::gossip::news::News;
use agent_core::gossip::{Card, Config, Leaf, Meta, Pool, Role, Status};
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::{Emitter, Header, Message, PACKET_BYTES_MAX, Packet, State, Update};
use proptest::prelude::*;

const CONTACTS: usize = 8;
const NODES: [u64; 2] = [1, 2];

fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, at as u8 + 1], 8301))
}

fn id(at: usize) -> [u8; 16] {
    u128::from(NODES[at]).to_be_bytes()
}

/// What happens next on the wire.
#[derive(Clone, Debug)]
enum Step {
    /// So many milliseconds pass; the timers that are due run.
    Pass(u16),
    /// The oldest datagram arrives.
    Deliver,
    /// It arrives, and will arrive again.
    Double,
    /// It is lost.
    Lose,
    /// It is overtaken by all others.
    Delay,
    /// It arrives with one byte changed.
    Damage(u16, u8),
    /// Somebody claims something about somebody.
    Claim(Box<Claim>),
}

#[derive(Clone, Debug)]
struct Claim {
    to: usize,
    message: Message,
    source: Identity,
    updates: Vec<Update>,
    news: Vec<u8>,
}

/// Both, and what is on its way: to whom, from where, what.
struct Wire {
    now: Instant,
    pool: Pool,
    leaf: Leaf<CONTACTS>,
    flights: std::collections::VecDeque<(usize, SocketAddr, Vec<u8>)>,
}

impl Wire {
    fn new(seed: u64) -> Self {
        let meta = Meta {
            role: Role::Server,
            rpc_port: 8300,
            ..Meta::client("full", "dc1", id(0), "1.8.7:")
        };
        let card = Card::client("leaf", "dc1", id(1), "1.8.7:");
        let (config, now) = (Config::lan(), Instant::from_micros(1));
        let pool = Pool::new(config, meta, address(0), 1, seed, now).expect("fit");
        let mut leaf = Leaf::new(config, &card, address(1), 1, seed, now).expect("fit");
        leaf.join(address(0));
        Self { now, pool, leaf, flights: Default::default() }
    }

    /// Lets both emit, and checks what they emit.
    fn collect(&mut self) {
        for from in 0..2 {
            let mut out = [0; PACKET_BYTES_MAX];
            loop {
                let transmit = match from {
                    0 => self.pool.poll_transmit(self.now, &mut out),
                    _ => self.leaf.poll_transmit(self.now, &mut out),
                };
                let Some(transmit) = transmit else { break };
                let bytes = &out[..transmit.len];
                let packet = Packet::parse(bytes).expect("what is emitted parses");
                assert_eq!(packet.header.target.address.socket(), transmit.to);
                assert!(packet.broadcasts().all(|item| News::parse(item).is_some()));
                if let Some(to) = (0..2).find(|at| address(*at) == transmit.to) {
                    self.flights.push_back((to, address(from), bytes.to_vec()));
                }
            }
        }
        while self.pool.poll_event().is_some() {}
        while self.leaf.poll_event().is_some() {}
        assert_eq!(self.pool.stats().faults, 0);
        assert!(self.leaf.contacts().count() <= CONTACTS);
        assert!(self.pool.backlog().0 <= 512 + 64 && self.pool.backlog().1 <= 256);
    }

    fn arrive(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        match to {
            0 => self.pool.handle_datagram(self.now, from, bytes),
            _ => self.leaf.handle_datagram(self.now, from, bytes),
        }
        self.collect();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = [self.pool.poll_timeout(), self.leaf.poll_timeout()];
            let next = due.map(|due| due.map_or(end, |(at, _)| at.max(self.now)));
            let at = next[0].min(next[1]);
            if at >= end {
                break;
            }
            self.now = at;
            if next[0] == at {
                self.pool.handle_timeout(at);
            } else {
                self.leaf.handle_timeout(at);
            }
            self.collect();
        }
        self.now = end;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(millis) => self.pass(Duration::from_millis(u64::from(*millis))),
            Step::Claim(claim) => self.claim(claim),
            _ => {
                let Some((to, from, mut bytes)) = self.flights.pop_front() else { return };
                match step {
                    Step::Lose => return,
                    Step::Delay => return self.flights.push_back((to, from, bytes)),
                    Step::Double => self.flights.push_back((to, from, bytes.clone())),
                    Step::Damage(at, with) => {
                        let at = usize::from(*at) % bytes.len();
                        bytes[at] ^= with;
                    }
                    Step::Deliver | Step::Pass(_) | Step::Claim(_) => {}
                }
                self.arrive(to, from, &bytes);
            }
        }
    }

    fn claim(&mut self, claim: &Claim) {
        let target = [*self.pool.identity(), *self.leaf.identity()][claim.to];
        let Claim { message, source, .. } = *claim;
        let pool = Config::lan().label("dc1");
        let header = Header { pool, source, incarnation: 0, target, message };
        let mut out = [0; PACKET_BYTES_MAX];
        let mut emitter = Emitter::new(&mut out, &header).expect("room for a header");
        for update in &claim.updates {
            let _ = emitter.push_update(update);
        }
        let _ = emitter.push_broadcast(&claim.news);
        let len = emitter.finish();
        self.arrive(claim.to, source.address.socket(), &out[..len]);
    }

    /// A wire without faults.
    fn calm(&mut self, seconds: u64) {
        for _ in 0..seconds * 100 {
            self.pass(Duration::from_millis(10));
            for _ in 0..self.flights.len() {
                self.step(&Step::Deliver);
            }
        }
    }

    fn together(&self) -> bool {
        let mut members = self.pool.members();
        let shown = members.any(|one| one.name == "leaf" && one.status == Status::Alive);
        shown && self.leaf.contacts().any(|one| one == self.pool.identity())
    }
}

fn faults() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..1500_u16).prop_map(Step::Pass),
        8 => Just(Step::Deliver),
        1 => Just(Step::Double),
        2 => Just(Step::Lose),
        2 => Just(Step::Delay),
    ]
}

/// The two themselves, and some others.
fn identities() -> impl Strategy<Value = Identity> {
    (0..6_usize, 0..4_u32, 0..6_u64)
        .prop_map(|(at, generation, node)| Identity::new(address(at), generation, node))
}

fn claims() -> impl Strategy<Value = Claim> {
    let messages =
        (0..9_u8, identities(), any::<u8>()).prop_map(|(kind, third, probe)| match kind {
            0 => Message::Ping(probe),
            1 => Message::Ack(probe),
            2 => Message::PingReq { target: third, probe },
            3 => Message::IndirectPing { origin: third, probe },
            4 => Message::IndirectAck { target: third, probe },
            5 => Message::ForwardedAck { origin: third, probe },
            6 => Message::Announce,
            7 => Message::Gossip,
            _ => Message::TurnUndead,
        });
    let states = prop_oneof![Just(State::Alive), Just(State::Suspect), Just(State::Down)];
    let updates = (identities(), any::<u16>(), states)
        .prop_map(|(identity, incarnation, state)| Update { identity, incarnation, state });
    let updates = prop::collection::vec(updates, 0..8);
    let news = (0..6_u8, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, mut body)| {
        body.insert(0, kind);
        body
    });
    (0..2_usize, messages, identities(), updates, news).prop_map(
        |(to, message, source, updates, news)| Claim { to, message, source, updates, news },
    )
}

fn hostile() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => faults(),
        1 => (any::<u16>(), 1..=255_u8).prop_map(|(at, with)| Step::Damage(at, with)),
        2 => claims().prop_map(|claim| Step::Claim(Box::new(claim))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_find_back_to_each_other_whatever_the_wire_did(
        seed in any::<u64>(),
        steps in prop::collection::vec(faults(), 0..300),
    ) {
        let mut wire = Wire::new(seed);
        wire.calm(2);
        prop_assert!(wire.together(), "they never met");
        for step in &steps {
            wire.step(step);
        }
        // A leaf that lost its only contact is joined again by its driver, until it has one.
        for _ in 0..6 {
            if wire.leaf.contacts().next().is_none() {
                wire.leaf.join(address(0));
            }
            wire.calm(5);
        }
        prop_assert!(wire.together(), "apart for good");
    }

    #[test]
    fn claims_and_damage_break_neither(
        seed in any::<u64>(),
        steps in prop::collection::vec(hostile(), 0..300),
    ) {
        let mut wire = Wire::new(seed);
        wire.calm(2);
        for step in &steps {
            wire.step(step);
        }
        wire.calm(5);
    }
}
