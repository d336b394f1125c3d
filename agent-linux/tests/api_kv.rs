//! The key/value store over HTTP, asked at a follower's client: semantics that clients rely on.

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::cluster::{Agent, Cluster};

/// A server and a client of it; requests go to the client.
fn pair() -> Cluster {
    let mut cluster = Cluster::loopback();
    let server = cluster.add("kv-server", &["-server", "-bootstrap-expect=1"]).address;
    cluster.start(0);
    cluster.until_leader();
    cluster.add("kv-client", &[&format!("-join={server}")]);
    cluster.start(1);
    cluster.until_http(1);
    cluster.until_members(1, &[("kv-client", "alive"), ("kv-server", "alive")]);
    cluster
}

fn put(agent: &Agent, path: &str, value: &str) -> String {
    let answer = agent.http().put(&format!("/v1/kv/{path}"), value);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text().trim().to_owned()
}

fn entry(agent: &Agent, key: &str) -> Value {
    agent.http().get(&format!("/v1/kv/{key}")).json()[0].clone()
}

#[test]
fn writes_with_conditions_happen_only_under_them() {
    let cluster = pair();
    let client = &cluster.agents[1];
    assert_eq!(put(client, "a?cas=0", "first"), "true");
    assert_eq!(put(client, "a?cas=0", "second"), "false");
    let index = entry(client, "a")["ModifyIndex"].as_u64().unwrap();
    assert_eq!(put(client, &format!("a?cas={index}&flags=7"), "third"), "true");
    let now = entry(client, "a");
    assert_eq!((now["Value"].as_str(), now["Flags"].as_u64()), (Some("dGhpcmQ="), Some(7)));
    assert_eq!(client.http().delete(&format!("/v1/kv/a?cas={index}")).text().trim(), "false");
    assert_eq!(client.http().delete("/v1/kv/never?cas=5").text().trim(), "true");
    assert_eq!(client.http().delete("/v1/kv/a").text().trim(), "true");
    let gone = client.http().get("/v1/kv/a");
    assert_eq!((gone.status, gone.body.len()), (404, 0));
    assert!(gone.index() > index);
}

#[test]
fn the_same_write_again_changes_nothing() {
    let cluster = pair();
    let client = &cluster.agents[1];
    put(client, "same", "v");
    let before = entry(client, "same");
    put(client, "same", "v");
    assert_eq!(entry(client, "same"), before);
}

#[test]
fn keys_are_listed_in_byte_order_and_cut_at_a_separator() {
    let cluster = pair();
    let client = &cluster.agents[1];
    for key in ["web/b", "web/a/1", "web/a/2", "web0", "web/\u{e9}"] {
        put(client, &key.replace('\u{e9}', "%C3%A9"), "x");
    }
    let keys = |query: &str| client.http().get(&format!("/v1/kv/{query}")).json();
    assert_eq!(keys("web/?keys"), json!(["web/a/1", "web/a/2", "web/b", "web/\u{e9}"]));
    assert_eq!(keys("web/?keys&separator=/"), json!(["web/a/", "web/b", "web/\u{e9}"]));
    assert_eq!(keys("web/?keys&seperator=/"), json!(["web/a/", "web/b", "web/\u{e9}"]));
    let all = client.http().get("/v1/kv/web?recurse").json();
    assert_eq!(all.as_array().unwrap().len(), 5);
    assert_eq!(client.http().delete("/v1/kv/web/?recurse").text().trim(), "true");
    assert_eq!(keys("w?keys"), json!(["web0"]));
    assert_eq!(client.http().get("/v1/kv/web/?recurse").status, 404);
}

