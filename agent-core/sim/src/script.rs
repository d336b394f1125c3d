//! Scripts: one command a line, and under each what happened because of it.
//!
//! ```text
//! # comment
//! seed 7                       first, if at all
//! pool full 5 | pool leaf 3    adds members, joined one by one through random full ones
//! run 30s                      lets time pass
//! loss 5                       percent; so are duplicate and reorder
//! side 1 0-4                   stands members on a side
//! cut 0 1 | part 0 1 | heal    one way, both ways, none
//! kill 3 | start 3             start joins again through a random full member
//! stall 3 30s | lag 3 200ms    does nothing for a while; does everything late
//! leave 3 | force-leave 0 3    says goodbye; member 0 puts member 3 out
//! expect converged within 60s
//! expect 3 failed within 20s   by all full members; so are alive and left
//! ```
//!
//! Members are `3`, or `0-4`, or several with commas. Lines of the transcript start with two
//! blanks: time since the start, what, about whom, told by how many.

use std::collections::BTreeMap;
use std::fmt::Write;

use agent_core::gossip::{Change, Pool, Status};
use agent_core::time::{Duration, Instant, parse_go};

use crate::engine::{Kind, meta};
use crate::world::World;

/// Millionths in a percent.
const PERCENT: u64 = 10_000;

/// Why a script ended early: the line, from 1, and the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Line of the script.
    pub line: usize,
    /// What was wrong with it, or what did not come true.
    pub why: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// Runs a script; answers it with its transcript in place of the one it may hold.
///
/// # Errors
///
/// The first [`Failure`], and the transcript up to it.
pub fn run(text: &str) -> Result<String, (Failure, String)> {
    let mut player = Player { world: World::new(1), told: 0 };
    let mut transcript = String::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("  ")) {
        let _ = writeln!(transcript, "{line}");
        let command = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().collect();
        let played = player.play(&words);
        player.tell(&mut transcript);
        if let Err(why) = played {
            return Err((Failure { line: at + 1, why }, transcript));
        }
    }
    Ok(transcript)
}

struct Player {
    world: World,
    /// How much of the ledger is in the transcript.
    told: usize,
}

impl Player {
    fn play(&mut self, words: &[&str]) -> Result<(), String> {
        let world = &mut self.world;
        match *words {
            [] => {}
            ["seed", seed] => *world = World::new(number(seed)? as u64),
            ["pool", kind, count] => {
                let kind = match kind {
                    "full" => Kind::Full,
                    "leaf" => Kind::Leaf,
                    _ => return Err(format!("{kind}: full or leaf")),
                };
                if kind == Kind::Leaf && world.full().next().is_none() {
                    return Err("a leaf needs a full member to join through".into());
                }
                world.grow(kind, number(count)?, Duration::from_millis(50));
            }
            ["run", span] => world.run(time(span)?),
            ["loss", percent] => world.network.loss = number(percent)? as u64 * PERCENT,
            ["duplicate", percent] => {
                world.network.duplication = number(percent)? as u64 * PERCENT;
            }
            ["reorder", percent] => world.network.reordering = number(percent)? as u64 * PERCENT,
            ["cut", from, to] => world.network.cut(side(from)?, side(to)?),
            ["part", one, other] => world.network.part(side(one)?, side(other)?),
            ["heal"] => world.network.heal(),
            ["expect", "converged", "within", span] => self.expect_converged(time(span)?)?,
            ["expect", member, status, "within", span] => {
                self.expect(number(member)?, status, time(span)?)?;
            }
            ["side", number, list] => {
                for member in self.members(list)? {
                    self.world.place(member, side(number)?);
                }
            }
            ["force-leave", by, member] => {
                let name = format!("node{}", number(member)?);
                let put_out =
                    self.act(number(by)?, |pool, now| pool.force_leave(now, &name, false))?;
                put_out.map_err(|error| error.to_string())?;
            }
            [verb, list, ref rest @ ..] => {
                for member in self.members(list)? {
                    self.play_member(verb, member, rest)?;
                }
            }
            [other] => return Err(format!("{other}: no such command")),
        }
        Ok(())
    }

