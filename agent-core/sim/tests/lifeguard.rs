//! Lifeguard, each part beside the same pool without it.

use agent_core::gossip::{Change, Config, Status};
use agent_core::time::Duration;
use agent_core::wire::packet::{Message, Packet, State};
use sim::Kind;
use sim::world::World;

const SECOND: Duration = Duration::from_secs(1);
const SIZE: usize = 30;

/// Pools whose findings are summed up.
const SEEDS: u64 = 10;

fn formed(seed: u64, config: Config) -> World {
    let mut world = World::new(seed);
    world.config = config;
    world.grow(Kind::Full, SIZE, Duration::from_millis(50));
    world.until(SECOND.times(60), "convergence", World::converged);
    world.run(SECOND.times(5));
    world
}

/// Member 0 hears nobody for a while, and accuses one after the other; answers how many had to come
/// back from the dead.
fn deaf_accuser(config: Config) -> u64 {
    let returns = (1..=SEEDS).map(|seed| {
        let mut world = formed(seed, config);
        world.place(0, 1);
        world.network.cut(0, 1);
        world.run(SECOND.times(30));
        world.network.heal();
        world.run(SECOND.times(30));
        world.faultless();
        world.renewals()
    });
    returns.sum()
}

#[test]
fn who_accuses_alone_is_not_believed_soon() {
    let plain = Config { suspicion_factor: 2, awareness_max: 0, ..Config::lan() };
    let confirmed = Config { awareness_max: 0, ..Config::lan() };
    let (alone, witnessed) = (deaf_accuser(plain), deaf_accuser(confirmed));
    // The deaf one itself is given up either way.
    let told = format!("{witnessed} returns with witnesses, {alone} without");
    assert!(alone >= SEEDS * 20 && witnessed <= SEEDS * 5, "{told}");
}

#[test]
fn a_dead_member_has_accusers_enough_to_fail_in_the_least_time() {
    let config = Config::lan();
    let mut world = formed(2, config);
    world.kill(3);
    let least = config.suspicion(SIZE);
    let took = world.until(SECOND.times(60), "detection", |w| w.all_see(3, Some(Status::Failed)));
    // Probe, help, three accusers, and the word's way to all.
    assert!(took <= least + SECOND.times(6), "{took:?} with {least:?} at the least");
    assert_eq!(world.ledger.changes(Change::Failed), SIZE - 1);
}

/// Answers take longer than a probe period, for everybody; answers how many probes failed.
fn slow_network(config: Config) -> u64 {
    let mut world = formed(3, config);
    world.network.latency = Duration::from_millis(520);
    world.run(SECOND.times(60));
    world.nodes.iter().map(|node| node.pool().stats().probes_failed).sum()
}

#[test]
fn who_is_suspect_again_and_again_waits_longer_before_it_accuses() {
    let doubting = slow_network(Config::lan());
    let sure = slow_network(Config { awareness_max: 0, ..Config::lan() });
    assert!(doubting * 2 <= sure, "{doubting} failed probes, {sure} without doubt");
}

#[test]
fn a_suspect_is_told_so_by_whoever_suspects_or_probes_it() {
    let mut world = formed(4, Config::lan());
    world.record = Some(Vec::new());
    world.kill(3);
    world.until(SECOND.times(60), "detection", |w| w.all_see(3, Some(Status::Failed)));
    let (mut warned, mut unwarned) = ([0; 2], 0);
    let mut accusers = Vec::new();
    for datagram in world.record.take().unwrap_or_default().iter().filter(|sent| sent.to == 3) {
        let packet = Packet::parse(&datagram.bytes).expect("well formed");
        let target = packet.header.target;
        let warns = packet.updates().any(|u| u.identity == target && u.state == State::Suspect);
        match packet.header.message {
            Message::Gossip if warns && !accusers.contains(&datagram.from) => {
                accusers.push(datagram.from);
                warned[0] += 1;
            }
            Message::Ping(_) if warns => warned[1] += 1,
            Message::Ping(_) if accusers.contains(&datagram.from) => unwarned += 1,
            _ => {}
        }
    }
    assert!(warned[0] >= 3 && warned[1] >= 1, "{warned:?} warnings at once and by probes");
    assert_eq!(unwarned, 0, "who accuses never probes without a word");
}
