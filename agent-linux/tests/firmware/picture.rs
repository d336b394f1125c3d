//! Three servers, a Linux client and boards on one network, and what befalls them.

use super::hub::{Hub, Link};
use super::instance::{Board, Instance, keep_stack};
use super::support::cluster::{Agent, Cluster, get, members};
use super::support::{always, eventually};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// RAM that an image may use, and what a part of this size should leave to its application.
const RAM_BYTES_MAX: u64 = 32 * 1024;

/// A killed member is failed after this at the latest: probe, suspicion of 4 s in a pool of this
/// size, and a wide margin for a busy machine.
const DETECTION_MAX: Duration = Duration::from_secs(30);

const DEVICES: usize = 8;

/// The hub's port of one more board.
const TWIN: usize = DEVICES;

/// What has to come about comes about within this.
const SETTLED_MAX: Duration = Duration::from_secs(60);

const SERVICE: &str = "sensor";
const SERVICE_PORT: u16 = 9000;
const KEY: &str = "lab/word";
const VALUE: &str = "hello";

fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 101 + at as u8)
}

/// Arguments of the board at a port.
fn words(at: usize, name: &str) -> Vec<String> {
    let mut words = vec![format!("name={name}"), format!("address={}/24", address(at))];
    // Two servers and the client: any member will do.
    words.extend(["peer=10.77.0.1", "peer=10.77.0.2", "peer=10.77.0.4"].map(String::from));
    words.push("tcp=10.77.0.1:8300".into());
    words.push(format!("service={SERVICE}:{SERVICE_PORT}"));
    words.extend([format!("kv={KEY}"), format!("lookup={SERVICE}")]);
    words
}

/// Tells whether serfHealth and the two checks of a device pass.
fn passing(checks: &serde_json::Value) -> Result<(), String> {
    let passing = |id: &str| {
        let mut checks = checks.as_array().into_iter().flatten();
        checks.any(|check| check["CheckID"] == id && check["Status"] == "passing")
    };
    let all = ["serfHealth", "stack", "tcp"].into_iter().all(passing);
    if all { Ok(()) } else { Err(checks.to_string()) }
}

/// Asks an agent's DNS for addresses, over TCP as an answer over UDP has three at most; sorted.
fn look_up(agent: &Agent, name: &str) -> Result<Vec<Ipv4Addr>, String> {
    let mut message = Message::query();
    let name = Name::from_ascii(name).expect("a name");
    message.add_query(Query::query(name, RecordType::A));
    let packet = message.to_vec().expect("a packet");
    let mut stream = TcpStream::connect((agent.address, 8600)).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut framed = (packet.len() as u16).to_be_bytes().to_vec();
    framed.extend(packet);
    stream.write_all(&framed).map_err(|e| e.to_string())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).map_err(|e| e.to_string())?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).map_err(|e| e.to_string())?;
    let answer = Message::from_vec(&answer).map_err(|e| e.to_string())?;
    let mut found: Vec<Ipv4Addr> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Agents, switch and boards; the boards go first.
pub struct Picture {
    devices: Vec<Instance>,
    hub: Hub,
    cluster: Cluster,
}

