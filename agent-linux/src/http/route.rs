//! The route table, and the flow of one request through it.
//!
//! ```text
//! path -> row -> method -> body -> parse -> Servers | Agent -> render -> response
//! ```

use super::ask::{ask, logged};
use super::connection::{self, Body, Incoming, NotTaken};
use super::guard::guard;
use super::head::{Fields, Head};
use super::options::{Params, token};
use super::reply::{Audience, Freshness, Page, Refusal, Teller, finish};
use super::{
    BODY_BYTES_MAX, Http, Settings, acl, agent, autopilot, catalog, check, connect, coordinate,
    event, health, internal, keyring, kv, metric, monitor, operator, page, path, query,
    registration, service, session, snapshot, status, txn,
};
use crate::endpoint::agent::{Op, Reply as OwnReply};
use crate::metrics::{Sample, Stopwatch};
use agent_core::model::request::{Reply, Request};
use hyper::header::ALLOW;
use hyper::{Method, Response, StatusCode};
use std::net::IpAddr;
use std::sync::OnceLock;

/// A request as the subjects see it: everything but its body.
pub(super) struct Call<'a> {
    /// The decoded path.
    pub path: &'a str,
    /// What follows the row's pattern in the path.
    pub rest: &'a str,
    /// Query parameters.
    pub params: Params<'a>,
    /// Headers.
    pub headers: &'a Fields,
    /// How the edge is set.
    pub settings: &'a Settings,
    /// The client's address; none over a Unix socket.
    pub from: Option<IpAddr>,
}

impl Call<'_> {
    /// Tells whether JSON is to be indented.
    pub(super) fn is_pretty(&self) -> bool {
        self.settings.pretty || self.params.has("pretty")
    }

    /// Tells the address of who asks, behind a proxy the one that it names; empty if unknown.
    pub(super) fn asker(&self) -> String {
        let named = self.headers.get("X-Forwarded-For");
        let named = named.and_then(|list| list.split(',').next()).map(str::trim);
        match named.filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => self.from.map(|ip| ip.to_string()).unwrap_or_default(),
        }
    }

    /// Tells whether the path is one of discovery, which `discovery_max_stale` is about.
    pub(super) fn is_discovery(&self) -> bool {
        self.path.starts_with("/v1/catalog") || self.path.starts_with("/v1/health")
    }

    /// What follows the pattern, unless it is empty.
    ///
    /// # Errors
    ///
    /// A refusal with 400 and the text.
    pub(super) fn required(&self, missing: &'static str) -> Result<String, Refusal> {
        if self.rest.is_empty() { Err(Refusal::bad(missing)) } else { Ok(self.rest.to_owned()) }
    }
}

/// Which body a request may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Intake {
    /// None; one that is sent is ignored.
    Nothing,
    /// JSON, at most 512 KiB.
    Json,
    /// A value of the key/value store, as large as the settings allow.
    Value,
    /// A transaction, as large as the settings allow.
    Txn,
}

