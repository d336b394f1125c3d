//! Network coordinates of real agents: measured, told to the servers, used.

mod support;

use serde_json::Value;
use support::answer::ask_dns;
use support::cluster::{Agent, Cluster, get};
use support::{PATIENCE, eventually};

/// A server and a client that has joined it, with a setting of their own.
fn pair(setting: &str) -> Cluster {
    let mut cluster = Cluster::loopback();
    let setting = format!("-hcl={setting}");
    let first = cluster.add("server", &["-server", "-bootstrap-expect=1", &setting]).address;
    cluster.start(0);
    cluster.until_http(0);
    cluster.add("client", &[&setting, &format!("-join={first}")]);
    cluster.start(1);
    cluster.until_http(1);
    cluster.until_leader();
    cluster
}

/// Names and estimated errors of the nodes whose place the servers know.
fn known(agent: &Agent) -> Result<Vec<(String, f64)>, String> {
    let rows: Vec<Value> = serde_json::from_str(&get(agent, "/v1/coordinate/nodes")?.text())
        .map_err(|error| error.to_string())?;
    let pair = |row: &Value| {
        let node = row["Node"].as_str().expect("a name").to_owned();
        (node, row["Coord"]["Error"].as_f64().expect("a number"))
    };
    Ok(rows.iter().map(pair).collect())
}

#[test]
fn agents_find_out_where_they_are_and_tell_the_servers() {
    let cluster = pair("sync_coordinate_interval_min = \"1s\"");
    let [server, client] = cluster.agents.as_slice() else { panic!("two agents") };
    eventually(PATIENCE, "both places are known, and surer than at the start", || {
        match known(client)?.as_slice() {
            [(a, one), (b, two)] if a == "client" && b == "server" && *one < 1.4 && *two < 1.4 => {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    });
    let own: Value = serde_json::from_str(&client.http().get("/v1/agent/self").text()).unwrap();
    assert_eq!(own["Coord"]["Vec"].as_array().map(Vec::len), Some(8));
    assert!(own["Coord"]["Height"].as_f64() >= Some(10.0e-6));
    for (agent, first) in [(server, "server"), (client, "client")] {
        let nodes = agent.http().get("/v1/catalog/nodes?near=_agent").text();
        let nodes: Vec<Value> = serde_json::from_str(&nodes).unwrap();
        assert_eq!(nodes[0]["Node"], first, "an agent is nearest to itself");
    }
    let output = client.cli(&["rtt", "server"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let millis = told.strip_prefix("Estimated server <-> client rtt: ").expect("an estimate");
    let millis = millis.strip_suffix(" ms (using LAN coordinates)\n").expect("of the LAN");
    let millis: f64 = millis.parse().expect("a number");
    assert!(millis > 0.0 && millis < 1000.0, "{told}");
}

#[test]
fn a_query_near_ip_is_near_to_the_node_that_asks_or_that_a_proxy_names() {
    let cluster = pair("sync_coordinate_interval_min = \"1s\"");
    let [server, client] = cluster.agents.as_slice() else { panic!("two agents") };
    for agent in [server, client] {
        let done = agent.http().put("/v1/agent/service/register", r#"{"Name":"web","Port":80}"#);
        assert_eq!(done.status, 200, "{}", done.text());
    }
    let query = r#"{"Name":"web","Service":{"Service":"web","Near":"_ip"}}"#;
    let made = server.http().request("POST", "/v1/query", query.as_bytes());
    assert_eq!(made.status, 200, "{}", made.text());
    let first = |address: std::net::Ipv4Addr| {
        let asked = format!(
            "GET /v1/query/web/execute HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             X-Forwarded-For: {address}, 10.0.0.1\r\n\r\n"
        );
        let answer = client.http().raw(asked.as_bytes()).map_err(|error| error.to_string())?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let body = answer.split_once("\r\n\r\n").ok_or("no body")?.1;
        let found: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let nodes = found["Nodes"].as_array().ok_or("no nodes")?;
        if nodes.len() < 2 {
            return Err(format!("{found}"));
        }
        Ok(nodes[0]["Node"]["Node"].as_str().unwrap_or_default().to_owned())
    };
    for agent in [server, client, server] {
        eventually(PATIENCE, "who asks is found first", || match first(agent.address)? {
            name if name == agent.name => Ok(()),
            name => Err(name),
        });
    }
    for (agent, asked) in [(server, client), (client, client), (server, server), (client, server)] {
        let answer = ask_dns(asked, "web.query.consul A", None, agent.address);
        let records: Vec<String> =
            answer.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(records.len(), 2, "{records:?}");
        assert_eq!(records[0], agent.address.to_string(), "DNS knows who asks, too");
    }
}

#[test]
fn without_coordinates_there_are_none() {
    let cluster = pair("disable_coordinates = true");
    let client = cluster.agents[1].http();
    for path in ["nodes", "node/client", "datacenters"] {
        let answer = client.get(&format!("/v1/coordinate/{path}"));
        assert_eq!((answer.status, answer.text().as_str()), (401, "Coordinate support disabled"));
    }
    let own: Value = serde_json::from_str(&client.get("/v1/agent/self").text()).unwrap();
    assert_eq!(
        (&own["Coord"], &own["DebugConfig"]["DisableCoordinates"]),
        (&Value::Null, &true.into())
    );
}