impl Picture {
    pub fn new() -> Picture {
        let mut cluster = Cluster::lab().picture();
        cluster.until_leader();
        let stored = cluster.agents[0].http().put(&format!("/v1/kv/{KEY}"), VALUE);
        assert_eq!(stored.status, 200);
        let hub = Hub::new(TWIN + 1);
        let mut devices = Vec::new();
        for at in 0..DEVICES {
            let board = if at % 2 == 0 { Board::Lm3s } else { Board::Mps2 };
            let name = format!("device{at}");
            let mut words = words(at, &name);
            if at < 2 {
                // Without a clock every start has the same generation.
                words.push("generation=1".into());
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            devices.push(Instance::new(board, &name, at as u8, hub.netdev(at), &words));
        }
        devices.iter_mut().for_each(Instance::start);
        Picture { devices, hub, cluster }
    }

    /// What the Linux client says of a device.
    fn state(&self, name: &str) -> Result<String, String> {
        let seen = members(&self.cluster.agents[3])?;
        let found = seen.into_iter().find(|(member, _)| member == name);
        found.map(|(_, state)| state).ok_or_else(|| format!("{name} is not known"))
    }

    fn until(&self, name: &str, state: &str, within: Duration) -> Duration {
        let from = Instant::now();
        eventually(within, &format!("{name} is {state}"), || match self.state(name)? {
            seen if seen == state => Ok(()),
            seen => Err(seen),
        });
        from.elapsed()
    }

    fn all_alive(&self) -> Result<(), String> {
        let seen = members(&self.cluster.agents[3])?;
        let alive = seen.iter().filter(|(_, state)| state == "alive").count();
        if alive == DEVICES + 4 { Ok(()) } else { Err(format!("{seen:?}")) }
    }

    pub fn until_all_alive(&self) {
        eventually(Duration::from_secs(90), "everybody is alive", || self.all_alive());
    }

    /// Every device with its service and checks is in catalog, health and DNS of every agent.
    pub fn until_registered(&self) {
        for agent in &self.cluster.agents {
            for (at, device) in self.devices.iter().enumerate() {
                let node = &device.name;
                let path = format!("/v1/health/node/{node}");
                eventually(SETTLED_MAX, &path, || passing(&get(agent, &path)?.json()));
                let path = format!("/v1/catalog/node/{node}");
                eventually(SETTLED_MAX, &path, || {
                    let found = get(agent, &path)?.json();
                    let service = &found["Services"][SERVICE];
                    let port = service["Port"].as_u64() == Some(u64::from(SERVICE_PORT));
                    if port { Ok(()) } else { Err(found.to_string()) }
                });
                let name = format!("{node}.node.consul.");
                eventually(SETTLED_MAX, &name, || match look_up(agent, &name)? {
                    found if found == [address(at)] => Ok(()),
                    found => Err(format!("{found:?}")),
                });
            }
            let all: Vec<Ipv4Addr> = (0..DEVICES).map(address).collect();
            let path = format!("/v1/health/service/{SERVICE}?passing");
            eventually(SETTLED_MAX, &path, || {
                let found = get(agent, &path)?.json();
                let count = found.as_array().map_or(0, Vec::len);
                if count == DEVICES { Ok(()) } else { Err(found.to_string()) }
            });
            let name = format!("{SERVICE}.service.consul.");
            eventually(SETTLED_MAX, &name, || match look_up(agent, &name)? {
                found if found == all => Ok(()),
                found => Err(format!("{found:?}")),
            });
        }
    }

    /// Every device read a key and found instances of the service.
    pub fn until_looked_up(&self) {
        for device in &self.devices {
            device.until_console("joined datacentre dc1");
            device.until_console("check stack is passing");
            device.until_console("check tcp is passing");
            device.until_console("registered");
            device.until_console(&format!("the key holds {VALUE}"));
            device.until_console(" instances: 10.77.0.1");
        }
    }

    /// When each device's service was first registered, as an index of the log.
    pub fn registrations(&self) -> BTreeMap<String, u64> {
        let path = format!("/v1/catalog/service/{SERVICE}");
        let found = get(&self.cluster.agents[0], &path).expect("an answer").json();
        let found = found.as_array().expect("a list").iter();
        let entry = |one: &serde_json::Value| {
            let node = one["Node"].as_str().expect("a name").to_string();
            (node, one["CreateIndex"].as_u64().expect("an index"))
        };
        found.map(entry).collect()
    }

    pub fn kill_and_restart(&mut self) {
        let pair = [0, 1];
        pair.iter().for_each(|at| self.devices[*at].kill());
        for at in pair {
            let device = &self.devices[at];
            let took = self.until(&device.name, "failed", DETECTION_MAX);
            println!("{} ({}) failed after {took:?}", device.name, device.board.name());
        }
        pair.iter().for_each(|at| self.devices[*at].start());
        for at in pair {
            let device = &self.devices[at];
            let took = self.until(&device.name, "alive", DETECTION_MAX);
            println!("{} alive again after {took:?}", device.name);
            device.until_console("renewed: generation 2");
        }
    }

    pub fn cut_and_heal(&self) {
        let pair = [2, 3];
        let cut = Instant::now();
        pair.iter().for_each(|at| self.hub.link(*at, Link { cut: true, ..Link::default() }));
        for at in pair {
            self.until(&self.devices[at].name, "failed", DETECTION_MAX);
        }
        let rest = Duration::from_secs(60).saturating_sub(cut.elapsed());
        always(rest, "the cut devices are failed", || {
            pair.iter().all(|at| self.state(&self.devices[*at].name).as_deref() == Ok("failed"))
        });
        pair.iter().for_each(|at| self.hub.link(*at, Link::default()));
        for at in pair {
            let took = self.until(&self.devices[at].name, "alive", Duration::from_secs(90));
            println!("{} healed after {took:?}", self.devices[at].name);
        }
    }

    /// A board under another's name is told so, asks again later, and changes nothing.
    pub fn refuse_a_twin(&self) {
        let held = &self.devices[5];
        let mut words = words(TWIN, &held.name);
        words.push(format!("server={}:8300", self.cluster.agents[0].address));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let netdev = self.hub.netdev(TWIN);
        let mut twin = Instance::new(Board::Lm3s, "twin", TWIN as u8, netdev, &words);
        twin.start();
        let text = format!("refused: Node name {} is reserved by node", held.name);
        eventually(SETTLED_MAX, "the twin is refused twice", || {
            let console = twin.console();
            if console.matches(&text).count() >= 2 { Ok(()) } else { Err(console) }
        });
        let path = format!("/v1/catalog/node/{}", held.name);
        let found = get(&self.cluster.agents[0], &path).expect("an answer").json();
        assert_eq!(found["Node"]["Address"], address(5).to_string(), "{found}");
    }

    /// For two minutes every device's cable loses a tenth each way, and nobody fails.
    pub fn lose_a_tenth(&self) {
        (0..DEVICES).for_each(|at| self.hub.link(at, Link { loss: 100, ..Link::default() }));
        let from = Instant::now();
        while from.elapsed() < Duration::from_secs(120) {
            for agent in &self.cluster.agents {
                let seen = members(agent).expect("the agents are not concerned");
                let failed: Vec<_> = seen.iter().filter(|(_, state)| state == "failed").collect();
                assert!(failed.is_empty(), "{failed:?} after {:?}", from.elapsed());
            }
        }
        (0..DEVICES).for_each(|at| self.hub.link(at, Link::default()));
    }

    pub fn restart_servers(&mut self) {
        self.devices.iter_mut().for_each(Instance::mark);
        (0..3).for_each(|at| self.cluster.agents[at].kill());
        // The others join through the first, and give up at once if it is not there.
        self.cluster.start(0);
        self.cluster.until_http(0);
        (1..3).for_each(|at| self.cluster.start(at));
        self.cluster.until_leader();
        for device in &self.devices {
            device.until_new_console("registered");
            device.until_new_console(&format!("the key holds {VALUE}"));
            device.until_new_console(&format!("{DEVICES} instances: 10.77.0.1"));
        }
    }

    /// RAM as each device last reported it.
    pub fn memory(&self) {
        for device in &self.devices {
            let console = device.console();
            let line = console.lines().rfind(|line| line.contains("ram: data")).expect("a report");
            let number = |name: &str| -> u64 {
                let rest = line.split(name).nth(1).expect("a name");
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().expect("a number")
            };
            let (data, stack) = (number("data "), number("stack "));
            println!("{} {}: data {data} B, stack {stack} B", device.name, device.board.name());
            assert!(data + stack <= RAM_BYTES_MAX, "{line}");
            assert!(!console.contains("fault"), "{console}");
            keep_stack(device.board, stack);
        }
    }
}
