//! Checks of `reeve-device`, each against something real: a listener, a server, a program, a file.

use agent_arm::posix::config::Probe;
use agent_arm::posix::probe::{Outcome, Run};
use agent_core::health::Status;
use agent_core::time::{Duration, Instant};
use rustix::event::{PollFd, Timespec, poll};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::{JoinHandle, spawn};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a check to its end, as the device's loop does: looks when a descriptor is ready, a child
/// may have ended, or the time is over.
fn outcome(probe: &Probe, timeout: Duration) -> Outcome {
    let origin = std::time::Instant::now();
    let now = || Instant::from_micros(origin.elapsed().as_micros() as u64);
    let mut run = Run::start(probe, timeout, now());
    loop {
        if let Some(outcome) = run.step(now()) {
            return outcome;
        }
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        run.poll_fds(&mut fds);
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).expect("polls");
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// A server for one request, which it answers with these bytes; it tells the request.
fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
    let (listener, address) = listener();
    let answer = answer.into();
    let served = spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 512];
            let count = stream.read(&mut piece).expect("a request");
            assert!(count > 0, "a whole request");
            request.extend_from_slice(&piece[..count]);
        }
        // A check that has seen enough closes early.
        let _ = stream.write_all(&answer);
        String::from_utf8(request).expect("text")
    });
    (address, served)
}

fn http(answer: impl Into<Vec<u8>>) -> Outcome {
    let (address, served) = server(answer);
    let outcome = outcome(&Probe::Http(address, "/health?a=b".into()), TIMEOUT);
    let request = served.join().expect("served");
    assert!(request.starts_with("GET /health?a=b HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    outcome
}

fn script(text: &str, timeout: Duration) -> Outcome {
    outcome(&Probe::Script(["sh", "-c", text].map(String::from).into()), timeout)
}

#[test]
fn tcp_passes_while_somebody_listens() {
    let (listener, address) = listener();
    let passing = (Status::Passing, format!("TCP connect {address}: Success"));
    assert_eq!(outcome(&Probe::Tcp(address), TIMEOUT), passing);
    drop(listener);
    let (status, output) = outcome(&Probe::Tcp(address), TIMEOUT);
    assert_eq!(status, Status::Critical);
    assert!(output.starts_with(&format!("dial tcp {address}: Connection refused")), "{output}");
}

#[test]
fn http_goes_by_the_status_of_the_answer() {
    let answer = |status: &str| format!("HTTP/1.1 {status}\r\nServer: s\r\n\r\nbody");
    for (line, wanted) in [
        ("200 OK", Status::Passing),
        ("204 No Content", Status::Passing),
        ("429 Too Many Requests", Status::Warning),
        ("301 Moved Permanently", Status::Critical),
        ("500 Internal Server Error", Status::Critical),
    ] {
        let (status, output) = http(answer(line));
        assert_eq!(status, wanted, "{line}");
        assert!(output.starts_with("HTTP GET http://127.0.0.1:"), "{output}");
        assert!(output.ends_with(&format!("/health?a=b: {line} Output: body")), "{output}");
    }
}

#[test]
fn http_refuses_nonsense_and_reads_only_the_start_of_a_long_answer() {
    for nonsense in ["", "\r\n\r\n", "SSH-2.0-x\r\n", "HTTP/1.1\r\n\r\n", "HTTP/3 200 OK\r\n\r\n"] {
        let (status, output) = http(nonsense);
        assert_eq!(status, Status::Critical, "{nonsense:?}");
        assert!(output.ends_with("malformed HTTP response"), "{output}");
    }
    let (status, output) = http([b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 1 << 20][..]].concat());
    assert_eq!(status, Status::Passing);
    assert!(output.len() < 8192, "{} bytes", output.len());
    // Nobody listens there any more.
    let address = listener().1;
    let (status, output) = outcome(&Probe::Http(address, "/".into()), TIMEOUT);
    assert_eq!(status, Status::Critical);
    assert!(output.contains("Connection refused"), "{output}");
}

#[test]
fn a_server_that_does_not_answer_is_critical_after_the_timeout() {
    // The system takes the connection; nobody accepts it.
    let (_listener, address) = listener();
    let timed_out = (Status::Critical, "Timed out (0.2s) running check".into());
    let probe = Probe::Http(address, "/".into());
    assert_eq!(outcome(&probe, Duration::from_millis(200)), timed_out);
}

#[test]
fn scripts_go_by_their_exit_code_and_both_outputs_are_kept() {
    let cases = [
        ("echo a; echo b >&2", Status::Passing, "a\nb\n"),
        ("echo low; exit 1", Status::Warning, "low\n"),
        ("exit 2", Status::Critical, ""),
        ("kill -9 $$", Status::Critical, ""),
    ];
    for (text, status, output) in cases {
        assert_eq!(script(text, TIMEOUT), (status, output.into()), "{text}");
    }
    let (status, output) = script("head -c 1000000 /dev/zero", TIMEOUT);
    assert_eq!(status, Status::Passing, "a long output is read to its end");
    assert_eq!(output.len(), 4096);
    let (status, output) = outcome(&Probe::Script(vec!["/no/such/program".into()]), TIMEOUT);
    assert_eq!(status, Status::Critical);
    assert!(output.starts_with("/no/such/program: No such file"), "{output}");
}

#[test]
fn a_script_that_hangs_is_ended_at_the_timeout() {
    let file = std::env::temp_dir().join(format!("reeve-probe-{}", std::process::id()));
    let text = format!("echo $$ > {}; exec tail -f /dev/null", file.display());
    let (status, output) = script(&text, Duration::from_secs(2));
    assert_eq!((status, output.as_str()), (Status::Critical, "Timed out (2s) running check"));
    let child = std::fs::read_to_string(&file).expect("it started");
    std::fs::remove_file(&file).expect("removed");
    let process = std::path::Path::new("/proc").join(child.trim());
    assert!(!process.exists(), "it was ended and waited for");
}

#[test]
fn a_file_passes_while_it_holds_a_one() {
    let file = std::env::temp_dir().join(format!("reeve-gpio-{}", std::process::id()));
    let path = file.display().to_string();
    let probe = Probe::Gpio(path.clone());
    std::fs::write(&file, "1\n").expect("written");
    assert_eq!(outcome(&probe, TIMEOUT), (Status::Passing, format!("{path}: 1")));
    std::fs::write(&file, "0\n").expect("written");
    assert_eq!(outcome(&probe, TIMEOUT), (Status::Critical, format!("{path}: 0")));
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(outcome(&probe, TIMEOUT).0, Status::Critical);
}
