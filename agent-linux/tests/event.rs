//! User events over a real pool: fired on one agent, heard once on all that are meant, in order.

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::cluster::{Agent, Cluster, get};
use support::{PATIENCE, always, eventually};

const NAMES: [&str; 4] = ["agent128", "agent129", "agent130", "agent131"];

fn pool() -> Cluster {
    let cluster = Cluster::loopback().picture();
    for at in 0..NAMES.len() {
        cluster.until_members(at, &NAMES.map(|name| (name, "alive")));
    }
    cluster
}

fn fire(agent: &Agent, target: &str, payload: &str) -> Value {
    let answer = agent.http().put(&format!("/v1/event/fire/{target}"), payload);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Lists the payloads of events of a name, as text.
fn payloads(agent: &Agent, name: &str) -> Result<Vec<String>, String> {
    use base64::Engine as _;
    let list = get(agent, &format!("/v1/event/list?name={name}"))?.json();
    let decode = |event: &Value| {
        let text = event["Payload"].as_str().unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    Ok(list.as_array().ok_or("no list")?.iter().map(decode).collect())
}

/// Waits until an agent heard these events of a name.
fn until_heard(agent: &Agent, name: &str, wanted: &[String]) {
    let what = format!("{} hears {name}", agent.name);
    eventually(PATIENCE, &what, || match payloads(agent, name)? {
        heard if heard == wanted => Ok(()),
        heard => Err(format!("{heard:?}")),
    });
}

#[test]
fn events_are_heard_once_by_all_in_the_order_fired() {
    let mut cluster = pool();
    let sent: Vec<String> = (0..40).map(|number| format!("{number}")).collect();
    for payload in &sent {
        fire(&cluster.agents[3], "deploy", payload);
    }
    for agent in &cluster.agents {
        until_heard(agent, "deploy", &sent);
    }
    // What follows from an event comes after it, whoever fires it.
    fire(&cluster.agents[0], "step", "one");
    until_heard(&cluster.agents[2], "step", &["one".into()]);
    fire(&cluster.agents[2], "step", "two");
    for agent in &cluster.agents {
        until_heard(agent, "step", &["one".into(), "two".into()]);
    }
    // Gossip goes on about an event for seconds; nobody may hear it again.
    always(Duration::from_secs(3), "each event is listed once", || {
        cluster.agents.iter().all(|agent| payloads(agent, "deploy").as_ref() == Ok(&sent))
    });
    let join = format!("-join={}", cluster.agents[0].address);
    cluster.add("late", &[&join]);
    cluster.start(4);
    let everybody = NAMES.iter().chain(&["late"]).map(|name| (*name, "alive"));
    cluster.until_members(4, &everybody.collect::<Vec<_>>());
    fire(&cluster.agents[1], "step", "three");
    until_heard(&cluster.agents[4], "step", &["three".into()]);
    assert_eq!(payloads(&cluster.agents[4], "deploy"), Ok(Vec::new()), "the past is not for it");
}

#[test]
fn a_restart_neither_repeats_events_nor_loses_those_of_meanwhile() {
    let mut cluster = pool();
    let texts = |range: std::ops::Range<u32>| -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    };
    for payload in texts(0..3) {
        fire(&cluster.agents[0], "deploy", &payload);
    }
    for agent in &cluster.agents {
        until_heard(agent, "deploy", &texts(0..3));
    }
    for at in [1, 3] {
        // Until the clock is on disk a power cut may have an event told again.
        let path = cluster.agents[at].data.join("serf/local.snapshot");
        eventually(PATIENCE, "the clock is kept", || {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            if text.contains("events 4\n") { Ok(()) } else { Err(text) }
        });
        cluster.agents[at].kill();
    }
    for payload in texts(3..6) {
        fire(&cluster.agents[2], "deploy", &payload);
    }
    until_heard(&cluster.agents[0], "deploy", &texts(0..6));
    for at in [1, 3] {
        cluster.start(at);
    }
    for at in [1, 3] {
        until_heard(&cluster.agents[at], "deploy", &texts(3..6));
    }
    // What one that came back fires is no old matter to anybody.
    fire(&cluster.agents[3], "deploy", "6");
    until_heard(&cluster.agents[0], "deploy", &texts(0..7));
    until_heard(&cluster.agents[1], "deploy", &texts(3..7));
}

#[test]
fn a_filter_decides_who_sees_an_event() {
    let cluster = pool();
    let web = json!({"ID": "web-1", "Name": "web", "Tags": ["blue"]}).to_string();
    for (at, body) in [(1, web.clone()), (3, web.replace("blue", "red"))] {
        let answer = cluster.agents[at].http().put("/v1/agent/service/register", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let filters = [
        ("node=130%7C131%24", vec![2, 3]),
        ("service=%5Eweb-1%24", vec![1, 3]),
        ("service=web&tag=blu", vec![1]),
        ("service=web&tag=red&node=agent129", vec![]),
        ("node=AGENT", vec![]),
        ("node=", vec![0, 1, 2, 3]),
    ];
    for (number, (filter, _)) in filters.iter().enumerate() {
        fire(&cluster.agents[0], &format!("q?{filter}"), &number.to_string());
    }
    for (at, agent) in cluster.agents.iter().enumerate() {
        let meant = filters.iter().enumerate().filter(|(_, (_, who))| who.contains(&at));
        let meant: Vec<String> = meant.map(|(number, _)| number.to_string()).collect();
        // The last event is for all, so that whatever is to come has come.
        until_heard(agent, "q", &meant);
    }
}

#[test]
fn a_list_waits_for_another_last_event() {
    let cluster = pool();
    let (server, client) = (&cluster.agents[0], &cluster.agents[3]);
    fire(server, "a", "");
    until_heard(client, "a", &["".into()]);
    let first = client.http().get("/v1/event/list?name=a");
    let index = first.header("x-consul-index").expect("an index").to_owned();
    let waiting = {
        let (http, index) = (client.http(), index.clone());
        std::thread::spawn(move || http.get(&format!("/v1/event/list?name=a&index={index}")))
    };
    let began = Instant::now();
    let same = client.http().get(&format!("/v1/event/list?name=a&index={index}&wait=300ms"));
    assert!(began.elapsed() >= Duration::from_millis(300), "it waited");
    assert_eq!(same.header("x-consul-index"), Some(index.as_str()));
    fire(server, "b", "");
    fire(server, "a", "x");
    let woken = waiting.join().expect("it ends");
    let list = woken.json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    assert_ne!(woken.header("x-consul-index"), Some(index.as_str()));
    assert_eq!(list[1]["Payload"], "eA==");
    assert!(list[1]["LTime"].as_u64() > list[0]["LTime"].as_u64());
}

#[test]
fn what_cannot_be_fired_is_refused_in_consuls_words() {
    let cluster = pool();
    let (server, client) = (cluster.agents[0].http(), cluster.agents[3].http());
    let long = "a".repeat(600);
    let limit = "1 error occurred:\n\t* error broadcasting event to segment \"\": user event \
                 exceeds configured limit of 512 bytes before encoding\n\n";
    let hop = "rpc error making call: ";
    for (http, target, body, status, text) in [
        (&server, "", "", 400, "Missing name".to_owned()),
        (&server, "a?tag=x", "", 500, "Cannot provide tag filter without service filter".into()),
        (&server, "a?dc=dc9", "", 500, "No path to datacenter".into()),
        (&client, "a?dc=dc9", "", 500, format!("{hop}No path to datacenter")),
        (&server, "a", &long, 500, limit.into()),
        (&client, "a", &long, 500, format!("{hop}{limit}")),
    ] {
        let answer = http.put(&format!("/v1/event/fire/{target}"), body);
        assert_eq!((answer.status, answer.text()), (status, text), "{target}");
    }
    for query in ["index=x", "wait=x"] {
        assert_eq!(server.get(&format!("/v1/event/list?{query}")).status, 400);
    }
    let fired = cluster.agents[3].cli(&["event", "-name=a b", "-node=131", "pay"]);
    let text = String::from_utf8_lossy(&fired.stdout).into_owned();
    let id = text.strip_prefix("Event ID: ").expect("an id").trim_end();
    until_heard(&cluster.agents[3], "a%20b", &["pay".into()]);
    let list = client.get("/v1/event/list").json();
    assert_eq!(
        list,
        json!([{"ID": id, "Name": "a b", "Payload": "cGF5", "NodeFilter": "131",
                "ServiceFilter": "", "TagFilter": "", "Version": 1, "LTime": 2}])
    );
}
