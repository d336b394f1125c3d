//! A pool in memory: seeded, virtual time, latency, loss, partitions. Equal seeds replay exactly.
#![cfg(feature = "alloc")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use agent_core::gossip::sync::{HEAD_BYTES, Purpose};
use agent_core::gossip::{Change, Config, Event, Meta, Pool, Role, Status};
use agent_core::rand::Rng;
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::PACKET_BYTES_MAX;

const SECOND: Duration = Duration::from_secs(1);

/// What arrives at a member.
enum Arrival {
    Datagram {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A whole exchange takes one step: both sides are called at one instant.
    Exchange {
        to: SocketAddr,
        purpose: Purpose,
    },
}

struct Flight {
    at: Instant,
    order: u64,
    node: usize,
    arrival: Arrival,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Flight {}
impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct Node {
    pool: Pool,
    up: bool,
    side: u8,
    stalled_until: Instant,
    events: Vec<(Instant, Event)>,
    bytes_sent: u64,
}

/// The network, its clock and everybody on it.
struct World {
    now: Instant,
    nodes: Vec<Node>,
    flights: BinaryHeap<Reverse<Flight>>,
    sent: u64,
    dice: Rng,
    loss_percent: u64,
    generation: u32,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], 8301))
}

fn meta(node: usize) -> Meta {
    let mut node_id = [0; 16];
    node_id[8..].copy_from_slice(&(node as u64 + 1).to_be_bytes());
    Meta {
        name: format!("node{node}"),
        role: Role::Client,
        dc: "dc1".into(),
        node_id,
        build: "1.8.7:".into(),
        protocol: 2,
        rpc_port: 8300,
        wan_port: 0,
        expect: 0,
        bootstrap: false,
        non_voter: false,
        raft_id: 0,
        tags: Vec::new(),
    }
}

impl World {
    fn new(seed: u64, size: usize) -> Self {
        let mut world = Self {
            now: Instant::from_micros(1),
            nodes: Vec::new(),
            flights: BinaryHeap::new(),
            sent: 0,
            dice: Rng::new(seed),
            loss_percent: 0,
            generation: 1,
        };
        for node in 0..size {
            let fresh = world.fresh(node, meta(node));
            world.nodes.push(fresh);
        }
        world
    }

    /// A pool that everybody joined through a random earlier member.
    fn formed(seed: u64, size: usize) -> Self {
        let mut world = Self::new(seed, size);
        for node in 1..size {
            let through = world.dice.below(node as u64) as usize;
            world.join(node, through);
            world.run(Duration::from_millis(50));
        }
        world
    }

    fn fresh(&mut self, node: usize, meta: Meta) -> Node {
        self.generation += 1;
        let seed = self.dice.next_u64();
        let pool = Pool::new(Config::lan(), meta, address(node), self.generation, seed, self.now)
            .expect("fit metadata");
        Node {
            pool,
            up: true,
            side: 0,
            stalled_until: Instant::default(),
            events: Vec::new(),
            bytes_sent: 0,
        }
    }

    fn restart(&mut self, node: usize, meta: Meta) {
        self.nodes[node] = self.fresh(node, meta);
    }

    fn fly(&mut self, node: usize, after: Duration, arrival: Arrival) {
        self.sent += 1;
        let at = self.now + after;
        self.flights.push(Reverse(Flight { at, order: self.sent, node, arrival }));
    }

    fn join(&mut self, node: usize, through: usize) {
        let to = address(through);
        self.fly(node, Duration::ZERO, Arrival::Exchange { to, purpose: Purpose::Join });
    }

    fn index(&self, to: SocketAddr) -> Option<usize> {
        (0..self.nodes.len()).find(|node| address(*node) == to)
    }

