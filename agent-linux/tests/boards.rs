//! What runs on ARM boards, under qemu-user: static `reeve` and `reeve-device` of every target in
//! the pool of a server of this machine. `.ci/boards` builds them and runs it; without them these
//! tests say that they are skipped.

mod support;

use domain::base::{MessageBuilder, Name, Rtype};
use hickory_proto::op::Message;
use rustix::process::Signal;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;
use support::cluster::{Agent, Cluster, get};
use support::device::Device;
use support::{PATIENCE, eventually};

/// A target's programs, and the words that run them here.
struct Board {
    /// The first word of the target: the machine's architecture.
    machine: String,
    folder: PathBuf,
}

impl Board {
    /// The boards that `REEVE_BOARDS` names: paths of `reeve` below the folder of its target, as
    /// `.ci/static` prints them. None without it.
    fn all() -> Vec<Board> {
        let Ok(paths) = std::env::var("REEVE_BOARDS") else {
            eprintln!("skipped: REEVE_BOARDS names no programs; see .ci/boards");
            return Vec::new();
        };
        let board = |path: &str| {
            let folder = PathBuf::from(path).parent().expect("a folder").to_path_buf();
            let target = folder.parent().and_then(|target| target.file_name());
            let target = target.expect("a target's folder").to_string_lossy().into_owned();
            let machine = target.split('-').next().unwrap_or_default().to_string();
            Board { machine, folder }
        };
        paths.split_whitespace().map(board).collect()
    }

    /// The words that run a program: an emulator of the oldest processor that the target is for.
    fn run(&self, program: &str) -> Vec<String> {
        let emulator: &[&str] = match self.machine.as_str() {
            "x86_64" => &[],
            "aarch64" => &["qemu-aarch64-static", "-cpu", "cortex-a53"],
            "armv7" => &["qemu-arm-static", "-cpu", "cortex-a7"],
            "arm" => &["qemu-arm-static", "-cpu", "arm1176"],
            other => panic!("no emulator is known for {other}"),
        };
        let path = self.folder.join(program).display().to_string();
        emulator.iter().map(|word| word.to_string()).chain([path]).collect()
    }
}

/// A server of this machine, and a client and a device of every target.
struct Pool {
    cluster: Cluster,
    devices: Vec<(String, Device)>,
}

impl Pool {
    fn new(boards: &[Board]) -> Pool {
        let mut cluster = Cluster::loopback();
        let join = cluster.add("server", &["-server", "-bootstrap-expect=1"]).address;
        cluster.start(0);
        cluster.until_leader();
        let mut devices = Vec::new();
        for (at, board) in boards.iter().enumerate() {
            let name = format!("client-{}", board.machine);
            let agent = cluster.add(&name, &[&format!("-retry-join={join}")]);
            agent.run_by(board.run("reeve"));
            cluster.start(1 + at);
            let name = format!("device-{}", board.machine);
            let device = Device::run_by(board.run("reeve-device"), &name, join, "");
            devices.push((name, device));
        }
        Pool { cluster, devices }
    }

    /// Waits until everybody is a member in everybody's eyes.
    fn until_members(&self) {
        let clients = self.cluster.agents.iter().map(|agent| (agent.name.as_str(), "alive"));
        let devices = self.devices.iter().map(|(name, _)| (name.as_str(), "alive"));
        let all: Vec<_> = clients.chain(devices).collect();
        for at in 0..self.cluster.agents.len() {
            self.cluster.until_members(at, &all);
        }
    }
}

/// Asks an agent's DNS for the addresses of a name.
fn addresses(agent: &Agent, name: &str) -> Result<Vec<String>, String> {
    let mut question = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = name.parse().expect("a name");
    question.push((name, Rtype::A)).expect("room");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.send_to(&question.finish(), (agent.address, 8600)).map_err(|error| error.to_string())?;
    let mut room = [0; 4096];
    let len = socket.recv(&mut room).map_err(|error| error.to_string())?;
    let reply = Message::from_vec(&room[..len]).map_err(|error| error.to_string())?;
    Ok(reply.answers.iter().map(|record| record.data.to_string()).collect())
}