#[test]
fn a_blocking_read_wakes_for_its_key_and_no_other() {
    let cluster = pair();
    let client = &cluster.agents[1];
    put(client, "mine", "1");
    put(client, "other", "1");
    let index = client.http().get("/v1/kv/mine").index();
    let http = client.http();
    let waiting =
        std::thread::spawn(move || http.get(&format!("/v1/kv/mine?index={index}&wait=15s")));
    put(client, "other", "2");
    put(client, "mine", "2");
    let woken = waiting.join().unwrap();
    assert_eq!(woken.json()[0]["Value"], "Mg==");
    assert!(woken.index() > index);
    // A write to another key does not end this one: it runs out, with the same index.
    let began = Instant::now();
    let http = client.http();
    let index = woken.index();
    let waiting =
        std::thread::spawn(move || http.get(&format!("/v1/kv/mine?index={index}&wait=500ms")));
    put(client, "other", "3");
    assert_eq!(waiting.join().unwrap().index(), index);
    assert!(began.elapsed() >= Duration::from_millis(500));
}

#[test]
fn wrong_requests_are_refused_in_consuls_words() {
    let cluster = pair();
    let client = &cluster.agents[1];
    let hops = "rpc error making call: ";
    let big = "x".repeat(524_289);
    let too_large = "Request body(524289 bytes) too large, max size: 524288 bytes. See \
                     https://www.consul.io/docs/agent/options.html#kv_max_value_size.";
    let session = "failed session lookup: index error: UUID must be 36 characters";
    for (path, body, status, text) in [
        ("?flags=1", "v", 400, "Missing key name".to_owned()),
        ("k?cas=1&acquire=x", "v", 400, "Conflicting flags: acquire=x&cas=1".to_owned()),
        ("k?cas=abc", "v", 500, "strconv.ParseUint: parsing \"abc\": invalid syntax".to_owned()),
        ("k?acquire=nosuch", "v", 500, format!("{hops}{session}")),
        ("k?dc=nodc", "v", 500, format!("{hops}No path to datacenter")),
        ("k", big.as_str(), 413, too_large.to_owned()),
    ] {
        let answer = client.http().put(&format!("/v1/kv/{path}"), body);
        assert_eq!((answer.status, answer.text().trim()), (status, text.as_str()), "{path}");
    }
    for (query, text) in [
        ("index=abc", "Invalid index"),
        ("index=-1", "Invalid index"),
        ("wait=5", "Invalid wait time"),
        ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
    ] {
        let answer = client.http().get(&format!("/v1/kv/k?{query}"));
        assert_eq!((answer.status, answer.text().trim()), (400, text), "{query}");
    }
    let largest = "x".repeat(524_288);
    assert_eq!(put(client, "largest", &largest), "true");
    assert_eq!(client.http().get("/v1/kv/largest?raw").body.len(), 524_288);
}

#[test]
fn a_lock_is_held_by_one_session_and_ends_with_it() {
    let cluster = pair();
    let client = &cluster.agents[1];
    let session = |body: &str| {
        let made = client.http().put("/v1/session/create", body).json();
        made["ID"].as_str().unwrap().to_owned()
    };
    let (one, two) = (session("{\"LockDelay\":\"0s\"}"), session("{\"Behavior\":\"delete\"}"));
    assert_eq!(put(client, &format!("lock?acquire={one}"), "1"), "true");
    assert_eq!(put(client, &format!("lock?acquire={one}"), "again"), "true");
    assert_eq!(put(client, &format!("lock?acquire={two}"), "2"), "false");
    let held = entry(client, "lock");
    assert_eq!((held["LockIndex"].as_u64(), held["Session"].as_str()), (Some(1), Some(&*one)));
    assert_eq!(put(client, &format!("lock?release={two}"), ""), "false");
    let destroyed = client.http().put(&format!("/v1/session/destroy/{one}"), "");
    assert_eq!(destroyed.text().trim(), "true");
    assert_eq!(entry(client, "lock")["Session"], Value::Null);
    assert_eq!(put(client, &format!("lock?acquire={two}"), "2"), "true");
    client.http().put(&format!("/v1/session/destroy/{two}"), "");
    assert_eq!(client.http().get("/v1/kv/lock").status, 404);
}
