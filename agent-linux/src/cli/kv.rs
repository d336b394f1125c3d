//! `kv`: reads and writes the key/value store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::client::{Client, Error, Keep, Request, delete, escape, get, put};
use super::column::{PAIR_GAP, layout, row};
use super::flag::{Flag, count, switch, text, texts};
use super::{Api, Call, Failure, Spec, Verb, failure};
use crate::config::field::go_base64;

/// Help of the family.
pub(super) const HELP: &str = "Usage: reeve kv <subcommand> [options] [args]

  Reads and writes the key-value store.

  Create or update the key \"redis/config/connections\" with the value \"5\":

      $ reeve kv put redis/config/connections 5

  Read this value back:

      $ reeve kv get redis/config/connections

  Or get all that is known of the key:

      $ reeve kv get -detailed redis/config/connections

  Finally, delete the key:

      $ reeve kv delete redis/config/connections
";

/// Reads keys.
pub(super) struct Get;
/// Writes a key.
pub(super) struct Put;
/// Deletes keys.
pub(super) struct Delete;
/// Writes a tree as JSON.
pub(super) struct Export;
/// Reads a tree from JSON.
pub(super) struct Import;

const NAMESPACE: Flag = texts("namespace", "(Enterprise-only) Namespace of the key.");
const MODIFY_INDEX: Flag = count("modify-index", "ModifyIndex that the key must have, with -cas.");
const CAS: Flag = switch("cas", "Writes only if the key's ModifyIndex is that of -modify-index.");

const GET_FLAGS: &[Flag] = &[
    switch("base64", "Shows values in base64."),
    switch("detailed", "Shows all that is known of a key."),
    switch("keys", "Lists keys that begin with the prefix, without values."),
    NAMESPACE,
    switch("recurse", "Shows all keys that begin with the prefix."),
    text("separator", "Lists keys up to this text only, with -keys. Default: /."),
];

const GET: Spec = Spec {
    path: "kv get",
    summary: "Retrieves or lists data from the KV store",
    help: " [options] [KEY_OR_PREFIX]

  Prints the value of a key, or those of all keys with a prefix.

      $ reeve kv get foo

      $ reeve kv get -recurse foo

      $ reeve kv get -keys foo
",
    api: Api::Servers,
    flags: GET_FLAGS,
};

const PUT_FLAGS: &[Flag] = &[
    switch("acquire", "Takes the lock on the key; needs -session."),
    switch("base64", "Decodes the data from base64 before it is written."),
    CAS,
    count("flags", "A number to store with the value. Default: 0."),
    MODIFY_INDEX,
    NAMESPACE,
    switch("release", "Gives the lock on the key back; needs -session."),
    text("session", "ID of the session, for -acquire and -release."),
];

const PUT: Spec = Spec {
    path: "kv put",
    summary: "Sets or updates data in the KV store",
    help: " [options] KEY [DATA]

  Writes data to a key. Data of any type is taken.

      $ reeve kv put config/redis/maxconns 5

  From a file, or from standard input:

      $ reeve kv put config/program/license @license.lic

      $ reeve kv put config/program/license - < license.lic
",
    api: Api::Servers,
    flags: PUT_FLAGS,
};

const DELETE: Spec = Spec {
    path: "kv delete",
    summary: "Removes data from the KV store",
    help: " [options] KEY_OR_PREFIX

  Removes a key, or all keys with a prefix.

      $ reeve kv delete foo

      $ reeve kv delete -recurse foo
",
    api: Api::Servers,
    flags: &[CAS, MODIFY_INDEX, NAMESPACE, switch("recurse", "Deletes all keys with the prefix.")],
};

const EXPORT: Spec = Spec {
    path: "kv export",
    summary: "Exports a tree from the KV store as JSON",
    help: " [KEY_OR_PREFIX]

  Prints all keys with a prefix as JSON.

      $ reeve kv export vault > vault.json
",
    api: Api::Servers,
    flags: &[NAMESPACE],
};

const IMPORT: Spec = Spec {
    path: "kv import",
    summary: "Imports a tree stored as JSON to the KV store",
    help: " [DATA]

  Writes the keys of a JSON text that \"reeve kv export\" made.

      $ reeve kv import @vault.json

      $ reeve kv import - < vault.json
",
    api: Api::Servers,
    flags: &[NAMESPACE],
};

/// One key as the API gives it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    lock_index: u64,
    key: String,
    flags: u64,
    #[serde(default)]
    value: Option<String>,
    create_index: u64,
    modify_index: u64,
    #[serde(default)]
    session: Option<String>,
}

impl Pair {
    /// Decodes the value.
    fn bytes(&self) -> Result<Vec<u8>, Error> {
        let text = self.value.as_deref().unwrap_or_default();
        BASE64.decode(text).map_err(|error| Error::Answer(error.to_string()))
    }

    /// Shows the value: as it is, or in base64.
    fn shown(&self, call: &Call<'_>) -> Result<Vec<u8>, Failure> {
        match call.given.on("base64") {
            true => Ok(self.value.clone().unwrap_or_default().into_bytes()),
            false => self.bytes().map_err(query_fault),
        }
    }

