//! `?cached` on a client agent: what a thousand watchers cost, and what the servers' loss changes.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use support::cluster::{Agent, Cluster, get};
use support::{PATIENCE, eventually};

/// Watchers of one service on one agent.
const WATCHERS: usize = 1_000;

const SERVICE: &str = "/v1/health/service/web?cached";

/// A server and a client that count what they ask.
fn pair() -> Cluster {
    let mut cluster = Cluster::loopback();
    let counting = "-hcl=telemetry { prometheus_retention_time = \"1h\", disable_hostname = true }";
    let first = cluster.add("server", &["-server", "-bootstrap-expect=1", counting]).address;
    let join = format!("-join={first}");
    let many = format!("-hcl=limits {{ http_max_conns_per_client = {} }}", 2 * WATCHERS);
    cluster.add("client", &[counting, &many, &join]);
    cluster.start(0);
    cluster.until_leader();
    cluster.start(1);
    cluster.until_http(1);
    let client = &cluster.agents[1];
    eventually(PATIENCE, "the client reaches the server", || get(client, "/v1/catalog/nodes"));
    cluster
}

fn register(agent: &Agent, id: &str) {
    let service = serde_json::json!({ "ID": id, "Service": "web" });
    let body = serde_json::json!({ "Node": "ext", "Address": "10.0.0.9", "Service": service });
    assert_eq!(agent.http().put("/v1/catalog/register", body.to_string()).status, 200);
}

/// A number that an agent tells Prometheus.
fn measured(agent: &Agent, name: &str) -> Result<f64, String> {
    let text = get(agent, "/v1/agent/metrics?format=prometheus")?.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.and_then(|value| value.parse().ok()).ok_or(text)
}

#[test]
fn a_thousand_watchers_cost_one_query() {
    support::raise_file_limit();
    let cluster = pair();
    let (server, client) = (&cluster.agents[0], &cluster.agents[1]);
    register(server, "web-1");
    let first = client.http().get(SERVICE);
    assert_eq!((first.header("x-cache"), first.header("age")), (Some("MISS"), None));
    let second = client.http().get(SERVICE);
    assert_eq!((second.header("x-cache"), second.header("age")), (Some("HIT"), Some("0")));
    let index = first.index();
    // Requests that the endpoint takes: those that the cache answers are none.
    let before = measured(client, "consul_client_rpc").expect("a count");
    let request = format!(
        "GET {SERVICE}&index={index}&wait=60s HTTP/1.1\r\nHost: client\r\nConnection: close\r\n\r\n"
    );
    let mut watchers: Vec<TcpStream> = (0..WATCHERS)
        .map(|_| {
            let mut watcher = TcpStream::connect(client.http_address()).expect("a connection");
            watcher.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            watcher.write_all(request.as_bytes()).expect("sent");
            watcher
        })
        .collect();
    eventually(PATIENCE, "all watch here, and one query watches for them there", || {
        let here = measured(client, "consul_rpc_queries_blocking")?;
        let there = measured(server, "consul_rpc_queries_blocking")?;
        if (here, there) == (WATCHERS as f64, 1.0) {
            Ok(())
        } else {
            Err(format!("{here} {there}"))
        }
    });
    register(server, "web-2");
    for watcher in &mut watchers {
        let mut answer = String::new();
        watcher.read_to_string(&mut answer).expect("it is woken");
        assert!(answer.contains("X-Cache: MISS") && answer.contains("web-2"), "{answer}");
    }
    let cost = measured(client, "consul_client_rpc").expect("a count") - before;
    assert!(cost < 20.0, "{WATCHERS} watchers cost {cost} requests");
}

#[test]
fn a_cached_answer_outlives_the_servers() {
    let mut cluster = pair();
    register(&cluster.agents[0], "web-1");
    let known = cluster.agents[1].http().get(SERVICE).text();
    cluster.agents[0].kill();
    let client = &cluster.agents[1];
    eventually(PATIENCE, "an age that grows", || {
        let answer = get(client, SERVICE)?;
        let age: u64 = answer.header("age").and_then(|age| age.parse().ok()).ok_or("no age")?;
        if age > 0 { Ok(()) } else { Err("fresh".to_owned()) }
    });
    let kept = client.http().get(SERVICE);
    assert_eq!((kept.status, kept.header("x-cache")), (200, Some("HIT")));
    assert_eq!(kept.text(), known);
    assert_eq!(client.http().get("/v1/health/service/web").status, 500);
    assert_eq!(client.http().get("/v1/health/service/other?cached").status, 500);
    cluster.start(0);
    let client = &cluster.agents[1];
    eventually(PATIENCE, "contact again", || {
        let answer = get(client, SERVICE)?;
        let age = answer.header("age").unwrap_or_default().to_owned();
        if age == "0" { Ok(()) } else { Err(age) }
    });
}
