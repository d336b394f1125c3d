//! Black box: three servers and devices (`reeve-device`), all as processes.

mod support;

use serde_json::Value;
use std::net::Ipv4Addr;
use std::process::Command;
use support::cluster::{Cluster, get};
use support::device::{Device, device_command};
use support::{Folder, PATIENCE, eventually};

/// Three servers, joined through the first; the device's commands are not Consul's.
fn servers() -> Option<Cluster> {
    if std::env::var("REEVE_UNDER_TEST").is_ok() {
        eprintln!("skipped: devices are served by Reeve only");
        return None;
    }
    let mut cluster = Cluster::loopback();
    let first = cluster.add("s1", &["-server", "-bootstrap-expect=3"]).address;
    let join = format!("-retry-join={first}");
    cluster.add("s2", &["-server", "-bootstrap-expect=3", &join]);
    cluster.add("s3", &["-server", "-bootstrap-expect=3", &join]);
    for at in 0..3 {
        cluster.start(at);
    }
    cluster.until_leader();
    Some(cluster)
}

fn member_status(cluster: &Cluster, at: usize, name: &str) -> Result<u64, String> {
    let list = get(&cluster.agents[at], "/v1/agent/members")?.json();
    let members = list.as_array().ok_or("no list")?;
    let found = members.iter().find(|member| member["Name"] == name);
    found.and_then(|member| member["Status"].as_u64()).ok_or_else(|| format!("{list}"))
}

fn until_member(cluster: &Cluster, at: usize, name: &str, status: u64) {
    eventually(PATIENCE, &format!("{name} is in state {status}"), || {
        match member_status(cluster, at, name)? {
            seen if seen == status => Ok(()),
            seen => Err(format!("state {seen}")),
        }
    });
}