    /// Prints all that is known of the key.
    fn print(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let value = self.shown(call)?;
        let rows = [
            row(["CreateIndex", &self.create_index.to_string()]),
            row(["Flags", &self.flags.to_string()]),
            row(["Key", &self.key]),
            row(["LockIndex", &self.lock_index.to_string()]),
            row(["ModifyIndex", &self.modify_index.to_string()]),
            row(["Session", self.session.as_deref().filter(|s| !s.is_empty()).unwrap_or("-")]),
            row(["Value", ""]),
        ];
        let shown = layout(&rows, PAIR_GAP);
        let shown = if value.is_empty() { shown.trim_end() } else { &shown };
        call.write(shown.as_bytes())?;
        call.write(&value)?;
        call.write(b"\n")
    }
}

/// Tells a fault of a reading verb.
fn query_fault(error: Error) -> Failure {
    match error {
        Error::Code { code, .. } => {
            failure(format!("Error querying Consul agent: Unexpected response code: {code}"))
        }
        Error::Settings(_) | Error::Transport(_) | Error::Answer(_) => {
            failure(format!("Error querying Consul agent: {error}"))
        }
    }
}

/// Writes the path of a key.
fn path(key: &str) -> String {
    format!("/v1/kv/{}", escape(key, Keep::Path))
}

/// Asks for keys; none is an empty list.
fn fetch<T: serde::de::DeserializeOwned>(
    client: &Client,
    request: Request<'_>,
) -> Result<Vec<T>, Failure> {
    let answer = client.send(request).map_err(query_fault)?;
    match answer.code {
        404 => Ok(Vec::new()),
        200 => serde_json::from_slice(&answer.body)
            .map_err(|error| query_fault(Error::Answer(error.to_string()))),
        code => Err(query_fault(Error::Code { code, body: String::new() })),
    }
}

/// Takes the key or prefix, which must not begin with a slash.
fn key_or_prefix(call: &Call<'_>) -> Result<String, Failure> {
    match call.args.as_slice() {
        [] => Ok(String::new()),
        [only] => Ok(only.strip_prefix('/').unwrap_or(only).to_owned()),
        more => Err(failure(format!("Too many arguments (expected 1, got {})", more.len()))),
    }
}

impl Verb for Get {
    fn spec(&self) -> &'static Spec {
        &GET
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let key = key_or_prefix(call)?;
        let client = call.client()?;
        if call.given.on("keys") {
            let separator = call.given.text("separator").unwrap_or("/").to_owned();
            let request = get(path(&key)).with("keys", "").with("separator", separator);
            let keys: Vec<String> = fetch(&client, request)?;
            return keys.iter().try_for_each(|key| call.say(key));
        }
        let detailed = call.given.on("detailed");
        if call.given.on("recurse") {
            let pairs: Vec<Pair> = fetch(&client, get(path(&key)).with("recurse", ""))?;
            for (at, pair) in pairs.iter().enumerate() {
                if detailed {
                    pair.print(call)?;
                    if at + 1 < pairs.len() {
                        call.say("")?;
                    }
                } else {
                    let value = pair.shown(call)?;
                    call.write(format!("{}:", pair.key).as_bytes())?;
                    call.write(&value)?;
                    call.say("")?;
                }
            }
            return Ok(());
        }
        if key.is_empty() {
            return Err(failure("Error! Missing KEY argument"));
        }
        let found: Vec<Pair> = fetch(&client, get(path(&key)))?;
        let Some(pair) = found.first() else {
            return Err(failure(format!("Error! No key exists at: {key}")));
        };
        if detailed {
            return pair.print(call);
        }
        let value = pair.shown(call)?;
        call.write(&value)?;
        call.say("")
    }
}

impl Put {
    /// Takes the key and its data.
    fn key_and_data(call: &mut Call<'_>) -> Result<(String, Vec<u8>), Failure> {
        let (key, data) = match call.args.clone().as_slice() {
            [] => return Err(failure("Error! Missing KEY argument")),
            [key] => (key.clone(), Vec::new()),
            [key, word] => (key.clone(), call.data(word)?),
            more => {
                return Err(failure(format!(
                    "Error! Too many arguments (expected 1 or 2, got {})",
                    more.len()
                )));
            }
        };
        if key.starts_with('/') {
            return Err(failure(format!(
                "Error! Failed writing data: Invalid key. Key must not begin with a '/': {key}"
            )));
        }
        if !call.given.on("base64") {
            return Ok((key, data));
        }
        let text = String::from_utf8_lossy(&data);
        let decoded = go_base64(text.trim());
        let data =
            decoded.map_err(|e| failure(format!("Error! Cannot base 64 decode data: {e}")))?;
        Ok((key, data))
    }
}

