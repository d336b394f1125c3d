//! Calls in, pages out, against answers recorded from Consul; no sockets.

use super::Settings;
use super::head::Fields;
use super::options::Params;
use super::reply::{Page, Refusal, tell_freshness};
use super::route::{Act, Call, act_of};
use crate::endpoint::agent::{AggregatedStatus, InstanceHealth, MemberView, Op, Reply as OwnReply};
use agent_core::model::check::{Check, Definition, Status};
use agent_core::model::command::Command;
use agent_core::model::request::{
    Body, Consistency, Meta, Options, Query as AnyQuery, Reply, Request,
};
use agent_core::model::service::{Kind, Proxy, Service, ServiceAddress};
use agent_core::model::{Map, Stamp, catalog, health, kv, node::Node, operator, session, status};
use hyper::Method;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Finds what is done for a method of a target, and hands it over with the call.
fn with<T>(method: &Method, target: &str, run: impl FnOnce(Act, &Call<'_>) -> T) -> T {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let (act, rest) = act_of(method, path).expect("the target is in the table");
    let settings = Settings::new("dc1", "n1");
    let headers = Fields::default();
    let params = Params::parse(query).unwrap();
    run(act, &Call { path, rest, params, headers: &headers, settings: &settings, from: None })
}

/// Parses what is asked of the servers.
fn ask(method: Method, target: &str, body: &str) -> Result<Request, Refusal> {
    with(&method, target, |act, call| match act {
        Act::Ask { parse, .. } => parse(call, body.into()),
        Act::Tell { .. } | Act::Say(_) | Act::Follow | Act::Save | Act::Restore => {
            panic!("{target} asks nobody")
        }
    })
}

/// Parses what is asked of this agent.
fn tell(method: Method, target: &str, body: &str) -> Result<Op, Refusal> {
    with(&method, target, |act, call| match act {
        Act::Tell { parse, .. } => parse(call, body.into()),
        Act::Ask { .. } | Act::Say(_) | Act::Follow | Act::Save | Act::Restore => {
            panic!("{target} asks somebody else")
        }
    })
}

/// Shows a reply of the servers.
fn show(method: Method, target: &str, reply: Reply) -> Page {
    with(&method, target, |act, call| match act {
        Act::Ask { render, freshness, .. } => {
            let mut page = render(call, reply);
            let meta = Meta { index: 16, known_leader: true, last_contact_ms: 0 };
            tell_freshness(&mut page, freshness, Some((meta, Consistency::Default)));
            page
        }
        Act::Tell { .. } | Act::Say(_) | Act::Follow | Act::Save | Act::Restore => {
            panic!("{target} asks nobody")
        }
    })
}

/// Shows a reply of this agent.
fn show_own(target: &str, reply: OwnReply) -> Page {
    with(&Method::GET, target, |act, call| match act {
        Act::Tell { render, .. } => render(call, reply),
        Act::Ask { .. } | Act::Say(_) | Act::Follow | Act::Save | Act::Restore => {
            panic!("{target} asks somebody else")
        }
    })
}

fn text(page: &Page) -> &str {
    std::str::from_utf8(&page.body).unwrap()
}

fn headers(page: &Page) -> Vec<String> {
    let line = |(name, value): &(hyper::header::HeaderName, hyper::header::HeaderValue)| {
        format!("{name}: {}", value.to_str().unwrap())
    };
    page.headers.iter().map(line).collect()
}

/// Finds an answer recorded from Consul.
fn recorded(name: &str) -> &'static str {
    let mut lines = include_str!("recorded.txt").lines();
    lines.find(|line| line.strip_prefix("== ") == Some(name)).expect("the answer was recorded");
    lines.next().expect("a name has its answer below it")
}

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn node() -> Arc<Node> {
    let address = "127.0.0.14";
    Arc::new(Node {
        id: "4d9db914-2010-9fe3-f4b1-f1788f437cf6".into(),
        name: "agent131".into(),
        address: address.into(),
        datacenter: "dc1".into(),
        tagged_addresses: map(&[
            ("lan", address),
            ("lan_ipv4", address),
            ("wan", address),
            ("wan_ipv4", address),
        ]),
        meta: map(&[("consul-network-segment", "")]),
        stamp: Stamp { create: 7, modify: 7 },
    })
}

