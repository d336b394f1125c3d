//! A lost quorum: what an operator can still do about it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use support::cluster::{Agent, Cluster, get};
use support::{PATIENCE, eventually};

/// The servers that an agent's raft configuration lists: address, and whether it votes.
fn listed(agent: &Agent) -> Result<Vec<(String, bool)>, String> {
    let found = get(agent, "/v1/operator/raft/configuration?stale")?.json();
    let servers = found["Servers"].as_array().ok_or("no servers")?;
    let row = |server: &Value| Some((server["Address"].as_str()?.into(), server["Voter"] == true));
    Ok(servers.iter().filter_map(row).collect())
}

fn address(agent: &Agent) -> String {
    format!("{}:8300", agent.address)
}

fn peers(agent: &Agent) -> PathBuf {
    agent.data.join("raft/peers.json")
}

/// Three servers that hold a key, all killed; tells the node UUID of the first.
fn lost() -> (Cluster, String) {
    let mut cluster = Cluster::loopback().picture();
    let http = cluster.agents[0].http();
    assert_eq!(http.put("/v1/kv/kept", "through it").status, 200);
    eventually(PATIENCE, "the first server has the key", || {
        get(&cluster.agents[0], "/v1/kv/kept?stale").map(|_| ())
    });
    let id = http.get("/v1/agent/self").json()["Config"]["NodeID"].as_str().unwrap().to_owned();
    for at in 0..4 {
        cluster.agents[at].kill();
    }
    (cluster, id)
}

/// Starts the first server, which must lead alone and know the key.
fn assert_goes_on_alone(cluster: &mut Cluster) {
    cluster.agents[0].start();
    assert_eq!(cluster.until_leader(), 0);
    let agent = &cluster.agents[0];
    assert_eq!(get(agent, "/v1/kv/kept?raw").unwrap().text(), "through it");
    assert_eq!(listed(agent).unwrap(), [(address(agent), true)]);
    assert!(!peers(agent).exists(), "the file is used up");
}

#[test]
fn peers_json_lets_one_server_of_three_go_on() {
    let (mut cluster, id) = lost();
    let agent = &mut cluster.agents[0];
    let file = peers(agent);
    for (text, why) in [
        ("{".to_owned(), "recovery failed to parse peers.json"),
        (json!([{"id": "nobody", "address": address(agent)}]).to_string(), "is not known"),
    ] {
        std::fs::write(&file, &text).expect("a file");
        agent.start();
        assert!(!agent.wait().success(), "{text}");
        assert!(agent.log().contains(why), "{}", agent.log());
        assert_eq!(std::fs::read_to_string(&file).expect("the file stays"), text);
    }
    std::fs::write(&file, json!([{"id": id, "address": address(agent)}]).to_string()).unwrap();
    assert_goes_on_alone(&mut cluster);
    assert_eq!(cluster.agents[0].http().put("/v1/kv/more", "1").status, 200);
    cluster.agents[0].kill();
    assert_goes_on_alone(&mut cluster);
    // A server with an empty disk joins as any other does.
    cluster.agents[1].wipe();
    cluster.agents[1].start();
    eventually(PATIENCE, "the second server votes", || match listed(&cluster.agents[0])? {
        found if found.len() == 2 && found.iter().all(|(_, voter)| *voter) => Ok(()),
        found => Err(format!("{found:?}")),
    });
    eventually(PATIENCE, "the second server has the keys", || {
        get(&cluster.agents[1], "/v1/kv/more?stale").map(|_| ())
    });
}

#[test]
fn peers_json_of_raft_protocol_2_lists_addresses() {
    let (mut cluster, _) = lost();
    let agent = &cluster.agents[0];
    std::fs::write(peers(agent), json!([address(agent)]).to_string()).unwrap();
    assert_goes_on_alone(&mut cluster);
}

#[test]
fn a_dead_server_is_removed_by_hand() {
    let mut cluster = Cluster::loopback().picture();
    let leader = cluster.until_leader();
    let victim = (0..3).find(|at| *at != leader).expect("a follower");
    let gone = address(&cluster.agents[victim]);
    cluster.agents[victim].kill();
    let says = |arguments: &[&str]| {
        let all = [&["operator", "raft", "remove-peer"], arguments].concat();
        let output = cluster.agents[3].cli(&all);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    for (arguments, want) in [
        (&[][..], "an address or id is required for the peer to remove"),
        (&["-id=a", "-address=b"], "cannot give both an address and id"),
    ] {
        assert_eq!(says(arguments), (Some(1), format!("Error removing peer: {want}")));
    }
    let (code, text) = says(&["-id=nope"]);
    assert!(code == Some(1) && text.contains("id \"nope\" was not found in the Raft"), "{text}");
    let removed = format!("Removed peer with address {gone:?}");
    assert_eq!(says(&[&format!("-address={gone}")]), (Some(0), removed));
    let left = listed(&cluster.agents[leader]).unwrap();
    assert!(left.len() == 2 && left.iter().all(|(address, _)| *address != gone), "{left:?}");
    let again = cluster.agents[leader].http();
    let answer = again.delete(&format!("/v1/operator/raft/peer?address={gone}"));
    assert_eq!(answer.status, 500);
    let want = format!("address {gone:?} was not found in the Raft configuration");
    assert_eq!(answer.text(), want);
}
