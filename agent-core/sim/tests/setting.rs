//! Every setting of `gossip_lan` has its effect.

use agent_core::gossip::news::News;
use agent_core::gossip::{Config, Status};
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::{Message, Packet};
use sim::Kind;
use sim::world::World;

const SECOND: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);
const SIZE: usize = 20;

fn formed(config: Config) -> World {
    let mut world = World::new(1);
    world.config = config;
    world.grow(Kind::Full, SIZE, Duration::from_millis(50));
    world.until(SECOND.times(60), "forming", World::converged);
    world.run(SECOND.times(20));
    world
}

/// Lets time pass and shows what is sent meanwhile: when, by whom, to whom, what.
fn watch(world: &mut World, span: Duration, mut see: impl FnMut(Instant, usize, usize, &Packet)) {
    let end = world.now + span;
    while world.now < end {
        world.record = Some(Vec::new());
        world.run(STEP);
        for sent in world.record.take().unwrap_or_default() {
            let packet = Packet::parse(&sent.bytes).expect("well formed");
            see(world.now, sent.from, sent.to, &packet);
        }
    }
}

#[test]
fn probe_interval_is_the_time_between_two_probes() {
    let pings = |millis| {
        let probe_period = Duration::from_millis(millis);
        let probe_timeout = Duration::from_millis(millis / 2);
        let mut world = formed(Config { probe_period, probe_timeout, ..Config::lan() });
        let mut count = 0;
        watch(&mut world, SECOND.times(30), |_, _, _, packet| {
            count += usize::from(matches!(packet.header.message, Message::Ping(_)));
        });
        count
    };
    let (slow, quick) = (pings(1000), pings(250));
    assert!(slow.abs_diff(30 * SIZE) <= SIZE, "{slow} probes");
    assert!(quick.abs_diff(120 * SIZE) <= 2 * SIZE, "{quick} probes");
}

/// Kills one; tells for each first unanswered probe how long it was until others were asked, and
/// how many.
fn helped(config: Config) -> Vec<(u64, usize)> {
    let mut world = formed(config);
    let victim = 7;
    world.kill(victim);
    let mut probes = vec![None; SIZE];
    let mut asked = vec![(0, 0); SIZE];
    watch(&mut world, SECOND.times(8), |now, from, to, packet| match packet.header.message {
        Message::Ping(_) if to == victim && probes[from].is_none() => probes[from] = Some(now),
        Message::PingReq { .. } => {
            let Some(since) = probes[from] else { return };
            let millis = now.since(since).millis();
            if asked[from].1 == 0 {
                asked[from] = (millis, 1);
            } else if millis <= asked[from].0 + STEP.millis() {
                asked[from].1 += 1;
            }
        }
        _ => {}
    });
    asked.retain(|(_, count)| *count > 0);
    assert!(asked.len() >= 2, "{asked:?}");
    asked
}

#[test]
fn probe_timeout_is_the_time_before_others_are_asked() {
    for millis in [200, 700] {
        let probe_timeout = Duration::from_millis(millis);
        let times = helped(Config { probe_timeout, ..Config::lan() });
        let right = |(after, _): &(u64, usize)| after.abs_diff(millis) <= 10;
        assert!(times.iter().all(right), "{times:?} with {millis} ms");
    }
}

#[test]
fn gossip_nodes_is_how_many_others_are_asked() {
    for fanout in [1, 3, 6] {
        let counts = helped(Config { fanout, ..Config::lan() });
        let right = |(_, count): &(u64, usize)| *count == usize::from(fanout);
        assert!(counts.iter().all(right), "{counts:?} with {fanout}");
    }
}

/// Changes what one member tells; tells when and how often it sends that.
fn told(config: Config) -> Vec<u64> {
    let mut world = formed(config);
    world.act(0, |pool, now| pool.update_meta(now, |meta| meta.raft_id = 9)).expect("fits");
    let node = world.nodes[0].pool().identity().node;
    let mut times = Vec::new();
    watch(&mut world, SECOND.times(20), |now, from, _, packet| {
        let mut tells = packet.broadcasts().filter_map(News::parse);
        let about = |news| matches!(news, News::Meta { node: about, .. } if about == node);
        if from == 0 && tells.any(about) {
            times.push(now.since(Instant::default()).millis());
        }
    });
    times
}

#[test]
fn retransmit_mult_is_how_often_news_is_sent_times_the_digits_of_the_size() {
    for retransmit_factor in [1, 4, 8] {
        let times = told(Config { retransmit_factor, ..Config::lan() });
        assert_eq!(times.len(), usize::from(retransmit_factor) * 2);
    }
}

#[test]
fn gossip_interval_is_the_time_between_two_rounds() {
    let span = |millis| {
        let gossip_period = Duration::from_millis(millis);
        let times = told(Config { gossip_period, retransmit_factor: 8, ..Config::lan() });
        times.last().zip(times.first()).map(|(last, first)| last - first)
    };
    let (quick, slow) = (span(50).expect("sent"), span(400).expect("sent"));
    assert!(quick * 3 <= slow, "{quick} ms, {slow} ms");
}

#[test]
fn suspicion_mult_is_a_factor_on_the_time_of_suspicion() {
    let took = |suspicion_factor| {
        let config = Config { suspicion_factor, ..Config::lan() };
        let mut world = formed(config);
        world.kill(7);
        let failed = |world: &World| world.all_see(7, Some(Status::Failed));
        let took = world.until(SECOND.times(120), "detection", failed);
        assert!(took >= config.suspicion(SIZE), "{took:?}");
        took.millis()
    };
    let (short, long) = (took(3), took(12));
    assert!(long > short + 9000, "{short} ms, {long} ms");
}