fn service() -> Arc<Service> {
    Arc::new(Service {
        id: "web".into(),
        name: "web".into(),
        tags: vec!["v1".into()],
        port: 80,
        stamp: Stamp { create: 51, modify: 51 },
        ..Service::default()
    })
}

fn check() -> Arc<Check> {
    Arc::new(Check {
        node: "agent131".into(),
        id: "service:web".into(),
        name: "Service 'web' check".into(),
        status: Status::Passing,
        output: "ok".into(),
        service_id: "web".into(),
        service_name: "web".into(),
        service_tags: vec!["v1".into()],
        kind: "ttl".into(),
        stamp: Stamp { create: 51, modify: 52 },
        ..Check::default()
    })
}

fn entry(key: &str, value: &str) -> Arc<kv::Entry> {
    Arc::new(kv::Entry {
        key: key.into(),
        value: value.into(),
        stamp: Stamp { create: 16, modify: 16 },
        ..kv::Entry::default()
    })
}

#[test]
fn a_key_is_shown_as_recorded() {
    let reply = Reply::Kv(kv::Reply::Entry(Some(entry("a/b", "hello"))));
    let page = show(Method::GET, "/v1/kv/a/b", reply.clone());
    assert_eq!(text(&page), recorded("key"));
    assert_eq!(
        headers(&page),
        ["x-consul-index: 16", "x-consul-knownleader: true", "x-consul-lastcontact: 0"]
    );
    let raw = show(Method::GET, "/v1/kv/a/b?raw", reply);
    assert_eq!((text(&raw), raw.kind), ("hello", "text/plain"));
    let empty = show(
        Method::GET,
        "/v1/kv/empty?pretty",
        Reply::Kv(kv::Reply::Entry(Some(entry("empty", "")))),
    );
    assert_eq!(
        text(&empty),
        "[\n    {\n        \"LockIndex\": 0,\n        \"Key\": \"empty\",\n        \
         \"Flags\": 0,\n        \"Value\": null,\n        \"CreateIndex\": 16,\n        \
         \"ModifyIndex\": 16\n    }\n]\n"
    );
}

#[test]
fn a_locked_key_names_its_session() {
    let locked = kv::Entry {
        session: "ff168350-ea6c-6ad3-1592-8d3591faa5d0".into(),
        lock_index: 1,
        flags: u64::MAX,
        ..kv::Entry::clone(&entry("lk", "two"))
    };
    let reply = Reply::Kv(kv::Reply::Entries(vec![locked.into()]));
    assert_eq!(text(&show(Method::GET, "/v1/kv/?recurse", reply)), recorded("locked key"));
}

#[test]
fn absent_keys_are_404_with_an_index() {
    for (target, reply) in [
        ("/v1/kv/nope", kv::Reply::Entry(None)),
        ("/v1/kv/nope?recurse", kv::Reply::Entries(vec![])),
        ("/v1/kv/nope?keys", kv::Reply::Keys(vec![])),
    ] {
        let page = show(Method::GET, target, Reply::Kv(reply));
        assert_eq!((page.status.as_u16(), text(&page)), (404, ""), "{target}");
        assert_eq!(headers(&page)[0], "x-consul-index: 16");
    }
    let all = show(Method::GET, "/v1/kv/?keys", Reply::Kv(kv::Reply::Keys(vec![])));
    assert_eq!((all.status.as_u16(), text(&all)), (200, "[]"));
}

#[test]
fn every_way_to_write_a_key_is_read() {
    let put = |flags| kv::Put { key: "k".into(), value: b"v".to_vec(), flags };
    for (method, target, op) in [
        (Method::PUT, "/v1/kv/k?flags=42", kv::Op::Set(put(42))),
        (Method::PUT, "/v1/kv/k?cas=7", kv::Op::Cas(put(0), 7)),
        (Method::PUT, "/v1/kv/k?acquire=s", kv::Op::Acquire(put(0), "s".into())),
        (Method::PUT, "/v1/kv/k?release=s", kv::Op::Release(put(0), "s".into())),
        (Method::DELETE, "/v1/kv/k", kv::Op::Delete("k".into())),
        (Method::DELETE, "/v1/kv/k?cas=7", kv::Op::DeleteCas("k".into(), 7)),
        (Method::DELETE, "/v1/kv/?recurse", kv::Op::DeleteTree(String::new())),
    ] {
        let request = ask(method, target, "v").unwrap();
        assert_eq!(request.body, Body::Command(Command::Kv(op)), "{target}");
    }
}

