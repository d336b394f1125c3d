//! Keys as the recipes read and write them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::super::client::{Client, Error, Keep, Request, delete, escape, get, put};

/// Last part of the key that is locked.
pub(super) const LOCK: &str = ".lock";

/// An agent answers a wait at most a sixteenth late; the rest is for the way.
const ANSWER_SLACK: Duration = Duration::from_secs(10);

/// The part of an entry that the recipes look at.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) flags: u64,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    pub(super) session: String,
    pub(super) modify_index: u64,
}

impl Entry {
    /// Decodes the value; nothing for one that cannot be read.
    pub(super) fn value(&self) -> Vec<u8> {
        self.value.as_ref().and_then(|text| BASE64.decode(text).ok()).unwrap_or_default()
    }
}

/// Joins a prefix and the last part of a key.
pub(super) fn join(prefix: &str, last: &str) -> String {
    if prefix.is_empty() { last.to_owned() } else { format!("{prefix}/{last}") }
}

fn path(key: &str) -> String {
    format!("/v1/kv/{}", escape(key, Keep::Path))
}

/// Asks for a key.
pub(super) fn one(key: &str) -> Request<'static> {
    get(path(key))
}

/// Asks for every key below a prefix.
pub(super) fn below(prefix: &str) -> Request<'static> {
    get(path(&join(prefix, ""))).with("recurse", "")
}

/// Has a question wait for a change after an index, if there is one.
pub(super) fn waiting(request: Request<'_>, after: u64, time: Duration) -> Request<'_> {
    let request = request.within(time + time / 16 + ANSWER_SLACK);
    if after == 0 {
        return request;
    }
    request.with("index", after.to_string()).with("wait", format!("{}ms", time.as_millis()))
}

/// Reads entries, none where there are none, and the index to wait after.
pub(super) fn read(client: &Client, request: Request<'_>) -> Result<(Vec<Entry>, u64), Error> {
    let answer = client.send(request)?;
    let index = answer.index.max(1);
    match answer.code {
        200 => match serde_json::from_slice(&answer.body) {
            Ok(entries) => Ok((entries, index)),
            Err(error) => Err(Error::Answer(error.to_string())),
        },
        404 => Ok((Vec::new(), index)),
        code => Err(Error::Code { code, body: String::from_utf8_lossy(&answer.body).into_owned() }),
    }
}

/// Writes a key under a condition; tells whether it held.
pub(super) fn write(
    client: &Client,
    (key, flags): (&str, u64),
    (condition, operand): (&'static str, &str),
    value: &[u8],
) -> Result<bool, Error> {
    let request = put(path(key), value).with("flags", flags.to_string());
    client.json(request.with(condition, operand))
}

/// Removes a key.
pub(super) fn remove(client: &Client, key: &str) -> Result<bool, Error> {
    client.json(delete(path(key)))
}

/// Removes an entry that has not changed since it was read; tells whether it is gone.
pub(super) fn remove_unchanged(client: &Client, entry: &Entry) -> Result<bool, Error> {
    client.json(delete(path(&entry.key)).with("cas", entry.modify_index.to_string()))
}
