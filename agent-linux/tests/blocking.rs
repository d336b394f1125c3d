//! Blocking queries by the thousand: who is woken, who is not, and that nobody is forgotten when
//! the leader is killed.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use support::cluster::{Agent, Cluster, get};
use support::http::Client;
use support::{PATIENCE, eventually};

/// Queries that wait at once, if the system allows as many open files.
const QUERIES: usize = 2_000;

/// File descriptors that the test and the agent need besides.
const SPARE: u64 = 500;

/// Queries of each kind that wait while the leader is killed.
const WATCHERS: usize = 20;

/// One server that takes as many connections as come.
fn server() -> Cluster {
    let mut cluster = Cluster::loopback();
    let limits = "-hcl=limits { http_max_conns_per_client = 0 }";
    let telemetry = "-hcl=telemetry { prometheus_retention_time = \"1h\" }";
    cluster.add("n1", &["-server", "-bootstrap-expect=1", limits, telemetry]);
    cluster.start(0);
    cluster.until_leader();
    cluster
}

/// How many queries fit, while another test has as many.
fn room() -> usize {
    let files = support::raise_file_limit().saturating_sub(SPARE);
    usize::try_from(files / 2).unwrap_or(usize::MAX).min(QUERIES)
}

/// Sends a query and leaves its answer to come.
fn ask(agent: &Agent, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(agent.http_address()).expect("one more connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// Reads a whole answer, which must come.
fn answer(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    String::from_utf8(bytes).expect("text")
}

/// Tells whether nothing has come yet.
fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("mode");
    let silent = stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).expect("mode");
    silent
}

/// Waits until so many queries wait on an agent.
fn until_waiting(agent: &Agent, count: usize) {
    eventually(PATIENCE, "all queries wait", || {
        let page = get(agent, "/v1/agent/metrics?format=prometheus")?.text();
        let line = page
            .lines()
            .find(|line| line.starts_with("consul_") && line.contains("rpc_queries_blocking "));
        let waiting = line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok());
        if waiting.is_some_and(|n| n >= count as f64) { Ok(()) } else { Err(format!("{line:?}")) }
    });
}