#[test]
fn bad_calls_of_keys_are_refused_in_consuls_words() {
    for (method, target, code, want) in [
        (Method::GET, "/v1/kv/", 400, "Missing key name"),
        (Method::PUT, "/v1/kv/?flags=1", 400, "Missing key name"),
        (Method::DELETE, "/v1/kv/", 400, "Missing key name"),
        (Method::PUT, "/v1/kv/a?cas=1&acquire=x", 400, "Conflicting flags: acquire=x&cas=1"),
        (Method::DELETE, "/v1/kv/a?cas=1&recurse", 400, "Conflicting flags: cas=1&recurse="),
        (
            Method::PUT,
            "/v1/kv/a?cas=abc",
            500,
            "strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        (
            Method::PUT,
            "/v1/kv/a?flags=18446744073709551616",
            500,
            "strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
        ),
        (Method::GET, "/v1/kv/a?index=-1", 400, "Invalid index"),
        (Method::GET, "/v1/kv/a?wait=5", 400, "Invalid wait time"),
        (Method::GET, "/v1/kv/a?max_stale=zz", 400, "Invalid max_stale value \"zz\""),
        (
            Method::GET,
            "/v1/kv/a?stale&consistent",
            400,
            "Cannot specify ?stale with ?consistent, conflicting semantics.",
        ),
        (
            Method::GET,
            "/v1/kv/a?ns=x",
            400,
            "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise \
             feature",
        ),
    ] {
        let refusal = ask(method, target, "v").unwrap_err();
        assert_eq!((refusal.status.as_u16(), &*refusal.text), (code, want), "{target}");
    }
}

#[test]
fn options_of_a_read_are_taken_over() {
    let target = "/v1/catalog/nodes?stale&index=7&wait=120000ms&near=_agent&dc=dc2&token=t\
                  &filter=Node+%3D%3D+x&node-meta=a:b:c&node-meta=d";
    let request = ask(Method::GET, target, "").unwrap();
    assert_eq!(
        request.options,
        Options {
            token: "t".into(),
            datacenter: "dc2".into(),
            consistency: Consistency::Stale,
            min_index: 7,
            wait_ms: 120_000,
            max_stale_ms: 0,
            near: "n1".into(),
            filter: "Node == x".into(),
        }
    );
    let node_meta = map(&[("a", "b:c"), ("d", "")]);
    let query = catalog::Query::Nodes { node_meta };
    assert_eq!(request.body, Body::Query(AnyQuery::Catalog(query)));
}

