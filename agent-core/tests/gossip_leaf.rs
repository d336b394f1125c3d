//! Leaves among full members: one wire, two engines.
#![cfg(feature = "alloc")]

use std::net::SocketAddr;

use agent_core::gossip::leaf::Event as LeafEvent;
use agent_core::gossip::sync::{HEAD_BYTES, Purpose};
use agent_core::gossip::{Card, Config, Leaf, Meta, Pool, Status};
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::PACKET_BYTES_MAX;

const CONTACTS: usize = 8;
const STEP: Duration = Duration::from_millis(5);

enum Engine {
    Full(Box<Pool>),
    Leaf(Box<Leaf<CONTACTS>>),
}

/// Full members at the first addresses, leaves at the next.
struct World {
    now: Instant,
    engines: Vec<(Engine, bool)>,
    flights: Vec<(usize, usize, Vec<u8>)>,
    generation: u32,
}

fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, at as u8], 8301))
}

fn id(at: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[15] = at as u8 + 1;
    id
}

impl World {
    fn new(full: usize, leaves: usize) -> Self {
        let mut world = Self {
            now: Instant::default(),
            engines: Vec::new(),
            flights: Vec::new(),
            generation: 1,
        };
        for at in 0..full {
            let name = format!("full{at}");
            let card = Card::client(&name, "dc1", id(at), "1.8.7:");
            let mut bytes = [0; 256];
            let len = card.emit(&mut bytes).expect("room");
            let meta = Meta::parse(&bytes[..len]).expect("a card encodes as metadata does");
            let pool = Pool::new(Config::lan(), meta, address(at), 1, at as u64, world.now);
            world.engines.push((Engine::Full(Box::new(pool.expect("fit"))), true));
        }
        for at in 1..full {
            world.exchange(at, 0);
        }
        for at in full..full + leaves {
            let leaf = world.leaf(at);
            world.engines.push((leaf, true));
            world.join(at, at % full);
        }
        world
    }

    fn leaf(&mut self, at: usize) -> Engine {
        self.generation += 1;
        let name = format!("leaf{at}");
        let card = Card::client(&name, "dc1", id(at), "1.8.7:");
        let leaf =
            Leaf::new(Config::lan(), &card, address(at), self.generation, at as u64, self.now);
        Engine::Leaf(Box::new(leaf.expect("a short card")))
    }

    fn join(&mut self, at: usize, through: usize) {
        if let (Engine::Leaf(leaf), _) = &mut self.engines[at] {
            leaf.join(address(through));
        }
    }

    fn full(&mut self, at: usize) -> &mut Pool {
        match &mut self.engines[at].0 {
            Engine::Full(pool) => pool,
            Engine::Leaf(_) => panic!("{at} is a leaf"),
        }
    }

