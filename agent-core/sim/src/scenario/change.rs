//! A pool at rest, then one join, one failure, and one in a hundred failing at once.

use agent_core::time::Duration;

use super::{Finding, Row, Setup, false_failures, formed, seconds, victim};
use crate::engine::{Engine, Kind, meta};
use crate::ledger::Set;
use crate::world::World;

/// Bytes that a member may send each second while nothing happens, headers included.
const IDLE_BYTES_MAX: u64 = 250;

/// How often a single change is tried; the slowest is told.
const ATTEMPTS: usize = 5;

/// Longest that anything is waited for.
const LIMIT: Duration = Duration::from_secs(300);

/// How long news took to reach nearly all and all full members.
#[derive(Clone, Copy, Default)]
struct Spread {
    nearly: Option<Duration>,
    all: Option<Duration>,
}

impl Spread {
    /// Waits until all full members know.
    fn wait(world: &mut World, knows: impl Fn(&Set) -> bool) -> Self {
        let began = world.now;
        let mut nearly = None;
        let all = world.reach(LIMIT, |world| {
            let full = world.full().count();
            let told = world.full().filter(|node| knows(world.ledger.seen(*node))).count();
            if told * 100 >= full * 99 && nearly.is_none() {
                nearly = Some(world.now.since(began));
            }
            told == full
        });
        Self { nearly, all }
    }

    /// Keeps the slower of both; nothing is slowest of all.
    fn worst(self, other: Self) -> Self {
        let worst = |one: Option<Duration>, two: Option<Duration>| Some(one?.max(two?));
        Self { nearly: worst(self.nearly, other.nearly), all: worst(self.all, other.all) }
    }

    fn finding(self, what: &str) -> Finding {
        let text = |span: Option<Duration>| span.map_or_else(|| "never".into(), seconds);
        let value = format!("{} / {}", text(self.nearly), text(self.all));
        Finding::new(what, value, "", self.all.is_some())
    }
}

pub(super) fn change(row: &Row, setup: &Setup) -> Vec<Finding> {
    let before = (setup.heap)();
    let mut world = formed(row, setup);
    let held = (setup.heap)().saturating_sub(before);
    let mut findings = vec![idle(row, &mut world), memory(row, &world, held)];
    let zero = Spread { nearly: Some(Duration::ZERO), all: Some(Duration::ZERO) };
    let join = (0..ATTEMPTS).fold(zero, |worst, _| worst.worst(join(row, &mut world)));
    findings.push(join.finding("a join known by 99 % / all"));
    let fail = (0..ATTEMPTS).fold(zero, |worst, _| worst.worst(fail(row, &mut world, 1)));
    findings.push(fail.finding("a failure known by 99 % / all"));
    let many = fail_many(row, &mut world);
    findings.push(many.finding("1 % failures known by 99 % / all"));
    findings.push(false_failures(&world));
    findings
}

/// Lets the pool be for the row's span; tells what a member sends.
fn idle(row: &Row, world: &mut World) -> Finding {
    world.run(Duration::from_secs(60));
    for node in &mut world.nodes {
        node.traffic = Default::default();
    }
    world.run(row.span);
    let per_second = |bytes: u64| bytes * 1_000_000 / row.span.micros();
    let sent = world.nodes.iter().map(|node| node.traffic.bytes());
    let all: u64 = sent.clone().sum();
    let mean = per_second(all / row.size as u64);
    let most = per_second(sent.max().unwrap_or(0));
    let value = format!("{mean} B/s, at most {most} B/s");
    Finding::new("sent by a member at rest", value, "<= 250 B/s", mean <= IDLE_BYTES_MAX)
}

fn memory(row: &Row, world: &World, held: usize) -> Finding {
    let leaf = |node: &crate::Node| match &node.engine {
        Engine::Leaf(leaf) => size_of_val(&**leaf),
        Engine::Full(_) => 0,
    };
    let leaves: usize = world.nodes.iter().map(leaf).sum();
    let full = row.mix.full(row.size);
    let each = held.saturating_sub(leaves) / full / 1024;
    let mut value = format!("{each} KB a full member");
    if row.size > full {
        value += &format!(", {} B a leaf", leaves / (row.size - full));
    }
    Finding::new("memory", value, "", true)
}

/// One more member; its kind is that of most.
fn join(row: &Row, world: &mut World) -> Spread {
    let kind = if row.mix.full(row.size) == row.size { Kind::Full } else { Kind::Leaf };
    let node = world.add(kind, meta(world.nodes.len()));
    let through = world.anybody(node);
    world.join(node, through);
    let spread = Spread::wait(world, |seen| seen.holds(node));
    world.run(Duration::from_secs(10));
    spread
}

fn fail(row: &Row, world: &mut World, count: usize) -> Spread {
    let mut dead = Set::default();
    for _ in 0..count {
        let node = victim(row, world);
        world.kill(node);
        dead.put(node, true);
    }
    Spread::wait(world, |seen| seen.apart(&dead))
}

fn fail_many(row: &Row, world: &mut World) -> Spread {
    fail(row, world, (row.size / 100).max(1))
}
