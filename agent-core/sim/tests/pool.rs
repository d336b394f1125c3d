//! Pools of full members, each in a short story.

use agent_core::gossip::sync::{HEAD_BYTES, Purpose};
use agent_core::gossip::{Change, Event, Meta, Status};
use agent_core::time::Duration;
use sim::engine::{Told, meta};
use sim::ledger::Entry;
use sim::world::{Recorded, World, address};
use sim::{Kind, Node};

const SECOND: Duration = Duration::from_secs(1);

fn told(world: &World, node: usize, wanted: impl Fn(&Event) -> bool) -> bool {
    world.ledger.by(node).any(|told| matches!(told, Told::Full(event) if wanted(event)))
}

fn changes(world: &World, change: Change) -> usize {
    world.ledger.changes(change)
}

/// Another member, at an address of its own, that tells `meta` about itself.
fn add(world: &mut World, meta: Meta) -> usize {
    world.add(Kind::Full, meta)
}

#[test]
fn everybody_knows_everybody_soon_after_joining() {
    let mut world = World::formed(1, 100);
    let took = world.until(SECOND.times(90), "convergence", World::converged);
    assert_eq!((changes(&world, Change::Failed), world.renewals()), (0, 0), "after {took:?}");
    world.faultless();
}

#[test]
fn a_killed_member_of_five_fails_within_eight_seconds() {
    for seed in 0..10 {
        let mut world = World::formed(seed, 5);
        world.until(SECOND.times(40), "convergence", World::converged);
        world.kill(3);
        world.until(SECOND.times(8), "detection", |w| w.all_see(3, Some(Status::Failed)));
        assert_eq!(changes(&world, Change::Failed), 4);
        world.faultless();
    }
}