/// The index of an answer as it came.
fn index_of(answer: &str) -> u64 {
    let line = answer.lines().find_map(|line| line.strip_prefix("X-Consul-Index: "));
    line.and_then(|index| index.trim().parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn one_write_answers_one_of_thousands_who_watch_a_key_each() {
    let count = room();
    let cluster = server();
    let agent = &cluster.agents[0];
    agent.http().put("/v1/kv/before", "x");
    let index = agent.http().get("/v1/kv/before").index();
    let mut queries: Vec<TcpStream> =
        (0..count).map(|n| ask(agent, &format!("/v1/kv/w/{n}?index={index}&wait=10m"))).collect();
    until_waiting(agent, count);
    for n in [count - 1, 7, 0] {
        agent.http().put(&format!("/v1/kv/w/{n}"), "x");
        let woken = answer(&mut queries.remove(n));
        assert!(woken.contains(&format!("\"w/{n}\"")), "{woken}");
        assert!(index_of(&woken) > index, "{woken}");
    }
    assert_eq!(queries.iter().filter(|query| !is_silent(query)).count(), 0);
}

#[test]
fn a_new_instance_answers_thousands_who_watch_its_service() {
    let count = room();
    let cluster = server();
    let agent = &cluster.agents[0];
    let register = |id: &str| {
        let body = format!("{{\"ID\": \"{id}\", \"Name\": \"web\"}}");
        assert_eq!(agent.http().put("/v1/agent/service/register", body).status, 200);
    };
    register("web-1");
    let index = eventually(PATIENCE, "the first instance is known, and its node is well", || {
        let known = get(agent, "/v1/health/service/web")?;
        let text = known.text();
        let settled = ["web-1", "serfHealth", "consul-network-segment"];
        let settled = settled.iter().all(|word| text.contains(word));
        if settled { Ok(known.index()) } else { Err(text) }
    });
    let path = format!("/v1/health/service/web?index={index}&wait=10m");
    let queries: Vec<TcpStream> = (0..count).map(|_| ask(agent, &path)).collect();
    let other = ask(agent, &format!("/v1/health/service/other?index={index}&wait=10m"));
    until_waiting(agent, count + 1);
    register("web-2");
    for mut query in queries {
        let woken = answer(&mut query);
        assert!(woken.contains("web-2"), "{woken}");
        assert!(index_of(&woken) > index, "{woken}");
    }
    assert!(is_silent(&other));
}

/// Watches a key until it has the value `after`, as Consul's clients do: what fails is asked again
/// from the same index. Tells how often it failed.
fn follow(client: Client, path: &str, after: &str, waits: &AtomicUsize) -> usize {
    let client = Client { timeout: PATIENCE, ..client };
    let (mut index, mut failures) = (0, 0);
    let deadline = Instant::now() + 4 * PATIENCE;
    while Instant::now() < deadline {
        let join = if path.contains('?') { '&' } else { '?' };
        let asked = format!("{path}{join}index={index}&wait=30s&raw");
        match client.try_request("GET", &asked, b"") {
            Ok(answer) if answer.status == 200 && answer.text() == after => return failures,
            Ok(answer) if answer.status == 200 => {
                assert!(answer.index() >= index, "{path}: {} after {index}", answer.index());
                if index == 0 {
                    waits.fetch_add(1, Ordering::Relaxed);
                }
                index = answer.index();
            }
            Ok(_) | Err(_) => failures += 1,
        }
    }
    panic!("{path}: the write was not seen");
}

#[test]
fn no_query_misses_a_write_when_the_leader_is_killed() {
    let mut cluster = Cluster::loopback().picture();
    let leader = cluster.until_leader();
    let follower = (0..3).find(|at| *at != leader).expect("a follower");
    let waits = AtomicUsize::new(0);
    let name = |kind: &str, n: usize| format!("/v1/kv/w/{kind}/{n}");
    let kinds = [("client", 3, ""), ("follower", follower, ""), ("stale", follower, "?stale")];
    for (kind, _, _) in kinds {
        for n in 0..WATCHERS {
            let put = cluster.agents[3].http().put(&name(kind, n), "before");
            assert_eq!(put.text(), "true");
        }
    }
    let last = name("stale", WATCHERS - 1) + "?stale";
    eventually(PATIENCE, "the follower has all keys", || {
        let found = get(&cluster.agents[follower], &last)?;
        if found.status == 200 { Ok(()) } else { Err(found.text()) }
    });
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let mut watchers = Vec::new();
        for (kind, at, params) in kinds {
            for n in 0..WATCHERS {
                let client = cluster.agents[at].http();
                let (path, waits) = (name(kind, n) + params, &waits);
                watchers.push((kind, scope.spawn(move || follow(client, &path, "after", waits))));
            }
        }
        eventually(PATIENCE, "all have their first answer", || {
            let begun = waits.load(Ordering::Relaxed);
            if begun == watchers.len() { Ok(()) } else { Err(format!("{begun}")) }
        });
        cluster.agents[leader].kill();
        cluster.until_leader();
        let writer = cluster.agents[follower].http();
        for (kind, _, _) in kinds {
            for n in 0..WATCHERS {
                eventually(PATIENCE, "a write after the change", || {
                    let put = writer.try_request("PUT", &name(kind, n), b"after");
                    match put {
                        Ok(answer) if answer.text() == "true" => Ok(()),
                        other => Err(format!("{other:?}")),
                    }
                });
            }
        }
        for (kind, watcher) in watchers {
            failures.push((kind, watcher.join().expect("the write was seen")));
        }
    });
    // Who takes any server's word does not even notice.
    assert!(failures.iter().all(|(kind, count)| *kind != "stale" || *count == 0), "{failures:?}");
}