    /// Collects what a member wants sent and told.
    fn drain(&mut self, node: usize) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        while let Some(transmit) = self.nodes[node].pool.poll_transmit(self.now, &mut buffer) {
            self.nodes[node].bytes_sent += transmit.len as u64 + 28;
            let latency = Duration::from_micros(1000 + self.dice.below(3000));
            let lost = self.dice.below(100) < self.loss_percent;
            let Some(to) = self.index(transmit.to) else { continue };
            if !lost && self.nodes[to].side == self.nodes[node].side {
                let bytes = buffer[..transmit.len].to_vec();
                let from = address(node);
                self.fly(to, latency, Arrival::Datagram { from, bytes });
            }
        }
        while let Some(event) = self.nodes[node].pool.poll_event() {
            if let Event::SyncDue { peer } = event {
                let latency = Duration::from_millis(5);
                let purpose = Purpose::Repair;
                self.fly(node, latency, Arrival::Exchange { to: peer, purpose });
            }
            self.nodes[node].events.push((self.now, event));
        }
    }

    fn arrive(&mut self, node: usize, arrival: Arrival) {
        match arrival {
            Arrival::Datagram { from, bytes } => {
                self.nodes[node].pool.handle_datagram(self.now, from, &bytes);
            }
            Arrival::Exchange { to, purpose } => {
                let Some(peer) = self.index(to) else { return };
                let reachable = self.nodes[peer].up
                    && self.nodes[peer].side == self.nodes[node].side
                    && self.nodes[peer].stalled_until <= self.now;
                if reachable {
                    self.exchange(node, peer, purpose);
                    self.drain(peer);
                }
            }
        }
        self.drain(node);
    }

    fn exchange(&mut self, node: usize, peer: usize, purpose: Purpose) {
        let now = self.now;
        let hello = self.nodes[node].pool.sync_hello(purpose);
        let answerer = &mut self.nodes[peer].pool;
        let reply = answerer
            .handle_sync_hello(now, address(node), &hello[HEAD_BYTES..])
            .expect("well formed");
        let asker = &mut self.nodes[node].pool;
        if let Ok(rest) = asker.handle_sync_reply(now, address(peer), &reply[HEAD_BYTES..]) {
            let answerer = &mut self.nodes[peer].pool;
            answerer.handle_sync_rest(now, &rest[HEAD_BYTES..]).expect("well formed");
        }
    }

    /// Lets virtual time pass.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let timers = self.nodes.iter().enumerate().filter(|(_, node)| node.up);
            let due = timers
                .filter_map(|(index, node)| {
                    let (at, _) = node.pool.poll_timeout()?;
                    Some((at.max(node.stalled_until), index))
                })
                .min();
            let flight = self.flights.peek().map(|Reverse(flight)| flight.at);
            let timer_first = match (due, flight) {
                (Some((timer, _)), Some(flight)) => timer < flight,
                (Some(_), None) => true,
                (None, _) => false,
            };
            let next = if timer_first { due.map(|(at, _)| at) } else { flight };
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if timer_first {
                let node = due.expect("a timer is first").1;
                self.nodes[node].pool.handle_timeout(self.now);
                self.drain(node);
            } else {
                let Reverse(flight) = self.flights.pop().expect("a flight is first");
                let node = &self.nodes[flight.node];
                if node.up && node.stalled_until > self.now {
                    let wait = node.stalled_until.since(self.now);
                    self.fly(flight.node, wait, flight.arrival);
                } else if node.up {
                    self.arrive(flight.node, flight.arrival);
                }
            }
        }
        self.now = end;
    }

    /// Lets time pass until the condition holds; answers how long it took.
    fn until(&mut self, limit: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = self.now;
        while !holds(self) {
            assert!(self.now.since(began) < limit, "{what}: not within {} ms", limit.millis());
            self.run(Duration::from_millis(100));
        }
        self.now.since(began)
    }

    fn view(&self, node: usize) -> BTreeMap<String, Status> {
        let members = self.nodes[node].pool.members();
        members.map(|member| (member.meta.name.clone(), member.status)).collect()
    }

    fn sees(&self, node: usize, other: usize) -> Option<Status> {
        self.view(node).get(&format!("node{other}")).copied()
    }

    fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].up).collect()
    }

    fn all_see(&self, other: usize, status: Option<Status>) -> bool {
        self.up().into_iter().filter(|node| *node != other).all(|n| self.sees(n, other) == status)
    }

    /// Everybody who is up sees everybody who is up alive, and nobody else so.
    fn converged(&self) -> bool {
        let up = self.up();
        up.iter().all(|node| {
            let view = self.view(*node);
            let alive = view.values().filter(|status| **status == Status::Alive).count();
            alive == up.len() && up.iter().all(|n| view.contains_key(&format!("node{n}")))
        })
    }

    fn changes(&self, change: Change) -> usize {
        let told = |event: &Event| matches!(event, Event::Member { change: c, .. } if *c == change);
        self.nodes.iter().flat_map(|node| &node.events).filter(|(_, event)| told(event)).count()
    }

    fn renewals(&self) -> u64 {
        self.nodes.iter().map(|node| node.pool.stats().renewals).sum()
    }

    fn faultless(&self) {
        for node in &self.nodes {
            assert_eq!(node.pool.stats().faults, 0);
            assert_eq!(node.pool.stats().malformed, 0);
        }
    }
}

