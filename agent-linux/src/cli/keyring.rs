//! `keyring`: the keys of gossip in the whole pool.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::{delete, get, post, put};
use super::flag::{Flag, switch, text, whole};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Shows and changes keys.
pub(super) struct Keyring;

const FLAGS: &[Flag] = &[
    text("install", "Installs a key on all members; it opens, and does not seal yet."),
    switch("list", "Lists all keys in use."),
    switch("list-primary", "Lists the keys that seal."),
    switch("local-only", "Asks only the pool of this datacenter; for lists."),
    whole("relay-factor", "0 to 5; accepted, as every question is repeated until it is answered."),
    text("remove", "Removes a key that does not seal."),
    text("use", "Makes an installed key the one that seals."),
];

const SPEC: Spec = Spec {
    path: "keyring",
    summary: "Manages gossip layer encryption keys",
    help: " [options]

  Shows the keys of encrypted gossip, adds new ones and removes old ones, on
  all members of the pool at once and while it runs. To be run against a
  server; changes both the LAN and the WAN keyring.

      $ reeve keyring -install=<key>
      $ reeve keyring -use=<key>
      $ reeve keyring -remove=<old key>

  Exits with 1 if a member did not answer or reported a failure.
",
    api: Api::Agent,
    flags: FLAGS,
};

const PATH: &str = "/v1/operator/keyring";

/// What one pool answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pool {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    keys: BTreeMap<String, usize>,
    primary_keys: BTreeMap<String, usize>,
    num_nodes: usize,
}

impl Verb for Keyring {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let key = |name| call.given.text(name).unwrap_or_default().to_owned();
        let [install, change, remove] = [key("install"), key("use"), key("remove")];
        let (list, primary) = (call.given.on("list"), call.given.on("list-primary"));
        let given = [!install.is_empty(), !change.is_empty(), !remove.is_empty(), list, primary];
        match given.iter().filter(|given| **given).count() {
            0 => return Err(failure(call.help.trim_end())),
            1 => {}
            _ => return Err(failure("Only a single action is allowed")),
        }
        let local = call.given.on("local-only");
        let relay = call.given.whole("relay-factor").unwrap_or(0);
        if !(0..=5).contains(&relay) {
            let text = "Relay factor must be in range: [0, 5]";
            return Err(failure(format!("Error parsing relay factor: {text}")));
        }
        if local && !list && !primary {
            let text = "local-only can only be set for list requests";
            return Err(failure(format!("Error validating local-only: {text}")));
        }
        let (doing, request, body) = if list {
            ("Gathering installed encryption keys", None, String::new())
        } else if primary {
            ("Gathering installed primary encryption keys", None, String::new())
        } else if !install.is_empty() {
            ("Installing new gossip encryption key", Some("POST"), install)
        } else if !change.is_empty() {
            ("Changing primary gossip encryption key", Some("PUT"), change)
        } else {
            ("Removing gossip encryption key", Some("DELETE"), remove)
        };
        call.say(format!("==> {doing}..."))?;
        let fault = |error| failure(format!("error: {error}"));
        let client = call.client()?;
        let json = serde_json::json!({ "Key": body }).to_string();
        let request = match request {
            None if local => get(PATH).with("local-only", "true"),
            None => get(PATH),
            Some("POST") => post(PATH, json.as_bytes()),
            Some("PUT") => put(PATH, json.as_bytes()),
            Some(_) => delete(PATH).carrying(json.as_bytes()),
        };
        let request = match relay {
            0 => request,
            relay => request.with("relay-factor", relay.to_string()),
        };
        if !list && !primary {
            return client.ok(request).map(|_| ()).map_err(fault);
        }
        let pools: Vec<Pool> = client.json(request).map_err(fault)?;
        for pool in pools {
            call.say(show(&pool, primary))?;
        }
        Ok(())
    }
}

/// Writes a pool's keys; the caller ends the last line.
fn show(pool: &Pool, primary: bool) -> String {
    let name = if pool.wan { "WAN".to_owned() } else { format!("{} (LAN)", pool.datacenter) };
    let keys = if primary { &pool.primary_keys } else { &pool.keys };
    let line = |(key, count)| format!("\n  {key} [{count}/{}]", pool.num_nodes);
    let lines: String = keys.iter().map(line).collect();
    format!("\n{name}:{lines}")
}