    fn play_member(&mut self, verb: &str, member: usize, rest: &[&str]) -> Result<(), String> {
        let world = &mut self.world;
        match (verb, rest) {
            ("kill", []) => world.kill(member),
            ("start", []) => {
                world.restart(member, meta(member));
                let through = world.anybody(member);
                world.join(member, through);
            }
            ("stall", [span]) => world.stall(member, time(span)?),
            ("lag", [span]) => world.nodes[member].lag = time(span)?,
            ("leave", []) => world.leave(member),
            _ => return Err(format!("{verb}: no such command")),
        }
        Ok(())
    }

    fn act<T>(
        &mut self,
        by: usize,
        deed: impl FnOnce(&mut Pool, Instant) -> T,
    ) -> Result<T, String> {
        if !self.world.full().any(|full| full == by) {
            return Err(format!("{by}: no full member that is up"));
        }
        Ok(self.world.act(by, deed))
    }

    fn members(&self, list: &str) -> Result<Vec<usize>, String> {
        let mut found = Vec::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            found.extend(number(first)?..=number(last)?);
        }
        match found.iter().find(|member| **member >= self.world.nodes.len()) {
            Some(member) => Err(format!("{member}: no such member")),
            None => Ok(found),
        }
    }

    fn expect_converged(&mut self, limit: Duration) -> Result<(), String> {
        let took = self.world.reach(limit, World::converged);
        took.map(drop).ok_or_else(|| "not converged".into())
    }

    fn expect(&mut self, member: usize, status: &str, limit: Duration) -> Result<(), String> {
        let expected = match status {
            "alive" => Status::Alive,
            "failed" => Status::Failed,
            "left" => Status::Left,
            _ => return Err(format!("{status}: alive, failed or left")),
        };
        let took = self.world.reach(limit, |world| world.all_see(member, Some(expected)));
        took.map(drop).ok_or_else(|| format!("node{member} is not {status} everywhere"))
    }

    /// Writes what was told since the last time, one line for each member and change.
    fn tell(&mut self, out: &mut String) {
        let mut order = Vec::new();
        let mut groups: BTreeMap<(String, &str), (u64, u64, usize)> = BTreeMap::new();
        for entry in &self.world.ledger.entries[self.told..] {
            let millis = entry.at.micros() / 1000;
            let Some((change, name)) = entry.change() else { continue };
            let key = (name.to_string(), word(change));
            let group = groups.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                (millis, millis, 0)
            });
            (group.1, group.2) = (millis, group.2 + 1);
        }
        for key in order {
            let (first, last, count) = groups[&key];
            let (name, what) = key;
            let _ = writeln!(
                out,
                "  {} .. {}  {name} {what}, told by {count}",
                seconds(first),
                seconds(last)
            );
        }
        self.told = self.world.ledger.entries.len();
    }
}

const fn word(change: Change) -> &'static str {
    match change {
        Change::Joined => "joined",
        Change::Updated => "updated",
        Change::Leaving => "leaves",
        Change::Left => "left",
        Change::Failed => "failed",
        Change::Reaped => "reaped",
    }
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1000, millis % 1000)
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("{word}: not a number"))
}

fn side(word: &str) -> Result<u8, String> {
    word.parse().map_err(|_| format!("{word}: not a side"))
}

fn time(word: &str) -> Result<Duration, String> {
    let nanos = parse_go(word).map_err(|error| format!("{word}: {error}"))?;
    let nanos = u64::try_from(nanos).map_err(|_| format!("{word}: in the past"))?;
    Ok(Duration::from_micros(nanos / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        run(text).expect_err("it fails").0.to_string()
    }

    #[test]
    fn a_script_that_makes_no_sense_is_refused_by_its_line() {
        assert_eq!(fails("\nfly 3"), "line 2: 3: no such member");
        assert_eq!(fails("pool full 2\nfly 1"), "line 2: fly: no such command");
        assert_eq!(fails("run x"), "line 1: x: invalid duration");
        assert_eq!(fails("pool odd 3"), "line 1: odd: full or leaf");
        assert_eq!(fails("pool leaf 1"), "line 1: a leaf needs a full member to join through");
    }

    #[test]
    fn what_does_not_come_true_fails_with_the_transcript_so_far() {
        let (failure, transcript) =
            run("pool full 3\nexpect 2 failed within 1s").expect_err("it fails");
        assert_eq!(failure.to_string(), "line 2: node2 is not failed everywhere");
        assert!(transcript.contains("node1 joined, told by 2"), "{transcript}");
    }
}