#[test]
fn instances_are_shown_as_recorded() {
    let (node_json, service_json, check_json) =
        (recorded("node"), recorded("service"), recorded("check"));
    let instance = health::Instance { node: node(), service: service(), checks: vec![check()] };
    let reply = Reply::Health(health::Reply::Instances(vec![instance]));
    let page = show(Method::GET, "/v1/health/service/web", reply);
    assert_eq!(
        text(&page),
        format!(r#"[{{"Node":{node_json},"Service":{service_json},"Checks":[{check_json}]}}]"#)
    );
    assert_eq!(
        headers(&page)[..2],
        ["x-consul-effective-consistency: leader", "x-consul-index: 16"]
    );
    let row = catalog::Instance { node: node(), service: service() };
    let reply = Reply::Catalog(catalog::Reply::Instances(vec![row]));
    assert_eq!(text(&show(Method::GET, "/v1/catalog/service/web", reply)), recorded("catalog row"));
}

#[test]
fn a_node_is_shown_with_its_instances() {
    let (node_json, service_json) = (recorded("node"), recorded("service"));
    let found = catalog::NodeServices { node: node(), services: vec![service()] };
    let reply = |found| Reply::Catalog(catalog::Reply::Node(found));
    let get = |target, found| text(&show(Method::GET, target, reply(found))).to_owned();
    assert_eq!(
        get("/v1/catalog/node/agent131", Some(found.clone())),
        format!(r#"{{"Node":{node_json},"Services":{{"web":{service_json}}}}}"#)
    );
    assert_eq!(
        get("/v1/catalog/node-services/agent131", Some(found)),
        format!(r#"{{"Node":{node_json},"Services":[{service_json}]}}"#)
    );
    assert_eq!(get("/v1/catalog/node/nosuch", None), "null");
    assert_eq!(get("/v1/catalog/node-services/nosuch", None), r#"{"Node":null,"Services":null}"#);
}

#[test]
fn a_proxy_shows_what_it_stands_for() {
    let proxy = Proxy {
        destination_service_name: "s1".into(),
        config: r#"{"b":1,"a":{"z":1}}"#.into(),
        upstreams: r#"[{"destination_name":"db","LocalBindPort":9}]"#.into(),
        ..Proxy::default()
    };
    let address = ServiceAddress { address: "5.5.5.5".into(), port: 7 };
    let service = Service {
        kind: Kind::ConnectProxy,
        proxy: Some(Box::new(proxy)),
        connect_native: true,
        tagged_addresses: BTreeMap::from([("lan".to_owned(), address)]),
        ..Service::clone(&service())
    };
    let reply = OwnReply::Service { service: Arc::new(service), hash: "6a2a".into() };
    let page = show_own("/v1/agent/service/web", reply);
    assert_eq!(text(&page), recorded("own proxy"));
    assert_eq!(headers(&page), ["x-consul-contenthash: 6a2a"]);
}

#[test]
fn lists_of_the_catalog_are_shown_as_recorded() {
    let services = vec![("consul".to_owned(), vec![]), ("web".to_owned(), vec!["v1".to_owned()])];
    let reply = Reply::Catalog(catalog::Reply::Services(services));
    assert_eq!(
        text(&show(Method::GET, "/v1/catalog/services", reply)),
        r#"{"consul":[],"web":["v1"]}"#
    );
    let bare = Node { name: "ext".into(), address: "1.2.3.4".into(), ..Node::default() };
    let reply = Reply::Catalog(catalog::Reply::Nodes(vec![bare.into()]));
    assert_eq!(text(&show(Method::GET, "/v1/catalog/nodes", reply)), recorded("external node"));
    let reply = Reply::Catalog(catalog::Reply::Datacenters(vec!["dc1".into()]));
    let page = show(Method::GET, "/v1/catalog/datacenters", reply);
    assert_eq!((text(&page), headers(&page).len()), (r#"["dc1"]"#, 0));
}

#[test]
fn a_filter_on_services_is_ignored() {
    let request = ask(Method::GET, "/v1/catalog/services?filter=bad(((", "").unwrap();
    assert_eq!(request.options.filter, "");
}

#[test]
fn a_check_of_an_external_node_shows_how_to_run_it() {
    let definition = Definition {
        http: "x".into(),
        tls_skip_verify: true,
        header: BTreeMap::from([("a".to_owned(), vec!["b".to_owned()])]),
        interval_ns: 10_000_000_000,
        deregister_critical_service_after_ns: 3_600_000_000_000,
        ..Definition::default()
    };
    let check = Check { definition, ..Check::default() };
    let reply = Reply::Health(health::Reply::Checks(vec![check.into()]));
    let page = show(Method::GET, "/v1/health/node/ext", reply);
    let want = recorded("external check");
    assert!(text(&page).contains(want), "{}", text(&page));
}

#[test]
fn checks_in_an_unknown_state_are_none() {
    let check_json = recorded("check");
    let reply = || Reply::Health(health::Reply::Checks(vec![check()]));
    assert_eq!(text(&show(Method::GET, "/v1/health/state/foo", reply())), "[]");
    let any = show(Method::GET, "/v1/health/state/any", reply());
    assert_eq!(text(&any), format!("[{check_json}]"));
}

#[test]
fn passing_may_be_bare_true_or_false() {
    for (query, worst) in [
        ("", None),
        ("?passing", Some(Status::Passing)),
        ("?passing=1", Some(Status::Passing)),
        ("?passing=false", None),
    ] {
        let request = ask(Method::GET, &format!("/v1/health/service/x{query}"), "").unwrap();
        let Body::Query(AnyQuery::Health(health::Query::Service(query))) = request.body else {
            panic!("another query");
        };
        assert_eq!(query.worst, worst);
    }
    let refusal = ask(Method::GET, "/v1/health/service/x?passing=zz", "").unwrap_err();
    assert_eq!(refusal.text, "Invalid value for ?passing");
}

#[test]
fn sessions_are_read_and_shown_as_recorded() {
    let create = |body: &str| -> Result<_, Refusal> {
        match ask(Method::PUT, "/v1/session/create", body)?.body {
            Body::Command(Command::Session(session::Op::Create(session))) => Ok(session),
            other => panic!("{other:?}"),
        }
    };
    let plain = create("").unwrap();
    assert_eq!((plain.node.as_str(), plain.lock_delay_ns), ("n1", 15_000_000_000));
    assert_eq!(plain.node_checks, ["serfHealth"]);
    for (body, nanos) in [
        (r#"{"LockDelay":"0.001s"}"#, 1_000_000),
        (r#"{"lockdelay":5}"#, 5_000_000_000),
        (r#"{"LockDelay":5000}"#, 5_000),
        (r#"{"LockDelay":true}"#, 0),
    ] {
        assert_eq!(create(body).unwrap().lock_delay_ns, nanos, "{body}");
    }
    let bound = create(r#"{"Checks":[],"ServiceChecks":[{"ID":"x"}],"TTL":"10s"}"#).unwrap();
    assert!(bound.node_checks.is_empty());
    let older = create(r#"{"Checks":["q"]}"#).unwrap();
    assert_eq!(
        (older.node_checks.join(","), older.checks.join(",")),
        ("serfHealth".into(), "q".into())
    );
    assert_eq!((bound.service_checks.join(","), bound.ttl_ns), ("x".into(), 10_000_000_000));
    for (body, code, want) in [
        ("zz", 400, "Request decode failed: invalid character 'z' looking for beginning of value"),
        (r#"{"LockDelay":"zz"}"#, 400, "Request decode failed: time: invalid duration \"zz\""),
        (
            r#"{"TTL":10}"#,
            400,
            "Request decode failed: json: cannot unmarshal number into Go struct field .TTL of \
             type string",
        ),
        (
            r#"{"TTL":"zz"}"#,
            500,
            "rpc error making call: Session TTL 'zz' invalid: time: invalid duration \"zz\"",
        ),
        (r#"{"Behavior":"x"}"#, 500, "rpc error making call: Invalid Behavior setting 'x'"),
    ] {
        let refusal = create(body).unwrap_err();
        assert_eq!((refusal.status.as_u16(), &*refusal.text), (code, want), "{body}");
    }
    let shown = session::Session {
        id: "ff168350-ea6c-6ad3-1592-8d3591faa5d0".into(),
        name: "n1".into(),
        node: "agent131".into(),
        lock_delay_ns: 2_000_000_000,
        ttl: "10s".into(),
        node_checks: vec!["serfHealth".into()],
        stamp: Stamp { create: 39, modify: 39 },
        ..session::Session::default()
    };
    let reply = Reply::Session(session::Reply::Sessions(vec![shown.into()]));
    assert_eq!(text(&show(Method::GET, "/v1/session/list", reply)), recorded("session"));
    let none = Reply::Session(session::Reply::Sessions(vec![]));
    let page = show(Method::PUT, "/v1/session/renew/x", none);
    assert_eq!((page.status.as_u16(), text(&page)), (404, "Session id 'x' not found"));
}

#[test]
fn consensus_is_shown_as_recorded() {
    let leader = Reply::Status(status::Reply::Leader("127.0.0.11:8300".into()));
    let page = show(Method::GET, "/v1/status/leader", leader);
    assert_eq!((text(&page), headers(&page).len()), (r#""127.0.0.11:8300""#, 0));
    let server = operator::Server {
        id: "b4b1de20-060b-a8c4-9b49-658e5a5ed447".into(),
        node: "agent128".into(),
        address: "127.0.0.11:8300".into(),
        leader: true,
        voter: true,
    };
    let reply = operator::Reply::RaftConfiguration { servers: vec![server], index: 0 };
    let page = show(Method::GET, "/v1/operator/raft/configuration", Reply::Operator(reply));
    assert_eq!(text(&page), recorded("raft configuration"));
    for (target, want) in [
        (
            "/v1/operator/raft/peer",
            "Bad request: Must specify either ?id with the server's ID or ?address with IP:port \
             of peer to remove",
        ),
        (
            "/v1/operator/raft/peer?id=a&address=b",
            "Bad request: Must specify only one of ?id or ?address",
        ),
    ] {
        assert_eq!(ask(Method::DELETE, target, "").unwrap_err().text, want);
    }
}

#[test]
fn own_services_and_checks_are_shown_as_recorded() {
    let check_json = recorded("check");
    let services = BTreeMap::from([("web".to_owned(), service())]);
    assert_eq!(
        text(&show_own("/v1/agent/services", OwnReply::Services(services))),
        recorded("own services")
    );
    let checks = BTreeMap::from([("service:web".to_owned(), check())]);
    assert_eq!(
        text(&show_own("/v1/agent/checks", OwnReply::Checks(checks))),
        format!(r#"{{"service:web":{check_json}}}"#)
    );
}

#[test]
fn own_health_is_told_in_code_word_and_json() {
    let health = |status| {
        OwnReply::Health(vec![InstanceHealth { service: service(), checks: vec![check()], status }])
    };
    let page = show_own("/v1/agent/health/service/id/web", health(AggregatedStatus::Passing));
    assert_eq!(text(&page), recorded("own health"));
    for (status, code, word) in [
        (AggregatedStatus::Passing, 200, "passing"),
        (AggregatedStatus::Warning, 429, "warning"),
        (AggregatedStatus::Critical, 503, "critical"),
        (AggregatedStatus::Maintenance, 503, "maintenance"),
    ] {
        let page = show_own("/v1/agent/health/service/name/web?format=text", health(status));
        assert_eq!((page.status.as_u16(), text(&page), page.kind), (code, word, "text/plain"));
        assert_eq!(headers(&page), [format!("x-consul-reason: {word}")]);
    }
    let none = || OwnReply::Health(vec![]);
    for (target, want) in [
        ("name/zz", "[]"),
        ("name/zz?format=text", "ServiceName zz Not Found"),
        ("id/zz", r#"{"AggregatedStatus":"critical","Service":null,"Checks":null}"#),
        ("id/zz?format=text", "\"ServiceId zz not found\""),
    ] {
        let page = show_own(&format!("/v1/agent/health/service/{target}"), none());
        assert_eq!((page.status.as_u16(), text(&page)), (404, want));
    }
}

#[test]
fn what_own_services_are_asked_is_checked() {
    let no_namespaces = "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul \
                         Enterprise feature";
    for (target, want) in [
        ("/v1/agent/health/service/id/web?ns=x", no_namespaces),
        ("/v1/agent/health/service/name/web?ns=x", no_namespaces),
        ("/v1/agent/service/web?index=x", "Invalid index"),
        ("/v1/agent/service/web?wait=x", "Invalid wait time"),
    ] {
        let refusal = tell(Method::GET, target, "").unwrap_err();
        assert_eq!((refusal.status.as_u16(), &*refusal.text), (400, want), "{target}");
    }
}

#[test]
fn members_are_shown_as_recorded() {
    let member = MemberView {
        name: "agent131".into(),
        addr: "127.0.0.14:8301".parse().unwrap(),
        tags: map(&[("dc", "dc1"), ("role", "node")]),
        status: 1,
    };
    assert_eq!(
        text(&show_own("/v1/agent/members", OwnReply::Members(vec![member]))),
        recorded("members")
    );
    assert_eq!(text(&show_own("/v1/agent/members?wan=1", OwnReply::Members(vec![]))), "null");
}

#[test]
fn bad_calls_of_the_agent_are_refused_in_consuls_words() {
    for (target, body, code, want) in [
        ("/v1/agent/service/register", "", 400, "Request decode failed: EOF"),
        (
            "/v1/agent/service/register",
            r#"{"Nam":"x"}"#,
            400,
            "Request decode failed: json: unknown field \"Nam\"",
        ),
        (
            "/v1/agent/service/register",
            r#"{"Name":"x","Check":{"TTL":"5x"}}"#,
            400,
            "Request decode failed: time: unknown unit \"x\" in duration \"5x\"",
        ),
        ("/v1/agent/check/update/x", r#"{"Status":"zz"}"#, 400, "Invalid check status: 'zz'"),
        ("/v1/agent/check/deregister/", "", 500, "CheckID missing"),
        ("/v1/agent/service/deregister/", "", 500, "ServiceID missing"),
        ("/v1/agent/service/maintenance/", "", 400, "Missing service ID"),
        ("/v1/agent/service/maintenance/x", "", 400, "Missing value for enable"),
        ("/v1/agent/maintenance?enable=zz", "", 400, "Invalid value for enable: \"zz\""),
    ] {
        let refusal = tell(Method::PUT, target, body).unwrap_err();
        assert_eq!((refusal.status.as_u16(), &*refusal.text), (code, want), "{target}");
    }
}
