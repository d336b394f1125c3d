//! Who probes whom in pools of leaves: leaves are probed at one rate, whatever the pool's size,
//! and failures are found as soon as in pools of full members.

use agent_core::time::Duration;
use agent_core::wire::packet::{Message, Packet, State};
use sim::Kind;
use sim::engine::meta;
use sim::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Full members of a pool of leaves.
const FULL: usize = 5;

fn formed(seed: u64, full: usize, leaves: usize) -> World {
    let mut world = World::new(seed);
    let pause = Duration::from_millis(20);
    world.grow(Kind::Full, full, pause);
    world.grow(Kind::Leaf, leaves, pause);
    world.until(SECOND.times(600), "forming", World::converged);
    world.run(SECOND.times(60));
    world
}

/// Tells how often each member is probed within `periods`.
fn probed(world: &mut World, periods: u64) -> Vec<u64> {
    let mut counts = vec![0; world.nodes.len()];
    for _ in 0..periods {
        world.record = Some(Vec::new());
        world.run(SECOND);
        for sent in world.record.take().unwrap_or_default() {
            let packet = Packet::parse(&sent.bytes).expect("well formed");
            counts[sent.to] += u64::from(matches!(packet.header.message, Message::Ping(_)));
        }
    }
    counts
}

#[test]
fn every_leaf_is_probed_about_once_a_period_whatever_the_size_of_the_pool() {
    const PERIODS: u64 = 300;
    for size in [40, 160, 640] {
        let mut world = formed(1, FULL, size - FULL);
        let counts = probed(&mut world, PERIODS);
        let total: u64 = counts.iter().sum();
        let expected = PERIODS * size as u64;
        assert!(total.abs_diff(expected) * 50 <= expected, "{total} probes of {expected}");
        let (full, leaves) = counts.split_at(FULL);
        let range = |counts: &[u64]| (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
        let told = format!("{size}: {:?} full, {:?} leaves", range(full), range(leaves));
        let (least, most) = range(leaves);
        assert!(least * 2 >= PERIODS && most <= PERIODS * 2, "{told} in {PERIODS} periods");
        // Leaves lean on full members, which tell the others of what they see; in bounds.
        let (least, most) = range(full);
        assert!(least >= PERIODS && most <= PERIODS * 10, "{told} in {PERIODS} periods");
        println!("{told}");
    }
}

/// Tells how long failures take to be known by all full members, the quickest first.
fn detections(full: usize, leaves: usize) -> Vec<u64> {
    let mut world = formed(2, full, leaves);
    let mut times = Vec::new();
    for at in 0..30 {
        let victim = FULL + at * 3;
        world.kill(victim);
        let known = |world: &World| world.full().all(|at| !world.ledger.seen(at).holds(victim));
        let took = world.until(SECOND.times(120), "detection", known);
        times.push(took.millis());
        world.restart(victim, meta(victim));
        world.join(victim, 0);
        world.until(SECOND.times(60), "back", World::converged);
        world.run(SECOND.times(10));
    }
    times.sort_unstable();
    times
}

#[test]
fn failures_are_found_as_soon_among_leaves_as_among_full_members() {
    let (full, leaf) = (detections(100, 0), detections(FULL, 100 - FULL));
    let mean = |times: &[u64]| times.iter().sum::<u64>() / times.len() as u64;
    let told = format!("milliseconds among full members {full:?}, among leaves {leaf:?}");
    assert!(mean(&leaf) * 5 <= mean(&full) * 6, "{told}");
    for tenth in [5, 9] {
        let at = full.len() * tenth / 10;
        assert!(leaf[at] * 5 <= full[at] * 6, "tenth {tenth}: {told}");
    }
}

#[test]
fn full_members_verify_a_suspect_among_leaves_themselves() {
    let mut world = formed(3, FULL, 30);
    world.record = Some(Vec::new());
    let victim = FULL + 7;
    world.kill(victim);
    let known = |world: &World| world.full().all(|at| !world.ledger.seen(at).holds(victim));
    world.until(SECOND.times(60), "detection", known);
    let mut verified = [0; FULL];
    for sent in world.record.take().unwrap_or_default().iter().filter(|sent| sent.to == victim) {
        let packet = Packet::parse(&sent.bytes).expect("well formed");
        let target = packet.header.target;
        let warns = packet.updates().any(|u| u.identity == target && u.state == State::Suspect);
        if let (true, Message::Ping(_)) = (warns, packet.header.message) {
            verified.get_mut(sent.from).into_iter().for_each(|count| *count += 1);
        }
    }
    assert!(verified.iter().all(|count| *count >= 4), "{verified:?} probes of a suspect");
}

#[test]
fn nobody_fails_among_leaves_where_one_datagram_in_ten_is_lost() {
    let mut world = formed(4, FULL, 195);
    world.network.loss = 100_000;
    world.run(SECOND.times(600));
    let fallen = &world.ledger.false_failures;
    assert!(fallen.is_empty(), "(when, by whom, who): {fallen:?}");
}
