//! Keys and values: reads of every consistency, durable writes, on the leader and through a client.

use crate::Order;
use crate::client::Http;
use crate::picture::{Picture, Role};
use crate::report::Report;
use crate::work::{Ask, Work, measure};
use serde_json::json;

/// Keys that one transaction writes, as many as agents take.
const TXN_KEYS: usize = 64;
/// A value of 64 bytes, in base64.
const VALUE: &str =
    "dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dnZ2dg==";

const BOTH: &[Role] = &[Role::Leader, Role::Client];

/// Measures every agent of the order.
///
/// # Errors
///
/// Of [`measure`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let mut works = Vec::new();
    for keys in order.sizes(&[1000]) {
        let name = |what: &str| match order.sizes.is_empty() {
            true => format!("KV {what}"),
            false => format!("KV {what}, {keys} keys"),
        };
        let reads = [("GET", ""), ("GET stale", "?stale"), ("GET consistent", "?consistent")];
        for (what, rest) in reads {
            let (name, ask) = (name(what), Ask::Get(keys, rest));
            works.push(Work { name, ask, roles: BOTH, connections: vec![64] });
        }
        let (name, ask) = (name("PUT"), Ask::Put(keys));
        works.push(Work { name, ask, roles: BOTH, connections: vec![64, 256] });
    }
    let most = order.sizes(&[1000]).into_iter().max().unwrap_or(1000);
    measure(order, "kv", &works, &|picture| fill(picture, most))
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
        let ops: Vec<serde_json::Value> = (from..keys.min(from + TXN_KEYS)).map(set).collect();
        http.put("/v1/txn", serde_json::Value::from(ops).to_string().as_bytes())?;
    }
    Ok(())
}
