//! Leaves among full members: one wire, two engines.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use agent_core::gossip::identity::Identity;
use agent_core::gossip::leaf::Event as LeafEvent;
use agent_core::gossip::news::{Contact, News};
use agent_core::gossip::{Card, Change, Config, Event, Leaf, Pool, Status};
use agent_core::rand::Rng;
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::{Emitter, Header, Message, PACKET_BYTES_MAX, Packet, State, Update};
use sim::Kind;
use sim::engine::{CONTACTS, Told, meta, node_id};
use sim::world::{World, address};

const SECOND: Duration = Duration::from_secs(1);

/// Full members, then leaves that join through them, all known to all full ones.
fn formed(full: usize, leaves: usize) -> World {
    let mut world = World::new(1);
    world.grow(Kind::Full, full, SECOND);
    world.grow(Kind::Leaf, leaves, SECOND);
    world.until(SECOND.times(10), "shown", World::converged);
    world
}

/// What a leaf told since the start.
fn told(world: &World, leaf: usize) -> Vec<LeafEvent> {
    let leaf = world.ledger.by(leaf);
    leaf.filter_map(|told| match told {
        Told::Leaf(LeafEvent::Servers) | Told::Full(_) => None,
        Told::Leaf(event) => Some(*event),
    })
    .collect()
}

#[test]
fn full_members_show_a_leaf_that_joined_through_one_of_them() {
    let mut world = formed(4, 2);
    world.run(SECOND.times(60));
    assert!(world.all_see(4, Some(Status::Alive)) && world.converged());
    assert_eq!(told(&world, 4), [LeafEvent::Joined]);
    for at in 0..4 {
        assert_eq!(world.nodes[at].pool().stats().probes_failed, 0);
    }
}

#[test]
fn who_leaves_among_leaves_is_left_and_never_failed() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.grow(Kind::Full, 2, SECOND);
        world.grow(Kind::Leaf, 6, SECOND);
        world.until(SECOND.times(10), "shown", World::converged);
        world.leave(1);
        world.run(SECOND.times(4));
        world.kill(1);
        world.run(SECOND.times(10));
        assert!(world.all_see(1, Some(Status::Left)), "seed {seed}");
        let failed = world.ledger.by(0).any(|told| match told {
            Told::Full(Event::Member { change, .. }) => *change == Change::Failed,
            Told::Full(_) | Told::Leaf(_) => false,
        });
        assert!(!failed, "seed {seed}");
    }
}

#[test]
fn a_dead_leaf_fails_and_comes_back_after_a_restart() {
    let mut world = formed(4, 2);
    world.kill(5);
    world.until(SECOND.times(20), "failed", |w| w.all_see(5, Some(Status::Failed)));
    world.restart(5, meta(5));
    world.join(5, 0);
    world.until(SECOND.times(10), "back", World::converged);
}

#[test]
fn a_leaf_that_was_away_too_long_comes_back_by_itself() {
    let mut world = formed(4, 1);
    world.kill(4);
    world.until(SECOND.times(20), "failed", |w| w.all_see(4, Some(Status::Failed)));
    world.resume(4);
    world.until(SECOND.times(10), "back", |w| w.all_see(4, Some(Status::Alive)));
    let events = told(&world, 4);
    assert!(events.iter().any(|event| matches!(event, LeafEvent::Renewed { .. })), "{events:?}");
}

#[test]
fn a_leaf_that_leaves_is_left() {
    let mut world = formed(3, 1);
    world.leave(3);
    assert_eq!(world.nodes[3].leaf_mut().poll_timeout(), None);
    world.until(SECOND.times(10), "left", |w| w.all_see(3, Some(Status::Left)));
}

#[test]
fn a_leaf_loses_dead_contacts_and_helps_to_find_them() {
    let mut world = formed(3, 1);
    world.run(SECOND.times(35));
    world.kill(2);
    world.until(SECOND.times(20), "failed", |w| w.all_see(2, Some(Status::Failed)));
    world.run(SECOND.times(10));
    let contacts: Vec<_> =
        world.nodes[3].leaf_mut().contacts().map(|contact| contact.address.socket()).collect();
    assert!(!contacts.contains(&address(2)) && contacts.len() == 2, "{contacts:?}");
    world.kill(0);
    world.kill(1);
    world.run(SECOND.times(30));
    assert!(told(&world, 3).contains(&LeafEvent::Alone));
}

#[test]
fn a_leaf_is_small() {
    assert!(size_of::<Leaf<8>>() < 4096, "{} bytes", size_of::<Leaf<8>>());
}

