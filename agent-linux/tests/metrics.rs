//! What an agent counts and measures: as JSON, for Prometheus, and sent to a statsd.

mod support;

use serde_json::Value;
use std::net::UdpSocket;
use std::time::Duration;
use support::cluster::{Cluster, get};
use support::{PATIENCE, eventually};

/// One server with this configuration, once it leads.
fn server(config: &str) -> Cluster {
    let mut cluster = Cluster::loopback();
    let agent = cluster.add("metered", &["-server", "-bootstrap-expect=1"]);
    let path = agent.folder().join("config.hcl");
    std::fs::write(&path, config).expect("configuration");
    agent.flag(format!("-config-file={}", path.display()));
    cluster.start(0);
    cluster.until_leader();
    cluster
}

/// Finds a value by name.
fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array().expect("a list").iter().find(|one| one["Name"] == name)
}

#[test]
fn what_was_done_is_shown_under_consuls_names() {
    let cluster =
        server(r#"telemetry { disable_hostname = true, prefix_filter = ["-consul.rpc"] }"#);
    let agent = &cluster.agents[0];
    // An interval lasts ten seconds: ask until the one with the write is shown.
    let shown = eventually(PATIENCE, "an interval with a write", || {
        agent.http().put("/v1/kv/a", "b");
        let shown = get(agent, "/v1/agent/metrics")?.json();
        named(&shown["Samples"], "consul.kvs.apply").ok_or("not yet")?;
        named(&shown["Samples"], "consul.http.PUT.v1.kv._").ok_or("no route")?;
        named(&shown["Gauges"], "consul.session_ttl.active").ok_or("no gauge of a leader")?;
        Ok(shown)
    });
    assert_eq!(shown["Points"], Value::Array(vec![]));
    let apply = named(&shown["Samples"], "consul.kvs.apply").unwrap();
    let number = |name: &str| apply[name].as_f64().unwrap_or_else(|| panic!("{name} in {apply}"));
    assert!(number("Count") >= 1.0 && number("Sum") > 0.0);
    assert!(number("Min") <= number("Mean") && number("Mean") <= number("Max"));
    assert!((number("Rate") - number("Sum") / 10.0).abs() < 1e-6);
    let applied = named(&shown["Gauges"], "consul.raft.applied_index").expect("a gauge");
    assert!(applied["Value"].as_f64().unwrap() > 1.0);
    let goroutines = named(&shown["Gauges"], "consul.runtime.num_goroutines").expect("a gauge");
    assert!(goroutines["Value"].as_f64().unwrap() > 3.0);
    let all = shown.to_string();
    assert!(!all.contains("\"consul.rpc."), "the filter hides: {all}");
    let prometheus = agent.http().get("/v1/agent/metrics?format=prometheus");
    assert_eq!(prometheus.status, 415);
}

#[test]
fn prometheus_is_told_totals() {
    let cluster =
        server("telemetry { prometheus_retention_time = \"1h\", disable_hostname = true }");
    let agent = &cluster.agents[0];
    let read = |name: &str| -> Result<f64, String> {
        let page = get(agent, "/v1/agent/metrics?format=prometheus")?;
        let kind = page.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let text = page.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no {name}: {text}"))
    };
    let count = || read("consul_kvs_apply_count");
    let before = eventually(PATIENCE, "a first write", count);
    for n in 0..7 {
        assert_eq!(agent.http().put(&format!("/v1/kv/{n}"), "v").status, 200);
    }
    assert_eq!(count().unwrap(), before + 7.0);
    assert!(read("consul_kvs_apply{quantile=\"0.5\"}").unwrap() > 0.0);
    for name in [
        "consul_raft_apply",
        "consul_raft_commitTime_count",
        "consul_raft_state_leader",
        "consul_serf_member_join",
        "consul_client_rpc",
        "consul_http_PUT_v1_kv___count",
        "consul_runtime_alloc_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(read(name).unwrap_or_else(|why| panic!("{why}")) > 0.0, "{name}");
    }
}

#[test]
fn a_statsd_is_sent_every_interval() {
    let statsd = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    statsd.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let to = statsd.local_addr().expect("an address");
    let cluster = server(&format!(
        "telemetry {{ dogstatsd_addr = \"{to}\", dogstatsd_tags = [\"edge\"], \
         metrics_prefix = \"shop\", disable_hostname = true }}"
    ));
    let mut lines = Vec::new();
    eventually(PATIENCE, "a gauge, a counter and a sample", || {
        cluster.agents[0].http().put("/v1/kv/a", "b");
        let mut datagram = [0; 65_536];
        if let Ok((length, _)) = statsd.recv_from(&mut datagram) {
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            lines.extend(text.lines().map(str::to_owned));
        }
        for (start, kind) in [
            ("shop.runtime.num_goroutines:", "|g"),
            ("shop.raft.apply:", "|c"),
            ("shop.kvs.apply:", "|ms"),
        ] {
            let found = lines.iter().any(|line| line.starts_with(start) && line.contains(kind));
            if !found {
                return Err(format!("{start} {kind} is not among {} lines", lines.len()));
            }
        }
        Ok(())
    });
    assert!(lines.iter().all(|line| line.ends_with("|#edge")), "{lines:?}");
}
