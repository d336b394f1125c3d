//! What `reeve-device` reads from outside, as `fn(&[u8])`. (Datagrams and the server's words are
//! agent-core's: its targets `leaf`, `seal` and `client`.)

use super::replay::Target;
use agent_arm::Device;
use agent_arm::device::Start;
use agent_arm::posix::config::Config;
use agent_arm::posix::http::Http;
use agent_core::client::Profile;
use agent_core::gossip::Config as Pool;
use agent_core::time::Instant;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// Those that only compute.
pub const PURE: &[Target] = &[Target { name: "config", run: config, seeds: files }];

/// Those that speak through a socket: slower.
pub const SOCKETS: &[Target] = &[Target { name: "http", run: http, seeds: requests }];

const FILE: &str = r#"
node_name = "pump-7" # a pump house
node_id = "01234567-89ab-cdef-0123-456789abcdef"
bind_addr = "10.0.0.7"
encrypt = "cg8StVXbQJ0gPvMd9o7yrg=="
retry_join = ["10.0.0.1", "10.0.0.2:9301"]
http_addr = "127.0.0.1"
meta { floor = "2" }
service { name = "pump" port = 80 tags = ["wet"] }
check { id = "flow" service_id = "pump" gpio_file = "/nowhere" interval = "2s" }
check { id = "web" http = "http://127.0.0.1:81/health?a=b" timeout = "1s" }
check { id = "run" args = ["true", "x"] status = "passing" }
check { id = "beat" ttl = "1h" }
"#;

fn files() -> Vec<Vec<u8>> {
    vec![FILE.into()]
}

/// The configuration file. Whatever is taken can be run: a service for each check.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => {
            let known = |id: &str| config.services.iter().any(|service| service.id == id);
            let mut ids = config.checks.iter().map(|check| check.service_id.as_str());
            assert!(ids.all(|id| id.is_empty() || known(id)), "no check is about nothing");
        }
        Err(error) => assert!(error.line <= text.lines().count() + 1, "{error}"),
    }
}

fn requests() -> Vec<Vec<u8>> {
    let whole = [
        "GET /v1/agent/self HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /v1/agent/checks HTTP/1.0\r\n\r\n",
        "GET /v1/agent/services HTTP/1.1\r\n\r\n",
        "GET /v1/health/service/pump?passing&tag=wet HTTP/1.1\r\n\r\n",
        "GET /v1/status/leader HTTP/1.1\r\n\r\n",
        "GET /v1/kv/a%2Fb?raw HTTP/1.1\r\n\r\n",
        "PUT /v1/kv/a?flags=3 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",
        "PUT /v1/agent/check/pass/beat?note=a+b HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "PUT /v1/agent/check/update/beat HTTP/1.1\r\nContent-Length: 38\r\n\r\n\
         {\"Status\": \"warning\", \"Output\": \"\\u00e9\"}",
    ];
    whole.map(Vec::from).into()
}

/// The local HTTP interface: what arrives on a connection gets a whole answer, waits for a server,
/// or ends the connection.
pub fn http(data: &[u8]) {
    let config = Config::parse(FILE).expect("a whole file");
    let mut now = Instant::from_micros(1_000_000);
    let start = Start {
        config: Pool::lan(),
        profile: PROFILE,
        address: SocketAddr::from(([10, 0, 0, 7], 8301)),
        generation: 1,
        seed: 7,
    };
    let mut device: Device<'static> = Device::new(start, now).expect("fits");
    let mut http = Http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("binds");
    let mut peer = TcpStream::connect(http.address().expect("bound")).expect("connects");
    // A peer that is refused early may find its connection closed while it writes.
    let _ = peer.write_all(data);
    let _ = peer.shutdown(Shutdown::Write);
    peer.set_nonblocking(true).expect("a socket");
    let mut answer = Vec::new();
    loop {
        http.step(now, &config, &mut device);
        // Nobody answers look-ups; the connection's time ends them.
        now = now + agent_core::time::Duration::from_secs(5);
        match peer.read_to_end(&mut answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 "), "{text}");
}

const PROFILE: Profile<'static> = Profile {
    node: "pump-7",
    node_id: *b"pump-70123456789",
    datacenter: "dc1",
    address: "10.0.0.7",
    token: "",
    meta: &[],
    servers: &[],
    services: &[],
    checks: &[],
};
