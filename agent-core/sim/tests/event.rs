//! User events: who hears them, how often, in which order.

use agent_core::gossip::{Event, UserEvent};
use agent_core::time::Duration;
use sim::Kind;
use sim::engine::{Told, meta};
use sim::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Fires an event with a number for its id.
fn fire(world: &mut World, node: usize, number: u8) {
    let event = UserEvent { id: [number; 16], name: "deploy".into(), ..UserEvent::default() };
    world.act(node, |pool, now| pool.fire(now, event)).expect("a small event");
}

/// Times and numbers of the events that a member was told of, in order.
fn heard(world: &World, node: usize) -> Vec<(u64, u8)> {
    let user = |told: &Told| match told {
        Told::Full(Event::User(event)) => Some((event.time, event.id[0])),
        Told::Full(_) | Told::Leaf(_) => None,
    };
    world.ledger.by(node).filter_map(user).collect()
}

fn all_heard(world: &World, count: usize) -> bool {
    (0..world.nodes.len()).all(|node| heard(world, node).len() == count)
}

#[test]
fn events_of_one_member_are_heard_by_all_in_order() {
    for seed in 0..10 {
        let mut world = World::formed(seed, 5);
        world.until(SECOND.times(40), "convergence", World::converged);
        let sent: Vec<(u64, u8)> = (0..60).map(|at| (u64::from(at) + 2, at)).collect();
        for (_, number) in &sent {
            fire(&mut world, 2, *number);
            world.run(Duration::from_millis(20));
        }
        world.run(SECOND.times(3));
        // Gossip misses a member now and then; an exchange makes up for it, then out of order.
        let whole = (0..5).filter(|node| heard(&world, *node) == sent).count();
        assert!(whole >= 4, "seed {seed}: {whole} heard all in order");
        world.until(SECOND.times(120), "all heard", |w| all_heard(w, sent.len()));
    }
}

#[test]
fn events_are_heard_once_by_all_whatever_the_network_does() {
    let mut world = World::formed(21, 30);
    world.until(SECOND.times(60), "convergence", World::converged);
    (world.network.loss, world.network.duplication) = (200_000, 100_000);
    world.network.reordering = 100_000;
    for number in 0..60 {
        fire(&mut world, usize::from(number) % 7, number);
        world.run(Duration::from_millis(20));
    }
    world.until(SECOND.times(300), "all heard", |w| all_heard(w, 60));
    world.run(SECOND.times(60));
    for node in 0..30 {
        let mut numbers: Vec<u8> = heard(&world, node).iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..60), "node{node} heard each once: {numbers:?}");
    }
    world.faultless();
}

#[test]
fn who_was_away_hears_what_it_missed_and_a_newcomer_does_not() {
    let mut world = World::formed(22, 8);
    world.until(SECOND.times(60), "convergence", World::converged);
    fire(&mut world, 0, 1);
    world.run(SECOND.times(3));
    world.network.part(0, 1);
    world.place(5, 1);
    world.run(SECOND);
    fire(&mut world, 1, 2);
    fire(&mut world, 5, 3);
    world.run(SECOND.times(20));
    assert_eq!((heard(&world, 5).len(), heard(&world, 2).len()), (2, 2), "cut off");
    world.network.heal();
    world.until(SECOND.times(300), "all heard", |w| all_heard(w, 3));
    let newcomer = world.add(Kind::Full, meta(8));
    world.join(newcomer, 0);
    world.until(SECOND.times(60), "convergence", World::converged);
    world.run(SECOND.times(120));
    assert_eq!(heard(&world, newcomer), []);
    fire(&mut world, 3, 4);
    world.run(SECOND.times(3));
    assert_eq!(heard(&world, newcomer), [(4, 4)]);
    assert!((0..8).all(|node| heard(&world, node).len() == 4));
    world.faultless();
}