#[test]
fn everybody_knows_everybody_soon_after_joining() {
    let mut world = World::formed(1, 100);
    let took = world.until(SECOND.times(90), "convergence", World::converged);
    assert_eq!((world.changes(Change::Failed), world.renewals()), (0, 0), "after {took:?}");
    world.faultless();
}

#[test]
fn a_killed_member_of_five_fails_within_eight_seconds() {
    for seed in 0..10 {
        let mut world = World::formed(seed, 5);
        world.until(SECOND.times(40), "convergence", World::converged);
        world.nodes[3].up = false;
        world.until(SECOND.times(8), "detection", |w| w.all_see(3, Some(Status::Failed)));
        assert_eq!(world.changes(Change::Failed), 4);
        world.faultless();
    }
}

#[test]
fn a_restarted_member_is_alive_again_with_its_new_metadata() {
    let mut world = World::formed(2, 20);
    world.until(SECOND.times(60), "convergence", World::converged);
    world.nodes[7].up = false;
    world.until(SECOND.times(40), "detection", |w| w.all_see(7, Some(Status::Failed)));
    let mut changed = meta(7);
    changed.raft_id = 99;
    world.restart(7, changed);
    world.join(7, 0);
    world.until(SECOND.times(40), "return", World::converged);
    let fresh = |w: &World| {
        w.up().into_iter().all(|node| {
            w.nodes[node].pool.members().any(|m| m.meta.name == "node7" && m.meta.raft_id == 99)
        })
    };
    world.until(SECOND.times(5), "metadata", fresh);
    world.faultless();
}

#[test]
fn a_quick_restart_is_no_failure() {
    let mut world = World::formed(3, 10);
    world.until(SECOND.times(40), "convergence", World::converged);
    world.restart(4, meta(4));
    world.join(4, 0);
    world.run(SECOND.times(20));
    assert!(world.converged());
    assert_eq!(world.changes(Change::Failed), 0);
    world.faultless();
}

#[test]
fn a_member_that_leaves_is_left_everywhere_and_never_failed() {
    for seed in 0..5 {
        let mut world = World::formed(seed, 30);
        world.until(SECOND.times(60), "convergence", World::converged);
        let now = world.now;
        world.nodes[5].pool.leave(now);
        world.drain(5);
        let gone =
            |w: &World| w.nodes[5].events.iter().any(|(_, event)| *event == Event::LeaveDone);
        let took = world.until(SECOND.times(4), "leaving", gone);
        assert!(took <= SECOND.times(3), "{took:?}");
        world.nodes[5].up = false;
        world.until(SECOND.times(10), "left", |w| w.all_see(5, Some(Status::Left)));
        assert_eq!(world.changes(Change::Failed), 0);
        world.run(SECOND.times(60));
        assert!(world.all_see(5, Some(Status::Left)));
        world.faultless();
    }
}