/// A pool that is only played: everybody answers, and a feed names members at random.
struct Played {
    leaf: Leaf<CONTACTS>,
    now: Instant,
    size: u64,
    dice: Rng,
    label: u32,
}

/// Members that one feed names.
const FED: usize = 30;

fn played(at: u64) -> Identity {
    let [.., a, b] = (at as u16).to_be_bytes();
    Identity::new(SocketAddr::from(([10, 1, a, b], 8301)), 1, at + 1000)
}

impl Played {
    fn new(size: u64) -> Self {
        let card = Card::client("leaf", "dc1", node_id(0), "1.8.7:");
        let now = Instant::default();
        let mut leaf = Leaf::new(Config::lan(), &card, address(0), 1, 7, now).expect("fits");
        leaf.join(played(0).address.socket());
        let label = Config::lan().label("dc1");
        Self { leaf, now, size, dice: Rng::new(3), label }
    }

    /// Hands the leaf one datagram of a member.
    fn say(&mut self, source: Identity, message: Message, updates: &[Update]) {
        self.say_with(source, message, updates, None);
    }

    fn say_with(
        &mut self,
        source: Identity,
        message: Message,
        updates: &[Update],
        news: Option<News<'_>>,
    ) {
        let target = *self.leaf.identity();
        let header = Header { pool: self.label, source, incarnation: 0, target, message };
        let mut out = [0; PACKET_BYTES_MAX];
        let mut emitter = Emitter::new(&mut out, &header).expect("room");
        for update in updates {
            emitter.push_update(update).expect("room");
        }
        if let Some(news) = news {
            let mut bytes = [0; 64];
            let len = news.emit(&mut bytes).expect("room");
            emitter.push_broadcast(&bytes[..len]).expect("room");
        }
        let len = emitter.finish();
        self.leaf.handle_datagram(self.now, source.address.socket(), &out[..len]);
    }

    /// Lets a probe period pass; answers who was probed.
    fn period(&mut self) -> Vec<u64> {
        let end = self.now + Duration::from_secs(1);
        let mut probed = Vec::new();
        while let Some((due, _)) = self.leaf.poll_timeout().filter(|(due, _)| *due <= end) {
            self.now = self.now.max(due);
            self.leaf.handle_timeout(self.now);
            let mut out = [0; PACKET_BYTES_MAX];
            while let Some(transmit) = self.leaf.poll_transmit(self.now, &mut out) {
                let header = Packet::parse(&out[..transmit.len]).expect("parses").header;
                match header.message {
                    Message::Ping(number) => {
                        probed.push(header.target.node - 1000);
                        self.say(header.target, Message::Ack(number), &[]);
                    }
                    Message::Announce => self.feed(header.target.address.socket()),
                    _ => {}
                }
            }
        }
        self.now = end;
        probed
    }

    fn feed(&mut self, from: SocketAddr) {
        let source = (0..self.size).map(played).find(|one| one.address.socket() == from);
        let updates: Vec<Update> = (0..FED)
            .map(|_| played(self.dice.below(self.size)))
            .map(|identity| Update { identity, incarnation: 0, state: State::Alive })
            .collect();
        self.say(source.expect("a member"), Message::Feed, &updates);
    }
}

#[test]
fn a_leaf_holds_as_many_in_a_pool_of_ten_thousand_as_in_one_of_ten() {
    for size in [10, 10_000] {
        let mut world = Played::new(size);
        for _ in 0..600 {
            world.period();
            assert!(world.leaf.contacts().count() <= CONTACTS);
        }
        assert_eq!(world.leaf.contacts().count(), CONTACTS, "in a pool of {size}");
        let faithful = std::iter::from_fn(|| world.leaf.poll_event()).collect::<Vec<_>>();
        assert_eq!(faithful, [LeafEvent::Joined]);
    }
}

#[test]
fn a_leaf_probes_all_parts_of_a_pool_at_one_rate() {
    const TENTHS: usize = 10;
    const PERIODS: u64 = 40_000;
    for size in [100, 10_000] {
        let mut world = Played::new(size);
        let mut counts = [0_u64; TENTHS];
        for _ in 0..PERIODS {
            for member in world.period() {
                counts[(member * TENTHS as u64 / size) as usize] += 1;
            }
        }
        // One probe a period, whatever the size of the pool.
        let total: u64 = counts.iter().sum();
        assert!(total.abs_diff(PERIODS) <= 1, "{total} probes in {PERIODS} periods");
        let expected = total / TENTHS as u64;
        for (tenth, count) in counts.iter().enumerate() {
            let off = count.abs_diff(expected) * 100 / expected;
            assert!(off <= 25, "tenth {tenth} of {size}: {count} probes, expected {expected}");
        }
    }
}

