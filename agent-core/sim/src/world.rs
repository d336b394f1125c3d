//! The queue of events, and everybody on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use agent_core::gossip::leaf::Event as LeafEvent;
use agent_core::gossip::sync::{HEAD_BYTES, Purpose, Step};
use agent_core::gossip::{Config, Event, Meta, Pool};
use agent_core::rand::Rng;
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::PACKET_BYTES_MAX;

use crate::engine::{Engine, Kind, Told, meta};
use crate::ledger::{Entry, Ledger, Set};
use crate::network::{DATAGRAM_HEAD_BYTES, Network, stream_bytes};
use crate::node::{Clock, Node};

mod view;

/// The gossip port of every member.
const PORT: u16 = 8301;

/// Time from a stream's opening to its end.
const EXCHANGE_TIME: Duration = Duration::from_millis(5);

/// Time before a join that nobody answered is tried again.
const JOIN_PERIOD: Duration = Duration::from_secs(1);

/// A failure told this long after a member was in trouble is not called false.
const TROUBLE: Duration = Duration::from_secs(120);

/// Furthest that a clock runs off, in millionths: cheap quartz.
const DRIFT_MAX: u64 = 100;

/// Every condition is looked at this often.
const STEP: Duration = Duration::from_millis(100);

/// What is to happen to a member.
enum What {
    Wake,
    Datagram {
        from: usize,
        bytes: Box<[u8]>,
    },
    /// A whole exchange takes one step: both sides are called at one instant.
    Exchange {
        with: usize,
        purpose: Purpose,
    },
    /// It joins, and tries again until it has.
    Join {
        through: usize,
    },
}

struct Happening {
    at: Instant,
    order: u64,
    node: usize,
    what: What,
}

