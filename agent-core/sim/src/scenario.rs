//! The measured rows: pools at rest and after a change, and pools in trouble.
//!
//! A full member knows of a change when it tells its application; leaves show nobody, so they are
//! not asked. A failure is false if the member was up, not stalled, and within reach.

mod change;
mod trouble;

use agent_core::time::Duration;

use crate::engine::Kind;
use crate::world::World;

/// Most full members of a mixed pool.
const MIXED_FULL_MAX: usize = 200;

/// Full members of a pool of leaves: its servers.
const LEAF_FULL: usize = 5;

/// Time within which a pool forms by itself.
const FORM_LIMIT: Duration = Duration::from_secs(900);

/// Who the members are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    /// Full members only.
    Full,
    /// Five full members, the servers; the others are leaves.
    Leaf,
    /// One in ten is a full member, up to 200; the others are leaves.
    Mixed,
}

impl Mix {
    /// Tells how many of `size` members are full ones.
    pub fn full(self, size: usize) -> usize {
        match self {
            Self::Full => size,
            Self::Leaf => LEAF_FULL.min(size),
            Self::Mixed => (size / 10).clamp(1, MIXED_FULL_MAX),
        }
    }

    /// Names it, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Leaf => "leaf",
            Self::Mixed => "mixed",
        }
    }
}

/// What a row is measured with.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Equal seeds give equal rows.
    pub seed: u64,
    /// Tells the bytes that the process holds on the heap, if somebody counts them.
    pub heap: fn() -> usize,
}

/// One finding: a number and whether it is as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was measured.
    pub what: String,
    /// The value, with its unit.
    pub value: String,
    /// What it must be; empty if it is only told.
    pub bound: String,
    /// Whether it is so.
    pub met: bool,
}

impl Finding {
    fn new(what: &str, value: impl Into<String>, bound: &str, met: bool) -> Self {
        Self { what: what.into(), value: value.into(), bound: bound.into(), met }
    }
}

/// One row: a pool, what happens to it, and how large it is.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, as given on the command line.
    pub name: &'static str,
    /// How many members.
    pub size: usize,
    /// Who they are.
    pub mix: Mix,
    /// How long it goes on, where that is up to us.
    pub span: Duration,
    run: fn(&Row, &Setup) -> Vec<Finding>,
}

impl Row {
    const fn new(
        name: &'static str,
        mix: Mix,
        size: usize,
        span: Duration,
        run: fn(&Row, &Setup) -> Vec<Finding>,
    ) -> Self {
        Self { name, size, mix, span, run }
    }

    /// Measures.
    pub fn run(&self, setup: &Setup) -> Vec<Finding> {
        (self.run)(self, setup)
    }

    /// Names pool and size.
    pub fn pool(&self) -> String {
        format!("{} {}", self.size, self.mix.name())
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What every commit must pass.
pub const QUICK: &[Row] = &[
    Row::new("change", Mix::Full, 1000, MINUTE.times(10), change::change),
    Row::new("change", Mix::Leaf, 1000, MINUTE.times(10), change::change),
    Row::new("loss", Mix::Full, 200, MINUTE.times(10), trouble::loss),
    Row::new("stalls", Mix::Full, 200, MINUTE.times(5), trouble::stalls),
    Row::new("partition", Mix::Full, 100, MINUTE.times(5), trouble::partition),
    Row::new("storm", Mix::Full, 200, Duration::from_secs(2), trouble::storm),
    Row::new("storm", Mix::Leaf, 2000, Duration::from_secs(2), trouble::storm),
];

/// The whole table.
pub const FULL: &[Row] = &[
    Row::new("change", Mix::Full, 100, MINUTE.times(10), change::change),
    Row::new("change", Mix::Leaf, 100, MINUTE.times(10), change::change),
    Row::new("change", Mix::Mixed, 100, MINUTE.times(10), change::change),
    Row::new("change", Mix::Full, 1000, MINUTE.times(10), change::change),
    Row::new("change", Mix::Leaf, 1000, MINUTE.times(10), change::change),
    Row::new("change", Mix::Mixed, 1000, MINUTE.times(10), change::change),
    Row::new("change", Mix::Leaf, 10_000, MINUTE.times(10), change::change),
    Row::new("change", Mix::Mixed, 10_000, MINUTE.times(10), change::change),
    Row::new("loss", Mix::Full, 1000, HOUR, trouble::loss),
    Row::new("loss", Mix::Leaf, 1000, HOUR, trouble::loss),
    Row::new("stalls", Mix::Full, 1000, MINUTE.times(10), trouble::stalls),
    Row::new("partition", Mix::Full, 1000, MINUTE.times(10), trouble::partition),
    Row::new("storm", Mix::Full, 1000, Duration::from_secs(10), trouble::storm),
    Row::new("storm", Mix::Leaf, 5000, Duration::from_secs(10), trouble::storm),
    Row::new("storm", Mix::Leaf, 10_000, Duration::from_secs(10), trouble::storm),
    Row::new("churn", Mix::Full, 200, HOUR.times(24), trouble::churn),
    Row::new("churn", Mix::Leaf, 1000, HOUR.times(24), trouble::churn),
];

/// What takes hours, or more memory than most machines have.
pub const NIGHTLY: &[Row] = &[
    Row::new("storm", Mix::Full, 5000, Duration::from_secs(10), trouble::storm),
    Row::new("churn", Mix::Full, 1000, HOUR.times(24), trouble::churn),
    Row::new("churn", Mix::Leaf, 10_000, HOUR.times(24), trouble::churn),
    Row::new("change", Mix::Full, 10_000, MINUTE.times(10), change::change),
];

/// Forms a pool at rest: servers first, then the others, a hundred a second.
fn formed(row: &Row, setup: &Setup) -> World {
    let mut world = World::new(setup.seed);
    world.ledger.brief = true;
    let full = row.mix.full(row.size);
    let pause = Duration::from_millis(10);
    world.grow(Kind::Full, full, pause);
    world.grow(Kind::Leaf, row.size - full, pause);
    world.until(FORM_LIMIT, "forming", World::converged);
    world
}

/// Picks a member to kill; the servers of a pool of leaves are spared.
fn victim(row: &Row, world: &mut World) -> usize {
    let spared = if row.mix == Mix::Full { 0 } else { LEAF_FULL.min(row.size) };
    loop {
        let node = spared + world.roll(row.size - spared);
        if world.nodes[node].up {
            return node;
        }
    }
}

/// Tells the false failures of a whole row.
fn false_failures(world: &World) -> Finding {
    world.faultless();
    let count = world.ledger.false_failures.len();
    Finding::new("false failures", count.to_string(), "0", count == 0)
}

/// Writes a time in seconds.
fn seconds(span: Duration) -> String {
    format!("{}.{} s", span.millis() / 1000, span.millis() / 100 % 10)
}
