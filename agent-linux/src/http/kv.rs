//! `/v1/kv/`: the key/value store.

use super::options::{Params, parse_uint, read_options, write_options};
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::{Each, kv::EntryView};
use agent_core::model::command::Command;
use agent_core::model::kv::{Op, Put, Query, Reply as KvReply};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use hyper::StatusCode;
use std::sync::Arc;

pub(super) const GET: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_get,
    render: render_get,
    freshness: Freshness::Found,
};
pub(super) const PUT: Act = Act::Ask {
    intake: Intake::Value,
    parse: parse_put,
    render: render_write,
    freshness: Freshness::Untold,
};
pub(super) const DELETE: Act = Act::Ask {
    intake: Intake::Nothing,
    parse: parse_delete,
    render: render_write,
    freshness: Freshness::Untold,
};

/// Text for an empty key.
const MISSING_KEY: &str = "Missing key name";

/// Reads a read: one key, the entries under a prefix (`recurse`), or the keys there (`keys`).
fn parse_get(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = read_options(call)?;
    let params = &call.params;
    let query = if params.has("keys") {
        let name = if params.has("separator") { "separator" } else { "seperator" };
        Query::Keys { prefix: call.rest.to_owned(), separator: params.get(name).to_owned() }
    } else if params.has("recurse") {
        Query::List(call.rest.to_owned())
    } else {
        Query::Get(call.required(MISSING_KEY)?)
    };
    Ok(Request { options, body: Body::Query(AnyQuery::Kv(query)) })
}

/// Shows entries, keys, or the bare bytes of one entry (`raw`).
fn render_get(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Kv(reply) = reply else { return Page::unexpected() };
    let absent = Page::empty(StatusCode::NOT_FOUND);
    match reply {
        KvReply::Entry(None) => absent,
        KvReply::Entry(Some(entry)) if call.params.has("raw") => {
            Page::raw(Arc::unwrap_or_clone(entry).value)
        }
        KvReply::Entry(Some(entry)) => Page::json(call, &[EntryView::from(&*entry)]),
        KvReply::Entries(entries) if entries.is_empty() => absent,
        KvReply::Entries(entries) => {
            Page::json(call, &Each::of(&entries, |entry| EntryView::from(&**entry)))
        }
        KvReply::Keys(keys) if keys.is_empty() && !call.rest.is_empty() => absent,
        KvReply::Keys(keys) => Page::json(call, &keys),
    }
}

/// Reads a write: plain, `cas`, `acquire` or `release`.
fn parse_put(call: &Call<'_>, value: Vec<u8>) -> Result<Request, Refusal> {
    let options = write_options(call)?;
    let key = call.required(MISSING_KEY)?;
    let params = &call.params;
    refuse_conflict(params, &["cas", "acquire", "release"])?;
    let mut put = Put { key, value, flags: 0 };
    if params.has("flags") {
        put.flags = parse_uint(params.get("flags"))?;
    }
    let op = if params.has("cas") {
        Op::Cas(put, parse_uint(params.get("cas"))?)
    } else if params.has("acquire") {
        Op::Acquire(put, params.get("acquire").to_owned())
    } else if params.has("release") {
        Op::Release(put, params.get("release").to_owned())
    } else {
        Op::Set(put)
    };
    Ok(Request { options, body: Body::Command(Command::Kv(op)) })
}

/// Reads a removal: of a key, of a key with `cas`, of everything under a prefix (`recurse`).
fn parse_delete(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let options = write_options(call)?;
    let params = &call.params;
    refuse_conflict(params, &["recurse", "cas"])?;
    let op = if params.has("recurse") {
        Op::DeleteTree(call.rest.to_owned())
    } else if params.has("cas") {
        let key = call.required(MISSING_KEY)?;
        Op::DeleteCas(key, parse_uint(params.get("cas"))?)
    } else {
        Op::Delete(call.required(MISSING_KEY)?)
    };
    Ok(Request { options, body: Body::Command(Command::Kv(op)) })
}

/// Shows whether a write was done.
fn render_write(call: &Call<'_>, reply: Reply) -> Page {
    if reply == Reply::Done {
        return Page::json(call, &true);
    }
    let Reply::Applied(applied) = reply else { return Page::unexpected() };
    Page::json(call, &applied)
}

/// Refuses more than one of the flags.
fn refuse_conflict(params: &Params<'_>, flags: &[&str]) -> Result<(), Refusal> {
    if flags.iter().filter(|flag| params.has(flag)).count() > 1 {
        return Err(Refusal::bad(format!("Conflicting flags: {}", params.encode())));
    }
    Ok(())
}
