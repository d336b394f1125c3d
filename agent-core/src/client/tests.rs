//! A client against servers of every temper, without a network.

use super::*;
use crate::health::{Pace, Plan, Thresholds};
use crate::wire::frame::{Header, Kind};
use crate::wire::message::{Refusal, TELL_BYTES_MIN, parse};
use std::string::ToString;
use std::vec::Vec as List;

type Small = Client<'static, 2, 16, 256>;

const SERVERS: [SocketAddr; 2] = [server(1), server(2)];

const fn server(last: u8) -> SocketAddr {
    SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, last)), 8300)
}

const PLAN: Plan = Plan {
    pace: Pace::Told,
    thresholds: Thresholds { success_before_passing: 0, failures_before_critical: 0 },
    status: Status::Critical,
    critical_max: Duration::ZERO,
};

const fn check(id: &'static str, service_id: &'static str) -> Check<'static> {
    Check { id, name: id, service_id, kind: "", notes: "", plan: PLAN }
}

const PROFILE: Profile<'static> = Profile {
    node: "n",
    node_id: [7; 16],
    datacenter: "dc1",
    address: "10.0.0.9",
    token: "",
    meta: &[],
    servers: &SERVERS,
    services: &[Service { id: "a", name: "a", tags: &[], address: "", port: 1, meta: &[] }],
    checks: &[check("c0", "a"), check("c1", "")],
};

/// A client and what a driver knows.
struct Bench {
    now: Instant,
    client: Small,
    heard: List<u8>,
    linked: Option<u32>,
    events: List<std::string::String>,
}

impl Bench {
    fn new(profile: Profile<'static>) -> Self {
        let now = Instant::from_micros(5_000_000);
        let client = Small::new(profile, 3, now).expect("fits");
        Self { now, client, heard: List::new(), linked: None, events: List::new() }
    }

    /// Lets time pass until what is due next was done.
    fn wait(&mut self) -> Reason {
        let (at, reason) = self.client.poll_timeout().expect("a client is never done");
        self.now = self.now.max(at);
        self.client.handle_timeout(self.now);
        self.drain();
        reason
    }

    /// Makes the wanted connection; answers the server.
    fn connect(&mut self) -> SocketAddr {
        while self.client.link().is_none() {
            self.wait();
        }
        let link = self.client.link().expect("just seen");
        self.linked = Some(link.number);
        self.heard.clear();
        self.client.handle_connected(self.now);
        link.server
    }

    fn drain(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.events.push(std::format!("{event:?}"));
        }
    }

    /// Takes the next request off the connection; nothing if the client has nothing to say.
    fn ask(&mut self) -> Option<(Header, List<u8>)> {
        let mut piece = [0; 7];
        while let Some(count) = self.client.poll_transmit_stream(self.now, &mut piece) {
            self.heard.extend_from_slice(&piece[..count]);
        }
        if self.heard.first() == Some(&0x31) {
            self.heard.remove(0);
        }
        let head = self.heard.first_chunk::<HEADER_BYTES>()?;
        let header = Header::parse(head, 2048).expect("a frame");
        let body = self.heard.split_off(HEADER_BYTES);
        self.heard.clear();
        assert_eq!(body.len(), header.length as usize, "one frame at a time");
        Some((header, body))
    }

    fn tell(&mut self, id: u32, tell: &Tell<Lent<'_>>) {
        let mut body = [0; 256];
        let length = emit(tell, &mut body).expect("room");
        let mut bytes = Header::new(Kind::Reply, id, length as u32).emit().to_vec();
        bytes.extend_from_slice(&body[..length]);
        for piece in bytes.chunks(3) {
            assert_eq!(self.client.handle_bytes(self.now, piece), piece.len());
        }
        self.drain();
    }

    /// Answers everything kindly until there is nothing more; tells what was asked.
    fn serve(&mut self) -> List<std::string::String> {
        let mut asked = List::new();
        while let Some((header, body)) = self.ask() {
            if header.kind == Kind::Ping {
                asked.push("Ping".to_string());
                let pong = Header::new(Kind::Pong, header.id, 0).emit();
                self.client.handle_bytes(self.now, &pong);
                continue;
            }
            let ask: Ask<Lent<'_>> = parse(&body).expect("a message");
            asked.push(describe(&ask));
            match ask {
                Ask::Hello { .. } => self.tell(header.id, &welcome()),
                Ask::Get { .. } => {
                    self.tell(header.id, &Tell::Value { value: b"v", flags: 1, index: 2 });
                }
                _ => self.tell(header.id, &Tell::Done),
            }
        }
        self.drain();
        asked
    }

    fn saw(&self, text: &str) -> bool {
        self.events.iter().any(|event| event.contains(text))
    }
}