#[test]
fn a_failed_member_is_forced_out_everywhere_then_pruned() {
    let mut world = World::formed(4, 30);
    world.until(SECOND.times(60), "convergence", World::converged);
    world.nodes[5].up = false;
    world.until(SECOND.times(60), "detection", |w| w.all_see(5, Some(Status::Failed)));
    let now = world.now;
    world.nodes[9].pool.force_leave(now, "node5", false).expect("known");
    world.drain(9);
    world.until(SECOND.times(5), "left", |w| w.all_see(5, Some(Status::Left)));
    let now = world.now;
    world.nodes[11].pool.force_leave(now, "node5", true).expect("known");
    world.drain(11);
    world.until(SECOND.times(5), "pruned", |w| w.all_see(5, None));
    world.run(SECOND.times(120));
    assert!(world.all_see(5, None));
    assert!(world.nodes[0].pool.force_leave(now, "node5", false).is_err());
    world.restart(5, meta(5));
    world.join(5, 0);
    world.until(SECOND.times(40), "return", World::converged);
    world.faultless();
}

#[test]
fn a_live_member_refuses_to_be_forced_out() {
    let mut world = World::formed(5, 10);
    world.until(SECOND.times(40), "convergence", World::converged);
    let now = world.now;
    world.nodes[0].pool.force_leave(now, "node5", true).expect("known");
    world.drain(0);
    world.until(SECOND.times(20), "return", World::converged);
    assert_eq!(world.renewals(), 1);
    world.faultless();
}

#[test]
fn a_healed_partition_is_whole_again_within_two_minutes() {
    for (seed, size) in [(6, 10), (7, 60)] {
        let mut world = World::formed(seed, size);
        world.until(SECOND.times(60), "convergence", World::converged);
        for node in 0..size / 2 {
            world.nodes[node].side = 1;
        }
        world.until(SECOND.times(120), "split", |w| {
            (0..size).all(|node| {
                let view = w.view(node);
                view.values().filter(|status| **status == Status::Failed).count() >= size / 2
            })
        });
        for node in &mut world.nodes {
            node.side = 0;
        }
        let took = world.until(SECOND.times(120), "healing", World::converged);
        world.run(SECOND.times(60));
        assert!(world.converged(), "it stays whole, after {took:?}");
        world.faultless();
    }
}

#[test]
fn five_percent_loss_fails_nobody() {
    let mut world = World::formed(8, 50);
    world.until(SECOND.times(60), "convergence", World::converged);
    world.loss_percent = 5;
    world.run(SECOND.times(180));
    assert_eq!((world.changes(Change::Failed), world.renewals()), (0, 0));
    assert!(world.converged());
    world.faultless();
}