    fn exchange(&mut self, at: usize, with: usize) {
        let now = self.now;
        let hello = self.full(at).sync_hello(Purpose::Join);
        let answerer = self.full(with);
        let reply = answerer.handle_sync_hello(now, address(at), &hello[HEAD_BYTES..]);
        let reply = reply.expect("well formed");
        let asker = self.full(at);
        let rest = asker.handle_sync_reply(now, address(with), &reply[HEAD_BYTES..]);
        let rest = rest.expect("accepted");
        self.full(with).handle_sync_rest(now, &rest[HEAD_BYTES..]).expect("well formed");
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        let now = self.now;
        for (to, from, bytes) in std::mem::take(&mut self.flights) {
            match self.engines.get_mut(to) {
                Some((Engine::Full(pool), true)) => {
                    pool.handle_datagram(now, address(from), &bytes);
                }
                Some((Engine::Leaf(leaf), true)) => {
                    leaf.handle_datagram(now, address(from), &bytes);
                }
                Some((_, false)) | None => {}
            }
        }
        let mut out = [0; PACKET_BYTES_MAX];
        for (at, (engine, up)) in self.engines.iter_mut().enumerate() {
            if !*up {
                continue;
            }
            let due = match engine {
                Engine::Full(pool) => pool.poll_timeout(),
                Engine::Leaf(leaf) => leaf.poll_timeout(),
            };
            if due.is_some_and(|(due, _)| due <= now) {
                match engine {
                    Engine::Full(pool) => pool.handle_timeout(now),
                    Engine::Leaf(leaf) => leaf.handle_timeout(now),
                }
            }
            loop {
                let transmit = match engine {
                    Engine::Full(pool) => pool.poll_transmit(now, &mut out),
                    Engine::Leaf(leaf) => leaf.poll_transmit(now, &mut out),
                };
                let Some(transmit) = transmit else { break };
                let SocketAddr::V4(to) = transmit.to else { continue };
                let to = usize::from(to.ip().octets()[3]);
                self.flights.push((to, at, out[..transmit.len].to_vec()));
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    fn until(&mut self, seconds: u64, what: &str, holds: impl Fn(&mut Self) -> bool) {
        let end = self.now + Duration::from_secs(seconds);
        while !holds(self) {
            assert!(self.now < end, "{what}: not within {seconds} s");
            self.step();
        }
    }

    fn sees(&mut self, at: usize, name: &str) -> Option<Status> {
        self.full(at).members().find(|member| member.meta.name == name).map(|m| m.status)
    }

    fn all_see(&mut self, full: usize, name: &str, status: Status) -> bool {
        (0..full).all(|at| self.sees(at, name) == Some(status))
    }

    fn leaf_events(&mut self, at: usize) -> Vec<LeafEvent> {
        let (Engine::Leaf(leaf), _) = &mut self.engines[at] else { panic!("{at} is no leaf") };
        std::iter::from_fn(|| leaf.poll_event()).collect()
    }
}

#[test]
fn full_members_show_a_leaf_that_joined_through_one_of_them() {
    let mut world = World::new(4, 2);
    world.until(10, "shown", |w| {
        w.all_see(4, "leaf4", Status::Alive) && w.all_see(4, "leaf5", Status::Alive)
    });
    world.run(Duration::from_secs(60));
    assert!(world.all_see(4, "leaf4", Status::Alive));
    assert_eq!(world.leaf_events(4), [LeafEvent::Joined]);
    for at in 0..4 {
        assert_eq!(world.full(at).stats().probes_failed, 0);
    }
}

#[test]
fn a_dead_leaf_fails_and_comes_back_after_a_restart() {
    let mut world = World::new(4, 2);
    world.until(10, "shown", |w| w.all_see(4, "leaf5", Status::Alive));
    world.engines[5].1 = false;
    world.until(20, "failed", |w| w.all_see(4, "leaf5", Status::Failed));
    let fresh = world.leaf(5);
    world.engines[5] = (fresh, true);
    world.join(5, 0);
    world.until(10, "back", |w| w.all_see(4, "leaf5", Status::Alive));
}

#[test]
fn a_leaf_that_was_away_too_long_comes_back_by_itself() {
    let mut world = World::new(4, 1);
    world.until(10, "shown", |w| w.all_see(4, "leaf4", Status::Alive));
    world.engines[4].1 = false;
    world.until(20, "failed", |w| w.all_see(4, "leaf4", Status::Failed));
    world.engines[4].1 = true;
    world.until(10, "back", |w| w.all_see(4, "leaf4", Status::Alive));
    let events = world.leaf_events(4);
    assert!(events.iter().any(|event| matches!(event, LeafEvent::Renewed { .. })), "{events:?}");
}

#[test]
fn a_leaf_that_leaves_is_left() {
    let mut world = World::new(3, 1);
    world.until(10, "shown", |w| w.all_see(3, "leaf3", Status::Alive));
    let (Engine::Leaf(leaf), _) = &mut world.engines[3] else { panic!("a leaf") };
    leaf.leave();
    assert_eq!(leaf.poll_timeout(), None);
    world.until(10, "left", |w| w.all_see(3, "leaf3", Status::Left));
}

#[test]
fn a_leaf_loses_dead_contacts_and_helps_to_find_them() {
    let mut world = World::new(3, 1);
    world.until(10, "shown", |w| w.all_see(3, "leaf3", Status::Alive));
    world.run(Duration::from_secs(35));
    world.engines[2].1 = false;
    world.until(20, "failed", |w| w.all_see(2, "full2", Status::Failed));
    world.run(Duration::from_secs(10));
    let (Engine::Leaf(leaf), _) = &world.engines[3] else { panic!("a leaf") };
    let contacts: Vec<_> = leaf.contacts().map(|contact| contact.address.socket()).collect();
    assert!(!contacts.contains(&address(2)) && contacts.len() == 2, "{contacts:?}");
    for at in [0, 1] {
        world.engines[at].1 = false;
    }
    world.run(Duration::from_secs(30));
    assert!(world.leaf_events(3).contains(&LeafEvent::Alone));
}

#[test]
fn a_leaf_is_small() {
    assert!(size_of::<Leaf<8>>() < 4096, "{} bytes", size_of::<Leaf<8>>());
}
