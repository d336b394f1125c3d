//! Pools that lose datagrams, members or half of themselves.

use agent_core::time::Duration;

use super::{Finding, LEAF_FULL, Row, Setup, false_failures, formed, seconds, victim};
use crate::engine::{Kind, meta};
use crate::ledger::Set;
use crate::world::World;

/// One percent in millionths.
const PERCENT: u64 = 10_000;

/// Time within which a pool must be whole again.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);

/// How long the pool is watched beyond that.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Time from a storm of joins to the first failures.
const SETTLE: Duration = Duration::from_secs(30);

/// How many fail then.
const FALLEN: usize = 10;

/// A member that stalls does so for this long, then runs for as long.
const STALL: Duration = Duration::from_secs(30);

/// A member that failed is started again after this.
const REPAIR: Duration = Duration::from_secs(300);

/// Time until the pool is whole, as a finding.
fn whole(world: &mut World, what: &str) -> Finding {
    within(world, what, World::converged)
}

/// Time until the condition holds, as a finding.
fn within(world: &mut World, what: &str, holds: impl FnMut(&World) -> bool) -> Finding {
    let took = world.reach(PATIENCE, holds);
    let value = took.map_or_else(|| format!("not in {}", seconds(PATIENCE)), seconds);
    Finding::new(what, value, "<= 60 s", took.is_some_and(|took| took <= WHOLE_LIMIT))
}

/// One datagram in twenty is lost.
pub(super) fn loss(row: &Row, setup: &Setup) -> Vec<Finding> {
    let mut world = formed(row, setup);
    world.network.loss = 5 * PERCENT;
    world.run(row.span);
    vec![false_failures(&world), whole(&mut world, "all see all, 5 % lost")]
}

/// One member in fifty does nothing half of the time.
pub(super) fn stalls(row: &Row, setup: &Setup) -> Vec<Finding> {
    let mut world = formed(row, setup);
    let sick: Vec<usize> = (0..row.size / 50).map(|_| victim(row, &mut world)).collect();
    let end = world.now + row.span;
    while world.now < end {
        for node in &sick {
            world.stall(*node, STALL);
        }
        world.run(STALL + STALL);
    }
    vec![false_failures(&world), whole(&mut world, "all see all, stalls over")]
}

/// Two halves do not reach each other for a while.
pub(super) fn partition(row: &Row, setup: &Setup) -> Vec<Finding> {
    let mut world = formed(row, setup);
    for node in 0..row.size / 2 {
        world.place(node, 1);
    }
    world.network.part(0, 1);
    world.run(row.span);
    let size = row.size;
    let split = world.full().all(|node| world.ledger.seen(node).count() <= size.div_ceil(2));
    world.network.heal();
    let healed = whole(&mut world, "all see all, halves healed");
    world.run(Duration::from_secs(60));
    let stays = world.converged();
    world.faultless();
    let word = |holds: bool| if holds { "yes" } else { "no" };
    vec![
        Finding::new("halves fell apart", word(split), "yes", split),
        healed,
        Finding::new("stays whole for a minute", word(stays), "yes", stays),
    ]
}

/// All join within the row's span, through three members that were there. Soon after, before the
/// tables of leaves had long to mix, some fail.
pub(super) fn storm(row: &Row, setup: &Setup) -> Vec<Finding> {
    let before = (setup.heap)();
    let mut world = World::new(setup.seed);
    world.ledger.brief = true;
    let servers = LEAF_FULL.min(row.size);
    world.grow(Kind::Full, servers, Duration::from_millis(50));
    world.run(Duration::from_secs(30));
    let pause = Duration::from_micros(row.span.micros() / (row.size - servers) as u64);
    let full = row.mix.full(row.size);
    for at in servers..row.size {
        let kind = if at < full { Kind::Full } else { Kind::Leaf };
        let node = world.add(kind, meta(at));
        let through = world.roll(3);
        world.join(node, through);
        world.run(pause);
    }
    let complete = whole(&mut world, "all see all, last joined");
    let held = (setup.heap)().saturating_sub(before) >> 20;
    world.run(SETTLE);
    let mut dead = Set::default();
    for _ in 0..FALLEN {
        let node = victim(row, &mut world);
        world.kill(node);
        dead.put(node, true);
    }
    let known = |world: &World| world.full().all(|node| world.ledger.seen(node).apart(&dead));
    vec![
        complete,
        within(&mut world, "ten failures known by all, 30 s after", known),
        false_failures(&world),
        Finding::new("memory of the pool", format!("{held} MB"), "", true),
    ]
}

/// One member in ten fails each hour, and comes back after five minutes.
pub(super) fn churn(row: &Row, setup: &Setup) -> Vec<Finding> {
    let mut world = formed(row, setup);
    let hour = Duration::from_secs(3600).micros();
    let pause = Duration::from_micros(hour * 10 / row.size as u64);
    let end = world.now + row.span;
    let mut away = std::collections::VecDeque::new();
    while world.now < end {
        let node = victim(row, &mut world);
        world.kill(node);
        away.push_back((world.now + REPAIR, node));
        world.run(pause);
        while let Some((_, node)) = away.pop_front_if(|(back, _)| *back <= world.now) {
            world.restart(node, meta(node));
            let through = world.anybody(node);
            world.join(node, through);
        }
    }
    for (_, node) in away {
        world.restart(node, meta(node));
        let through = world.anybody(node);
        world.join(node, through);
    }
    vec![false_failures(&world), whole(&mut world, "all see all, churn over")]
}
