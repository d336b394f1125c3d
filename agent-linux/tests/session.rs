//! Sessions with TTLs while the leader changes.

mod support;

use std::time::{Duration, Instant};
use support::cluster::{Agent, Cluster};
use support::{PATIENCE, always, eventually};

const SESSIONS: usize = 1000;
/// How many are made at once.
const MAKERS: usize = 8;
const TTL: Duration = Duration::from_secs(20);

fn create(agent: &Agent, count: usize) {
    for _ in 0..count {
        let answer = agent.http().put("/v1/session/create", r#"{"TTL":"20s"}"#);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn count(agent: &Agent) -> Result<usize, String> {
    let answer = agent.http().get("/v1/session/list");
    match answer.status {
        200 => Ok(answer.json().as_array().map_or(0, Vec::len)),
        _ => Err(answer.text()),
    }
}

#[test]
fn no_session_expires_early_when_the_leader_changes() {
    let mut cluster = Cluster::loopback().picture();
    let client = &cluster.agents[3];
    eventually(PATIENCE, "the client is in the catalog and well", || {
        let checks = client.http().get("/v1/health/node/agent131").text();
        if checks.contains("passing") { Ok(()) } else { Err(checks) }
    });
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..MAKERS {
            scope.spawn(|| create(client, SESSIONS / MAKERS));
        }
    });
    assert_eq!(count(client), Ok(SESSIONS));
    let leader = cluster.until_leader();
    // The first were made long enough ago for the new leader's timers to matter.
    eventually(PATIENCE, "a part of the TTL is over", || match started.elapsed() > TTL / 3 {
        true => Ok(()),
        false => Err("not yet".to_string()),
    });
    cluster.agents[leader].kill();
    cluster.until_leader();
    let client = &cluster.agents[3];
    always(TTL, "every session is there", || count(client) == Ok(SESSIONS));
    // Twice the TTL after the new leader began, and not for ever.
    eventually(TTL + 2 * PATIENCE, "all have expired", || match count(client) {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
