//! Snapshots: saved while the cluster works, restored on all servers at once or on none.

mod support;

use proptest::prelude::{ProptestConfig, TestCaseError, any};
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use std::process::Output;
use std::time::Duration;
use support::cluster::{Agent, Cluster, get};
use support::http::Client;
use support::{Folder, PATIENCE, eventually};

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// One server, once it leads.
fn server() -> Cluster {
    let mut cluster = Cluster::loopback();
    cluster.add("saved", &["-server", "-bootstrap-expect=1"]);
    cluster.start(0);
    cluster.until_leader();
    cluster
}

/// Waits until an agent's own copy of a key has a value.
fn until_value(agent: &Agent, key: &str, want: &str) {
    eventually(PATIENCE, &format!("{key} on {}", agent.name), || {
        let found = get(agent, &format!("/v1/kv/{key}?raw&stale"))?.text();
        if found == want { Ok(()) } else { Err(found) }
    });
}

/// Waits for a blocking query in a thread of its own.
fn wait_for(
    client: Client,
    path: String,
) -> std::thread::JoinHandle<std::io::Result<support::http::Response>> {
    let client = Client { timeout: Duration::from_secs(120), ..client };
    std::thread::spawn(move || client.try_request("GET", &path, b""))
}

#[test]
fn a_snapshot_comes_back_on_every_server_and_wakes_every_watch() {
    let mut cluster = Cluster::loopback().picture();
    let (client, folder) = (3, Folder::new("snapshots"));
    let file = folder.path().join("backup.snap").display().to_string();
    let http = cluster.agents[client].http();
    let session = http.put("/v1/session/create", r#"{"TTL":"600s"}"#).json();
    let id = session["ID"].as_str().expect("an id");
    assert_eq!(http.put(&format!("/v1/kv/locked?acquire={id}"), "held").text().trim(), "true");
    for number in 0..50 {
        http.put(&format!("/v1/kv/k/{number}"), format!("old {number}"));
    }
    let (code, said, errors) = text(&cluster.agents[client].cli(&["snapshot", "save", &file]));
    assert_eq!(code, Some(0), "{errors}");
    let index = said.trim().strip_prefix("Saved and verified snapshot to index ").expect(&said);
    let index: u64 = index.parse().expect("a number");
    let (_, shown, _) = text(&cluster.agents[client].cli(&["snapshot", "inspect", &file]));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with(&format!("ID           1-{index}-")), "{shown}");
    assert_eq!(lines[2], format!("Index        {index}"));

    for number in 0..50 {
        http.put(&format!("/v1/kv/k/{number}"), "new");
    }
    http.put("/v1/kv/later", "1");
    http.delete("/v1/kv/k/7");
    assert_eq!(http.put(&format!("/v1/session/destroy/{id}"), "").status, 200);
    let leader = cluster.until_leader();
    let down = (0..3).find(|at| *at != leader).expect("a follower");
    let up = (0..3).find(|at| *at != leader && *at != down).expect("another");
    cluster.agents[down].kill();
    let now = http.get("/v1/kv/?recurse").index();
    assert!(now > index);
    let waiting = [
        (client, "/v1/kv/k/3?wait=100s", now),
        (up, "/v1/kv/?recurse&stale&wait=100s", now),
        (leader, "/v1/catalog/nodes?wait=100s", now),
        // One that is ahead of everything wakes, too.
        (leader, "/v1/kv/absent?wait=100s", now + 1000),
    ]
    .map(|(at, path, after)| {
        let path = format!("{path}&index={after}");
        (after, wait_for(cluster.agents[at].http(), path))
    });
    let restored = text(&cluster.agents[client].cli(&["snapshot", "restore", &file]));
    assert_eq!(restored, (Some(0), "Restored snapshot\n".into(), String::new()));
    for (after, waiting) in waiting {
        let woken = waiting.join().expect("no panic").expect("an answer");
        assert!(woken.index() > now, "{} after {after}", woken.index());
    }
    let after = http.get("/v1/kv/k/3").index();
    assert!(after > now);
    assert_eq!(http.get("/v1/kv/k/3?raw").text(), "old 3");
    assert_eq!(http.get("/v1/kv/k/7?raw").text(), "old 7");
    assert_eq!(http.get("/v1/kv/later").status, 404);
    assert_eq!(http.get("/v1/kv/locked").json()[0]["Session"], id);
    assert_eq!(http.put(&format!("/v1/session/renew/{id}"), "").status, 200);
    http.put("/v1/kv/k/1", "newest");
    assert!(http.get("/v1/kv/k/1").json()[0]["ModifyIndex"].as_u64() > Some(after));

    cluster.agents[down].start();
    for at in 0..3 {
        until_value(&cluster.agents[at], "k/3", "old 3");
        until_value(&cluster.agents[at], "k/1", "newest");
    }
    assert_survives_a_restart(&mut cluster, after);
}