#[test]
fn a_restarted_member_is_alive_again_with_its_new_metadata() {
    let mut world = World::formed(2, 20);
    world.until(SECOND.times(60), "convergence", World::converged);
    world.kill(7);
    world.until(SECOND.times(40), "detection", |w| w.all_see(7, Some(Status::Failed)));
    let mut changed = meta(7);
    changed.raft_id = 99;
    world.restart(7, changed);
    world.join(7, 0);
    world.until(SECOND.times(40), "return", World::converged);
    let fresh = |w: &World| {
        w.full().all(|node| {
            w.nodes[node].pool().members().any(|m| m.name == "node7" && m.meta().raft_id == 99)
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
    assert_eq!(changes(&world, Change::Failed), 0);
    world.faultless();
}

#[test]
fn a_member_that_leaves_is_left_everywhere_and_never_failed() {
    for seed in 0..5 {
        let mut world = World::formed(seed, 30);
        world.until(SECOND.times(60), "convergence", World::converged);
        world.leave(5);
        let gone = |w: &World| told(w, 5, |event| *event == Event::LeaveDone);
        let took = world.until(SECOND.times(4), "leaving", gone);
        assert!(took <= SECOND.times(3), "{took:?}");
        world.kill(5);
        world.until(SECOND.times(10), "left", |w| w.all_see(5, Some(Status::Left)));
        assert_eq!(changes(&world, Change::Failed), 0);
        world.run(SECOND.times(60));
        assert!(world.all_see(5, Some(Status::Left)));
        world.faultless();
    }
}

#[test]
fn a_failed_member_is_forced_out_everywhere_then_pruned() {
    let mut world = World::formed(4, 30);
    world.until(SECOND.times(60), "convergence", World::converged);
    world.kill(5);
    world.until(SECOND.times(60), "detection", |w| w.all_see(5, Some(Status::Failed)));
    world.act(9, |pool, now| pool.force_leave(now, "node5", false)).expect("known");
    world.until(SECOND.times(5), "left", |w| w.all_see(5, Some(Status::Left)));
    world.act(11, |pool, now| pool.force_leave(now, "node5", true)).expect("known");
    world.until(SECOND.times(5), "pruned", |w| w.all_see(5, None));
    world.run(SECOND.times(120));
    assert!(world.all_see(5, None));
    assert!(world.act(0, |pool, now| pool.force_leave(now, "node5", false)).is_err());
    world.restart(5, meta(5));
    world.join(5, 0);
    world.until(SECOND.times(40), "return", World::converged);
    world.faultless();
}

#[test]
fn a_live_member_refuses_to_be_forced_out() {
    let mut world = World::formed(5, 10);
    world.until(SECOND.times(40), "convergence", World::converged);
    world.act(0, |pool, now| pool.force_leave(now, "node5", true)).expect("known");
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
            world.place(node, 1);
        }
        world.network.part(0, 1);
        world.until(SECOND.times(120), "split", |w| {
            (0..size).all(|node| {
                let view = w.view(node);
                view.values().filter(|status| **status == Status::Failed).count() >= size / 2
            })
        });
        world.network.heal();
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
    world.network.loss = 50_000;
    world.run(SECOND.times(180));
    assert_eq!((changes(&world, Change::Failed), world.renewals()), (0, 0));
    assert!(world.converged());
    world.faultless();
}

#[test]
fn a_stalled_member_fells_nobody_else() {
    let mut world = World::formed(9, 30);
    world.until(SECOND.times(60), "convergence", World::converged);
    for _ in 0..3 {
        world.stall(2, SECOND.times(3));
        world.run(SECOND.times(20));
    }
    assert_eq!((changes(&world, Change::Failed), world.renewals()), (0, 0));
    world.stall(2, SECOND.times(30));
    world.run(SECOND.times(29));
    assert!(world.all_see(2, Some(Status::Failed)));
    world.until(SECOND.times(60), "return", World::converged);
    let entries = world.ledger.entries.iter().filter_map(Entry::change);
    let failed: Vec<_> = entries.filter(|(change, _)| *change == Change::Failed).collect();
    assert!(failed.iter().all(|(_, name)| *name == "node2"), "{failed:?}");
    world.faultless();
}

#[test]
fn of_two_live_nodes_with_one_name_the_elder_keeps_it_until_it_is_gone() {
    let mut world = World::formed(10, 6);
    world.until(SECOND.times(40), "convergence", World::converged);
    let mut twin = meta(6);
    twin.name = "node3".into();
    add(&mut world, twin);
    // A joiner is told in words; a repair lets it into the pool, where it is not shown.
    let hello = world.act(6, |pool, _| pool.sync_hello(Purpose::Join));
    let (reply, _) = world
        .act(0, |pool, now| pool.handle_sync_hello(now, address(6), &hello[HEAD_BYTES..]))
        .expect("well formed");
    let refused =
        world.act(6, |pool, now| pool.handle_sync_reply(now, address(0), &reply[HEAD_BYTES..]));
    assert!(refused.is_err_and(|error| error.to_string().contains("'node3' is in use")));
    world.exchange(6, 0, SECOND, Purpose::Repair);
    world.run(SECOND.times(40));
    let owner = |w: &World, node: usize| {
        let mut members = w.nodes[node].pool().members();
        members.find(|m| m.name == "node3").map(|m| m.identity.address.socket())
    };
    for node in [0, 1, 2, 4, 5] {
        assert_eq!(owner(&world, node), Some(address(3)), "seen by {node}");
        let conflict =
            |event: &Event| matches!(event, Event::Conflict { name, .. } if name == "node3");
        assert!(told(&world, node, conflict));
    }
    world.kill(3);
    world.until(SECOND.times(60), "succession", |w| {
        [0, 1, 2, 4, 5].into_iter().all(|node| owner(w, node) == Some(address(6)))
    });
    world.faultless();
}

#[test]
fn a_node_that_moves_is_one_member_at_its_new_address() {
    let mut world = World::formed(14, 6);
    world.until(SECOND.times(40), "convergence", World::converged);
    world.kill(3);
    add(&mut world, meta(3));
    world.join(6, 0);
    let there = |w: &World, node: usize| {
        let mut members = w.nodes[node].pool().members();
        members.any(|m| {
            m.name == "node3"
                && m.identity.address.socket() == address(6)
                && m.status == Status::Alive
        })
    };
    let others = [0, 1, 2, 4, 5];
    world.until(SECOND.times(20), "move", |w| others.iter().all(|node| there(w, *node)));
    world.run(SECOND.times(120));
    assert!(others.iter().all(|node| there(&world, *node) && world.view(*node).len() == 6));
    assert_eq!(changes(&world, Change::Failed), 0);
    world.faultless();
}

#[test]
fn old_members_are_reaped_with_an_event() {
    let mut world = World::formed(11, 3);
    world.until(SECOND.times(40), "convergence", World::converged);
    world.kill(2);
    world.until(SECOND.times(30), "detection", |w| w.all_see(2, Some(Status::Failed)));
    world.kill(1);
    // A lone clock jumps; the timers that it makes late are put off and then run.
    world.run(SECOND.times(72 * 3600 + 60));
    assert_eq!(world.view(0).len(), 1);
    assert!(changes(&world, Change::Reaped) >= 2);
    world.faultless();
}

#[test]
fn a_pool_at_rest_is_quiet() {
    let mut world = World::formed(12, 4);
    world.run(SECOND.times(60));
    let sent = |node: &Node| node.traffic.datagram_bytes;
    let before = sent(&world.nodes[0]);
    world.run(SECOND.times(60));
    let per_second = (sent(&world.nodes[0]) - before) / 60;
    assert!(per_second < 300, "{per_second} B/s with IP and UDP headers");
}

#[test]
fn datagrams_sent_again_change_nothing() {
    let mut world = World::formed(15, 20);
    world.until(SECOND.times(60), "convergence", World::converged);
    // A life with everything in it: a failure, a return, a departure.
    world.record = Some(Vec::new());
    world.kill(7);
    world.until(SECOND.times(40), "detection", |w| w.all_see(7, Some(Status::Failed)));
    world.restart(7, meta(7));
    world.join(7, 0);
    world.until(SECOND.times(40), "return", World::converged);
    world.leave(5);
    world.until(SECOND.times(10), "left", |w| w.all_see(5, Some(Status::Left)));
    world.kill(5);
    world.run(SECOND.times(60));
    let record = world.record.take().unwrap_or_default();
    let views: Vec<_> = world.full().map(|node| world.view(node)).collect();
    let before = [Change::Failed, Change::Left, Change::Joined].map(|c| changes(&world, c));
    let renewals = world.renewals();
    assert!(record.len() > 1000, "{} datagrams", record.len());
    for spread in [1_u64, 20] {
        for (at, datagram) in record.iter().cloned().enumerate() {
            let datagram: Recorded = datagram;
            world.deliver(Duration::from_millis(at as u64 * spread / 4), datagram);
        }
        world.run(SECOND.times(60));
        let again: Vec<_> = world.full().map(|node| world.view(node)).collect();
        assert_eq!(again, views);
        let told = [Change::Failed, Change::Left, Change::Joined].map(|c| changes(&world, c));
        assert_eq!((told, world.renewals()), (before, renewals));
    }
    world.faultless();
}

#[test]
fn one_seed_gives_one_history() {
    let history = || {
        let mut world = World::formed(13, 20);
        world.network.loss = 100_000;
        world.kill(3);
        world.run(SECOND.times(60));
        (world.ledger.entries.clone(), world.happenings())
    };
    assert_eq!(history(), history());
}

#[test]
fn members_find_out_how_far_they_are_from_each_other() {
    let mut world = World::formed(12, 12);
    world.network.latency = Duration::from_millis(20);
    world.network.jitter = Duration::from_millis(2);
    world.run(SECOND.times(600));
    let place = |node: usize| *world.nodes[node].pool().place();
    let mut estimates = Vec::new();
    for a in 0..12 {
        estimates.extend((0..a).map(|b| place(a).distance(&place(b))));
    }
    estimates.sort_by(f64::total_cmp);
    let (low, high) = (estimates[estimates.len() / 10], estimates[estimates.len() * 9 / 10]);
    assert!(0.032 < low && high < 0.052, "of 42 ms there and back: {low} to {high}");
    world.faultless();
}