impl PartialEq for Happening {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Happening {}
impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Happening {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A datagram as it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// From whom.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// What.
    pub bytes: Box<[u8]>,
}

/// The network, its clock and everybody on it.
pub struct World {
    /// The world's time.
    pub now: Instant,
    /// Everybody, by number.
    pub nodes: Vec<Node>,
    /// The network's manners.
    pub network: Network,
    /// What was told.
    pub ledger: Ledger,
    /// Datagrams as they are sent, if they are to be recorded.
    pub record: Option<Vec<Recorded>>,
    /// The settings of members that start from now on.
    pub config: Config,
    dice: Rng,
    queue: BinaryHeap<Reverse<Happening>>,
    order: u64,
    generation: u32,
    up: Set,
}

/// Tells where a member listens.
pub fn address(node: usize) -> SocketAddr {
    let [_, a, b, c] = (node as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], PORT))
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::from_micros(1),
            nodes: Vec::new(),
            network: Network::default(),
            ledger: Ledger::default(),
            record: None,
            config: Config::lan(),
            dice: Rng::new(seed),
            queue: BinaryHeap::new(),
            order: 0,
            generation: 1,
            up: Set::default(),
        }
    }

    /// Full members that joined one by one, each through a random earlier one.
    pub fn formed(seed: u64, size: usize) -> Self {
        let mut world = Self::new(seed);
        world.grow(Kind::Full, size, Duration::from_millis(50));
        world
    }

    /// Adds members that join one by one, each through a random full one that is there already.
    pub fn grow(&mut self, kind: Kind, count: usize, pause: Duration) {
        for _ in 0..count {
            let node = self.add(kind, meta(self.nodes.len()));
            if node > 0 {
                let through = self.anybody(node);
                self.join(node, through);
                self.run(pause);
            }
        }
    }

    /// Rolls a number below `bound`.
    pub fn roll(&mut self, bound: usize) -> usize {
        self.dice.below(bound as u64) as usize
    }

    /// Starts one more member, alone; answers its number. A leaf describes itself by its number.
    pub fn add(&mut self, kind: Kind, meta: Meta) -> usize {
        let number = self.nodes.len();
        let origin = Instant::from_micros(self.dice.below(1 << 40));
        let drift = self.dice.below(2 * DRIFT_MAX + 1) as i32 - DRIFT_MAX as i32;
        let clock = Clock { origin, drift };
        let engine = self.engine(kind, number, meta, clock);
        self.nodes.push(Node::new(engine, clock));
        self.up.put(number, true);
        self.ledger.blind(number);
        self.attend(number);
        number
    }

    fn engine(&mut self, kind: Kind, number: usize, meta: Meta, clock: Clock) -> Engine {
        self.generation += 1;
        let (seed, now) = (self.dice.next_u64(), clock.show(self.now));
        let (config, at, generation) = (self.config, address(number), self.generation);
        match kind {
            Kind::Full => Engine::full(config, meta, at, generation, seed, now),
            Kind::Leaf => Engine::leaf(config, number, at, generation, seed, now),
        }
    }

    /// Starts a member again, alone, as a new generation with the metadata given.
    pub fn restart(&mut self, node: usize, meta: Meta) {
        let (kind, clock) = (self.nodes[node].engine.kind(), self.nodes[node].clock);
        self.nodes[node].engine = self.engine(kind, node, meta, clock);
        self.nodes[node].up = true;
        self.nodes[node].wake = None;
        self.up.put(node, true);
        self.trouble(node);
        self.ledger.blind(node);
        self.attend(node);
    }

    /// Ends a member's process without a word.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.up.put(node, false);
        self.trouble(node);
    }

    /// Lets a killed member go on as if it had only been away; what was sent meanwhile is lost.
    pub fn resume(&mut self, node: usize) {
        self.nodes[node].up = true;
        self.nodes[node].wake = None;
        self.up.put(node, true);
        self.trouble(node);
        self.attend(node);
    }

    /// Stops a member for a while: it does nothing, and what arrives waits.
    pub fn stall(&mut self, node: usize, span: Duration) {
        self.nodes[node].stalled_until = self.now + span;
        self.trouble(node);
    }

    /// Stands a member on a side of the network.
    pub fn place(&mut self, node: usize, side: u8) {
        self.nodes[node].side = side;
        self.trouble(node);
    }

    fn trouble(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].troubled = Some(now.max(self.nodes[node].stalled_until));
    }

    /// Tells whether a member is up and has been well for long.
    fn well(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.up && node.troubled.is_none_or(|when| self.now >= when + TROUBLE)
    }

    /// Makes a member join through another one; it tries again every second until it has.
    pub fn join(&mut self, node: usize, through: usize) {
        self.plan(node, Duration::ZERO, What::Join { through });
    }

    /// Makes a full member exchange state with another one after a while.
    pub fn exchange(&mut self, node: usize, with: usize, after: Duration, purpose: Purpose) {
        self.plan(node, after, What::Exchange { with, purpose });
    }

    /// Hands a member a datagram after a while, whatever the network's manners.
    pub fn deliver(&mut self, after: Duration, datagram: Recorded) {
        let Recorded { from, to, bytes } = datagram;
        self.plan(to, after, What::Datagram { from, bytes });
    }

    /// Lets a full member do something, then sends what it wants sent.
    pub fn act<T>(&mut self, node: usize, deed: impl FnOnce(&mut Pool, Instant) -> T) -> T {
        let now = self.nodes[node].clock.show(self.now);
        let done = deed(self.nodes[node].pool_mut(), now);
        self.attend(node);
        done
    }

    /// Makes a member say goodbye.
    pub fn leave(&mut self, node: usize) {
        let now = self.nodes[node].clock.show(self.now);
        match &mut self.nodes[node].engine {
            Engine::Full(pool) => pool.leave(now),
            Engine::Leaf(leaf) => leaf.leave(),
        }
        self.attend(node);
    }

    fn plan(&mut self, node: usize, after: Duration, what: What) {
        self.order += 1;
        let at = self.now + after;
        self.queue.push(Reverse(Happening { at, order: self.order, node, what }));
    }

    fn index(&self, to: SocketAddr) -> Option<usize> {
        let SocketAddr::V4(v4) = to else { return None };
        let [ten, a, b, c] = v4.ip().octets();
        let number = u32::from_be_bytes([0, a, b, c]) as usize;
        (ten == 10 && v4.port() == PORT && number < self.nodes.len()).then_some(number)
    }

    /// Collects what a member wants sent and told, and when it wants to be woken.
    fn attend(&mut self, node: usize) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        let now = self.nodes[node].clock.show(self.now);
        while let Some(transmit) = self.nodes[node].engine.poll_transmit(now, &mut buffer) {
            let traffic = &mut self.nodes[node].traffic;
            traffic.datagrams += 1;
            traffic.datagram_bytes += transmit.len as u64 + DATAGRAM_HEAD_BYTES;
            let Some(to) = self.index(transmit.to) else { continue };
            if !self.network.reaches(self.nodes[node].side, self.nodes[to].side) {
                continue;
            }
            let bytes: Box<[u8]> = buffer[..transmit.len].into();
            if let Some(record) = &mut self.record {
                record.push(Recorded { from: node, to, bytes: bytes.clone() });
            }
            let lag = self.nodes[to].lag;
            for after in self.network.travel(&mut self.dice) {
                let after = after + lag;
                self.plan(to, after, What::Datagram { from: node, bytes: bytes.clone() });
            }
        }
        while let Some(told) = self.nodes[node].engine.poll_event() {
            self.hear(node, told);
        }
        let due = self.nodes[node].engine.poll_timeout();
        let (clock, lag) = (self.nodes[node].clock, self.nodes[node].lag);
        let due = due.map(|at| clock.when(at).max(self.now) + lag);
        if let Some(at) = due.filter(|at| self.nodes[node].wake.is_none_or(|wake| *at < wake)) {
            self.nodes[node].wake = Some(at);
            self.plan(node, at.since(self.now), What::Wake);
        }
    }

    /// Does what a driver does about an event, and keeps it.
    fn hear(&mut self, node: usize, told: Told) {
        let about = match &told {
            Told::Full(Event::SyncDue { peer }) => {
                if let Some(with) = self.index(*peer) {
                    self.exchange(node, with, EXCHANGE_TIME, Purpose::Repair);
                }
                return;
            }
            Told::Leaf(LeafEvent::Alone) => {
                let through = self.anybody(node);
                self.join(node, through);
                None
            }
            Told::Full(Event::Member { address, .. }) => self.index(*address),
            Told::Full(_) | Told::Leaf(_) => None,
        };
        let well = about.is_some_and(|about| self.well(about)) && self.well(node);
        self.ledger.note(Entry { at: self.now, by: node, told }, about, well);
    }

    /// Picks a full member other than `node`, if there is one.
    pub(crate) fn anybody(&mut self, node: usize) -> usize {
        let full = self.full().filter(|other| *other != node).count();
        let pick = self.roll(full);
        self.full().filter(|other| *other != node).nth(pick).unwrap_or(0)
    }

    fn happen(&mut self, node: usize, what: What) {
        let now = self.nodes[node].clock.show(self.now);
        match what {
            What::Wake => {
                self.nodes[node].wake = None;
                self.nodes[node].engine.handle_timeout(now);
            }
            What::Datagram { from, bytes } => {
                self.nodes[node].engine.handle_datagram(now, address(from), &bytes);
            }
            What::Exchange { with, purpose } => {
                self.meet(node, with, purpose);
            }
            What::Join { through } => self.try_join(node, through),
        }
        self.attend(node);
    }

    fn try_join(&mut self, node: usize, through: usize) {
        let joined = match &mut self.nodes[node].engine {
            Engine::Leaf(leaf) => {
                let joined = leaf.contacts().next().is_some();
                if !joined {
                    leaf.join(address(through));
                }
                joined
            }
            Engine::Full(_) => self.meet(node, through, Purpose::Join),
        };
        if !joined {
            self.plan(node, JOIN_PERIOD, What::Join { through });
        }
    }

    /// Exchanges state by stream; false if the other side is out of reach.
    fn meet(&mut self, node: usize, with: usize, purpose: Purpose) -> bool {
        let (asker, answerer) = (&self.nodes[node], &self.nodes[with]);
        let reachable = answerer.up
            && answerer.engine.kind() == Kind::Full
            && answerer.stalled_until <= self.now
            && self.network.reaches(asker.side, answerer.side)
            && self.network.reaches(answerer.side, asker.side);
        if reachable {
            self.converse(node, with, purpose);
            self.attend(with);
        }
        reachable
    }

    fn converse(&mut self, node: usize, with: usize, purpose: Purpose) {
        let (asks, answers) = (self.nodes[node].clock, self.nodes[with].clock);
        let (asks, answers) = (asks.show(self.now), answers.show(self.now));
        let hello = self.nodes[node].pool_mut().sync_hello(purpose);
        let (mut sent, mut answered) = (0, 0);
        let mut step = Step::Hello(hello);
        while let Step::Hello(hello) = &step {
            sent += hello.len();
            let answerer = self.nodes[with].pool_mut();
            let (reply, _) = answerer
                .handle_sync_hello(answers, address(node), &hello[HEAD_BYTES..])
                .expect("well formed");
            answered += reply.len();
            let asker = self.nodes[node].pool_mut();
            match asker.handle_sync_reply(asks, address(with), &reply[HEAD_BYTES..]) {
                Ok(next) => step = next,
                Err(_) => break,
            }
        }
        if let Step::Rest(rest) = step {
            sent += rest.len();
            let answerer = self.nodes[with].pool_mut();
            answerer.handle_sync_rest(answers, &rest[HEAD_BYTES..]).expect("well formed");
        }
        self.nodes[node].traffic.stream_bytes += stream_bytes(sent as u64);
        self.nodes[with].traffic.stream_bytes += stream_bytes(answered as u64);
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(Reverse(next)) = self.queue.peek() {
            if next.at > end {
                break;
            }
            let Some(Reverse(happening)) = self.queue.pop() else { break };
            self.now = self.now.max(happening.at);
            let node = &mut self.nodes[happening.node];
            let stale = matches!(happening.what, What::Wake) && node.wake != Some(happening.at);
            if !node.up || stale {
                continue;
            }
            let wait = node.stalled_until.since(self.now);
            if wait > Duration::ZERO {
                if matches!(happening.what, What::Wake) {
                    node.wake = Some(node.stalled_until);
                }
                self.plan(happening.node, wait, happening.what);
            } else {
                self.happen(happening.node, happening.what);
            }
        }
        self.now = end;
    }

    /// Lets time pass until the condition holds; answers how long it took, or nothing if it did
    /// not come to hold within the limit.
    pub fn reach(
        &mut self,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let began = self.now;
        while !holds(self) {
            if self.now.since(began) >= limit {
                return None;
            }
            self.run(STEP);
        }
        Some(self.now.since(began))
    }

    /// Lets time pass until the condition holds; answers how long it took.
    ///
    /// # Panics
    ///
    /// If it does not come to hold within the limit.
    pub fn until(
        &mut self,
        limit: Duration,
        what: &str,
        holds: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let took = self.reach(limit, holds);
        took.unwrap_or_else(|| panic!("{what}: not within {} ms", limit.millis()))
    }

    /// Counts what was planned since the start: equal seeds give equal counts.
    pub const fn happenings(&self) -> u64 {
        self.order
    }
}
