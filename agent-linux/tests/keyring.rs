//! Encrypted gossip: who gets in, what is dropped, and keys that change while the pool runs.

mod support;

use serde_json::{Value, json};
use std::net::UdpSocket;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::cluster::{Agent, Cluster, members};
use support::{PATIENCE, eventually, reeve};

const OLD: &str = "cg8StVXbQJ0gPvMd9o7yrg==";
const NEW: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
const NAMES: [&str; 4] = ["agent128", "agent129", "agent130", "agent131"];

fn keygen() -> String {
    let output = std::process::Command::new(reeve()).arg("keygen").output().expect("runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Three servers and a client with one key.
fn sealed() -> Cluster {
    let cluster = Cluster::loopback().picture_with(&[&format!("-encrypt={OLD}")]);
    for at in 0..NAMES.len() {
        cluster.until_members(at, &NAMES.map(|name| (name, "alive")));
    }
    cluster
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writers through one agent, until they are told to stop. Every write must go well.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<[AtomicU32; 2]>,
    lanes: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(agent: &Agent) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::<[AtomicU32; 2]>::default());
        let start = |lane: usize| {
            let (http, stop, done) = (agent.http(), Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = http.put(&format!("/v1/kv/load/{lane}"), "x");
                    assert_eq!((answer.status, answer.text().as_str()), (200, "true"));
                    done[lane].fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let lanes = (0..done.len()).map(start).collect();
        Load { stop, done, lanes }
    }

    /// Waits until every writer has done enough to be called a load, and stops them.
    fn finish(self) {
        eventually(PATIENCE, "the pool was under load", || {
            match self.done.iter().all(|done| done.load(Ordering::Relaxed) > 100) {
                true => Ok(()),
                false => Err(format!("{:?}", self.done)),
            }
        });
        self.stop.store(true, Ordering::Relaxed);
        for lane in self.lanes {
            lane.join().expect("every write went well");
        }
    }
}

/// Reads one number of `reeve info`.
fn info(agent: &Agent, name: &str) -> u64 {
    let wanted = format!("\t{name} = ");
    let text = text(&agent.cli(&["info"]));
    let lan = text.split("serf_lan:").nth(1).expect("a section");
    let line = lan.lines().find_map(|line| line.strip_prefix(&wanted)).expect("a counter");
    line.parse().expect("a number")
}

fn kept(agent: &Agent, file: &str) -> Value {
    let path = agent.data.join("serf").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).expect("keyring file")).expect("JSON")
}

#[test]
fn only_who_has_the_key_gets_in_and_the_others_are_told_why() {
    let mut cluster = sealed();
    let first = cluster.agents[0].address;
    let join = format!("-retry-join={first}");
    let wrong = format!("-encrypt={}", keygen());
    for (name, key, why) in [
        ("wrong", Some(wrong.as_str()), "does not have this agent's gossip encryption key"),
        ("plain", None, "remote state is encrypted and encryption is not configured"),
    ] {
        let mut flags = vec![join.as_str(), "-retry-interval=1s"];
        flags.extend(key);
        cluster.add(name, &flags);
        let at = cluster.agents.len() - 1;
        cluster.start(at);
        let what = format!("{name} is told why");
        eventually(PATIENCE, &what, || {
            let log = cluster.agents[at].log();
            if log.contains(why) { Ok(()) } else { Err(log) }
        });
        let seen = members(&cluster.agents[at]).expect("members");
        assert_eq!(seen.len(), 1, "{name} is alone: {seen:?}");
    }
    let server = &cluster.agents[0];
    let log = server.log();
    assert!(log.contains("No installed keys could decrypt the message"), "{log}");
    assert!(log.contains("Encryption is configured but remote state is not encrypted"), "{log}");
    // Datagrams, too: dropped, and counted by kind.
    let before = info(server, "dropped_plaintext");
    let socket = UdpSocket::bind((first, 0)).expect("a socket");
    for _ in 0..5 {
        socket.send_to(&[1; 60], (first, 8301)).expect("sent");
    }
    socket.send_to(&[0x81; 80], (first, 8301)).expect("sent");
    eventually(PATIENCE, "drops are counted", || {
        let plain = info(server, "dropped_plaintext") - before;
        let unknown = info(server, "dropped_unknown_key");
        if plain == 5 && unknown >= 2 { Ok(()) } else { Err(format!("{plain} {unknown}")) }
    });
    let mut seen = members(server).expect("members");
    seen.sort();
    assert_eq!(seen, NAMES.map(|name| (name.to_owned(), "alive".to_owned())));
}

