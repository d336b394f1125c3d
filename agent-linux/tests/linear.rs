//! Key/value is linearizable, whatever befalls the servers: five clients work on one key through
//! four agents while servers are killed, paused and cut off, and what they were answered must be
//! explained by one order of all operations.

#[path = "linear/history.rs"]
#[allow(unreachable_pub, reason = "a test's module")]
mod history;
mod support;

use history::{Call, Operation, is_linearizable};
use rustix::process::Signal;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::cluster::{Cluster, until_voters};
use support::http::Client;
use support::lab::allowed;
use support::{PATIENCE, between, eventually};

const CLIENTS: usize = 5;

/// Operations that clients must have ended before and after each change of the servers' fate.
const ENOUGH: usize = 40;

/// Failures that say that nothing was changed; every other leaves it open.
const REFUSED: [&str; 2] = ["No cluster leader", "No known Consul servers"];

/// What a client asks for, and how reads are made.
struct Task<'a> {
    client: Client,
    path: String,
    /// Whether some reads trust the leader's lease. A leader that sleeps between looking at its
    /// lease and reading may answer what was true before it slept, so with pauses none do.
    lease: bool,
    stop: &'a AtomicBool,
    /// Operations that ended well, of every client.
    ended: &'a [AtomicUsize],
}

impl Task<'_> {
    /// Works until told to stop; answers what it did.
    fn run(&self, number: usize) -> Vec<Operation> {
        let mut history = Vec::new();
        let mut last = (0, 0);
        for turn in 1_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let start = Instant::now();
            let fresh = (number as u64 + 1) << 32 | turn;
            let call = match turn % 5 {
                0 | 2 => self.read(self.lease && turn % 10 < 5, &mut last),
                1 | 3 => self.write(fresh),
                _ => self.swap(last, fresh),
            };
            if let Some((call, known)) = call {
                if known {
                    self.ended[number].fetch_add(1, Ordering::Relaxed);
                }
                history.push(Operation { call, start, end: known.then(Instant::now) });
            }
            // Histories stay short enough to be judged.
            between();
        }
        history
    }

    /// Reads value and index; a read without an answer says nothing.
    fn read(&self, lease: bool, last: &mut (u64, u64)) -> Option<(Call, bool)> {
        let mode = if lease { "" } else { "?consistent" };
        let answer = self.client.try_request("GET", &format!("{}{mode}", self.path), b"").ok()?;
        *last = match answer.status {
            200 => {
                let row = &answer.json()[0];
                (row["Flags"].as_u64()?, row["ModifyIndex"].as_u64()?)
            }
            404 => (0, 0),
            _ => return None,
        };
        Some((Call::Read(last.0), true))
    }

    fn write(&self, value: u64) -> Option<(Call, bool)> {
        let answer = self.put(&format!("{}?flags={value}", self.path))?;
        assert_ne!(answer, Some(false), "a plain write is never refused");
        Some((Call::Write(value), answer.is_some()))
    }

    fn swap(&self, (from, index): (u64, u64), to: u64) -> Option<(Call, bool)> {
        let done = self.put(&format!("{}?flags={to}&cas={index}", self.path))?;
        Some((Call::Swap { from, to, done }, done.is_some()))
    }

    /// Answers nothing if nothing can have happened, and within it nothing if that is not known.
    fn put(&self, path: &str) -> Option<Option<bool>> {
        match self.client.try_request("PUT", path, b"") {
            Ok(answer) if answer.status == 200 => Some(Some(answer.text().trim() == "true")),
            Ok(answer) => {
                let text = answer.text();
                assert_eq!(answer.status, 500, "{text}");
                if REFUSED.iter().any(|refused| text.contains(refused)) { None } else { Some(None) }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
            Err(_) => Some(None),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Trouble {
    /// The leader is killed and started again.
    Kill,
    /// The leader stops in the middle of what it does and goes on later.
    Pause,
    /// The leader is cut off.
    CutLeader,
    /// Somebody else is cut off.
    CutFollower,
}

/// Runs clients on a key of their own while a server meets with trouble; answers the history.
fn round(cluster: &mut Cluster, number: usize, trouble: Trouble) -> Vec<Operation> {
    let leader = cluster.until_leader();
    let victim = if trouble == Trouble::CutFollower { (leader + 1) % 3 } else { leader };
    let address = cluster.agents[victim].address;
    let clients: Vec<Client> = cluster.agents.iter().map(|agent| agent.http()).collect();
    let (stop, ended) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; CLIENTS]);
    let count = |at: &dyn Fn(usize) -> bool| -> usize {
        (0..CLIENTS).filter(|n| at(*n)).map(|n| ended[n].load(Ordering::Relaxed)).sum()
    };
    // Client `n` works through agent `n`, the fifth through the first.
    let until_more = |what: &str, at: &dyn Fn(usize) -> bool| {
        let before = count(at);
        eventually(PATIENCE, &format!("{trouble:?}: {what}"), || match count(at) - before {
            more if more >= ENOUGH => Ok(()),
            more => Err(format!("{more} operations")),
        });
    };
    let others = |n: usize| n % 4 != victim;
    let its_own = |n: usize| n % 4 == victim;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let task = Task {
                    client: Client { timeout: Duration::from_secs(5), ..clients[n % 4] },
                    path: format!("/v1/kv/linear/{number}"),
                    lease: trouble != Trouble::Pause,
                    stop: &stop,
                    ended: &ended,
                };
                scope.spawn(move || task.run(n))
            })
            .collect();
        until_more("work before", &others);
        match trouble {
            Trouble::Kill => cluster.agents[victim].kill(),
            Trouble::Pause => cluster.agents[victim].signal(Signal::STOP),
            Trouble::CutLeader | Trouble::CutFollower => {
                cluster.lab.as_ref().expect("a lab").cut(address);
            }
        }
        until_more("the others go on", &others);
        match trouble {
            Trouble::Kill => cluster.start(victim),
            Trouble::Pause => cluster.agents[victim].signal(Signal::CONT),
            Trouble::CutLeader | Trouble::CutFollower => {
                cluster.lab.as_ref().expect("a lab").heal(address);
            }
        }
        until_more("it takes part again", &its_own);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    })
}

