//! What the black-box tests share: real `reeve` processes on addresses of their own.
//!
//! ```text
//! answer    answers in a form that can be compared: masked, a line for each value
//! cluster   agents: start, kill, restart, wipe; logs of a failed test
//! device    devices: likewise
//! http      a small blocking HTTP client
//! lab       network namespaces that can be cut from each other; small disks
//! solo      a server of one in the test's own process
//! ```
//!
//! Nothing here sleeps for its own sake: [`eventually`] asks a condition again until its deadline.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod answer;
pub mod cluster;
pub mod device;
pub mod http;
pub mod lab;
pub mod solo;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Answers the command under test: `reeve`, or what `REEVE_UNDER_TEST` names. Consul itself passes
/// most of these tests, which says that they ask for the right thing.
pub fn reeve() -> String {
    std::env::var("REEVE_UNDER_TEST").unwrap_or_else(|_| env!("CARGO_BIN_EXE_reeve").to_string())
}

/// Raises what the system allows this process and its children to open; answers how much it is.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may reach the hard one");
    limit.maximum.unwrap_or(u64::MAX)
}

/// How long a test waits for a condition unless it says otherwise: long, as machines may be slow.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// Between two questions.
const POLL: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers; panics after `patience` with `what` and the last refusal.
pub fn eventually<T>(
    patience: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(why) => {
                assert!(Instant::now() < deadline, "{what}: not within {patience:?}: {why}")
            }
        }
        std::thread::sleep(POLL);
    }
}

/// Lets the time between two questions pass: for clients that ask on and on.
pub fn between() {
    std::thread::sleep(POLL);
}

/// As [`eventually`], for tests whose conditions live on the same runtime.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(POLL / 4).await;
    }
}

/// Asks `holds` again and again for `time`; panics when it stops holding.
pub fn always(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(holds(), "{what}: no longer true");
        std::thread::sleep(POLL);
    }
}

/// Answers a loopback address that nobody else uses: derived from the process and a counter, and
/// checked on the ports that an agent binds.
pub fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..4096 {
        let number = std::process::id().wrapping_mul(199) + NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        // Two numbers never share an address, or an agent gets that of one that is yet to start.
        if matches!(c, 0 | 255) {
            continue;
        }
        let address = Ipv4Addr::new(127, 64 | (a & 127), b, c);
        let tcp =
            [8300, 8301, 8500, 8600].iter().all(|port| TcpListener::bind((address, *port)).is_ok());
        let udp = [8301, 8600].iter().all(|port| UdpSocket::bind((address, *port)).is_ok());
        if tcp && udp {
            return address;
        }
    }
    panic!("no free loopback address");
}

/// A folder that goes away with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reeve-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