fn welcome() -> Tell<Lent<'static>> {
    Tell::Welcome { version: 1, sync_secs: 60, datacenter: "dc1" }
}

fn describe(ask: &Ask<Lent<'_>>) -> std::string::String {
    match ask {
        Ask::Check { id, status, output, .. } => {
            std::format!("Check {id} {} {output}", status.as_str())
        }
        Ask::Service { id, .. } => std::format!("Service {id}"),
        Ask::Remove { service, .. } => std::format!("Remove {service}"),
        Ask::Hello { .. } => "Hello".to_string(),
        Ask::Get { key } => std::format!("Get {key}"),
        other => std::format!("{other:?}"),
    }
}

const WHOLE: [&str; 5] =
    ["Hello", "Service a", "Check c0 critical ", "Check c1 critical ", "Settled"];

#[test]
fn everything_is_told_on_a_new_connection_and_again_from_time_to_time() {
    let mut bench = Bench::new(PROFILE);
    bench.connect();
    assert_eq!(bench.serve(), WHOLE);
    assert!(bench.client.is_registered());
    assert!(bench.saw("Connected") && bench.saw("Registered"));
    let registered = bench.now;
    let mut asked = List::new();
    while !asked.contains(&"Hello".to_string()) {
        assert_eq!(bench.wait(), Reason::Turn);
        asked = bench.serve();
        assert!(asked == WHOLE || asked == ["Ping"], "{asked:?}");
    }
    let period = bench.now.since(registered).millis();
    assert!((60_000..75_000).contains(&period), "{period} ms");
    assert_eq!(bench.events.iter().filter(|event| event.contains("Registered")).count(), 1);
}

#[test]
fn a_turn_is_told_at_once_and_an_output_alone_waits() {
    let mut bench = Bench::new(PROFILE);
    bench.connect();
    bench.serve();
    bench.client.set_check(1, Status::Critical, "still");
    assert!(bench.serve().is_empty());
    bench.client.set_check(0, Status::Passing, "0123456789abcde\u{e9}");
    assert_eq!(bench.serve(), ["Check c0 passing 0123456789abcde"]);
    assert!(bench.serve().is_empty());
    bench.client.resync(bench.now);
    assert!(bench.serve().contains(&"Check c1 critical still".to_string()));
}

#[test]
fn a_lost_server_is_left_for_the_next_one_and_pauses_double() {
    let mut bench = Bench::new(PROFILE);
    let first = bench.connect();
    bench.serve();
    bench.client.handle_closed(bench.now);
    assert_eq!(bench.client.link(), None);
    let second = bench.connect();
    assert_ne!(first, second);
    assert_eq!(bench.serve(), WHOLE);
    let mut pauses = List::new();
    for _ in 0..9 {
        bench.client.handle_closed(bench.now);
        let from = bench.now;
        while bench.client.link().is_none() {
            bench.wait();
        }
        pauses.push(bench.now.since(from).millis());
    }
    assert!((500..=1000).contains(&pauses[0]), "{pauses:?}");
    assert!((30_000..=60_000).contains(&pauses[8]), "{pauses:?}");
    assert!(bench.saw("Lost") && bench.saw("Unreachable") && bench.saw("Closed"));
}

#[test]
fn a_silent_server_and_one_that_speaks_nonsense_are_left() {
    let mut bench = Bench::new(PROFILE);
    bench.connect();
    bench.ask().expect("hello");
    assert_eq!(bench.wait(), Reason::Silence);
    assert!(bench.saw("Silent"), "{:?}", bench.events);
    for nonsense in [&b"HTTP/1.1 400 Bad Request\r\n"[..], &[9; 30], &[0, 0, 0, 0, 9, 9, 9, 9, 2]] {
        bench.connect();
        bench.ask().expect("hello");
        bench.client.handle_bytes(bench.now, nonsense);
        assert_eq!(bench.client.link(), None);
    }
    bench.connect();
    let (header, _) = bench.ask().expect("hello");
    bench.tell(header.id, &Tell::Missing);
    bench.drain();
    assert_eq!(bench.events.iter().filter(|event| event.contains("Nonsense")).count(), 4);
}

#[test]
fn a_refusal_names_what_is_wrong_and_is_tried_again() {
    let mut bench = Bench::new(PROFILE);
    bench.connect();
    let (header, _) = bench.ask().expect("hello");
    let text = "Node name n is reserved";
    bench.tell(header.id, &Tell::Refused { reason: Refusal::Name, text });
    assert!(bench.saw("Refused { item: Node, reason: Name, text: \"Node name n is reserved\" }"));
    assert!(bench.saw("why: Refused"));
    bench.connect();
    assert_eq!(bench.serve(), WHOLE);
}

