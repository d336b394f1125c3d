//! Boards in QEMU as members of a pool of real agents. `agent-arm/firmware/check.sh` runs it;
//! without its images or root these tests say that they are skipped.
//!
//! ```text
//! hub        the switch between them: loses, delays, cuts
//! instance   one board: on, off, console
//! peer       whom a board meets that is alone
//! picture    three servers, a Linux client, boards: what each stage does and expects
//! ```

#[path = "firmware/hub.rs"]
#[allow(unreachable_pub, reason = "a test's module")]
mod hub;
#[path = "firmware/instance.rs"]
#[allow(unreachable_pub, reason = "a test's module")]
mod instance;
#[path = "firmware/peer.rs"]
#[allow(unreachable_pub, reason = "a test's module")]
mod peer;
#[path = "firmware/picture.rs"]
#[allow(unreachable_pub, reason = "a test's module")]
mod picture;
mod support;

use agent_core::gossip::{Config, Meta, Pool, Role};
use agent_core::time::Instant as PoolInstant;
use instance::{Board, Instance, images, keep_stack};
use peer::{Member, Server};
use picture::Picture;
use std::io::Write;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use support::{PATIENCE, eventually, lab};

#[test]
fn boards_are_members_like_others() {
    let test = "boards_are_members_like_others";
    if images(test).is_none() || !lab::allowed(test) {
        return;
    }
    let mut picture = Picture::new();
    picture.until_all_alive();
    picture.until_registered();
    picture.until_looked_up();
    let registered = picture.registrations();
    picture.kill_and_restart();
    picture.cut_and_heal();
    picture.until_registered();
    picture.refuse_a_twin();
    picture.lose_a_tenth();
    picture.restart_servers();
    picture.until_all_alive();
    picture.until_registered();
    assert_eq!(picture.registrations(), registered, "nothing was registered anew");
    picture.memory();
}

#[test]
fn bad_arguments_are_named_and_end_the_program() {
    if images("bad_arguments_are_named_and_end_the_program").is_none() {
        return;
    }
    let cases: [(&[&str], &str); 8] = [
        (&[], "error: argument name is missing"),
        (&["name=a", "peer=10.0.2.2"], "error: argument address is missing"),
        (&["name=a", "address=dhcp"], "error: argument peer is missing"),
        (&["name=a", "address=10.0.0.300/8"], "error: argument address=10.0.0.300/8 is malformed"),
        (&["name=a_b"], "error: argument name=a_b is malformed"),
        (&["name=a", "key=c2hvcnQ="], "error: argument key=c2hvcnQ= is malformed"),
        (&["name=a", "name=b"], "error: argument name is given too often"),
        (&["flash=1"], "error: argument flash=1 is unknown"),
    ];
    for board in [Board::Lm3s, Board::Mps2] {
        for (words, line) in cases {
            let mut device = Instance::alone(board, "bad", words);
            device.start();
            assert_eq!(device.wait(), Some(1), "{words:?}: {}", device.console());
            assert!(device.console().contains(line), "{words:?}: {}", device.console());
        }
    }
}

#[test]
fn an_address_comes_by_dhcp_and_joining_backs_off() {
    if images("an_address_comes_by_dhcp_and_joining_backs_off").is_none() {
        return;
    }
    let words = ["name=a", "address=dhcp", "peer=10.0.2.2", "tcp=10.0.2.2:9"];
    for board in [Board::Lm3s, Board::Mps2] {
        let mut device = Instance::alone(board, "dhcp", &words);
        device.start();
        device.until_console("address 10.0.2.15/24");
        device.until_console("asked 10.0.2.2:8301, next in 1 s");
        device.until_console("asked 10.0.2.2:8301, next in 8 s");
    }
}

/// A board's arguments with one member to join by, and others.
fn joining(member: &Member, others: &[&str]) -> Vec<String> {
    let mut words = vec!["name=a".into(), "address=10.0.2.15/24".into()];
    words.push(format!("peer={}", member.address));
    words.extend(others.iter().map(|word| word.to_string()));
    words
}

/// Waits until a board has said so twice, with growing waits. On a busy machine it may not have the
/// answer to one of its questions before it asks again.
fn until_backed_off(words: &[String], doubt: &str) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut device = Instance::alone(Board::Lm3s, "doubt", &words);
    device.start();
    eventually(PATIENCE, doubt, || {
        let console = device.console();
        let said =
            console.lines().filter_map(|line| line.split_once(doubt)?.1.split_once("next in "));
        let waits: Vec<u64> =
            said.filter_map(|(_, wait)| wait.strip_suffix(" s")?.parse().ok()).collect();
        let grown = waits.windows(2).all(|two| two[0] < two[1]);
        if waits.len() > 1 && grown { Ok(()) } else { Err(console) }
    });
}

#[test]
fn another_datacentre_is_named() {
    if images("another_datacentre_is_named").is_none() {
        return;
    }
    let mut pool: Option<Pool> = None;
    let member = Member::new(move |address, bytes| {
        let now = PoolInstant::default();
        let new = || Pool::new(Config::lan(), server(), address, 1, 7, now).expect("fits");
        let pool = pool.get_or_insert_with(new);
        pool.handle_datagram(now, address, bytes);
        let mut out = [0; 1500];
        let transmits = std::iter::from_fn(|| {
            let len = pool.poll_transmit(now, &mut out)?.len;
            Some(out[..len].to_vec())
        });
        transmits.collect()
    });
    let doubt = "no member of datacentre dc9 known, answers are of another datacentre: asked";
    until_backed_off(&joining(&member, &["dc=dc9"]), doubt);
}