#[test]
fn a_stalled_member_fells_nobody_else() {
    let mut world = World::formed(9, 30);
    world.until(SECOND.times(60), "convergence", World::converged);
    for _ in 0..3 {
        let until = world.now + SECOND.times(3);
        world.nodes[2].stalled_until = until;
        world.run(SECOND.times(20));
    }
    assert_eq!((world.changes(Change::Failed), world.renewals()), (0, 0));
    let until = world.now + SECOND.times(30);
    world.nodes[2].stalled_until = until;
    world.run(SECOND.times(29));
    assert!(world.all_see(2, Some(Status::Failed)));
    world.until(SECOND.times(60), "return", World::converged);
    let failed: Vec<_> = world
        .nodes
        .iter()
        .flat_map(|node| &node.events)
        .filter_map(|(_, event)| match event {
            Event::Member { name, change: Change::Failed, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert!(failed.iter().all(|name| *name == "node2"), "{failed:?}");
    world.faultless();
}

#[test]
fn of_two_live_nodes_with_one_name_the_elder_keeps_it_until_it_is_gone() {
    let mut world = World::formed(10, 6);
    world.until(SECOND.times(40), "convergence", World::converged);
    let mut twin = meta(6);
    twin.name = "node3".into();
    let fresh = world.fresh(6, twin);
    world.nodes.push(fresh);
    // A joiner is told in words; a repair lets it into the pool, where it is not shown.
    let hello = world.nodes[6].pool.sync_hello(Purpose::Join);
    let now = world.now;
    let reply = world.nodes[0]
        .pool
        .handle_sync_hello(now, address(6), &hello[HEAD_BYTES..])
        .expect("well formed");
    let refused = world.nodes[6].pool.handle_sync_reply(now, address(0), &reply[HEAD_BYTES..]);
    assert!(refused.is_err_and(|error| error.to_string().contains("'node3' is in use")));
    world.fly(6, SECOND, Arrival::Exchange { to: address(0), purpose: Purpose::Repair });
    world.run(SECOND.times(40));
    let owner = |w: &World, node: usize| {
        let mut members = w.nodes[node].pool.members();
        members.find(|m| m.meta.name == "node3").map(|m| m.identity.address.socket())
    };
    for node in [0, 1, 2, 4, 5] {
        assert_eq!(owner(&world, node), Some(address(3)), "seen by {node}");
        let conflict =
            |event: &Event| matches!(event, Event::Conflict { name, .. } if name == "node3");
        assert!(world.nodes[node].events.iter().any(|(_, event)| conflict(event)));
    }
    world.nodes[3].up = false;
    world.until(SECOND.times(60), "succession", |w| {
        [0, 1, 2, 4, 5].into_iter().all(|node| owner(w, node) == Some(address(6)))
    });
    world.faultless();
}

#[test]
fn a_node_that_moves_is_one_member_at_its_new_address() {
    let mut world = World::formed(14, 6);
    world.until(SECOND.times(40), "convergence", World::converged);
    world.nodes[3].up = false;
    let moved = world.fresh(6, meta(3));
    world.nodes.push(moved);
    world.join(6, 0);
    let there = |w: &World, node: usize| {
        let mut members = w.nodes[node].pool.members();
        members.any(|m| {
            m.meta.name == "node3"
                && m.identity.address.socket() == address(6)
                && m.status == Status::Alive
        })
    };
    let others = [0, 1, 2, 4, 5];
    world.until(SECOND.times(20), "move", |w| others.iter().all(|node| there(w, *node)));
    world.run(SECOND.times(120));
    assert!(others.iter().all(|node| there(&world, *node) && world.view(*node).len() == 6));
    assert_eq!(world.changes(Change::Failed), 0);
    world.faultless();
}

#[test]
fn old_members_are_reaped_with_an_event() {
    let mut world = World::formed(11, 3);
    world.until(SECOND.times(40), "convergence", World::converged);
    world.nodes[2].up = false;
    world.until(SECOND.times(30), "detection", |w| w.all_see(2, Some(Status::Failed)));
    for node in 0..3 {
        world.nodes[node].up = node == 0;
    }
    // A lone clock jumps; the timers that it makes late are put off and then run.
    world.run(SECOND.times(72 * 3600 + 60));
    assert_eq!(world.view(0).len(), 1);
    assert!(world.changes(Change::Reaped) >= 2);
    world.faultless();
}

#[test]
fn a_pool_at_rest_is_quiet() {
    let mut world = World::formed(12, 4);
    world.run(SECOND.times(60));
    let before: u64 = world.nodes[0].bytes_sent;
    world.run(SECOND.times(60));
    let per_second = (world.nodes[0].bytes_sent - before) / 60;
    assert!(per_second < 300, "{per_second} B/s with IP and UDP headers");
}

#[test]
fn one_seed_gives_one_history() {
    let history = || {
        let mut world = World::formed(13, 20);
        world.loss_percent = 10;
        world.nodes[3].up = false;
        world.run(SECOND.times(60));
        let events: Vec<_> =
            world.nodes.iter().flat_map(|node| &node.events).map(|e| format!("{e:?}")).collect();
        (events, world.sent)
    };
    assert_eq!(history(), history());
}