#[test]
fn an_item_that_is_wrong_in_itself_does_not_hold_the_others_up() {
    let mut bench = Bench::new(PROFILE);
    bench.connect();
    let (header, _) = bench.ask().expect("hello");
    bench.tell(header.id, &welcome());
    let (header, _) = bench.ask().expect("a service");
    bench.tell(header.id, &Tell::Refused { reason: Refusal::Invalid, text: "bad" });
    assert_eq!(bench.serve(), &WHOLE[2..]);
    assert!(bench.saw("item: Service(0), reason: Invalid"));
}

#[test]
fn a_withdrawn_service_goes_with_its_checks() {
    let mut bench = Bench::new(PROFILE);
    bench.connect();
    bench.serve();
    bench.client.withdraw(0);
    bench.client.withdraw(77);
    bench.client.set_check(0, Status::Warning, "");
    assert_eq!(bench.serve(), ["Remove a"]);
    bench.client.resync(bench.now);
    assert_eq!(bench.serve(), ["Hello", "Check c1 critical ", "Settled"]);
}

#[test]
fn look_ups_wait_for_their_turn_one_at_a_time_and_not_for_ever() {
    let mut bench = Bench::new(PROFILE);
    bench.client.get(bench.now, "k").expect("free");
    assert_eq!(bench.client.leader(bench.now), Err(Busy::Waiting));
    assert_eq!(bench.client.put(bench.now, "k", &[0; 300], 0), Err(Busy::Waiting));
    bench.connect();
    assert_eq!(bench.serve()[..2], ["Hello", "Get k"]);
    assert!(bench.saw("Answer(Value { value: [118], flags: 1, index: 2 })"));
    assert_eq!(bench.client.put(bench.now, "k", &[0; 300], 0), Err(Busy::TooLong));

    bench.client.get(bench.now, "k").expect("free again");
    bench.ask().expect("the question");
    bench.client.handle_closed(bench.now);
    bench.drain();
    assert!(bench.saw("Unanswered"));
    let before = bench.events.len();
    bench.client.leader(bench.now).expect("free again");
    for _ in 0..20 {
        bench.wait();
        if bench.client.link().is_some() {
            bench.client.handle_closed(bench.now);
        }
    }
    assert!(bench.events[before..].iter().any(|event| event == "Unanswered"));
}

#[test]
fn without_servers_it_says_so_and_takes_the_first_that_is_offered() {
    let mut bench = Bench::new(Profile { servers: &[], ..PROFILE });
    bench.wait();
    assert!(bench.saw("NoServer"));
    bench.client.offer_server(bench.now, server(9));
    assert_eq!(bench.connect(), server(9));
    for last in 10..40 {
        bench.client.offer_server(bench.now, server(last));
    }
    assert_eq!(bench.client.servers().count(), SERVERS_MAX);
    assert!(bench.client.servers().any(|known| known == server(9)), "the one in use stays");
}

#[test]
fn a_held_client_turns_to_no_server_until_it_is_released() {
    let mut bench = Bench::new(PROFILE);
    bench.client.hold();
    bench.client.offer_server(bench.now, server(9));
    assert_eq!(bench.client.poll_timeout(), None);
    bench.now = bench.now + Duration::from_secs(100);
    bench.client.handle_timeout(bench.now);
    bench.client.handle_connected(bench.now);
    assert_eq!((bench.client.link(), bench.ask()), (None, None));
    bench.client.get(bench.now, "k").expect("free");
    assert_eq!(bench.wait(), Reason::Silence);
    assert_eq!(bench.events, ["Unanswered"]);
    bench.client.release(bench.now);
    bench.connect();
    assert_eq!(bench.serve(), WHOLE);
    bench.client.release(bench.now);
    assert!(bench.client.is_registered() && bench.client.link().is_some());
}

#[test]
fn what_does_not_fit_is_named_at_once() {
    let long = Profile { node: LONG, ..PROFILE };
    assert_eq!(Small::new(long, 1, Instant::default()).err(), Some(Error::Node));
    let checks = [check("x", LONG)];
    let long = Profile { checks: &checks, ..PROFILE };
    let made = Client::<'_, 2, 16, 256>::new(long, 1, Instant::default());
    assert_eq!(made.err(), Some(Error::Check(0)));
    let checks = [check("x", ""); 3];
    let many = Profile { checks: &checks, ..PROFILE };
    let made = Client::<'_, 2, 16, 256>::new(many, 1, Instant::default());
    assert_eq!(made.err(), Some(Error::Checks));
    const { assert!(TELL_BYTES_MIN < 256) };
}

const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789\
                    0123456789012345678901234567890123456789012345678901234567890123456789\
                    0123456789012345678901234567890123456789012345678901234567890123456789\
                    0123456789012345678901234567890123456789012345678901234567890123456789";