#[test]
fn a_leaf_relays_probes_both_ways() {
    let mut world = Played::new(10);
    world.feed(played(0).address.socket());
    let (asker, target) = (played(1), played(2));
    let mut out = [0; PACKET_BYTES_MAX];
    while world.leaf.poll_transmit(world.now, &mut out).is_some() {}
    world.say(asker, Message::PingReq { target, probe: 9 }, &[]);
    let mut sent = |world: &mut Played| {
        let transmit = world.leaf.poll_transmit(world.now, &mut out).expect("an answer");
        let header = Packet::parse(&out[..transmit.len]).expect("parses").header;
        assert_eq!(transmit.to, header.target.address.socket());
        (header.target, header.message)
    };
    assert_eq!(sent(&mut world), (target, Message::IndirectPing { origin: asker, probe: 9 }));
    world.say(target, Message::IndirectAck { target: asker, probe: 9 }, &[]);
    assert_eq!(sent(&mut world), (asker, Message::ForwardedAck { origin: target, probe: 9 }));
    world.say(asker, Message::IndirectPing { origin: target, probe: 4 }, &[]);
    assert_eq!(sent(&mut world), (asker, Message::IndirectAck { target, probe: 4 }));
}

/// Who a leaf with a full table knows, by number.
fn known(world: &Played) -> BTreeSet<u64> {
    world.leaf.contacts().map(|contact| contact.node - 1000).collect()
}

/// A leaf that knows members 0 to 7 and has nothing more to send.
fn filled() -> Played {
    let mut world = Played::new(10);
    let updates: Vec<Update> = (0..CONTACTS as u64)
        .map(|at| Update { identity: played(at), incarnation: 0, state: State::Alive })
        .collect();
    world.say(played(0), Message::Gossip, &updates);
    assert_eq!(known(&world), (0..CONTACTS as u64).collect());
    let mut out = [0; PACKET_BYTES_MAX];
    while world.leaf.poll_transmit(world.now, &mut out).is_some() {}
    world
}

/// The contact that the answer to a probe brings.
fn handed_over(bytes: &[u8]) -> Option<Contact> {
    let packet = Packet::parse(bytes).expect("parses");
    assert!(matches!(packet.header.message, Message::Ack(_)));
    packet.broadcasts().find_map(|news| match News::parse(news) {
        Some(News::Contact(contact)) => Some(contact),
        _ => None,
    })
}

#[test]
fn who_is_probed_by_a_stranger_takes_it_in_and_hands_over_whom_it_replaced() {
    let mut world = filled();
    let (stranger, before) = (played(500), known(&world));
    let mut out = [0; PACKET_BYTES_MAX];
    for probe in 0..=u8::MAX {
        world.say_with(stranger, Message::Ping(probe), &[], Some(News::Shuffle));
        let len = world.leaf.poll_transmit(world.now, &mut out).expect("an answer").len;
        let Some(given) = handed_over(&out[..len]) else {
            assert_eq!(known(&world), before, "nothing is taken for nothing");
            continue;
        };
        let mut after = before.clone();
        assert!(after.remove(&(given.identity.node - 1000)) && after.insert(500));
        assert_eq!(known(&world), after);
        // Who is known is not exchanged once more.
        world.say_with(stranger, Message::Ping(probe), &[], Some(News::Shuffle));
        let len = world.leaf.poll_transmit(world.now, &mut out).expect("an answer").len;
        assert_eq!(handed_over(&out[..len]), None);
        return;
    }
    panic!("256 probes, and never taken in");
}