/// Restarts all servers; the restored state is there again, and indexes did not fall.
fn assert_survives_a_restart(cluster: &mut Cluster, index: u64) {
    for at in 0..3 {
        cluster.agents[at].kill();
    }
    cluster.start(0);
    cluster.until_http(0); // the others' `-join` is refused until then
    for at in 1..3 {
        cluster.start(at);
    }
    let leader = cluster.until_leader();
    let again = eventually(PATIENCE, "the state after a restart", || {
        get(&cluster.agents[leader], "/v1/kv/k/3")
    });
    assert!(again.index() >= index, "{} and {index}", again.index());
    assert_eq!(again.json()[0]["Value"], "b2xkIDM=");
}

#[test]
fn a_damaged_or_foreign_file_changes_nothing() {
    let cluster = server();
    let http = cluster.agents[0].http();
    for number in 0..30 {
        http.put(&format!("/v1/kv/k/{number}"), "v".repeat(number * 100));
    }
    let saved = http.get("/v1/snapshot");
    assert_eq!((saved.status, saved.header("content-type")), (200, Some("application/x-gzip")));
    assert!(saved.index() > 1 && saved.header("x-consul-knownleader") == Some("true"));
    http.put("/v1/kv/k/3", "since");
    let before = http.get("/v1/kv/?recurse");
    let refused = |bytes: &[u8]| {
        let answer = http.put("/v1/snapshot", bytes);
        let found = http.get("/v1/kv/?recurse");
        assert_eq!((found.index(), &found.body), (before.index(), &before.body));
        assert_eq!(answer.status, 500, "{}", answer.text());
        answer.text()
    };
    assert_eq!(refused(b""), "failed to decompress snapshot: EOF");
    assert_eq!(refused(&[b'x'; 100]), "failed to decompress snapshot: gzip: invalid header");
    let elsewhere = http.get("/v1/snapshot?dc=elsewhere");
    assert_eq!((elsewhere.status, elsewhere.text().as_str()), (500, "No path to datacenter"));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let damage = (any::<Index>(), 1..=255_u8, any::<bool>());
    let tried = runner.run(&damage, |(at, change, cut)| {
        let mut bytes = saved.body.clone();
        // Before it are the compressor's hints, which mean nothing.
        let at = 10 + at.index(bytes.len() - 10);
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] ^= change,
        }
        if !cut && http.put("/v1/snapshot", &bytes).status == 200 {
            // It means the same: a run of zeros copied from elsewhere.
            let found = http.get("/v1/kv/k/3?raw").text();
            http.put("/v1/kv/k/3", "since");
            return match found == "v".repeat(300) {
                true => Err(TestCaseError::reject("no damage")),
                false => Err(TestCaseError::fail("another state was restored")),
            };
        }
        let found = http.get("/v1/kv/?recurse");
        let values = |answer: &support::http::Response| {
            answer
                .json()
                .as_array()
                .into_iter()
                .flatten()
                .map(|e| e["Value"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(values(&found), values(&before));
        Ok(())
    });
    tried.expect("no damage is taken");
    assert_eq!(http.put("/v1/snapshot", &saved.body).status, 200);
    assert_eq!(http.get("/v1/kv/k/3?raw").text(), "v".repeat(300));
}

#[test]
fn fifty_megabytes_go_through_a_client_that_does_not_hold_them() {
    const KEYS: usize = 128;
    const VALUE_BYTES: usize = 400 * 1024;
    let mut cluster = server();
    let join = format!("-join={}", cluster.agents[0].address);
    cluster.add("between", &[&join]);
    cluster.start(1);
    cluster.until_http(1);
    let http = Client { timeout: Duration::from_secs(300), ..cluster.agents[1].http() };
    let value = |key: usize| -> Vec<u8> {
        let mut state = key as u64 + 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..VALUE_BYTES).map(|_| next()).collect()
    };
    eventually(PATIENCE, "the client writes", || match http.put("/v1/kv/0", value(0)).status {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
    for key in 1..KEYS {
        assert_eq!(http.put(&format!("/v1/kv/{key}"), value(key)).status, 200);
    }
    let folder = Folder::new("large");
    let file = folder.path().join("large.snap").display().to_string();
    let idle = cluster.agents[1].resident_kib();
    let (code, _, errors) = text(&cluster.agents[1].cli(&["snapshot", "save", &file]));
    assert_eq!(code, Some(0), "{errors}");
    assert!(std::fs::metadata(&file).expect("a file").len() > (KEYS * VALUE_BYTES) as u64);
    assert_eq!(http.delete("/v1/kv/?recurse").status, 200);
    let (code, _, errors) = text(&cluster.agents[1].cli(&["snapshot", "restore", &file]));
    assert_eq!(code, Some(0), "{errors}");
    for key in [0, 1, KEYS / 2, KEYS - 1] {
        assert!(http.get(&format!("/v1/kv/{key}?raw")).body == value(key), "key {key}");
    }
    let used = cluster.agents[1].resident_kib();
    assert!(used < idle + 24 * 1024, "{idle} KiB before, {used} KiB after");
}
