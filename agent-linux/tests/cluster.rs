//! The picture: three servers and a client, and what may befall them.

mod support;

use rustix::process::Signal;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::cluster::{Agent, Cluster, get, raft_ids, until_voters};
use support::http::Client;
use support::lab::{Disk, allowed};
use support::{PATIENCE, eventually, reeve};

const PICTURE: [&str; 4] = ["agent128", "agent129", "agent130", "agent131"];

fn all_alive() -> Vec<(&'static str, &'static str)> {
    PICTURE.iter().map(|name| (*name, "alive")).collect()
}

/// Writes numbered keys through one agent until told to stop; remembers those acknowledged.
struct Writer {
    stop: std::sync::Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<u32>>,
}

impl Writer {
    fn start(client: Client, prefix: &'static str) -> Writer {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut acknowledged = BTreeSet::new();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/v1/kv/{prefix}/{number}");
                let answer = client.try_request("PUT", &path, number.to_string().as_bytes());
                if answer.is_ok_and(|answer| answer.status == 200 && answer.text() == "true") {
                    acknowledged.insert(number);
                }
            }
            acknowledged
        });
        Writer { stop, thread }
    }

    fn finish(self) -> BTreeSet<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("writer")
    }
}

/// Fails unless every acknowledged key is there.
fn assert_kept(agent: &Agent, prefix: &str, acknowledged: &BTreeSet<u32>) {
    let path = format!("/v1/kv/{prefix}/?keys&consistent");
    let what = format!("a consistent read on {}", agent.name);
    let list = eventually(PATIENCE, &what, || get(agent, &path)).json();
    let kept: BTreeSet<u32> = list
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|key| key.as_str()?.rsplit('/').next()?.parse().ok())
        .collect();
    let lost: Vec<&u32> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "lost {} of {}: {lost:?}", lost.len(), acknowledged.len());
}

