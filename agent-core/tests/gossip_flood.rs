//! Floods: whoever speaks the pool's language can invent members, and gets no further than that.
#![cfg(feature = "alloc")]

use std::net::SocketAddr;

use agent_core::gossip::identity::Identity;
use agent_core::gossip::meta::META_BYTES_MAX;
use agent_core::gossip::news::{News, Stamp};
use agent_core::gossip::{Card, Config, MEMBERS_MAX, Meta, Pool, Status};
use agent_core::rand::Rng;
use agent_core::time::{Duration, Instant};
use agent_core::wire::packet::{Emitter, Header, Message, PACKET_BYTES_MAX, Packet, State, Update};

/// Most updates and news that wait, as the pool's documentation has it.
const BACKLOG_MAX: (usize, usize) = (512, 256);

fn here(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn described(number: u64) -> (Identity, Vec<u8>) {
    let name = format!("node{number}");
    let card = Card::client(&name, "dc1", u128::from(number).to_be_bytes(), "1.8.7:");
    let mut bytes = [0; META_BYTES_MAX];
    let len = card.emit(&mut bytes).expect("room");
    (Identity::new(here(number as u16), 1, card.node()), bytes[..len].to_vec())
}

/// A pool with one honest member, which has introduced itself.
struct Flooded {
    pool: Pool,
    now: Instant,
    dice: Rng,
}

impl Flooded {
    fn new() -> Self {
        let now = Instant::from_micros(1);
        let meta = Meta::parse(&described(1).1).expect("well formed");
        let pool = Pool::new(Config::lan(), meta, here(1), 1, 1, now).expect("fit");
        let mut flooded = Self { pool, now, dice: Rng::new(1) };
        let (honest, card) = described(2);
        let stamp = Stamp { generation: 1, version: 1 };
        flooded.hear(honest, Message::Ping(1), &[], None);
        flooded.tell(honest, &News::Meta { node: honest.node, stamp, body: &card });
        assert!(flooded.shows_honest());
        flooded
    }

    fn shows_honest(&self) -> bool {
        let mut members = self.pool.members();
        members.any(|member| member.name == "node2" && member.status == Status::Alive)
    }

    fn tell(&mut self, from: Identity, news: &News<'_>) {
        let mut piece = [0; PACKET_BYTES_MAX];
        let len = news.emit(&mut piece).expect("room");
        self.hear(from, Message::Broadcast, &[], Some(&piece[..len]));
    }

    fn hear(&mut self, from: Identity, message: Message, updates: &[Update], news: Option<&[u8]>) {
        let target = *self.pool.identity();
        let pool = Config::lan().label("dc1");
        let header = Header { pool, source: from, incarnation: 0, target, message };
        let mut out = [0; PACKET_BYTES_MAX];
        let mut emitter = Emitter::new(&mut out, &header).expect("room");
        for update in updates {
            emitter.push_update(update).expect("room");
        }
        if let Some(news) = news {
            emitter.push_broadcast(news).expect("room");
        }
        let len = emitter.finish();
        self.pool.handle_datagram(self.now, from.address.socket(), &out[..len]);
        let mut sent = 0;
        while self.pool.poll_transmit(self.now, &mut out).is_some() {
            sent += 1;
        }
        assert!(sent <= 2, "one datagram provokes {sent}");
        while self.pool.poll_event().is_some() {}
        let (updates, news) = self.pool.backlog();
        assert!(updates <= BACKLOG_MAX.0 + 64 && news <= BACKLOG_MAX.1, "{updates} {news}");
    }

    fn stranger(&mut self) -> Identity {
        let [.., a, b, c] = self.dice.next_u64().to_be_bytes();
        let at = SocketAddr::from(([10, a, b, c], 8301));
        Identity::new(at, 1, self.dice.next_u64())
    }

    /// Lets seconds pass without a word from anybody but the honest member, which probes as we do.
    fn pass(&mut self, seconds: u64) {
        let (honest, _) = described(2);
        for _ in 0..seconds * 2 {
            self.now = self.now + Duration::from_millis(500);
            self.pool.handle_timeout(self.now);
            let mut out = [0; PACKET_BYTES_MAX];
            let mut asked = None;
            while let Some(sent) = self.pool.poll_transmit(self.now, &mut out) {
                let header = Header::parse(&out[..sent.len]).expect("well formed").0;
                if let (Message::Ping(number), true) = (header.message, header.target == honest) {
                    asked = Some(number);
                }
            }
            let answer = asked.map_or(Message::Ping(0), Message::Ack);
            self.hear(honest, answer, &[], None);
            while self.pool.poll_event().is_some() {}
        }
    }
}

#[test]
fn strangers_are_taken_in_up_to_the_bound_and_push_nobody_out() {
    let mut flooded = Flooded::new();
    let (honest, _) = described(2);
    let excess = 500;
    let mut invented = 0;
    while invented < MEMBERS_MAX + excess {
        let updates: Vec<Update> = (0..30)
            .map(|_| Update { identity: flooded.stranger(), incarnation: 0, state: State::Alive })
            .collect();
        invented += updates.len();
        flooded.hear(honest, Message::Gossip, &updates, None);
    }
    assert!(flooded.pool.stats().refused >= excess as u64, "{:?}", flooded.pool.stats());
    assert!(flooded.shows_honest());
    assert_eq!(flooded.pool.members().count(), 2, "a stranger without a name is not shown");
    assert_eq!(flooded.pool.stats().faults, 0);
}

#[test]
fn strangers_that_join_and_never_answer_are_soon_forgotten() {
    let mut flooded = Flooded::new();
    for _ in 0..200 {
        let stranger = flooded.stranger();
        flooded.hear(stranger, Message::Announce, &[], None);
    }
    assert_eq!(flooded.pool.known(), 201);
    flooded.pass(600);
    assert_eq!(flooded.pool.known(), 1, "only the honest one");
    assert!(flooded.shows_honest());
}

#[test]
fn a_newcomer_is_asked_who_it_is_however_many_never_answer_that() {
    let mut flooded = Flooded::new();
    for _ in 0..200 {
        let stranger = flooded.stranger();
        flooded.hear(stranger, Message::Announce, &[], None);
    }
    // The last in the order of node keys.
    let newcomer = Identity::new(here(3), 1, u64::MAX);
    flooded.hear(newcomer, Message::Announce, &[], None);
    let mut asked = false;
    for _ in 0..50 {
        flooded.now = flooded.now + Duration::from_millis(300);
        flooded.pool.handle_timeout(flooded.now);
        let mut out = [0; PACKET_BYTES_MAX];
        while let Some(sent) = flooded.pool.poll_transmit(flooded.now, &mut out) {
            let packet = Packet::parse(&out[..sent.len]).expect("well formed");
            let wanted = News::Want { node: newcomer.node };
            asked |= packet.header.target == newcomer
                && packet.broadcasts().any(|news| News::parse(news) == Some(wanted));
        }
    }
    assert!(asked, "not within 15 s, in which 50 rounds ask 16 of 201 members each");
}

#[test]
fn the_end_of_unknown_members_is_not_kept() {
    let mut flooded = Flooded::new();
    let (honest, _) = described(2);
    for _ in 0..1000 {
        let updates: Vec<Update> = (0..30)
            .map(|_| Update { identity: flooded.stranger(), incarnation: 0, state: State::Down })
            .collect();
        flooded.hear(honest, Message::Gossip, &updates, None);
    }
    assert_eq!(flooded.pool.known(), 1);
    assert!(flooded.shows_honest());
}

#[test]
fn metadata_over_its_bound_is_refused_and_not_passed_on() {
    let mut flooded = Flooded::new();
    let (honest, _) = described(2);
    let (waiting, refused) = (flooded.pool.backlog().1, flooded.pool.stats().refused);
    let body = [7; 1200];
    for number in 10..200 {
        let stranger = Identity::new(here(number), 1, u64::from(number));
        flooded.hear(stranger, Message::Ping(1), &[], None);
        let stamp = Stamp { generation: 1, version: 1 };
        flooded.tell(stranger, &News::Meta { node: stranger.node, stamp, body: &body });
        flooded.tell(honest, &News::Meta { node: stranger.node, stamp, body: &body });
    }
    assert!(flooded.pool.backlog().1 <= waiting, "it waits to be passed on");
    assert_eq!(flooded.pool.stats().refused - refused, 2 * 190);
    assert_eq!(flooded.pool.members().count(), 2);
}
