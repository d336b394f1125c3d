//! Catalog, health and agent over HTTP: one registration, seen from everywhere.

mod support;

use serde_json::{Value, json};
use support::cluster::{Agent, Cluster};
use support::{PATIENCE, eventually};

/// A server and a client of it.
fn pair() -> Cluster {
    let mut cluster = Cluster::loopback();
    let server = cluster.add("cat-server", &["-server", "-bootstrap-expect=1"]).address;
    cluster.start(0);
    cluster.until_leader();
    cluster.add("cat-client", &[&format!("-join={server}"), "-node-meta=rack:r1"]);
    cluster.start(1);
    cluster.until_http(1);
    until_nodes(&cluster.agents[0], 2);
    cluster
}

fn until_nodes(agent: &Agent, count: usize) {
    eventually(PATIENCE, "nodes in the catalog", || {
        let nodes = agent.http().get("/v1/catalog/nodes");
        match nodes.status == 200 && nodes.json().as_array().map(Vec::len) == Some(count) {
            true => Ok(()),
            false => Err(nodes.text()),
        }
    });
}

fn done(agent: &Agent, path: &str, body: &Value) {
    let answer = agent.http().put(path, body.to_string());
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let rows = list.as_array().expect("a list");
    rows.iter().map(|row| row[field].as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_service_of_a_client_is_found_at_the_server_until_it_fails() {
    let cluster = pair();
    let [server, client] = [&cluster.agents[0], &cluster.agents[1]];
    let web = json!({"Name": "web", "Port": 80, "Tags": ["v1"], "Check": {"TTL": "60s"}});
    done(client, "/v1/agent/service/register", &web);
    let passing = |agent: &Agent| {
        agent.http().get("/v1/health/service/web?passing").json().as_array().unwrap().len()
    };
    let until_passing = |agent: &Agent, count: usize| {
        eventually(PATIENCE, "instances that pass", || match passing(agent) {
            found if found == count => Ok(()),
            found => Err(found.to_string()),
        });
    };
    until_passing(server, 0);
    done(client, "/v1/agent/check/pass/service:web?note=fine", &Value::Null);
    until_passing(server, 1);
    until_passing(client, 1);
    let found = server.http().get("/v1/health/service/web?tag=V1").json();
    let checks = names(&found[0]["Checks"], "CheckID");
    assert_eq!(checks, ["serfHealth", "service:web"]);
    assert_eq!(found[0]["Checks"][1]["Output"], "fine");
    done(client, "/v1/agent/check/fail/service:web", &Value::Null);
    until_passing(server, 0);
    let path = "/v1/agent/service/maintenance/web?enable=true&reason=r";
    done(client, path, &Value::Null);
    let critical = server.http().get("/v1/health/state/critical").json();
    assert_eq!(names(&critical, "CheckID"), ["_service_maintenance:web", "service:web"]);
    done(client, "/v1/agent/service/deregister/web", &Value::Null);
    eventually(PATIENCE, "the service is gone", || {
        match server.http().get("/v1/catalog/services").json() {
            left if left == json!({"consul": []}) => Ok(()),
            left => Err(left.to_string()),
        }
    });
}

#[test]
fn external_nodes_are_registered_and_removed_in_the_catalog() {
    let cluster = pair();
    let [server, client] = [&cluster.agents[0], &cluster.agents[1]];
    let saas = json!({"Node": "saas", "Address": "db.example.com",
                      "NodeMeta": {"rack": "r9"},
                      "Service": {"Service": "db", "Port": 5432, "Tags": ["a", "b"]},
                      "Check": {"Name": "up", "Status": "passing", "ServiceID": "db"}});
    done(client, "/v1/catalog/register", &saas);
    let db = server.http().get("/v1/catalog/service/db").json();
    assert_eq!(
        (db[0]["Address"].as_str(), db[0]["ServicePort"].as_u64()),
        (Some("db.example.com"), Some(5432))
    );
    let index = server.http().get("/v1/catalog/service/db").index();
    done(client, "/v1/catalog/register", &saas);
    assert_eq!(server.http().get("/v1/catalog/service/db").index(), index, "it is the same");
    let on_rack = |rack: &str| {
        let nodes = client.http().get(&format!("/v1/catalog/nodes?node-meta=rack:{rack}"));
        names(&nodes.json(), "Node")
    };
    assert_eq!((on_rack("r9"), on_rack("r1")), (vec!["saas".into()], vec!["cat-client".into()]));
    let filter = "/v1/catalog/nodes?filter=Meta.rack%20==%20r9";
    assert_eq!(names(&client.http().get(filter).json(), "Node"), ["saas"]);
    let node = client.http().get("/v1/catalog/node/saas").json();
    assert_eq!(node["Services"]["db"]["Tags"], json!(["a", "b"]));
    assert_eq!(client.http().get("/v1/catalog/node/nosuch").text().trim(), "null");
    let gone = json!({"Node": "saas"});
    done(client, "/v1/catalog/deregister", &gone);
    assert_eq!(server.http().get("/v1/health/node/saas").json(), json!([]));
    let after = server.http().get("/v1/catalog/service/db");
    assert_eq!(after.json(), json!([]));
    assert!(after.index() > index, "an index never runs backwards");
}

#[test]
fn a_watch_of_one_service_sleeps_through_changes_of_others() {
    let cluster = pair();
    let [server, client] = [&cluster.agents[0], &cluster.agents[1]];
    let service = |name: &str, port: u16| json!({"Name": name, "Port": port});
    done(client, "/v1/agent/service/register", &service("one", 1));
    let index = eventually(PATIENCE, "the service", || {
        let found = server.http().get("/v1/health/service/one");
        match found.json().as_array().is_some_and(|list| list.len() == 1) {
            true => Ok(found.index()),
            false => Err(found.text()),
        }
    });
    let http = client.http();
    let waiting = std::thread::spawn(move || {
        http.get(&format!("/v1/health/service/one?index={index}&wait=15s"))
    });
    done(client, "/v1/agent/service/register", &service("two", 2));
    done(client, "/v1/agent/service/register", &service("one", 11));
    let woken = waiting.join().unwrap();
    assert_eq!(woken.json()[0]["Service"]["Port"], 11);
    assert!(woken.index() > index);
    let index = woken.index();
    done(client, "/v1/agent/service/register", &service("two", 22));
    let still = server.http().get(&format!("/v1/health/service/one?index={index}&wait=300ms"));
    assert_eq!(still.index(), index);
}

#[test]
fn services_outlive_the_agents_process() {
    let mut cluster = pair();
    let body = json!({"Name": "kept", "Port": 9, "Check": {"TTL": "300s"}});
    done(&cluster.agents[1], "/v1/agent/service/register", &body);
    done(&cluster.agents[1], "/v1/agent/check/pass/service:kept", &Value::Null);
    let before = cluster.agents[1].http().get("/v1/agent/services").json();
    cluster.agents[1].kill();
    cluster.start(1);
    cluster.until_http(1);
    assert_eq!(cluster.agents[1].http().get("/v1/agent/services").json(), before);
    let checks = cluster.agents[1].http().get("/v1/agent/checks").json();
    assert_eq!(checks["service:kept"]["Status"], "passing");
}

#[test]
fn status_and_freshness_are_told() {
    let cluster = pair();
    let [server, client] = [&cluster.agents[0], &cluster.agents[1]];
    let leader = format!("{}:8300", server.address);
    assert_eq!(client.http().get("/v1/status/leader").json(), json!(leader));
    assert_eq!(client.http().get("/v1/status/peers").json(), json!([leader]));
    for (mode, told) in [("", "leader"), ("?stale", "stale"), ("?consistent", "consistent")] {
        let answer = client.http().get(&format!("/v1/catalog/nodes{mode}"));
        assert_eq!(answer.header("x-consul-effective-consistency"), Some(told), "{mode}");
        assert_eq!(answer.header("x-consul-knownleader"), Some("true"), "{mode}");
        assert!(answer.index() > 0, "{mode}");
    }
}
