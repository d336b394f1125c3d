//! Query parameters, and the options that all reads and writes share.

use super::head::Fields;
use super::path::{Plus, decode, encode_param};
use super::reply::Refusal;
use super::route::Call;
use crate::endpoint::cache::Control;
use agent_core::model::Map;
use agent_core::model::request::{Consistency, Options};
use agent_core::time::parse_go;
use core::time::Duration;
use std::borrow::Cow;

/// Most parameters that are looked at; the rest is refused as a flood.
const PARAMS_MAX: usize = 256;

/// A request's query parameters in the order given.
#[derive(Clone, Debug, Default)]
pub(super) struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// Reads a query string; nothing for a broken escape or a flood. A semicolon separates as an
    /// ampersand does.
    pub(super) fn parse(query: Option<&'a str>) -> Option<Self> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or("").split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if pairs.len() == PARAMS_MAX {
                return None;
            }
            pairs.push((decode(name, Plus::Space)?, decode(value, Plus::Space)?));
        }
        Some(Self(pairs))
    }

    /// Tells whether a parameter is there, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(have, _)| have == name)
    }

    /// Finds the first value of a parameter; empty if it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }

    /// Finds all values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(have, _)| have == name).map(|(_, value)| &**value)
    }

    /// Writes the parameters as Go's `url.Values.Encode` does: sorted by name.
    pub(super) fn encode(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let texts: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encode_param(name), encode_param(value)))
            .collect();
        texts.join("&")
    }

    /// Reads the `node-meta=key:value` parameters.
    pub(super) fn node_meta(&self) -> Map {
        let pairs = self.all("node-meta").map(|pair| pair.split_once(':').unwrap_or((pair, "")));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// Finds the ACL token: `?token=`, `X-Consul-Token`, `Authorization: Bearer`.
pub(super) fn token(params: &Params<'_>, headers: &Fields) -> String {
    let given = params.get("token");
    if !given.is_empty() {
        return given.to_owned();
    }
    if let Some(token) = headers.get("x-consul-token").filter(|token| !token.is_empty()) {
        return token.to_owned();
    }
    let bearer = headers.get("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    bearer.unwrap_or("").to_owned()
}

/// Refuses what only Consul Enterprise knows.
pub(super) fn refuse_namespaces(call: &Call<'_>) -> Result<(), Refusal> {
    if call.params.has("ns") {
        return Err(Refusal::bad(
            "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise \
             feature",
        ));
    }
    if call.headers.has("x-consul-namespace") {
        return Err(Refusal::bad(
            "Bad request: Invalid header: \"X-Consul-Namespace\" - Namespaces are a Consul \
             Enterprise feature",
        ));
    }
    Ok(())
}

/// Reads the options of a write.
pub(super) fn write_options(call: &Call<'_>) -> Result<Options, Refusal> {
    refuse_namespaces(call)?;
    Ok(Options {
        token: token(&call.params, call.headers),
        datacenter: call.params.get("dc").to_owned(),
        ..Options::default()
    })
}

/// Reads the options of a read: consistency, blocking, sorting, filter.
pub(super) fn read_options(call: &Call<'_>) -> Result<Options, Refusal> {
    let mut options = write_options(call)?;
    let params = &call.params;
    let (consistency, max_stale) = consistency(call)?;
    options.consistency = consistency;
    options.max_stale_ms = millis(max_stale);
    options.wait_ms = wait(call)?.map_or(0, millis);
    options.min_index = min_index(call)?;
    options.near = match params.get("near") {
        "_agent" => call.settings.node_name.clone(),
        other => other.to_owned(),
    };
    options.filter = params.get("filter").to_owned();
    Ok(options)
}

/// Longest wait for something that this very agent knows.
const OWN_WAIT_MAX: Duration = Duration::from_secs(600);

/// Reads how long to wait, if it is said.
fn wait(call: &Call<'_>) -> Result<Option<Duration>, Refusal> {
    match call.params.get("wait") {
        "" => Ok(None),
        text => go_duration(text).map(Some).ok_or(Refusal::bad("Invalid wait time")),
    }
}

/// Reads how long to wait for something that this very agent knows; nothing for no time.
pub(super) fn own_wait(call: &Call<'_>) -> Result<Option<Duration>, Refusal> {
    let wait = wait(call)?.filter(|wait| !wait.is_zero());
    Ok(wait.map(|wait| wait.min(OWN_WAIT_MAX)))
}

/// Reads the index to block on, 0 for none.
pub(super) fn min_index(call: &Call<'_>) -> Result<u64, Refusal> {
    match call.params.get("index") {
        "" => Ok(0),
        text => digits(text).ok_or_else(|| Refusal::bad("Invalid index")),
    }
}

/// Reads how fresh a read must be, and how old a stale answer may be (zero for any age).
fn consistency(call: &Call<'_>) -> Result<(Consistency, Duration), Refusal> {
    let params = &call.params;
    let consistent = params.has("consistent");
    let cached = params.has("cached");
    let mut stale = params.has("stale");
    let mut max_stale = Duration::ZERO;
    let text = params.get("max_stale");
    if !text.is_empty() {
        let refusal = || Refusal::bad(format!("Invalid max_stale value {text:?}"));
        max_stale = go_duration(text).ok_or_else(refusal)?;
        stale |= max_stale > Duration::ZERO;
    }
    let told = stale || consistent || cached || params.has("leader");
    let discovery = call.settings.discovery_max_stale;
    if !told && discovery > Duration::ZERO && call.is_discovery() {
        return Ok((Consistency::Stale, discovery));
    }
    if stale && consistent {
        return Err(Refusal::bad("Cannot specify ?stale with ?consistent, conflicting semantics."));
    }
    if cached && consistent {
        return Err(Refusal::bad(
            "Cannot specify ?cached with ?consistent, conflicting semantics.",
        ));
    }
    cache_control(call.headers)?;
    let level = match (stale, consistent) {
        (true, _) => Consistency::Stale,
        (false, true) => Consistency::Consistent,
        (false, false) => Consistency::Default,
    };
    Ok((level, max_stale))
}

/// Reads how old a cached answer may be; refuses numbers that are none.
pub(super) fn cache_control(headers: &Fields) -> Result<Control, Refusal> {
    let mut control = Control::default();
    let value = headers.get("cache-control").unwrap_or("");
    for directive in value.split(',') {
        let (name, number) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
        // Less than nothing says nothing, as in Consul.
        let seconds = || match number.parse::<i64>() {
            Ok(seconds) => Ok(u64::try_from(seconds).ok().map(Duration::from_secs)),
            Err(_) => Err(Refusal::bad("Invalid Cache-Control header.")),
        };
        match name.to_ascii_lowercase().as_str() {
            "must-revalidate" => control.must_revalidate = true,
            "max-age" => control.max_age = seconds()?,
            "stale-if-error" => control.stale_if_error = seconds()?.unwrap_or_default(),
            _ => {}
        }
    }
    Ok(control)
}

/// Reads a Go duration; a negative one is zero.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    parse_go(text).ok().map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

/// Counts milliseconds, a started one as whole so that a short wait is not taken for none.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Reads a number as Go's `strconv.ParseUint` does, with its words.
pub(super) fn parse_uint(text: &str) -> Result<u64, Refusal> {
    digits(text).ok_or_else(|| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        Refusal::failed(format!("strconv.ParseUint: parsing {text:?}: {why}"))
    })
}

/// Reads a number without a sign.
fn digits(text: &str) -> Option<u64> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// Reads a truth value as Go's `strconv.ParseBool` does.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