#[test]
fn every_history_has_one_order_whatever_befalls_the_servers() {
    if !allowed("every_history_has_one_order_whatever_befalls_the_servers") {
        return;
    }
    let mut cluster = Cluster::lab().picture();
    until_voters(&cluster.agents[3], 3);
    let troubles = [Trouble::Kill, Trouble::Pause, Trouble::CutLeader, Trouble::CutFollower];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let history = round(&mut cluster, number, trouble);
        let unknown = history.iter().filter(|operation| operation.end.is_none()).count();
        eprintln!("{trouble:?}: {} operations, {unknown} without an outcome", history.len());
        assert!(is_linearizable(&history), "{trouble:?}: {history:#?}");
    }
}

/// Makes a history of calls with starts and ends in milliseconds.
fn told(calls: &[(Call, u64, Option<u64>)]) -> Vec<Operation> {
    let zero = Instant::now();
    let at = |ms| zero + Duration::from_millis(ms);
    let each = |&(call, start, end): &(Call, u64, Option<u64>)| Operation {
        call,
        start: at(start),
        end: end.map(at),
    };
    calls.iter().map(each).collect()
}

#[test]
fn the_judge_takes_what_one_order_explains() {
    let swap = Call::Swap { from: 1, to: 2, done: Some(true) };
    for history in [
        told(&[(Call::Read(0), 0, Some(1)), (Call::Write(1), 2, Some(3))]),
        told(&[(Call::Write(1), 0, Some(9)), (Call::Read(0), 1, Some(2))]),
        told(&[(Call::Write(1), 0, Some(9)), (Call::Read(1), 1, Some(2)), (swap, 3, Some(4))]),
        // Nobody knows whether it happened: it may, late, or not at all.
        told(&[
            (Call::Write(1), 0, None),
            (Call::Read(0), 5, Some(6)),
            (Call::Read(1), 7, Some(8)),
        ]),
        told(&[(Call::Write(1), 0, None), (Call::Read(0), 5, Some(6))]),
    ] {
        assert!(is_linearizable(&history), "{history:#?}");
    }
}

#[test]
fn the_judge_refuses_what_no_order_explains() {
    let refused = Call::Swap { from: 1, to: 2, done: Some(false) };
    let swapped = |to| Call::Swap { from: 1, to, done: Some(true) };
    for history in [
        // A stale read, a lost write, a read of the future.
        told(&[(Call::Write(1), 0, Some(1)), (Call::Read(0), 2, Some(3))]),
        told(&[(Call::Read(1), 0, Some(1)), (Call::Write(1), 2, Some(3))]),
        // Time goes backward between two reads.
        told(&[
            (Call::Write(1), 0, Some(9)),
            (Call::Read(1), 1, Some(2)),
            (Call::Read(0), 3, Some(4)),
        ]),
        // Two swaps from one value; a refusal without a reason.
        told(&[(Call::Write(1), 0, Some(1)), (swapped(2), 2, Some(5)), (swapped(3), 2, Some(5))]),
        told(&[(Call::Write(1), 0, Some(1)), (refused, 2, Some(3))]),
        // A write without an outcome that happened twice.
        told(&[
            (Call::Write(1), 0, None),
            (Call::Read(1), 2, Some(3)),
            (Call::Write(2), 4, Some(5)),
            (Call::Read(1), 6, Some(7)),
        ]),
    ] {
        assert!(!is_linearizable(&history), "{history:#?}");
    }
}