/// A server of datacentre `dc1`.
fn server() -> Meta {
    Meta {
        role: Role::Server,
        rpc_port: 8300,
        expect: 1,
        raft_id: 1,
        ..Meta::client("server", "dc1", [7; 16], "1.8.7:")
    }
}

#[test]
fn a_wrong_gossip_key_is_named() {
    if images("a_wrong_gossip_key_is_named").is_none() {
        return;
    }
    let key = "key=MDEyMzQ1Njc4OWFiY2RlZg==";
    let silent = Member::new(|_, _| Vec::new());
    let doubt = "no member of datacentre dc1 known, under our key: asked";
    until_backed_off(&joining(&silent, &[key]), doubt);
    // What is sealed with another key, from its first bytes on.
    let sealed = Member::new(|_, bytes| {
        let mut other = bytes.to_vec();
        other[1] ^= 1;
        vec![other]
    });
    let doubt = "no member of datacentre dc1 known, answers are not sealed with our key: asked";
    until_backed_off(&joining(&sealed, &[key]), doubt);
}

#[test]
fn a_server_that_speaks_nonsense_is_named_and_asked_again_later() {
    if images("a_server_that_speaks_nonsense_is_named_and_asked_again_later").is_none() {
        return;
    }
    let (sender, accepted) = channel();
    let server = Server::new(move |mut stream| {
        let _ = sender.send(Instant::now());
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // The board ends it.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    // Before a member has answered no server is asked.
    let member = Member::lively(1, Vec::new());
    let words = joining(&member, &[&format!("server={}", server.address)]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut device = Instance::alone(Board::Mps2, "nonsense", &words);
    device.start();
    let next = || accepted.recv_timeout(PATIENCE).expect("another connection");
    let times: Vec<Instant> = (0..4).map(|_| next()).collect();
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] > Duration::from_millis(400) && gaps[2] > gaps[0] * 2, "{gaps:?}");
    let line = format!("server {} left: speaks nonsense", server.address);
    device.until_console(&line);
}

/// What a board said of itself at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Report {
    /// Seconds by the clock that it goes by.
    now: u64,
    /// Seconds by another counter.
    second: u64,
    data: u64,
    stack: u64,
    contacts: u64,
}

fn reports(console: &str) -> Vec<Report> {
    let number = |line: &str, after: &str| -> Option<u64> {
        let rest = line.split_once(after)?.1.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let report = |line: &str| {
        Some(Report {
            now: number(line, "[")?,
            second: number(line, "; second ")?,
            data: number(line, "ram: data ")?,
            stack: number(line, "stack ")?,
            contacts: number(line, "contacts ")?,
        })
    };
    console.lines().filter_map(report).collect()
}

/// Seconds of simulated time: part of an hour, or a day if `REEVE_DAY` is set.
fn simulated() -> u64 {
    if std::env::var_os("REEVE_DAY").is_some() { 24 * 3600 } else { 1200 }
}

#[test]
fn a_long_time_passes_without_drift_leak_or_stall() {
    if images("a_long_time_passes_without_drift_leak_or_stall").is_none() {
        return;
    }
    let span = simulated();
    let from = Instant::now();
    let second = Member::lively(2, Vec::new());
    let third = Member::lively(3, vec![second.update(2)]);
    let first = Member::lively(1, vec![second.update(2), third.update(3)]);
    let servers = [Server::kind(), Server::kind()];
    let mut devices: Vec<Instance> = [Board::Lm3s, Board::Mps2]
        .into_iter()
        .zip(&servers)
        .map(|(board, server)| {
            let server_word = format!("server={}", server.address);
            let tcp = format!("tcp={}", server.address);
            let words = joining(&first, &[&server_word, &tcp, "service=sensor:9000", "kv=k"]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut device = Instance::alone(board, board.name(), &words);
            device.fast_forward();
            device.start();
            device
        })
        .collect();
    let patience = Duration::from_secs(span.max(240));
    for device in &devices {
        eventually(patience, "the time has passed", || {
            let last = reports(&device.console()).last().copied();
            // Peers that answer in the host's time, which a busy host has little of, may be lost
            // for a while of the board's: then they are found again.
            if last.is_some_and(|last| last.now >= span && last.contacts >= 2) {
                Ok(())
            } else {
                Err(format!("{last:?}"))
            }
        });
    }
    devices.iter_mut().for_each(Instance::kill);
    for device in &devices {
        let console = device.console();
        let seen = reports(&console);
        let (early, last) = (seen[seen.len() / 4], seen[seen.len() - 1]);
        keep_stack(device.board, last.stack);
        println!("{}: {last:?} after {:?}", device.name, from.elapsed());
        assert!(seen.iter().all(|one| one.now.abs_diff(one.second) <= 1), "drift: {last:?}");
        assert!(seen.windows(2).all(|two| two[1].now - two[0].now <= 11), "a stall");
        assert_eq!((early.data, early.stack), (last.data, last.stack), "a leak");
        assert!(console.contains("registered") && !console.contains("fault"), "{console}");
    }
}