impl Verb for Put {
    fn spec(&self) -> &'static Spec {
        &PUT
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let (key, data) = Self::key_and_data(call)?;
        let session = call.given.text("session").unwrap_or_default().to_owned();
        let [cas, acquire, release] = ["cas", "acquire", "release"].map(|name| call.given.on(name));
        if (acquire || release) && session.is_empty() {
            return Err(failure("Error! Missing -session (required with -acquire and -release)"));
        }
        let mut request = put(path(&key), &data);
        if let Some(flags) = call.given.count("flags").filter(|flags| *flags != 0) {
            request = request.with("flags", flags.to_string());
        }
        let refused = if cas {
            request = request.with("cas", modify_index(call)?);
            format!("Error! Did not write to {key}: CAS failed")
        } else if acquire {
            request = request.with("acquire", session);
            "Error! Did not acquire lock".to_owned()
        } else if release {
            request = request.with("release", session);
            "Error! Did not release lock".to_owned()
        } else {
            format!("Error! Did not write to {key}")
        };
        let sent = call.client()?.ok(request);
        let wrote = sent.map_err(|e| failure(format!("Error! Failed writing data: {e}")))?;
        if wrote.trim_ascii() != b"true" {
            return Err(failure(refused));
        }
        match (acquire, release) {
            (true, _) => call.say(format!("Success! Lock acquired on: {key}")),
            (false, true) => call.say(format!("Success! Lock released on: {key}")),
            (false, false) => call.say(format!("Success! Data written to: {key}")),
        }
    }
}

/// Takes the index that `-cas` needs.
fn modify_index(call: &Call<'_>) -> Result<String, Failure> {
    match call.given.count("modify-index") {
        Some(index) if index > 0 => Ok(index.to_string()),
        _ => Err(failure("Must specify -modify-index with -cas!")),
    }
}

impl Verb for Delete {
    fn spec(&self) -> &'static Spec {
        &DELETE
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let (cas, recurse) = (call.given.on("cas"), call.given.on("recurse"));
        let key = key_or_prefix(call)?;
        if key.is_empty() && !recurse {
            return Err(failure("Error! Missing KEY argument"));
        }
        let mut request = delete(path(&key));
        if cas {
            request = request.with("cas", modify_index(call)?);
            if recurse {
                return Err(failure("Cannot specify both -cas and -recurse!"));
            }
        } else if call.given.count("modify-index").is_some_and(|index| index > 0) {
            return Err(failure("Cannot specify -modify-index without -cas!"));
        }
        if recurse {
            request = request.with("recurse", "");
        }
        let what = if recurse { "prefix" } else { "key" };
        let sent = call.client()?.ok(request);
        let gone = sent.map_err(|e| failure(format!("Error deleting {what} {key}: {e}")))?;
        if gone.trim_ascii() != b"true" {
            return Err(failure(format!("Error! Did not delete key {key}: CAS failed")));
        }
        match recurse {
            true => call.say(format!("Success! Deleted keys with prefix: {key}")),
            false => call.say(format!("Success! Deleted key: {key}")),
        }
    }
}

/// One key in an exported tree.
#[derive(Serialize, Deserialize)]
struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    value: String,
}

impl Verb for Export {
    fn spec(&self) -> &'static Spec {
        &EXPORT
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let key = key_or_prefix(call)?;
        let pairs: Vec<Pair> = fetch(&call.client()?, get(path(&key)).with("recurse", ""))?;
        let exported = |pair: Pair| Exported {
            key: pair.key,
            flags: pair.flags,
            value: pair.value.unwrap_or_default(),
        };
        let tree: Vec<Exported> = pairs.into_iter().map(exported).collect();
        let mut json = Vec::new();
        let style = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut json, style);
        tree.serialize(&mut writer)
            .map_err(|error| failure(format!("Error exporting KV data: {error}")))?;
        call.write(&json)?;
        call.say("")
    }
}

impl Verb for Import {
    fn spec(&self) -> &'static Spec {
        &IMPORT
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let data = match call.args.clone().as_slice() {
            [] => return Err(failure("Error! Missing DATA argument")),
            [word] => call.data(word)?,
            more => {
                return Err(failure(format!(
                    "Error! Too many arguments (expected 1, got {})",
                    more.len()
                )));
            }
        };
        let tree: Vec<Exported> = serde_json::from_slice(&data)
            .map_err(|error| failure(format!("Cannot unmarshal data: {error}")))?;
        let client = call.client()?;
        for Exported { key, flags, value } in tree {
            let value = go_base64(&value)
                .map_err(|e| failure(format!("Error base 64 decoding value for key {key}: {e}")))?;
            let mut request = put(path(&key), &value);
            if flags != 0 {
                request = request.with("flags", flags.to_string());
            }
            let sent = client.ok(request);
            let wrote = sent
                .map_err(|e| failure(format!("Error! Failed writing data for key {key}: {e}")))?;
            if wrote.trim_ascii() != b"true" {
                return Err(failure(format!("Error! Failed writing data for key {key}")));
            }
            call.say(format!("Imported: {key}"))?;
        }
        Ok(())
    }
}
