//! Between a device's messages and the rows of the catalog. Pure.

use agent_core::model::check::{Check, Status};
use agent_core::model::health;
use agent_core::model::node::Node;
use agent_core::model::service::Service;
use agent_core::wire::memory::{Heap, LIST_MAX};
use agent_core::wire::message::{self, Ask, Instance, Refusal, TELL_BYTES_MIN, Tell, VERSION};
use std::net::IpAddr;

/// A device that may come in.
pub(super) struct Greeting {
    pub(super) node: Node,
    pub(super) token: String,
    pub(super) reply_bytes_max: u16,
}

/// Checks a hello; nothing if it is none.
pub(super) fn greeting(ask: Ask<Heap>, here: &str) -> Result<Option<Greeting>, (Refusal, String)> {
    let Ask::Hello {
        version,
        reply_bytes_max,
        datacenter,
        node: name,
        node_id,
        address,
        token,
        meta,
    } = ask
    else {
        return Ok(None);
    };
    if version != VERSION {
        return Err((Refusal::Version, format!("version {version} is not {VERSION}")));
    }
    if datacenter != here {
        let text = format!("device of datacenter {datacenter:?} at a server of {here:?}");
        return Err((Refusal::Datacenter, text));
    }
    if reply_bytes_max < TELL_BYTES_MIN {
        return Err((Refusal::Invalid, format!("replies need {TELL_BYTES_MIN} bytes")));
    }
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err((Refusal::Invalid, format!("{address:?} is no IP address")));
    };
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let tags = ["lan".into(), format!("lan_{family}"), "wan".into(), format!("wan_{family}")];
    // As the leader describes a member, so that the two agree.
    let segment = ("consul-network-segment".into(), String::new());
    let node = Node {
        id: uuid::Uuid::from_bytes(node_id).to_string(),
        name,
        datacenter,
        tagged_addresses: tags.into_iter().map(|tag: String| (tag, address.clone())).collect(),
        address,
        meta: meta.into_iter().chain([segment]).collect(),
        ..Node::default()
    };
    Ok(Some(Greeting { node, token, reply_bytes_max }))
}

/// Makes an instance's row; nothing for another message.
pub(super) fn service(ask: Ask<Heap>) -> Option<Service> {
    let Ask::Service { id, name, tags, address, port, meta } = ask else { return None };
    let id = if id.is_empty() { name.clone() } else { id };
    let meta = meta.into_iter().collect();
    Some(Service { id, name, tags, address, port, meta, ..Service::default() })
}

/// Makes a check's row; nothing for another message.
pub(super) fn check(ask: Ask<Heap>, node: &str) -> Option<Check> {
    let Ask::Check { id, name, service_id, kind, notes, status, output } = ask else {
        return None;
    };
    let id = if id.is_empty() { name.clone() } else { id };
    let node = node.into();
    Some(Check { node, id, name, service_id, kind, notes, status, output, ..Check::default() })
}

/// Tells whether a row is as the device tells it; what the store fills in does not count.
pub(super) fn same_check(told: &Check, row: &Check) -> bool {
    let filled_in = Check {
        service_name: row.service_name.clone(),
        service_tags: row.service_tags.clone(),
        stamp: row.stamp,
        ..told.clone()
    };
    filled_in == *row
}

/// Makes the query of a look-up.
pub(super) fn find(service: String, tag: String, passing: bool) -> health::ServiceQuery {
    health::ServiceQuery {
        name: service,
        tags: if tag.is_empty() { Vec::new() } else { vec![tag] },
        worst: passing.then_some(Status::Passing),
        ..health::ServiceQuery::default()
    }
}

/// Tells the worst status of some checks.
fn health_of(checks: &[std::sync::Arc<Check>]) -> Status {
    let worst = checks.iter().map(|check| check.status).max();
    worst.unwrap_or(Status::Passing)
}

/// Tells a board of instances, best first, up to `most`.
pub(super) fn instances(found: &[health::Instance], most: usize) -> Tell<Heap> {
    let mut list: Vec<Instance<Heap>> = found
        .iter()
        .map(|one| Instance {
            node: one.node.name.clone(),
            id: one.service.id.clone(),
            address: match one.service.address.as_str() {
                "" => one.node.address.clone(),
                own => own.into(),
            },
            port: one.service.port,
            status: health_of(&one.checks),
        })
        .collect();
    list.sort_by_key(|one| one.status);
    list.truncate(most.min(LIST_MAX));
    Tell::Instances { list, total: u16::try_from(found.len()).unwrap_or(u16::MAX) }
}

/// Writes an answer; a list that is too long loses its end. Nothing if it does not fit even so.
pub(super) fn emit(mut tell: Tell<Heap>, room: &mut [u8]) -> Option<usize> {
    loop {
        if let Some(length) = message::emit(&tell, room) {
            return Some(length);
        }
        match &mut tell {
            Tell::Instances { list, .. } if !list.is_empty() => _ = list.pop(),
            _ => return None,
        }
    }
}

/// Fits the words of an error into `bytes_max`: what the cause is wrapped in goes first
/// (`rpc error: failed inserting node: cause`), then the cause's end.
pub(super) fn fit(text: &str, bytes_max: usize) -> &str {
    let mut rest = text;
    while rest.len() > bytes_max
        && let Some((_, cause)) = rest.split_once(": ")
    {
        rest = cause;
    }
    cut(rest, bytes_max)
}

/// Cuts a text at a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(datacenter: &str, address: &str) -> Ask<Heap> {
        Ask::Hello {
            version: VERSION,
            reply_bytes_max: 300,
            datacenter: datacenter.into(),
            node: "n".into(),
            node_id: [1; 16],
            address: address.into(),
            token: String::new(),
            meta: Vec::new(),
        }
    }

    #[test]
    fn a_greeting_names_what_is_wrong_with_it() {
        let refused = |ask| greeting(ask, "dc1").err();
        assert!(refused(hello("dc1", "10.0.0.1")).is_none());
        let (reason, text) = refused(hello("dc2", "10.0.0.1")).expect("refused");
        assert_eq!(reason, Refusal::Datacenter);
        assert_eq!(text, "device of datacenter \"dc2\" at a server of \"dc1\"");
        assert!(matches!(refused(hello("dc1", "a.b")), Some((Refusal::Invalid, _))));
        assert!(matches!(greeting(Ask::Settled, "dc1"), Ok(None)));
    }

    #[test]
    fn a_list_that_does_not_fit_loses_its_end() {
        let instance = |node: &str| Instance::<Heap> {
            node: node.into(),
            id: "i".into(),
            address: "10.0.0.1".into(),
            port: 80,
            status: Status::Passing,
        };
        let list = vec![instance("a"), instance("b"), instance("c")];
        let mut room = [0; 40];
        let length = emit(Tell::Instances { list, total: 3 }, &mut room).expect("some fit");
        let Ok(Tell::<Heap>::Instances { list, total: 3 }) = message::parse(&room[..length]) else {
            panic!("no list");
        };
        assert_eq!(list.len(), 2);
        let long = Tell::Value { value: vec![0; 60], flags: 0, index: 0 };
        assert_eq!(emit(long, &mut room), None);
        assert_eq!(cut("a\u{e9}", 2), "a");
        assert_eq!(fit("call: put: cause", 16), "call: put: cause");
        assert_eq!(fit("call: put: cause", 10), "put: cause");
        assert_eq!(fit("call: put: cause", 4), "caus");
    }
}
