//! Histories of one register, and whether they are linearizable: the search of Wing and Gong with
//! Lowe's memory of what was tried.

use std::collections::HashSet;
use std::time::Instant;

/// What somebody asked of the register, with what the answer said. 0 is the empty register; every
/// other value is written once.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Read this value.
    Read(u64),
    /// Wrote this value.
    Write(u64),
    /// Wrote `to` if the value was `from`; `done` is what the answer said, if there was one.
    Swap { from: u64, to: u64, done: Option<bool> },
}

impl Call {
    /// Answers the value after the call on a register with value `now`, or `None` if the call
    /// cannot have been answered as it was.
    fn on(self, now: u64) -> Option<u64> {
        match self {
            Call::Read(value) => (value == now).then_some(now),
            Call::Write(value) => Some(value),
            Call::Swap { from, to, done: Some(true) } => (from == now).then_some(to),
            Call::Swap { from, done: Some(false), .. } => (from != now).then_some(now),
            Call::Swap { from, to, done: None } => Some(if from == now { to } else { now }),
        }
    }
}

/// A call with the time it took; without an end when its outcome never became known.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub call: Call,
    pub start: Instant,
    pub end: Option<Instant>,
}

/// What was tried: the operations taken so far, a bit each, and the value after them.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Tried {
    taken: Vec<u64>,
    value: u64,
}

impl Tried {
    fn has(&self, at: usize) -> bool {
        self.taken[at / 64] >> (at % 64) & 1 == 1
    }
}

/// Searches give up after this many states: then the history says nothing.
const TRIED_MAX: usize = 4_000_000;

/// Tells whether there is one order of the operations that explains every answer and in which no
/// operation comes before one that had ended when it began. Operations without an end may be
/// anywhere after their start, or may never have happened.
///
/// # Panics
///
/// If the search is longer than [`TRIED_MAX`].
pub fn is_linearizable(history: &[Operation]) -> bool {
    let mut history = history.to_vec();
    // What ended first is tried first; what has no end comes last.
    history.sort_by_key(|operation| (operation.end.is_none(), operation.end));
    let known = history.iter().filter(|operation| operation.end.is_some()).count();
    let first = Tried { taken: vec![0; history.len().div_ceil(64)], value: 0 };
    let (mut seen, mut stack) = (HashSet::from([first.clone()]), vec![first]);
    while let Some(tried) = stack.pop() {
        let Some(frontier) = (0..known).find(|at| !tried.has(*at)) else { return true };
        let limit = history[frontier].end;
        for at in (0..history.len()).rev() {
            let operation = &history[at];
            if tried.has(at) || limit.is_some_and(|limit| operation.start > limit) {
                continue;
            }
            let Some(value) = operation.call.on(tried.value) else { continue };
            let mut next = Tried { value, ..tried.clone() };
            next.taken[at / 64] |= 1 << (at % 64);
            if seen.insert(next.clone()) {
                stack.push(next);
            }
        }
        assert!(seen.len() < TRIED_MAX, "the history is too long to be judged");
    }
    false
}
