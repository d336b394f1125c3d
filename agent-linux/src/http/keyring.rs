//! `/v1/operator/keyring`: the keys of gossip.

use super::body;
use super::options::parse_bool;
use super::reply::{Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Each;
use crate::config::field::{Error, Fields, GoType};
use crate::endpoint::agent::{KeyringOp, KeyringView, Op, Pool, Reply};
use hyper::StatusCode;
use serde::Serialize;
use std::collections::BTreeMap;

pub(super) const LIST: Act =
    Act::Tell { intake: Intake::Nothing, parse: parse_list, render: render_list };
pub(super) const INSTALL: Act =
    Act::Tell { intake: Intake::Json, parse: parse_install, render: render_done };
pub(super) const USE: Act =
    Act::Tell { intake: Intake::Json, parse: parse_use, render: render_done };
pub(super) const REMOVE: Act =
    Act::Tell { intake: Intake::Json, parse: parse_remove, render: render_done };

/// Members through which answers may be relayed. Here each question is repeated until it is
/// answered, so that the number is checked and has no other effect.
const RELAY_FACTOR_MAX: i64 = 5;

fn parse_list(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    Ok(Op::Keyring { local_only: options(call)?, op: KeyringOp::List })
}

fn parse_install(call: &Call<'_>, bytes: Vec<u8>) -> Result<Op, Refusal> {
    change(call, &bytes, KeyringOp::Install)
}

fn parse_use(call: &Call<'_>, bytes: Vec<u8>) -> Result<Op, Refusal> {
    change(call, &bytes, KeyringOp::Use)
}

fn parse_remove(call: &Call<'_>, bytes: Vec<u8>) -> Result<Op, Refusal> {
    change(call, &bytes, KeyringOp::Remove)
}

/// Reads a change: the key in the body, the options.
fn change(call: &Call<'_>, bytes: &[u8], op: fn(String) -> KeyringOp) -> Result<Op, Refusal> {
    let decoded = body::json(bytes).and_then(|value| read_key(value).map_err(body::decode_failed));
    let key = decoded.map_err(|refusal| Refusal {
        text: format!("Bad request: {}", refusal.text).into(),
        ..refusal
    })?;
    if options(call)? {
        return Err(Refusal::bad(
            "Bad request: Invalid use of local-only: local-only can only be set for list requests",
        ));
    }
    Ok(Op::Keyring { op: op(key), local_only: false })
}

/// Reads the body `{"Key": ".."}`.
fn read_key(value: serde_json::Value) -> Result<String, Error> {
    let mut fields = Fields::of(value, "agent.keyringArgs")?;
    let mut secret = String::new();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "key" => secret = value.string(&key)?,
            "relayfactor" | "localonly" | "token" => {}
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(secret)
}

/// Checks `relay-factor`; answers `local-only`.
fn options(call: &Call<'_>) -> Result<bool, Refusal> {
    let relay = call.params.get("relay-factor");
    match relay.parse::<i64>() {
        Ok(0..=RELAY_FACTOR_MAX) => {}
        Ok(_) => {
            return Err(Refusal::bad(
                "Bad request: Invalid relay-factor: Relay factor must be in range: [0, 5]",
            ));
        }
        Err(_) if relay.is_empty() => {}
        Err(_) => {
            return Err(Refusal::bad(format!(
                "Bad request: Error parsing relay factor: strconv.Atoi: parsing {relay:?}: invalid \
                 syntax"
            )));
        }
    }
    let local = call.params.get("local-only");
    if local.is_empty() {
        return Ok(false);
    }
    parse_bool(local).ok_or_else(|| {
        Refusal::bad(format!(
            "Bad request: Error parsing local-only: strconv.ParseBool: parsing {local:?}: invalid \
             syntax"
        ))
    })
}

/// One pool as Consul shows it.
#[derive(Serialize)]
struct PoolView<'a> {
    #[serde(rename = "WAN")]
    wan: bool,
    #[serde(rename = "Datacenter")]
    datacenter: &'a str,
    #[serde(rename = "Segment")]
    segment: &'static str,
    #[serde(rename = "Keys")]
    keys: &'a BTreeMap<String, usize>,
    #[serde(rename = "PrimaryKeys")]
    primary_keys: &'a BTreeMap<String, usize>,
    #[serde(rename = "NumNodes")]
    nodes: usize,
}

impl<'a> From<&'a KeyringView> for PoolView<'a> {
    fn from(view: &'a KeyringView) -> Self {
        Self {
            wan: view.pool == Pool::Wan,
            datacenter: &view.datacenter,
            segment: "",
            keys: &view.keys,
            primary_keys: &view.primary_keys,
            nodes: view.nodes,
        }
    }
}

/// Shows the pools.
fn render_list(call: &Call<'_>, reply: Reply) -> Page {
    match whole(reply) {
        Ok(views) => Page::json(call, &Each::of(&views, PoolView::from)),
        Err(page) => page,
    }
}

/// Shows that all did it.
fn render_done(_: &Call<'_>, reply: Reply) -> Page {
    match whole(reply) {
        Ok(_) => Page::empty(StatusCode::OK),
        Err(page) => page,
    }
}

/// Passes what all pools did; else the page with all that went wrong.
fn whole(reply: Reply) -> Result<Vec<KeyringView>, Page> {
    let Reply::Keyring(views) = reply else { return Err(Page::unexpected()) };
    let faults: Vec<String> = views.iter().flat_map(faults).collect();
    if faults.is_empty() {
        return Ok(views);
    }
    let plural = if faults.len() == 1 { "" } else { "s" };
    let list: String = faults.iter().map(|fault| format!("\t* {fault}\n")).collect();
    let text = format!("{} error{plural} occurred:\n{list}\n", faults.len());
    Err(Refusal::failed(text).into())
}

/// Lists what went wrong in one pool.
fn faults(view: &KeyringView) -> Vec<String> {
    if view.error.is_empty() {
        return Vec::new();
    }
    let pool = match view.pool {
        Pool::Wan => "WAN".to_owned(),
        Pool::Lan => format!("{} (LAN)", view.datacenter),
    };
    let whole = format!("{pool} error: {}", view.error);
    let single = view.messages.iter().map(|(name, why)| format!("{name}: {why}"));
    std::iter::once(whole).chain(single).collect()
}