#[test]
fn a_contact_is_taken_from_the_member_that_was_probed_and_from_nobody_else() {
    let mut world = filled();
    let before = known(&world);
    let contact = |at: u64| Some(News::Contact(Contact { identity: played(at), incarnation: 3 }));
    let (due, _) = world.leaf.poll_timeout().expect("a probe");
    world.now = due;
    world.leaf.handle_timeout(due);
    let mut out = [0; PACKET_BYTES_MAX];
    let len = world.leaf.poll_transmit(world.now, &mut out).expect("a probe").len;
    let packet = Packet::parse(&out[..len]).expect("parses");
    assert!(packet.broadcasts().any(|news| News::parse(news) == Some(News::Shuffle)));
    let (probed, message) = (packet.header.target, packet.header.message);
    let Message::Ping(number) = message else { panic!("{message:?}") };

    let other = before.iter().copied().find(|at| played(*at) != probed).expect("others");
    world.say_with(played(other), Message::Broadcast, &[], contact(600));
    world.say_with(played(900), Message::Broadcast, &[], contact(600));
    world.say_with(probed, Message::Broadcast, &[], contact(other));
    let own = *world.leaf.identity();
    let ourselves = News::Contact(Contact { identity: own, incarnation: 0 });
    world.say_with(probed, Message::Broadcast, &[], Some(ourselves));
    assert_eq!(known(&world), before);

    world.say_with(probed, Message::Ack(number), &[], contact(600));
    let mut after = before;
    assert!(after.remove(&(probed.node - 1000)) && after.insert(600));
    assert_eq!(known(&world), after, "one for one");
    world.say_with(probed, Message::Ack(number), &[], contact(601));
    assert_eq!(known(&world), after, "once");
}

#[test]
fn leaves_do_not_fail_where_two_links_lose_a_tenth_each() {
    const LEAVES: usize = 8;
    const FULL: usize = 4;
    let mut failed = 0;
    for seed in 0..12 {
        let mut world = World::new(seed);
        world.grow(Kind::Full, FULL, SECOND);
        world.grow(Kind::Leaf, LEAVES, SECOND);
        world.until(SECOND.times(600), "shown", World::converged);
        world.network.loss = 190_000;
        world.run(SECOND.times(120));
        let fallen = &world.ledger.false_failures;
        assert!(fallen.is_empty(), "seed {seed}: (when, by whom, who): {fallen:?}");
        failed += (0..FULL).map(|at| world.nodes[at].pool().stats().probes_failed).sum::<u64>();
    }
    assert!(failed > 20, "hardly anybody was suspected, so hardly anybody refuted: {failed}");
}

#[test]
fn a_leaf_repeats_its_refutation_for_a_while() {
    let mut world = Played::new(10);
    world.feed(played(0).address.socket());
    let identity = *world.leaf.identity();
    let suspicion = Update { identity, incarnation: 0, state: State::Suspect };
    let refutation = Update { identity, incarnation: 1, state: State::Alive };
    let told = |world: &mut Played| {
        let mut out = [0; PACKET_BYTES_MAX];
        let mut to = Vec::new();
        while let Some(transmit) = world.leaf.poll_transmit(world.now, &mut out) {
            let packet = Packet::parse(&out[..transmit.len]).expect("parses");
            assert_eq!(packet.header.incarnation, 1);
            if let Message::Ping(number) = packet.header.message {
                world.say(packet.header.target, Message::Ack(number), &[]);
            } else if packet.updates().any(|update| update == refutation) {
                to.push(packet.header.target);
            }
        }
        to
    };
    world.say(played(1), Message::Gossip, &[suspicion]);
    let mut to = told(&mut world);
    for _ in 0..100 {
        world.now = world.now + Duration::from_millis(100);
        world.leaf.handle_timeout(world.now);
        to.extend(told(&mut world));
    }
    assert_eq!(to.len(), 8 * usize::from(Config::lan().fanout));
    let contacts: Vec<Identity> = world.leaf.contacts().copied().collect();
    assert!(contacts.iter().all(|contact| to.iter().filter(|to| *to == contact).count() >= 2));
    world.say(played(1), Message::Gossip, &[suspicion]);
    assert_eq!(told(&mut world), [played(1)], "who did not hear of it is told once more");
}

#[test]
fn a_leaf_of_another_datacentre_is_told_so() {
    let now = Instant::default();
    let card = Card::client("stray", "dc9", node_id(3), "1.8.7:");
    let mut stray =
        Leaf::<CONTACTS>::new(Config::lan(), &card, address(3), 1, 3, now).expect("fits");
    let mut full = Pool::new(Config::lan(), meta(0), address(0), 1, 7, now).expect("fits");
    let mut out = [0; PACKET_BYTES_MAX];
    for asked in 1..=3 {
        stray.join(address(0));
        let transmit = stray.poll_transmit(now, &mut out).expect("an announcement");
        full.handle_datagram(now, address(3), &out[..transmit.len]);
        let transmit = full.poll_transmit(now, &mut out).expect("an answer");
        assert_eq!(transmit.to, address(3));
        stray.handle_datagram(now, address(0), &out[..transmit.len]);
        assert_eq!((stray.foreign(), stray.contacts().count()), (asked, 0));
        assert!(full.poll_transmit(now, &mut out).is_none() && full.members().count() == 1);
    }
}
