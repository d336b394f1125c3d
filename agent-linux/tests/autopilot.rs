//! How the leader looks after the servers: its configuration, their health.

mod support;

use serde_json::{Value, json};
use support::cluster::{Agent, Cluster};
use support::{PATIENCE, eventually};

const CONFIGURATION: &str = "/v1/operator/autopilot/configuration";

fn read(agent: &Agent) -> Value {
    eventually(PATIENCE, "a leader has written a configuration", || {
        let answer = agent.http().get(CONFIGURATION);
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text()) }
    })
}

fn says(agent: &Agent, arguments: &[&str], want: &str) {
    let output = agent.cli(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), text.as_str()), (Some(0), want), "{arguments:?}");
}

#[test]
fn the_configuration_is_read_and_set_as_consuls() {
    let mut cluster = Cluster::loopback();
    cluster.add("pilot", &["-server", "-bootstrap-expect=1"]);
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    let first = read(agent);
    for (field, want) in [
        ("CleanupDeadServers", json!(true)),
        ("LastContactThreshold", json!("200ms")),
        ("MaxTrailingLogs", json!(250)),
        ("MinQuorum", json!(0)),
        ("ServerStabilizationTime", json!("10s")),
        ("UpgradeVersionTag", json!("")),
    ] {
        assert_eq!(first[field], want, "{first}");
    }
    for (target, body, want) in [
        (
            "?cas=x",
            "{}",
            "Bad request: Error parsing cas value: strconv.ParseUint: parsing \"x\": \
             invalid syntax",
        ),
        (
            "",
            r#"{"Nope":1}"#,
            "Bad request: Error parsing autopilot config: json: unknown field \"Nope\"",
        ),
        (
            "",
            r#"{"LastContactThreshold":"x"}"#,
            "Bad request: Error parsing autopilot config: time: invalid duration \"x\"",
        ),
    ] {
        let refused = agent.http().put(&format!("{CONFIGURATION}{target}"), body);
        assert_eq!((refused.status, refused.text().as_str()), (400, want), "{target} {body}");
    }
    let stale = agent.http().put(&format!("{CONFIGURATION}?cas=999999"), "{}");
    assert_eq!((stale.status, stale.text().trim()), (200, "false"));
    let index = first["ModifyIndex"].as_u64().expect("an index");
    let body = r#"{"CleanupDeadServers":false,"LastContactThreshold":"100ms","MaxTrailingLogs":5}"#;
    let set = agent.http().put(&format!("{CONFIGURATION}?cas={index}"), body);
    assert_eq!((set.status, set.text().trim()), (200, "true"));
    says(
        agent,
        &["operator", "autopilot", "set-config", "-max-trailing-logs=300"],
        "Configuration updated!\n",
    );
    says(
        agent,
        &["operator", "autopilot", "get-config"],
        "CleanupDeadServers = false\nLastContactThreshold = 100ms\nMaxTrailingLogs = 300\n\
         MinQuorum = 0\nServerStabilizationTime = 0s\nRedundancyZoneTag = \"\"\n\
         DisableUpgradeMigration = false\nUpgradeVersionTag = \"\"\n",
    );
    let last = read(agent);
    assert_eq!(last["CreateIndex"], first["CreateIndex"]);
    assert!(last["ModifyIndex"].as_u64() > Some(index));
}

/// Waits until the health, as any agent shows it, is this.
fn until_health(agent: &Agent, status: u16, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(PATIENCE, "the health of the servers", || {
        let answer = agent.http().get("/v1/operator/autopilot/health");
        match answer.status == status && holds(&answer.json()) {
            true => Ok(answer.json()),
            false => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
}

#[test]
fn a_dead_server_is_seen_by_everybody() {
    let mut cluster = Cluster::loopback().picture();
    let at = cluster.until_leader();
    let client = cluster.agents.iter().position(|agent| agent.name == "agent131").unwrap();
    let well = until_health(&cluster.agents[client], 200, |health| {
        health["Servers"].as_array().is_some_and(|servers| servers.len() == 3)
            && health["FailureTolerance"] == 1
    });
    for server in well["Servers"].as_array().unwrap() {
        assert_eq!(server["SerfStatus"], "alive", "{server}");
        assert_eq!(server["Leader"] == true, server["Name"] == cluster.agents[at].name.as_str());
        assert!(server["Voter"] == true && server["Healthy"] == true, "{server}");
        assert!(server["LastIndex"].as_u64() > Some(0) && server["LastTerm"].as_u64() > Some(0));
        let since = server["StableSince"].as_str().unwrap();
        assert!(since.len() == 20 && since.contains('T') && since.ends_with('Z'), "{since}");
    }
    let victim = (0..3).find(|other| *other != at).unwrap();
    let name = cluster.agents[victim].name.clone();
    cluster.agents[victim].kill();
    until_health(&cluster.agents[client], 429, |health| {
        let servers = health["Servers"].as_array().into_iter().flatten();
        let dead = servers.filter(|server| server["Healthy"] == false).collect::<Vec<_>>();
        health["FailureTolerance"] == 0 && dead.len() == 1 && dead[0]["Name"] == name.as_str()
    });
}

#[test]
fn a_server_that_joins_votes_after_it_was_healthy_for_a_while() {
    let mut cluster = Cluster::loopback();
    let first = cluster.add("first", &["-server", "-bootstrap-expect=1"]).address;
    cluster.start(0);
    cluster.until_leader();
    read(&cluster.agents[0]);
    let set = &["operator", "autopilot", "set-config", "-server-stabilization-time=4s"];
    says(&cluster.agents[0], set, "Configuration updated!\n");
    cluster.add("second", &["-server", &format!("-join={first}")]);
    cluster.start(1);
    let votes = |want: bool| {
        eventually(PATIENCE, "the second server is listed", || {
            let found = cluster.agents[0].http().get("/v1/operator/raft/configuration").json();
            match found["Servers"].as_array() {
                Some(two) if two.len() == 2 && two.iter().any(|s| s["Voter"] == false) != want => {
                    Ok(())
                }
                _ => Err(found.to_string()),
            }
        });
        std::time::Instant::now()
    };
    let waited = votes(false);
    assert!(votes(true).duration_since(waited) > std::time::Duration::from_secs(2));
}
