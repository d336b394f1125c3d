//! Clients with a partial view: members as any others, which know a few contacts.

mod support;

use serde_json::json;
use support::cluster::{Agent, Cluster, get, members};
use support::{PATIENCE, eventually};

const PARTIAL: &str = "-hcl=gossip_lan { view = \"partial\" }";

/// Three servers and a client, and two clients with a partial view.
fn cluster() -> Cluster {
    let mut cluster = Cluster::loopback().picture();
    let join = format!("-retry-join={}", cluster.agents[0].address);
    for name in ["edge1", "edge2"] {
        cluster.add(name, &[PARTIAL, &join, "-retry-interval=1s"]);
        let at = cluster.agents.len() - 1;
        cluster.start(at);
    }
    for at in 0..cluster.agents.len() {
        cluster.until_members(at, &all("alive"));
    }
    cluster
}

/// Everybody alive, but for the second partial client.
fn all(second: &str) -> [(&str, &str); 6] {
    let names = ["agent128", "agent129", "agent130", "agent131", "edge1"];
    let [a, b, c, d, e] = names.map(|name| (name, "alive"));
    [a, b, c, d, e, ("edge2", second)]
}

/// Waits until a write through the agent is accepted.
fn until_served(agent: &Agent) {
    eventually(PATIENCE, "a write is accepted", || {
        let answer = agent.http().try_request("PUT", "/v1/kv/edge", b"1");
        match answer.map_err(|error| error.to_string())? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.text()),
        }
    });
}

/// Waits until the catalog has a check of a node in a status.
fn until_check(agent: &Agent, node: &str, check: &str, status: &str) {
    eventually(PATIENCE, "the check's status", || {
        let checks = get(agent, &format!("/v1/health/node/{node}"))?.json();
        let found = checks.as_array().into_iter().flatten().find(|one| one["CheckID"] == check);
        match found.map(|one| &one["Status"]) {
            Some(found) if *found == status => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn a_partial_client_serves_requests_and_is_seen_failed_back_and_left() {
    let mut cluster = cluster();
    until_served(&cluster.agents[4]);
    let (edge, server) = (&cluster.agents[5], &cluster.agents[0]);
    until_served(edge);
    assert_eq!(edge.http().get("/v1/kv/edge?raw").text(), "1");
    let service = json!({ "Name": "pump", "Port": 80, "Check": { "TTL": "60s" } });
    let put = edge.http().put("/v1/agent/service/register", service.to_string());
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(edge.http().put("/v1/agent/check/pass/service:pump", "").status, 200);
    until_check(server, "edge2", "service:pump", "passing");
    until_check(server, "edge2", "serfHealth", "passing");
    let own = get(edge, "/v1/agent/self").expect("served").json();
    assert_eq!(own["Member"]["Name"], "edge2");
    assert!(own["Coord"].is_null());

    cluster.agents[5].kill();
    for at in 0..5 {
        cluster.until_members(at, &all("failed"));
    }
    until_check(&cluster.agents[0], "edge2", "serfHealth", "critical");

    cluster.agents[5].start();
    for at in 0..6 {
        cluster.until_members(at, &all("alive"));
    }
    until_check(&cluster.agents[0], "edge2", "service:pump", "passing");

    let left = cluster.agents[5].cli(&["leave"]);
    assert!(left.status.success(), "{left:?}");
    cluster.agents[5].wait();
    for at in 0..5 {
        cluster.until_members(at, &all("left"));
    }
}

#[test]
fn a_partial_client_finds_other_servers_and_comes_back_without_an_address() {
    let mut cluster = cluster();
    until_served(&cluster.agents[5]);
    // Known from the last run, and from the contacts: the address to join through is gone.
    cluster.agents[0].kill();
    cluster.agents[5].kill();
    cluster.until_leader_within(PATIENCE * 2);
    cluster.agents[5].start();
    until_served(&cluster.agents[5]);
    eventually(PATIENCE, "edge2 is back", || {
        let seen = members(&cluster.agents[1])?;
        let back = seen.contains(&("edge2".to_owned(), "alive".to_owned()));
        back.then_some(()).ok_or_else(|| format!("{seen:?}"))
    });
}

#[test]
fn what_needs_the_whole_pool_is_refused_with_a_reason() {
    let cluster = cluster();
    let edge = &cluster.agents[4];
    for path in ["/v1/event/fire/deploy", "/v1/agent/force-leave/agent131"] {
        let answer = edge.http().put(path, "");
        assert_eq!(answer.status, 500, "{path}");
        assert!(answer.text().contains("gossip_lan.view"), "{path}: {}", answer.text());
    }
    let joined = edge.cli(&["join", "127.0.0.1:1"]);
    assert!(!joined.status.success());
    assert!(String::from_utf8_lossy(&joined.stderr).contains("no answer"), "{joined:?}");
}

#[test]
fn a_server_refuses_a_partial_view_and_anybody_an_unknown_one() {
    let mut cluster = Cluster::loopback();
    cluster.add("server", &["-server", "-bootstrap-expect=1", PARTIAL]);
    cluster.add("client", &["-hcl=gossip_lan { view = \"half\" }"]);
    for (at, what) in [(0, "on a server"), (1, "must be \"full\" or \"partial\"")] {
        cluster.start(at);
        assert!(!cluster.agents[at].wait().success());
        let log = cluster.agents[at].log();
        assert!(log.contains("gossip_lan.view") && log.contains(what), "{log}");
    }
}

#[test]
fn clockwork_out_of_bounds_is_refused() {
    let mut cluster = Cluster::loopback();
    for (name, text) in [
        ("nodes", "gossip_nodes = 0"),
        ("retransmit", "retransmit_mult = 65"),
        ("suspicion", "suspicion_mult = 0"),
        ("gossip", "gossip_interval = \"1ms\""),
        ("probe", "probe_interval = \"0s\""),
        ("timeout", "probe_timeout = \"11m\""),
    ] {
        cluster.add(name, &[&format!("-hcl=gossip_lan {{ {text} }}")]);
        let at = cluster.agents.len() - 1;
        cluster.start(at);
        assert!(!cluster.agents[at].wait().success(), "{name}");
        let (log, key) = (cluster.agents[at].log(), text.split(' ').next().expect("a key"));
        assert!(log.contains(&format!("gossip_lan.{key}")) && log.contains("must be"), "{log}");
    }
}