/// Waits until the service `pump` of a node has these statuses: of the member, the pin, the TTL.
fn until_health(cluster: &Cluster, at: usize, name: &str, wanted: [&str; 3]) {
    eventually(PATIENCE, &format!("health of {name} is {wanted:?}"), || {
        let list = get(&cluster.agents[at], "/v1/health/service/pump")?.json();
        let rows = list.as_array().ok_or("no list")?;
        let row = rows.iter().find(|row| row["Node"]["Node"] == name).ok_or("not there")?;
        let status = |id: &str| {
            let checks = row["Checks"].as_array().expect("a list");
            let found = checks.iter().find(|check| check["CheckID"] == id);
            found.map_or("absent", |check| check["Status"].as_str().unwrap_or_default())
        };
        let seen = [status("serfHealth"), status("flow"), status("beat")];
        if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

/// Waits until the catalog has a node at this address.
fn until_address(cluster: &Cluster, at: usize, name: &str, wanted: Ipv4Addr) {
    eventually(PATIENCE, &format!("{name} is at {wanted} in the catalog"), || {
        let row = services_of(cluster, at, name)?;
        let seen = row["Node"]["Address"].clone();
        if seen == wanted.to_string() { Ok(()) } else { Err(format!("{seen}")) }
    });
}

fn services_of(cluster: &Cluster, at: usize, name: &str) -> Result<Value, String> {
    Ok(get(&cluster.agents[at], &format!("/v1/catalog/node/{name}"))?.json())
}

#[test]
fn a_device_is_a_member_with_services_checks_and_look_ups() {
    let Some(mut cluster) = servers() else { return };
    let mut device = Device::new("board", cluster.agents[0].address, "");
    until_member(&cluster, 1, "board", 1);
    until_health(&cluster, 1, "board", ["passing", "passing", "critical"]);
    let row = services_of(&cluster, 2, "board").expect("the catalog");
    assert_eq!(row["Services"]["pump"]["Port"], 80);
    assert_eq!(row["Services"]["pump"]["Tags"][0], "wet");
    assert_eq!(row["Node"]["Address"], device.address.to_string());

    assert_eq!(device.http().put("/v1/agent/check/pass/beat?note=well", "").status, 200);
    until_health(&cluster, 0, "board", ["passing", "passing", "passing"]);
    device.set_pin("0\n");
    until_health(&cluster, 0, "board", ["passing", "critical", "passing"]);
    device.set_pin("1\n");
    until_health(&cluster, 0, "board", ["passing", "passing", "passing"]);

    assert_eq!(device.http().get("/v1/agent/self").json()["Config"]["NodeName"], "board");
    assert_eq!(device.http().get("/v1/agent/services").json()["pump"]["Port"], 80);
    let checks = device.http().get("/v1/agent/checks").json();
    assert_eq!(checks["beat"]["Output"], "well");
    assert_eq!(device.http().put("/v1/agent/check/pass/flow", "").status, 500);
    assert_eq!(device.http().get("/v1/kv/none").status, 404);
    assert_eq!(device.http().put("/v1/kv/from/board", "hello").text(), "true");
    assert_eq!(cluster.agents[1].http().get("/v1/kv/from/board?raw").text(), "hello");
    assert_eq!(device.http().get("/v1/kv/from/board?raw").text(), "hello");
    let leader = cluster.until_leader();
    let leader = format!("\"{}:8300\"", cluster.agents[leader].address);
    assert_eq!(device.http().get("/v1/status/leader").text(), leader);
    let found = device.http().get("/v1/health/service/pump?passing").json();
    assert_eq!(found[0]["Node"]["Node"], "board");

    device.kill();
    until_member(&cluster, 0, "board", 4);
    until_health(&cluster, 0, "board", ["critical", "passing", "passing"]);
    device.start();
    until_member(&cluster, 0, "board", 1);
    until_health(&cluster, 0, "board", ["passing", "passing", "critical"]);
}

#[test]
fn devices_register_again_by_themselves_after_all_servers_restarted() {
    let Some(mut cluster) = servers() else { return };
    let join = cluster.agents[0].address;
    let devices = ["d1", "d2", "d3"].map(|name| Device::new(name, join, ""));
    for name in ["d1", "d2", "d3"] {
        until_health(&cluster, 0, name, ["passing", "passing", "critical"]);
    }
    for agent in &mut cluster.agents {
        agent.kill();
    }
    // What happens while no server runs is told once there is one.
    devices[1].set_pin("0\n");
    let down = || devices[1].http().get("/v1/agent/checks").json()["flow"]["Status"] == "critical";
    eventually(
        PATIENCE,
        "the device sees it",
        || if down() { Ok(()) } else { Err("not yet".into()) },
    );
    for at in 0..3 {
        cluster.start(at);
    }
    cluster.until_leader();
    until_health(&cluster, 0, "d1", ["passing", "passing", "critical"]);
    until_health(&cluster, 1, "d2", ["passing", "critical", "critical"]);
    until_health(&cluster, 2, "d3", ["passing", "passing", "critical"]);
    let gone = cluster.agents[0]
        .http()
        .put("/v1/catalog/deregister", r#"{"Node": "d3", "ServiceID": "pump"}"#);
    assert_eq!(gone.status, 200);
    // A new connection tells everything again, so the lost service comes back.
    let leader = cluster.until_leader();
    let connected = devices[2].log().matches("registered").count();
    for at in (0..3).filter(|at| *at != leader) {
        cluster.agents[at].kill();
        cluster.start(at);
    }
    cluster.agents[leader].kill();
    cluster.start(leader);
    cluster.until_leader();
    eventually(PATIENCE, "d3 registers again", || {
        let now = devices[2].log().matches("registered").count();
        if now > connected { Ok(()) } else { Err(format!("{now} times")) }
    });
    until_health(&cluster, 0, "d3", ["passing", "passing", "critical"]);
}

#[test]
fn a_wrong_datacentre_and_a_duplicate_name_are_named_and_tried_again() {
    let Some(cluster) = servers() else { return };
    let join = cluster.agents[0].address;
    let astray = Device::new("astray", join, "datacenter = \"dc9\"");
    astray.until_logged("refused: wrong datacenter: device of datacenter \"dc9\"");
    let holder = Device::new("twin", join, "");
    until_health(&cluster, 0, "twin", ["passing", "passing", "critical"]);
    let mut other = Device::new("twin", join, "");
    other.until_logged("node \"twin\" refused: duplicate node name");
    let row = services_of(&cluster, 0, "twin").expect("the catalog");
    assert_eq!(row["Node"]["Address"], holder.address.to_string());
    other.kill();
    drop(holder);
    until_member(&cluster, 0, "twin", 4);
    other.start();
    until_address(&cluster, 0, "twin", other.address);
    until_health(&cluster, 0, "twin", ["passing", "passing", "critical"]);
}

#[test]
fn a_ttl_check_that_nobody_updates_any_more_expires_to_critical() {
    if std::env::var("REEVE_UNDER_TEST").is_ok() {
        eprintln!("skipped: devices are served by Reeve only");
        return;
    }
    let mut cluster = Cluster::loopback();
    let join = cluster.add("server", &["-server", "-bootstrap-expect=1"]).address;
    cluster.start(0);
    cluster.until_leader();
    let device = Device::new("board", join, "check { id = \"pulse\" ttl = \"3s\" }");
    device.until_logged("registered");
    let pulse = || {
        let list = get(&cluster.agents[0], "/v1/health/node/board")?.json();
        let list = list.as_array().ok_or("no list")?;
        let row = list.iter().find(|check| check["CheckID"] == "pulse").ok_or("not there")?;
        Ok::<_, String>((row["Status"].clone(), row["Output"].clone()))
    };
    eventually(PATIENCE, "the servers hear it while it is updated", || {
        let kept = device.http().put("/v1/agent/check/pass/pulse?note=well", "");
        match pulse()? {
            (status, output) if status == "passing" && output == "well" => Ok(()),
            seen => Err(format!("{} {seen:?}", kept.status)),
        }
    });
    eventually(PATIENCE, "it expires", || match pulse()? {
        (status, output) if status == "critical" && output == "TTL expired" => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    device.until_logged("check \"pulse\": TTL expired");
    assert_eq!(device.http().get("/v1/agent/checks").json()["pulse"]["Status"], "critical");
}

#[test]
fn a_device_in_a_sealed_pool_keeps_the_keys_that_the_pool_changes_to() {
    if std::env::var("REEVE_UNDER_TEST").is_ok() {
        eprintln!("skipped: devices are served by Reeve only");
        return;
    }
    let [old, new, other] = [
        "cg8StVXbQJ0gPvMd9o7yrg==",
        "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=",
        "DyVLGJTNTcMGTGPzkTZFSw==",
    ];
    let mut cluster = Cluster::loopback();
    let flags = ["-server", "-bootstrap-expect=1", &format!("-encrypt={old}")];
    let join = cluster.add("server", &flags).address;
    cluster.start(0);
    cluster.until_leader();
    let stranger = Device::new("stranger", join, &format!("encrypt = \"{other}\""));
    let plain = Device::new("plain", join, "");
    let mut board = Device::new("board", join, &format!("encrypt = \"{old}\""));
    until_health(&cluster, 0, "board", ["passing", "passing", "critical"]);
    for change in [["-install", new], ["-use", new], ["-remove", old]] {
        let output = cluster.agents[0].cli(&[&["keyring"][..], &change[..]].concat());
        assert!(output.status.success(), "{change:?}: {output:?}");
    }
    let kept = board.folder().join("keyring");
    eventually(PATIENCE, "the new key is kept", || {
        let text = std::fs::read_to_string(&kept).map_err(|error| error.to_string())?;
        if text.trim() == new { Ok(()) } else { Err(text) }
    });
    board.kill();
    until_member(&cluster, 0, "board", 4);
    board.start();
    until_member(&cluster, 0, "board", 1);
    stranger.until_logged("no member answers; is encrypt the pool's key?");
    assert!(member_status(&cluster, 0, "stranger").is_err(), "nobody heard it");
    plain.until_logged("is the pool sealed, so that encrypt is wanted?");
    for outsider in ["stranger", "plain"] {
        assert_eq!(services_of(&cluster, 0, outsider), Ok(Value::Null), "it is no member");
    }
}

#[test]
fn a_broken_configuration_is_told_with_its_line() {
    let folder = Folder::new("broken");
    let path = folder.path().join("device.hcl");
    std::fs::write(&path, "node_name = \"a\"\nport = \"b\"\n").expect("written");
    let output = Command::new(device_command()).arg(&path).output().expect("runs");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("line 2: port: a number is wanted"), "{told}");
}