#[test]
fn keys_change_while_the_pool_runs_and_nobody_fails() {
    let mut cluster = sealed();
    let list = |cluster: &Cluster| text(&cluster.agents[0].cli(&["keyring", "-list"]));
    assert_eq!(
        list(&cluster),
        format!(
            "==> Gathering installed encryption keys...\n\nWAN:\n  {OLD} [3/3]\n\n\
             dc1 (LAN):\n  {OLD} [4/4]\n"
        )
    );
    // Meanwhile the pool works: writes through the client.
    let load = Load::start(&cluster.agents[3]);
    let say = |cluster: &Cluster, arguments: &[&str]| text(&cluster.agents[1].cli(arguments));
    assert_eq!(
        say(&cluster, &["keyring", "-install", NEW]),
        "==> Installing new gossip encryption key...\n"
    );
    let both = format!("  {OLD} [4/4]\n  {NEW} [4/4]\n");
    assert!(list(&cluster).ends_with(&both), "{}", list(&cluster));
    assert_eq!(
        say(&cluster, &["keyring", "-use", NEW]),
        "==> Changing primary gossip encryption key...\n"
    );
    let refused = cluster.agents[2].cli(&["keyring", "-remove", NEW]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("8 errors occurred:") || told.contains("9 errors occurred:"), "{told}");
    assert!(told.contains("\t* dc1 (LAN) error: 4/4 nodes reported failure"), "{told}");
    assert!(told.contains("\t* agent131: Removing the primary key is not allowed"), "{told}");
    assert_eq!(
        say(&cluster, &["keyring", "-remove", OLD]),
        "==> Removing gossip encryption key...\n"
    );
    let primary = text(&cluster.agents[0].cli(&["keyring", "-list-primary", "-local-only"]));
    let head = "==> Gathering installed primary encryption keys...";
    assert_eq!(primary, format!("{head}\n\ndc1 (LAN):\n  {NEW} [4/4]\n"));
    for (at, agent) in cluster.agents.iter().enumerate() {
        assert_eq!(kept(agent, "local.keyring"), json!([NEW]), "{}", agent.name);
        if at < 3 {
            assert_eq!(kept(agent, "remote.keyring"), json!([NEW]), "{}", agent.name);
        }
    }
    // Probes go on for longer than a suspicion lasts; then nobody may have failed.
    support::always(Duration::from_secs(8), "everybody is alive", || {
        members(&cluster.agents[3]).is_ok_and(|seen| seen.iter().all(|(_, how)| how == "alive"))
    });
    load.finish();
    for agent in &cluster.agents {
        assert!(!agent.log().contains("member failed"), "{}: {}", agent.name, agent.log());
    }
    // A restart comes back with the keys of the file, and says that the flag's is not among them.
    let client = &mut cluster.agents[3];
    client.kill();
    client.start();
    let what = "the client is back under the new key";
    eventually(PATIENCE, what, || match members(&cluster.agents[3]) {
        Ok(seen) if seen.len() == 4 && seen.iter().all(|(_, how)| how == "alive") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let warning = "keyring doesn't include key provided with -encrypt, using keyring";
    assert!(cluster.agents[3].log().contains(warning));
}

#[test]
fn operators_are_answered_as_consul_answers() {
    let cluster = sealed();
    let (server, client) = (cluster.agents[0].http(), cluster.agents[3].http());
    let path = "/v1/operator/keyring";
    let pool = |wan: bool, nodes: u64| {
        json!({"WAN": wan, "Datacenter": "dc1", "Segment": "", "Keys": {OLD: nodes},
               "PrimaryKeys": {OLD: nodes}, "NumNodes": nodes})
    };
    assert_eq!(server.get(path).json(), json!([pool(true, 3), pool(false, 4)]));
    assert_eq!(server.get("/v1/operator/keyring?local-only=true").json(), json!([pool(false, 4)]));
    let at_client = client.get(path);
    let text = "keyring operations must run against a server node";
    assert_eq!((at_client.status, at_client.text()), (500, text.to_owned()));
    for (method, query, body, status, text) in [
        (
            "GET",
            "?relay-factor=7",
            "",
            400,
            "Bad request: Invalid relay-factor: Relay factor must be in range: [0, 5]",
        ),
        (
            "GET",
            "?relay-factor=x",
            "",
            400,
            "Bad request: Error parsing relay factor: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "GET",
            "?local-only=x",
            "",
            400,
            "Bad request: Error parsing local-only: strconv.ParseBool: parsing \"x\": invalid \
             syntax",
        ),
        ("PUT", "?local-only=true", "", 400, "Bad request: Request decode failed: EOF"),
        (
            "PUT",
            "?local-only=true",
            "{\"Key\":\"zz\"}",
            400,
            "Bad request: Invalid use of local-only: local-only can only be set for list requests",
        ),
        (
            "POST",
            "",
            "{\"Key\":\"zz\"}",
            500,
            "2 errors occurred:\n\t* WAN error: illegal base64 data at input byte 0\n\t* dc1 (LAN) \
          error: illegal base64 data at input byte 0\n\n",
        ),
        ("DELETE", "", "{\"Key\":\"\"}", 200, ""),
        ("PATCH", "", "", 405, "method PATCH not allowed"),
    ] {
        let answer = server.request(method, &format!("{path}{query}"), body.as_bytes());
        assert_eq!((answer.status, answer.text()), (status, text.to_owned()), "{method} {query}");
    }
    let answer = server.request("POST", path, json!({"Key": "AAAA"}).to_string().as_bytes());
    let text = answer.text();
    assert!(text.contains("* WAN error: 3/3 nodes reported failure\n"), "{text}");
    let own = "* agent129: key size must be 16, 24 or 32 bytes\n";
    assert!(text.contains(own), "{text}");
}

#[test]
fn a_plain_pool_has_no_keyring() {
    let mut cluster = Cluster::loopback();
    cluster.add(NAMES[0], &["-server", "-bootstrap-expect=1"]);
    cluster.start(0);
    cluster.until_http(0);
    let http = cluster.agents[0].http();
    let answer = http.get("/v1/operator/keyring?local-only=1");
    let name = NAMES[0];
    let want = format!(
        "2 errors occurred:\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n\t* {name}: Keyring \
         is empty (encryption not enabled)\n\n"
    );
    assert_eq!((answer.status, answer.text()), (500, want));
}
