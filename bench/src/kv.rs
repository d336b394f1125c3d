//! Keys and values: reads of every consistency, durable writes, on the leader and through a client.

use crate::Order;
use crate::client::Http;
use crate::picture::{Picture, Role, etcd};
use crate::report::Report;
use crate::work::{Ask, Subject, Work, agents, measure_all};
use base64::Engine as _;
use serde_json::{Value, json};

/// Keys that one transaction writes, as many as agents take.
const TXN_KEYS: usize = 64;
/// A value of 64 bytes, in base64.
const VALUE: &str =
    "dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dg==";

const BOTH: &[Role] = &[Role::Leader, Role::Client];

/// Measures every agent of the order, and etcd where it is on the PATH.
///
/// # Errors
///
/// Of [`measure_all`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let (mut works, mut of_etcd) = (Vec::new(), Vec::new());
    for keys in order.sizes(&[1000]) {
        let size = Some((keys, "keys"));
        let mut add = |name, ask, connections| {
            works.push(Work { name, size, ask, roles: BOTH, connections });
        };
        add("KV GET", Ask::Get(keys, ""), vec![64]);
        add("KV GET stale", Ask::Get(keys, "?stale"), vec![64]);
        add("KV GET consistent", Ask::Get(keys, "?consistent"), vec![64]);
        add("KV PUT", Ask::Put(keys), vec![64, 256]);
        // etcd reads from its own state or asks a majority; nothing is between.
        let mut rival = |name, method, body, connections| {
            let ask = Ask::Etcd(method, body, keys);
            of_etcd.push(Work { name, size, ask, roles: &[Role::Leader], connections });
        };
        rival("KV GET stale", "range", |key| range(key, true), vec![64]);
        rival("KV GET consistent", "range", |key| range(key, false), vec![64]);
        rival("KV PUT", "put", |key| pair(key).to_string(), vec![64, 256]);
    }
    let mut subjects = agents(order, &works, &fill);
    if let Some(etcd) = order.peer_on_path("etcd") {
        subjects.push(Subject {
            name: "etcd (JSON gateway)".to_owned(),
            works: of_etcd,
            start: Box::new(move |servers| Picture::start_etcd(&etcd, servers)),
            prepare: &fill_etcd,
        });
    }
    measure_all(order, "kv", &works, subjects)
}

/// A key in base64, as the gateway wants bytes.
fn key_of_etcd(key: usize) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("bench/{key}"))
}

fn range(key: usize, serializable: bool) -> String {
    json!({"key": key_of_etcd(key), "serializable": serializable}).to_string()
}

fn pair(key: usize) -> Value {
    json!({"key": key_of_etcd(key), "value": VALUE})
}

/// Writes so many keys to etcd.
fn fill_etcd(picture: &Picture, keys: usize) -> Result<(), String> {
    for from in (0..keys).step_by(TXN_KEYS) {
        let put = |key| json!({"requestPut": pair(key)});
        let ops: Vec<Value> = (from..keys.min(from + TXN_KEYS)).map(put).collect();
        etcd::ask(picture.one(Role::Leader), "kv/txn", &json!({"success": ops}))?;
    }
    Ok(())
}

/// Writes so many keys, on the leader.
///
/// # Errors
///
/// If a transaction is refused.
pub(crate) fn fill(picture: &Picture, keys: usize) -> Result<(), String> {
    let mut http = Http::new(picture.one(Role::Leader).http());
    for from in (0..keys).step_by(TXN_KEYS) {
        let set =
            |key| json!({"KV": {"Verb": "set", "Key": format!("bench/{key}"), "Value": VALUE}});
        let ops: Vec<Value> = (from..keys.min(from + TXN_KEYS)).map(set).collect();
        http.put("/v1/txn", Value::from(ops).to_string().as_bytes())?;
    }
    Ok(())
}