/// What is done for a method of a path.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Asks the servers.
    Ask {
        /// The body.
        intake: Intake,
        /// Makes the request.
        parse: fn(&Call<'_>, Vec<u8>) -> Result<Request, Refusal>,
        /// Shows the reply.
        render: fn(&Call<'_>, Reply) -> Page,
        /// Headers about freshness.
        freshness: Freshness,
    },
    /// Asks this very agent.
    Tell {
        /// The body.
        intake: Intake,
        /// Makes the request.
        parse: fn(&Call<'_>, Vec<u8>) -> Result<Op, Refusal>,
        /// Shows the reply.
        render: fn(&Call<'_>, OwnReply) -> Page,
    },
    /// Answers at once.
    Say(fn(&Call<'_>) -> Page),
    /// Streams the agent's log.
    Follow,
    /// Saves the whole state.
    Save,
    /// Restores it.
    Restore,
}

/// A path: exact, or with everything below it if it ends in `/`; `*` stands for anything.
struct Row {
    /// The pattern.
    path: &'static str,
    /// What is done, by method, in the order of `Allow`.
    acts: &'static [(Method, Act)],
}

/// Shortens the table.
const fn row(path: &'static str, acts: &'static [(Method, Act)]) -> Row {
    Row { path, acts }
}

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// Every path of the API. A more special path stands above one that would also match.
static ROUTES: &[Row] = &[
    row("/v1/kv/", &[(GET, kv::GET), (PUT, kv::PUT), (DELETE, kv::DELETE)]),
    row("/v1/health/service/", &[(GET, health::SERVICE)]),
    row("/v1/health/checks/", &[(GET, health::CHECKS)]),
    row("/v1/health/node/", &[(GET, health::NODE)]),
    row("/v1/health/state/", &[(GET, health::STATE)]),
    row("/v1/health/connect/", &[(GET, health::CONNECT)]),
    row("/v1/health/ingress/", &[(GET, health::INGRESS)]),
    row("/v1/internal/ui/nodes", &[(GET, internal::NODES)]),
    row("/v1/internal/ui/node/", &[(GET, internal::NODE)]),
    row("/v1/internal/ui/services", &[(GET, internal::SERVICES)]),
    row("/v1/internal/ui/gateway-services-nodes/", &[(GET, internal::GATEWAY)]),
    row("/v1/catalog/service/", &[(GET, catalog::SERVICE)]),
    row("/v1/catalog/services", &[(GET, catalog::SERVICES)]),
    row("/v1/catalog/nodes", &[(GET, catalog::NODES)]),
    row("/v1/catalog/node/", &[(GET, catalog::NODE)]),
    row("/v1/catalog/node-services/", &[(GET, catalog::NODE_SERVICES)]),
    row("/v1/catalog/connect/", &[(GET, catalog::CONNECT)]),
    row("/v1/catalog/gateway-services/", &[(GET, catalog::GATEWAY_SERVICES)]),
    row("/v1/catalog/datacenters", &[(GET, catalog::DATACENTERS)]),
    row("/v1/catalog/register", &[(PUT, registration::REGISTER)]),
    row("/v1/catalog/deregister", &[(PUT, registration::DEREGISTER)]),
    row("/v1/session/create", &[(PUT, session::CREATE)]),
    row("/v1/session/renew/", &[(PUT, session::RENEW)]),
    row("/v1/session/destroy/", &[(PUT, session::DESTROY)]),
    row("/v1/session/info/", &[(GET, session::INFO)]),
    row("/v1/session/node/", &[(GET, session::NODE)]),
    row("/v1/session/list", &[(GET, session::LIST)]),
    row("/v1/coordinate/datacenters", &[(GET, coordinate::DATACENTERS)]),
    row("/v1/coordinate/nodes", &[(GET, coordinate::NODES)]),
    row("/v1/coordinate/node/", &[(GET, coordinate::NODE)]),
    row("/v1/coordinate/update", &[(PUT, coordinate::UPDATE)]),
    row("/v1/query", &[(GET, query::LIST), (POST, query::CREATE)]),
    row("/v1/query/*/execute", &[(GET, query::EXECUTE)]),
    row("/v1/query/*/explain", &[(GET, query::EXPLAIN)]),
    row("/v1/query/", &[(GET, query::GET), (PUT, query::UPDATE), (DELETE, query::DELETE)]),
    row("/v1/snapshot", &[(GET, Act::Save), (PUT, Act::Restore)]),
    row("/v1/txn", &[(PUT, txn::TXN)]),
    row("/v1/status/leader", &[(GET, status::LEADER)]),
    row("/v1/status/peers", &[(GET, status::PEERS)]),
    row("/v1/event/fire/", &[(PUT, event::FIRE)]),
    row("/v1/event/list", &[(GET, event::LIST)]),
    row("/v1/agent/self", &[(GET, agent::DESCRIBE)]),
    row("/v1/agent/host", &[(GET, agent::HOST)]),
    row("/v1/agent/members", &[(GET, agent::MEMBERS)]),
    row("/v1/agent/join/", &[(PUT, agent::JOIN)]),
    row("/v1/agent/leave", &[(PUT, agent::LEAVE)]),
    row("/v1/agent/force-leave/", &[(PUT, agent::FORCE_LEAVE)]),
    row("/v1/agent/maintenance", &[(PUT, agent::MAINTENANCE)]),
    row("/v1/agent/reload", &[(PUT, agent::RELOAD)]),
    row("/v1/agent/token/", &[(PUT, acl::DISABLED)]),
    row("/v1/agent/metrics", &[(GET, metric::METRICS)]),
    row("/v1/agent/monitor", &[(GET, Act::Follow)]),
    row("/v1/agent/services", &[(GET, service::LIST)]),
    row("/v1/agent/service/register", &[(PUT, service::REGISTER)]),
    row("/v1/agent/service/deregister/", &[(PUT, service::DEREGISTER)]),
    row("/v1/agent/service/maintenance/", &[(PUT, service::MAINTENANCE)]),
    row("/v1/agent/service/", &[(GET, service::READ)]),
    row("/v1/agent/health/service/id/", &[(GET, service::HEALTH_BY_ID)]),
    row("/v1/agent/health/service/name/", &[(GET, service::HEALTH_BY_NAME)]),
    row("/v1/agent/checks", &[(GET, check::LIST)]),
    row("/v1/agent/check/register", &[(PUT, check::REGISTER)]),
    row("/v1/agent/check/deregister/", &[(PUT, check::DEREGISTER)]),
    row("/v1/agent/check/pass/", &[(PUT, check::PASS)]),
    row("/v1/agent/check/warn/", &[(PUT, check::WARN)]),
    row("/v1/agent/check/fail/", &[(PUT, check::FAIL)]),
    row("/v1/agent/check/update/", &[(PUT, check::UPDATE)]),
    row("/v1/agent/connect/ca/roots", &[(GET, connect::OFF)]),
    row("/v1/agent/connect/ca/leaf/", &[(GET, connect::OFF)]),
    row("/v1/agent/connect/authorize", &[(POST, connect::OFF)]),
    row("/v1/connect/ca/roots", &[(GET, connect::ROOTS_OFF)]),
    row("/v1/connect/ca/configuration", &[(GET, connect::OFF), (PUT, connect::OFF)]),
    row("/v1/operator/autopilot/configuration", &[(GET, autopilot::READ), (PUT, autopilot::WRITE)]),
    row("/v1/operator/autopilot/health", &[(GET, autopilot::HEALTH)]),
    row("/v1/operator/raft/configuration", &[(GET, operator::RAFT_CONFIGURATION)]),
    row(
        "/v1/operator/keyring",
        &[
            (GET, keyring::LIST),
            (POST, keyring::INSTALL),
            (PUT, keyring::USE),
            (DELETE, keyring::REMOVE),
        ],
    ),
    row("/v1/operator/raft/peer", &[(DELETE, operator::RAFT_PEER)]),
    row("/v1/acl/bootstrap", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/login", &[(POST, acl::DISABLED)]),
    row("/v1/acl/logout", &[(POST, acl::DISABLED)]),
    row("/v1/acl/replication", &[(GET, acl::DISABLED)]),
    row("/v1/acl/policies", &[(GET, acl::DISABLED)]),
    row("/v1/acl/policy", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/policy/name/", &[(GET, acl::DISABLED)]),
    row("/v1/acl/policy/", acl::ROW),
    row("/v1/acl/roles", &[(GET, acl::DISABLED)]),
    row("/v1/acl/role", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/role/name/", &[(GET, acl::DISABLED)]),
    row("/v1/acl/role/", acl::ROW),
    row("/v1/acl/tokens", &[(GET, acl::DISABLED)]),
    row("/v1/acl/token", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/token/self", &[(GET, acl::DISABLED)]),
    row("/v1/acl/token/", acl::ROW),
    row("/v1/acl/auth-methods", &[(GET, acl::DISABLED)]),
    row("/v1/acl/auth-method", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/auth-method/", acl::ROW),
    row("/v1/acl/binding-rules", &[(GET, acl::DISABLED)]),
    row("/v1/acl/binding-rule", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/binding-rule/", acl::ROW),
    row("/v1/acl/rules/translate", &[(POST, acl::DISABLED)]),
    row("/v1/acl/rules/translate/", &[(GET, acl::DISABLED)]),
    row("/v1/acl/create", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/update", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/destroy/", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/info/", &[(GET, acl::DISABLED)]),
    row("/v1/acl/clone/", &[(PUT, acl::DISABLED)]),
    row("/v1/acl/list", &[(GET, acl::DISABLED)]),
];

/// Most paths, and most methods of one.
const ROUTES_MAX: usize = 256;
const METHODS_MAX: usize = 4;

/// How long the methods of each path took; a sample is made at the first request.
static SAMPLES: [[OnceLock<&'static Sample>; METHODS_MAX]; ROUTES_MAX] =
    [const { [const { OnceLock::new() }; METHODS_MAX] }; ROUTES_MAX];

/// Finds the sample of a path's method.
fn sample(row: &'static Row, method: usize) -> &'static Sample {
    let from_first = std::ptr::from_ref(row).addr() - ROUTES.as_ptr().addr();
    let cell = &SAMPLES[from_first / size_of::<Row>()][method];
    cell.get_or_init(|| metric::sample_of(&row.acts[method].0, row.path))
}

/// Where a path leads.
enum Found<'p> {
    /// To a row; what follows its pattern.
    Row(&'static Row, &'p str),
    /// To the same path with a slash at its end.
    Slash,
    /// Nowhere.
    Nothing,
}

/// Looks a decoded path up. A path that lacks but the slash of a row leads to it from the rows
/// behind, which are less exact.
fn find(path: &str) -> Found<'_> {
    for row in ROUTES {
        if let Some((prefix, verb)) = row.path.split_once('*') {
            let rest = path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(verb));
            if let Some(rest) = rest {
                return Found::Row(row, rest);
            }
        } else if !row.path.ends_with('/') {
            if row.path == path {
                return Found::Row(row, "");
            }
        } else if let Some(rest) = path.strip_prefix(row.path) {
            return Found::Row(row, rest);
        } else if row.path.strip_suffix('/') == Some(path) {
            return Found::Slash;
        }
    }
    Found::Nothing
}

/// Finds what is done for a method of a path, and what follows the row's pattern.
#[cfg(test)]
pub(super) fn act_of<'p>(method: &Method, path: &'p str) -> Option<(Act, &'p str)> {
    let Found::Row(row, rest) = find(path) else { return None };
    let (_, act) = row.acts.iter().find(|(have, _)| have == method)?;
    Some((*act, rest))
}

/// Serves one request from its head to the response; the agent's own reads have no body.
pub(super) async fn answer(
    http: &Http,
    from: Option<IpAddr>,
    parts: &Head,
    body: Option<Incoming>,
) -> Response<Body> {
    let settings = &http.settings;
    let by_router = |page| finish(page, Audience::Router, &parts.fields, &[]);
    let query = parts.target.query();
    let path = match path::read(parts.target.path(), settings.printable_only) {
        path::Path::Clean(path) => path,
        path::Path::Moved(to) => return by_router(Page::moved(&parts.method, &to, query)),
        path::Path::Broken => return by_router(Page::broken()),
        path::Path::Unprintable => return by_router(Page::empty(StatusCode::BAD_REQUEST)),
    };
    match find(&path) {
        Found::Row(row, rest) => {
            if let Some(page) = guard(settings, from, &parts.method, &path) {
                return finish(page, Audience::Api, &parts.fields, &settings.response_headers);
            }
            let page = serve_row(http, row, (&path, rest), from, parts, body).await;
            match page {
                Served::Page(page) => {
                    finish(page, Audience::Api, &parts.fields, &settings.response_headers)
                }
                Served::Stream(response) => response,
            }
        }
        Found::Slash => {
            let page = Page::moved_plain(&parts.method, &format!("{path}/"), query);
            by_router(page)
        }
        Found::Nothing => match Box::pin(page::serve(settings, &path, parts)).await {
            Some(response) => response,
            None if path == "/" => by_router(Page::text(StatusCode::OK, "Consul Agent")),
            None => by_router(Page::empty(StatusCode::NOT_FOUND)),
        },
    }
}

/// What came of a row.
enum Served {
    /// A page.
    Page(Page),
    /// A response whose body is still to come.
    Stream(Response<Body>),
}

/// Serves a request whose row is known.
async fn serve_row(
    http: &Http,
    row: &'static Row,
    (path, rest): (&str, &str),
    from: Option<IpAddr>,
    parts: &Head,
    incoming: Option<Incoming>,
) -> Served {
    let settings = &http.settings;
    let Some(at) = row.acts.iter().position(|(method, _)| *method == parts.method) else {
        return Served::Page(other_method(row, &parts.method));
    };
    let (_, act) = &row.acts[at];
    let watch = Stopwatch::start();
    let Some(params) = Params::parse(parts.target.query()) else {
        return Served::Page(Page::empty(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let call = Call { path, rest, params, headers: &parts.fields, settings, from };
    let page = match *act {
        Act::Ask { intake, parse, render, freshness } => {
            let body = taken(settings, intake, incoming).await;
            let request = body.and_then(|body| parse(&call, body));
            match request.and_then(|request| ask(http, &call, request, render, freshness)) {
                Ok(mut asked) => asked.shown(&call).await,
                Err(refusal) => refusal.into(),
            }
        }
        Act::Tell { intake, parse, render } => {
            let body = taken(settings, intake, incoming).await;
            match body.and_then(|body| parse(&call, body)) {
                Ok(op) => {
                    let token = token(&call.params, call.headers);
                    match http.agent.serve_local(&token, op).await {
                        Ok(reply) => render(&call, reply),
                        Err(error) => logged(&call, &error, Teller::Agent),
                    }
                }
                Err(refusal) => refusal.into(),
            }
        }
        Act::Say(page) => page(&call),
        Act::Follow => match monitor::follow(&call) {
            Ok(lines) => return Served::Stream(monitor::stream(lines, call.headers)),
            Err(refusal) => refusal.into(),
        },
        Act::Save => match http.endpoint.save(snapshot::options(&call)).await {
            Ok(saving) => return Served::Stream(snapshot::stream(saving)),
            Err(error) => logged(&call, &snapshot::plain(error), Teller::Servers),
        },
        Act::Restore => {
            let options = snapshot::options(&call);
            let restore = |archive| http.endpoint.restore(options, archive);
            match Box::pin(connection::pour(incoming, restore)).await {
                Ok(()) => Page::empty(StatusCode::OK),
                Err(error) => logged(&call, &snapshot::plain(error), Teller::Servers),
            }
        }
    };
    watch.stop(sample(row, at));
    Served::Page(page)
}

/// Answers a method that the row has no act for.
fn other_method(row: &Row, method: &Method) -> Page {
    let mut allow = String::from("OPTIONS");
    for (method, _) in row.acts {
        allow.push(',');
        allow.push_str(method.as_str());
    }
    if method == Method::OPTIONS {
        Page::empty(StatusCode::OK).header(ALLOW, &allow)
    } else {
        Page::not_allowed(method, &allow)
    }
}

/// Takes the body that an act wants.
async fn taken(
    settings: &Settings,
    intake: Intake,
    incoming: Option<Incoming>,
) -> Result<Vec<u8>, Refusal> {
    let (bytes_max, option) = match intake {
        Intake::Nothing => return Ok(Vec::new()),
        Intake::Json => (BODY_BYTES_MAX, "kv_max_value_size"),
        Intake::Value => (settings.kv_value_bytes_max, "kv_max_value_size"),
        Intake::Txn => (settings.txn_bytes_max, "txn_max_req_len"),
    };
    let Some(incoming) = incoming else { return Ok(Vec::new()) };
    Box::pin(connection::take(incoming, bytes_max)).await.map_err(|error| match error {
        NotTaken::TooLarge(length) => Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            text: format!(
                "Request body({length} bytes) too large, max size: {bytes_max} bytes. See \
                 https://www.consul.io/docs/agent/options.html#{option}."
            )
            .into(),
        },
        NotTaken::Gone => Refusal {
            status: StatusCode::REQUEST_TIMEOUT,
            text: "Request body did not arrive in time".into(),
        },
        NotTaken::Broken => Refusal::bad("400 Bad Request"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// The description of the API for other tools.
    fn openapi() -> Value {
        serde_json::from_str(include_str!("../../openapi.json")).expect("the file is JSON")
    }

    /// The pattern of a row for a path of the file: `/v1/kv/` for `/v1/kv/{key}`.
    fn pattern(path: &str) -> String {
        let part = |part| if str::starts_with(part, '{') { "*" } else { part };
        let pattern = path.split('/').map(part).collect::<Vec<_>>().join("/");
        pattern.strip_suffix('*').map_or(pattern.clone(), str::to_owned)
    }

    #[test]
    fn every_method_of_every_path_is_described_and_nothing_else() {
        let file = openapi();
        let paths = file["paths"].as_object().expect("paths").iter();
        let described: BTreeSet<String> = paths
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("methods").keys();
                methods.map(|method| format!("{} {}", method.to_uppercase(), pattern(path)))
            })
            .collect();
        let served: BTreeSet<String> = ROUTES
            .iter()
            .flat_map(|row| row.acts.iter().map(|(method, _)| format!("{method} {}", row.path)))
            .collect();
        let missing: Vec<_> = served.difference(&described).collect();
        let extra: Vec<_> = described.difference(&served).collect();
        assert!(missing.is_empty(), "not in openapi.json: {missing:?}");
        assert!(extra.is_empty(), "in openapi.json only: {extra:?}");
    }

    #[test]
    fn what_the_description_refers_to_is_in_it() {
        let file = openapi();
        let text = file.to_string();
        let references: BTreeSet<&str> = text.split("\"$ref\":\"#").skip(1).collect();
        assert!(references.len() > 100);
        for reference in references {
            let (pointer, _) = reference.split_once('"').expect("a text ends");
            assert!(file.pointer(pointer).is_some(), "{pointer}");
        }
        for (path, item) in file["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                let declared = operation["parameters"].as_array().into_iter().flatten();
                let in_path = declared.filter(|one| one["in"] == "path").count();
                assert_eq!(in_path, path.matches('{').count(), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_method_of_every_path_has_a_sample() {
        assert!(ROUTES.len() <= ROUTES_MAX);
        assert!(ROUTES.iter().all(|row| row.acts.len() <= METHODS_MAX));
        let (first, last) = (&ROUTES[0], &ROUTES[ROUTES.len() - 1]);
        assert_eq!(sample(first, 1).name(), "http.PUT.v1.kv._");
        assert!(std::ptr::eq(sample(first, 1), sample(first, 1)));
        assert_eq!(sample(last, 0).name(), format!("http.GET{}", last.path.replace('/', ".")));
    }

    #[test]
    fn no_row_hides_a_later_one() {
        for (at, later) in ROUTES.iter().enumerate() {
            match find(&later.path.replace('*', "name")) {
                Found::Row(row, "" | "name") => assert_eq!(row.path, later.path, "row {at}"),
                Found::Row(row, _) => panic!("{} hides {}", row.path, later.path),
                Found::Slash | Found::Nothing => panic!("{} is not found", later.path),
            }
        }
    }

    #[test]
    fn paths_lead_as_in_gos_router() {
        assert!(matches!(find("/v1/kv/a/b"), Found::Row(_, "a/b")));
        assert!(matches!(find("/v1/kv"), Found::Slash));
        let verb = find("/v1/query/a/b/execute");
        assert!(matches!(verb, Found::Row(row, "a/b") if row.path.contains('*')));
        assert!(matches!(find("/v1/query/execute"), Found::Row(_, "execute")));
        assert!(matches!(find("/v1/agent/service"), Found::Slash));
        assert!(matches!(find("/v1/agent/service/maintenance"), Found::Slash));
        assert!(matches!(find("/v1/agent/service/x"), Found::Row(_, "x")));
        assert!(matches!(find("/v1/agent/services/"), Found::Nothing));
        assert!(matches!(find("/v1/nope"), Found::Nothing));
    }
}
