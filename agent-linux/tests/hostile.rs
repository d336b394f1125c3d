//! What strangers may do to an agent: it answers the others, and its memory stays bounded.

mod support;

use agent_core::rand::Rng;
use agent_core::wire::frame::Channel;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use support::cluster::{Agent, Cluster};
use support::{PATIENCE, eventually};

/// Connections that stand idle at once.
const IDLE: usize = 10_000;

/// Memory that one of them may cost, in KiB.
const IDLE_KIB_MAX: usize = 4;

/// File descriptors that the test and the agent need besides.
const SPARE: u64 = 500;

fn server(flags: &[&str]) -> Cluster {
    let mut cluster = Cluster::loopback();
    cluster.add("hostile", &[&["-server", "-bootstrap-expect=1"], flags].concat());
    cluster.start(0);
    cluster.until_leader();
    cluster
}

fn answers(agent: &Agent) {
    let put = agent.http().put("/v1/kv/alive", "yes");
    assert_eq!((put.status, put.text().trim()), (200, "true"));
    assert_eq!(agent.http().get("/v1/kv/alive?raw").text(), "yes");
}

/// Answers how many connections fit.
fn room() -> usize {
    let files = support::raise_file_limit().saturating_sub(SPARE);
    usize::try_from(files).unwrap_or(usize::MAX).min(IDLE)
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    let idle = room();
    let cluster = server(&["-hcl", "limits { http_max_conns_per_client = 0 }"]);
    let agent = &cluster.agents[0];
    answers(agent);
    let before = agent.resident_kib();
    let connections: Vec<TcpStream> = (0..idle)
        .map(|_| TcpStream::connect(agent.http_address()).expect("one more connection"))
        .collect();
    answers(agent);
    let grown = agent.resident_kib().saturating_sub(before);
    assert!(grown < (idle * IDLE_KIB_MAX) as u64, "{idle} connections cost {grown} KiB");
    drop(connections);
    answers(agent);
}

#[test]
fn noise_on_every_port_changes_nothing() {
    let cluster = server(&[]);
    let agent = &cluster.agents[0];
    let mut dice = Rng::new(20_261_122);
    let mut noise = |bytes: usize| -> Vec<u8> {
        (0..bytes).map(|_| dice.next_u64().to_le_bytes()[0]).collect()
    };
    let socket = UdpSocket::bind((agent.address, 0)).expect("a socket");
    for round in 0..4000 {
        for port in [8301, 8302, 8600] {
            let packet = noise(round % 1400);
            socket.send_to(&packet, (agent.address, port)).expect("a packet leaves");
        }
    }
    let before = agent.resident_kib();
    let mut open = Vec::new();
    for round in 0..200 {
        for port in [8300, 8301, 8302, 8500, 8600] {
            let mut stream = TcpStream::connect((agent.address, port)).expect("a connection");
            // The agent may hang up at the first byte that makes no sense.
            let _ = stream.write_all(&noise(round * 16));
            open.push(stream);
        }
    }
    // Frames that announce more than anybody may send.
    for first in [0x11, 0x21] {
        let mut stream = TcpStream::connect((agent.address, 8300)).expect("a connection");
        let _ = stream.write_all(&[first, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0]);
        open.push(stream);
    }
    // Who was refused has a moment to read it, and keeps one of the client's places until then.
    eventually(PATIENCE, "the client has a place again", || {
        let asked = agent.http().try_request("GET", "/v1/status/leader", b"");
        asked.map(drop).map_err(|error| error.to_string())
    });
    answers(agent);
    drop(open);
    answers(agent);
    let grown = agent.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "noise cost {grown} KiB");
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
}

#[test]
fn the_rpc_port_keeps_to_its_limits() {
    let limits = "limits { rpc_max_conns_per_client = 2, rpc_handshake_timeout = \"200ms\" }";
    let cluster = server(&["-hcl", limits]);
    let agent = &cluster.agents[0];
    let open = || {
        let stream = TcpStream::connect((agent.address, 8300)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    // The channel's byte keeps a connection; a third one from the same address is closed at once.
    let mut kept: Vec<TcpStream> = (0..2).map(|_| open()).collect();
    for stream in &mut kept {
        stream.write_all(&[Channel::Request.emit()]).expect("a byte leaves");
    }
    assert_eq!(open().read(&mut [0]).expect("closed"), 0);
    drop(kept);
    // One that says nothing is closed, long before Consul's five seconds.
    eventually(PATIENCE, "a place is free again", || {
        let begun = Instant::now();
        let mut silent = open();
        assert_eq!(silent.read(&mut [0]).expect("closed"), 0);
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(4), "{waited:?}");
        let was_let_in = waited >= Duration::from_millis(150);
        if was_let_in { Ok(()) } else { Err(format!("closed after {waited:?}")) }
    });
}