/// Waits until an agent's DNS answers with this one address.
fn until_address(agent: &Agent, name: &str, address: Ipv4Addr) {
    eventually(PATIENCE, &format!("{} resolves {name}", agent.name), || {
        let found = addresses(agent, name)?;
        if found == [address.to_string()] { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// What a client of the target does for its users: HTTP, key/value, a service, DNS.
fn serves(server: &Agent, client: &Agent) {
    let about = client.http().get("/v1/agent/self").json();
    assert_eq!(about["Config"]["NodeName"], client.name.as_str());
    let leader = format!("\"{}:8300\"", server.address);
    assert_eq!(client.http().get("/v1/status/leader").text().trim(), leader);

    let key = format!("/v1/kv/from/{}", client.name);
    assert_eq!(client.http().put(&key, &client.name).text().trim(), "true");
    assert_eq!(server.http().get(&format!("{key}?raw")).text(), client.name);
    assert_eq!(client.http().get(&format!("{key}?raw&consistent")).text(), client.name);

    let service = format!("web-{}", client.name);
    let target = format!("{}:8500", client.address);
    let body = format!(
        r#"{{"Name": "{service}", "Port": 80, "Check": {{"TCP": "{target}", "Interval": "1s"}}}}"#
    );
    assert_eq!(client.http().put("/v1/agent/service/register", body).status, 200);
    eventually(PATIENCE, &format!("{service} is healthy"), || {
        let found = get(server, &format!("/v1/health/service/{service}?passing"))?.json();
        if found[0]["Service"]["Port"] == 80 { Ok(()) } else { Err(format!("{found}")) }
    });
    for agent in [server, client] {
        until_address(agent, &format!("{}.node.consul", client.name), client.address);
        until_address(agent, &format!("{service}.service.consul"), client.address);
    }
    let output = client.cli(&["members"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(&client.name), "{output:?}");
}

/// What a device of the target does: a service with its checks, its local HTTP.
fn is_registered(server: &Agent, name: &str, device: &Device) {
    eventually(PATIENCE, &format!("{name} has a healthy service"), || {
        let found = get(server, "/v1/health/service/pump")?.json();
        let rows = found.as_array().ok_or("no list")?;
        let row = rows.iter().find(|row| row["Node"]["Node"] == name).ok_or("not there")?;
        let checks = row["Checks"].as_array().ok_or("no checks")?;
        let flow = checks.iter().find(|check| check["CheckID"] == "flow");
        match flow.is_some_and(|flow| flow["Status"] == "passing") {
            true => Ok(()),
            false => Err(format!("{checks:?}")),
        }
    });
    until_address(server, &format!("{name}.node.consul"), device.address);
    assert_eq!(device.http().get("/v1/agent/self").json()["Config"]["NodeName"], name);
    let key = format!("/v1/kv/from/{name}");
    assert_eq!(device.http().put(&key, name).text(), "true");
    assert_eq!(server.http().get(&format!("{key}?raw")).text(), name);
    assert_eq!(device.http().put("/v1/agent/check/pass/beat?note=well", "").status, 200);
    eventually(PATIENCE, &format!("{name} tells of its report"), || {
        let found = get(server, &format!("/v1/health/node/{name}"))?.json();
        let checks = found.as_array().ok_or("no list")?;
        let beat = checks.iter().find(|check| check["CheckID"] == "beat");
        match beat.is_some_and(|beat| beat["Output"] == "well") {
            true => Ok(()),
            false => Err(format!("{found}")),
        }
    });
}

#[test]
fn boards_join_the_pool_serve_and_leave() {
    let boards = Board::all();
    if boards.is_empty() {
        return;
    }
    let mut pool = Pool::new(&boards);
    pool.until_members();
    let (server, clients) = pool.cluster.agents.split_first().expect("a server");
    for client in clients {
        serves(server, client);
    }
    for (name, device) in &pool.devices {
        is_registered(server, name, device);
    }
    for at in 1..pool.cluster.agents.len() {
        let client = &mut pool.cluster.agents[at];
        let name = client.name.clone();
        client.stop(Signal::TERM);
        eventually(PATIENCE, &format!("{name} has left"), || {
            let seen = support::cluster::members(&pool.cluster.agents[0])?;
            match seen.contains(&(name.clone(), "left".into())) {
                true => Ok(()),
                false => Err(format!("{seen:?}")),
            }
        });
    }
}