fn put(agent: &Agent, key: &str, value: &str) {
    eventually(PATIENCE, &format!("PUT {key} on {}", agent.name), || {
        let client = Client { timeout: Duration::from_secs(10), ..agent.http() };
        let answer = client.try_request("PUT", &format!("/v1/kv/{key}"), value.as_bytes());
        match answer {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn until_value(agent: &Agent, key: &str, value: &str, options: &str) {
    eventually(PATIENCE, &format!("{key} is {value} on {}", agent.name), || {
        let answer = get(agent, &format!("/v1/kv/{key}?raw{options}"))?;
        if answer.text() == value { Ok(()) } else { Err(answer.text()) }
    });
}

#[test]
fn the_picture_comes_up_in_namespaces_with_the_usual_flags() {
    if !allowed("the_picture_comes_up_in_namespaces_with_the_usual_flags") {
        return;
    }
    let cluster = Cluster::lab().picture();
    for (at, agent) in cluster.agents.iter().enumerate() {
        cluster.until_members(at, &all_alive());
        let output = agent.cli(&["members"]);
        assert!(output.status.success(), "{output:?}");
        let table = String::from_utf8(output.stdout).expect("text");
        let mut lines = table.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        let names =
            ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"].to_vec();
        assert_eq!(head, names);
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
        let row = |at: usize, kind: &'static str, segment: &'static str| {
            let agent = &cluster.agents[at];
            (agent.name.clone(), format!("{}:8301", agent.address), kind, segment)
        };
        let wanted = [
            row(0, "server", "<all>"),
            row(1, "server", "<all>"),
            row(2, "server", "<all>"),
            row(3, "client", "<default>"),
        ];
        assert_eq!(rows.len(), wanted.len(), "{table}");
        for (seen, (name, address, kind, segment)) in rows.iter().zip(&wanted) {
            assert_eq!(seen[0], name, "{table}");
            assert_eq!(seen[1], address, "{table}");
            assert_eq!(seen[2..4], ["alive", kind], "{table}");
            assert_eq!(seen[5..], ["2", "dc1", segment], "{table}");
        }
    }
}

#[test]
fn a_client_joins_through_another_client() {
    let mut cluster = Cluster::loopback().picture();
    let through = format!("-join={}", cluster.agents[3].address);
    cluster.add("agent132", &[&through]);
    cluster.start(4);
    let mut all = all_alive();
    all.push(("agent132", "alive"));
    cluster.until_members(4, &all);
    put(&cluster.agents[4], "through", "client");
    until_value(&cluster.agents[0], "through", "client", "");
}

#[test]
fn a_killed_leader_costs_no_acknowledged_write() {
    let mut cluster = Cluster::loopback().picture();
    until_voters(&cluster.agents[3], 3);
    let leader = cluster.until_leader();
    let writer = Writer::start(cluster.agents[3].http(), "killed");
    eventually(PATIENCE, "some writes", || {
        let rows = get(&cluster.agents[3], "/v1/kv/killed/?keys")?.json();
        let count = rows.as_array().map_or(0, Vec::len);
        if count > 20 { Ok(()) } else { Err(count.to_string()) }
    });
    let killed = Instant::now();
    cluster.agents[leader].kill();
    cluster.until_leader();
    eprintln!("a write was accepted {:?} after the leader's end", killed.elapsed());
    let acknowledged = writer.finish();
    assert_kept(&cluster.agents[3], "killed", &acknowledged);
    cluster.start(leader);
    let states = all_alive();
    cluster.until_members(leader, &states);
    assert_kept(&cluster.agents[leader], "killed", &acknowledged);
}

#[test]
fn a_minority_refuses_writes_and_catches_up_when_healed() {
    if !allowed("a_minority_refuses_writes_and_catches_up_when_healed") {
        return;
    }
    let mut cluster = Cluster::lab().picture();
    until_voters(&cluster.agents[0], 3);
    let leader = cluster.until_leader();
    put(&cluster.agents[leader], "cut", "before");
    let writer = Writer::start(cluster.agents[leader].http(), "minority");
    let cut = cluster.agents[leader].address;
    cluster.lab.as_ref().expect("lab").cut(cut);
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    // The majority goes on without the old leader.
    put(&cluster.agents[others[0]], "cut", "during");
    until_value(&cluster.agents[others[1]], "cut", "during", "&consistent");
    let acknowledged = writer.finish();
    cluster.lab.as_ref().expect("lab").heal(cut);
    until_value(&cluster.agents[leader], "cut", "during", "&consistent");
    until_value(&cluster.agents[leader], "cut", "during", "&stale");
    cluster.until_members(leader, &all_alive());
    cluster.until_members(3, &all_alive());
    if !acknowledged.is_empty() {
        assert_kept(&cluster.agents[leader], "minority", &acknowledged);
    }
}

#[test]
fn everything_restarted_keeps_every_write() {
    let mut cluster = Cluster::loopback().picture();
    until_voters(&cluster.agents[0], 3);
    let writer = Writer::start(cluster.agents[3].http(), "restart");
    let node_id = |agent: &Agent| {
        let this = eventually(PATIENCE, "agent/self", || get(agent, "/v1/agent/self")).json();
        this["Config"]["NodeID"].as_str().map(str::to_string)
    };
    let before: Vec<_> = cluster.agents.iter().map(node_id).collect();
    put(&cluster.agents[3], "restart-marker", "1");
    // A power cut: all at once, under load.
    for agent in &mut cluster.agents {
        agent.kill();
    }
    let acknowledged = writer.finish();
    assert!(!acknowledged.is_empty());
    cluster.start(0);
    cluster.until_http(0); // the others' `-join` is refused until then
    for at in 1..4 {
        cluster.start(at);
    }
    cluster.until_leader();
    cluster.until_members(3, &all_alive());
    for agent in &cluster.agents {
        assert_kept(agent, "restart", &acknowledged);
    }
    let after: Vec<_> = cluster.agents.iter().map(node_id).collect();
    assert_eq!(before, after, "node ids are kept on disk");
}

#[test]
fn a_wiped_server_comes_back_under_a_new_identity() {
    let mut cluster = Cluster::loopback().picture();
    until_voters(&cluster.agents[0], 3);
    let writer = Writer::start(cluster.agents[3].http(), "wiped");
    put(&cluster.agents[0], "wipe-marker", "1");
    let leader = cluster.until_leader();
    let victim = (0..3).find(|at| *at != leader && *at != 0).expect("a follower");
    let name = cluster.agents[victim].name.clone();
    let id = |agent: &Agent| {
        let ids = eventually(PATIENCE, "configuration", || raft_ids(agent));
        ids.into_iter().find(|(node, ..)| *node == name).map(|(_, id, _)| id)
    };
    let before = id(&cluster.agents[leader]);
    cluster.agents[victim].wipe();
    cluster.start(victim);
    eventually(PATIENCE, "the wiped server votes under another id", || {
        let ids = raft_ids(&cluster.agents[leader])?;
        let mine: Vec<_> = ids.iter().filter(|(node, ..)| *node == name).collect();
        match mine.as_slice() {
            [(_, now, true)] if Some(now) != before.as_ref() && ids.len() == 3 => Ok(()),
            _ => Err(format!("{ids:?}")),
        }
    });
    let acknowledged = writer.finish();
    assert_kept(&cluster.agents[victim], "wiped", &acknowledged);
    until_value(&cluster.agents[victim], "wipe-marker", "1", "&stale");
    cluster.until_members(victim, &all_alive());
}

#[test]
fn a_full_disk_refuses_writes_and_loses_none() {
    if !allowed("a_full_disk_refuses_writes_and_loses_none") {
        return;
    }
    let disk = Disk::new(24);
    let mut cluster = Cluster::loopback();
    cluster.add_on("solo", &["-server", "-bootstrap-expect=1"], disk.path());
    cluster.start(0);
    cluster.until_leader();
    let value = vec![b'x'; 200 * 1024];
    let client = Client { timeout: Duration::from_secs(10), ..cluster.agents[0].http() };
    let mut acknowledged = BTreeSet::new();
    let mut refused = None;
    for number in 0..1000u32 {
        match client.try_request("PUT", &format!("/v1/kv/full/{number}"), &value) {
            Ok(answer) if answer.status == 200 => _ = acknowledged.insert(number),
            other => {
                refused = Some(format!("{other:?}"));
                break;
            }
        }
    }
    let refused = refused.expect("a full disk is noticed");
    assert!(acknowledged.len() > 10, "{refused}");
    cluster.agents[0].kill();
    // With room again, everything acknowledged is still there.
    let remount = std::process::Command::new("mount")
        .args(["-o", "remount,size=256m"])
        .arg(disk.path())
        .status();
    assert!(remount.is_ok_and(|status| status.success()));
    cluster.start(0);
    cluster.until_leader();
    assert_kept(&cluster.agents[0], "full", &acknowledged);
    // One by one: together they are more than a busy machine renders while a read waits.
    for number in acknowledged {
        let answer = cluster.agents[0].http().get(&format!("/v1/kv/full/{number}?raw"));
        assert!(answer.body == value, "full/{number} is {} bytes", answer.body.len());
    }
}

#[test]
fn an_unwritable_data_dir_stops_the_start_with_its_name() {
    let mut cluster = Cluster::loopback();
    let folder = support::Folder::new("file");
    let file = folder.path().join("not-a-folder");
    std::fs::write(&file, b"x").expect("file");
    cluster.add_on("solo", &["-server", "-bootstrap-expect=1"], &file.join("data"));
    cluster.start(0);
    let status = cluster.agents[0].wait();
    let log = cluster.agents[0].log();
    assert!(!status.success());
    assert!(log.contains("not-a-folder"), "{log}");
}

#[test]
fn signals_end_the_agent_as_consuls_do() {
    let mut cluster = Cluster::loopback().picture();
    // SIGINT on a client leaves; SIGTERM leaves too on a client, and only stops a server.
    let status = cluster.agents[3].stop(Signal::INT);
    assert_eq!(status.code(), Some(0), "an orderly leave");
    let mut states = all_alive();
    states[3].1 = "left";
    cluster.until_members(0, &states);
    cluster.start(3);
    cluster.until_members(0, &all_alive());
    let status = cluster.agents[3].stop(Signal::TERM);
    assert_eq!(status.code(), Some(0), "a client leaves at SIGTERM too");
    cluster.until_members(0, &states);
    let status = cluster.agents[2].stop(Signal::TERM);
    assert_eq!(status.code(), Some(1), "a server goes without leaving");
    states[2].1 = "failed";
    cluster.until_members(0, &states);
}

#[test]
fn the_version_is_printed() {
    let output = std::process::Command::new(reeve()).arg("version").output().expect("runs");
    assert!(output.status.success());
    assert!(!output.stdout.is_empty());
}
