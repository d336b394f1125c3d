//! The route table, and the flow of one request through it.
//!
//! ```text
//! path -> row -> method -> body -> parse -> Servers | Agent -> render -> response
//! ```

use super::connection::{self, Body, NotTaken};
use super::options::{Params, token};
use super::reply::{
    Audience, Freshness, Page, Refusal, Teller, fault, finish, finish_asset, tell_freshness,
};
use super::{
    BODY_BYTES_MAX, Http, Lines, Settings, acl, agent, catalog, check, connect, health, kv, metric,
    monitor, operator, path, registration, service, session, status,
};
use crate::endpoint::agent::{Op, Reply as OwnReply};
use crate::ui;
use agent_core::model::request::{Consistency, Error, Outcome, Reply, Request};
use hyper::body::Incoming;
use hyper::header::ALLOW;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode};
use std::net::IpAddr;

/// A request as the subjects see it: everything but its body.
pub(super) struct Call<'a> {
    /// The decoded path.
    pub path: &'a str,
    /// What follows the row's pattern in the path.
    pub rest: &'a str,
    /// Query parameters.
    pub params: Params<'a>,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// How the edge is set.
    pub settings: &'a Settings,
}

impl Call<'_> {
    /// Tells whether JSON is to be indented.
    pub(super) fn is_pretty(&self) -> bool {
        self.settings.pretty || self.params.has("pretty")
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
}

/// A path: exact, or with everything below it if it ends in `/`.
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
    row("/v1/status/leader", &[(GET, status::LEADER)]),
    row("/v1/status/peers", &[(GET, status::PEERS)]),
    row("/v1/agent/self", &[(GET, agent::DESCRIBE)]),
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
    row("/v1/operator/raft/configuration", &[(GET, operator::RAFT_CONFIGURATION)]),
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

/// Where a path leads.
enum Found<'p> {
    /// To a row; what follows its pattern.
    Row(&'static Row, &'p str),
    /// To the same path with a slash at its end.
    Slash,
    /// Nowhere.
    Nothing,
}

/// Looks a decoded path up.
fn find(path: &str) -> Found<'_> {
    let mut slash = false;
    for row in ROUTES {
        if !row.path.ends_with('/') {
            if row.path == path {
                return Found::Row(row, "");
            }
        } else if let Some(rest) = path.strip_prefix(row.path) {
            return Found::Row(row, rest);
        } else {
            slash |= row.path.strip_suffix('/') == Some(path);
        }
    }
    if slash { Found::Slash } else { Found::Nothing }
}

/// Finds what is done for a method of a path, and what follows the row's pattern.
#[cfg(test)]
pub(super) fn act_of<'p>(method: &Method, path: &'p str) -> Option<(Act, &'p str)> {
    let Found::Row(row, rest) = find(path) else { return None };
    let (_, act) = row.acts.iter().find(|(have, _)| have == method)?;
    Some((*act, rest))
}

/// Serves one request from its head to the response.
pub(super) async fn answer(
    http: &Http,
    from: Option<IpAddr>,
    parts: Parts,
    body: Incoming,
) -> Response<Body> {
    let settings = &http.settings;
    let by_router = |page| finish(page, Audience::Router, &parts.headers, &[]);
    let query = parts.uri.query();
    let path = match path::read(parts.uri.path()) {
        path::Path::Clean(path) => path,
        path::Path::Moved(to) => return by_router(Page::moved(&parts.method, &to, query)),
        path::Path::Broken => return by_router(Page::broken()),
        path::Path::Unprintable => return by_router(Page::empty(StatusCode::BAD_REQUEST)),
    };
    match find(&path) {
        Found::Row(row, rest) => {
            if let Some(page) = guard(settings, from, &parts.method, &path) {
                return finish(page, Audience::Api, &parts.headers, &settings.response_headers);
            }
            let page = serve_row(http, row, &path, rest, &parts, body).await;
            match page {
                Served::Page(page) => {
                    finish(page, Audience::Api, &parts.headers, &settings.response_headers)
                }
                Served::Stream(lines) => monitor::stream(lines),
            }
        }
        Found::Slash => {
            let page = Page::moved_plain(&parts.method, &format!("{path}/"), query);
            by_router(page)
        }
        Found::Nothing if settings.ui && (path == "/" || path == "/ui") => {
            by_router(Page::moved(&parts.method, "/ui/", query))
        }
        Found::Nothing if settings.ui && path.starts_with("/ui/") => {
            let asset = ui::find(&path["/ui/".len()..]);
            finish_asset(asset, &parts.method, &parts.headers)
        }
        Found::Nothing if path == "/" => by_router(Page::text(StatusCode::OK, "Consul Agent")),
        Found::Nothing => by_router(Page::empty(StatusCode::NOT_FOUND)),
    }
}

/// Refuses what the configuration shuts off: paths, and writes from foreign networks. A Unix
/// socket has no network: its file's permissions decide.
fn guard(settings: &Settings, from: Option<IpAddr>, method: &Method, path: &str) -> Option<Page> {
    if settings.block_endpoints.iter().any(|prefix| path.starts_with(prefix.as_str())) {
        let text = "Endpoint is blocked by agent configuration";
        return Some(Page::text(StatusCode::FORBIDDEN, text));
    }
    let is_read = *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS;
    let allowed = &settings.allow_write_from;
    let is_foreign = |from| !allowed.is_empty() && !allowed.iter().any(|net| net.contains(from));
    if !is_read && from.is_some_and(is_foreign) {
        return Some(Page::text(StatusCode::FORBIDDEN, "Access is restricted"));
    }
    None
}

/// What came of a row.
enum Served {
    /// A page.
    Page(Page),
    /// Lines of the log.
    Stream(Lines),
}

/// Serves a request whose row is known.
async fn serve_row(
    http: &Http,
    row: &'static Row,
    path: &str,
    rest: &str,
    parts: &Parts,
    incoming: Incoming,
) -> Served {
    let settings = &http.settings;
    let Some((_, act)) = row.acts.iter().find(|(method, _)| *method == parts.method) else {
        return Served::Page(other_method(row, &parts.method));
    };
    let Some(params) = Params::parse(parts.uri.query()) else {
        return Served::Page(Page::empty(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let call = Call { path, rest, params, headers: &parts.headers, settings };
    let page = match *act {
        Act::Ask { intake, parse, render, freshness } => {
            let request = match taken(settings, intake, incoming).await {
                Ok(body) => parse(&call, body),
                Err(refusal) => Err(refusal),
            };
            match request {
                Ok(request) => {
                    let level = request.options.consistency;
                    let outcome = http.endpoint.serve_shared(request).await;
                    render_outcome(&call, outcome, render, (freshness, level))
                }
                Err(refusal) => refusal.into(),
            }
        }
        Act::Tell { intake, parse, render } => {
            let op = match taken(settings, intake, incoming).await {
                Ok(body) => parse(&call, body),
                Err(refusal) => Err(refusal),
            };
            match op {
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
            Ok(lines) => return Served::Stream(lines),
            Err(refusal) => refusal.into(),
        },
    };
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
    incoming: Incoming,
) -> Result<Vec<u8>, Refusal> {
    let bytes_max = match intake {
        Intake::Nothing => return Ok(Vec::new()),
        Intake::Json => BODY_BYTES_MAX,
        Intake::Value => settings.kv_value_bytes_max,
    };
    connection::take(incoming, bytes_max).await.map_err(|error| match error {
        NotTaken::TooLarge(length) => Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            text: format!(
                "Request body({length} bytes) too large, max size: {bytes_max} bytes. See \
                 https://www.consul.io/docs/agent/options.html#kv_max_value_size."
            )
            .into(),
        },
        NotTaken::Gone => Refusal {
            status: StatusCode::REQUEST_TIMEOUT,
            text: "Request body did not arrive in time".into(),
        },
    })
}

/// Shows what the servers answered.
fn render_outcome(
    call: &Call<'_>,
    outcome: Outcome,
    render: fn(&Call<'_>, Reply) -> Page,
    (freshness, level): (Freshness, Consistency),
) -> Page {
    match outcome {
        Ok(answer) => {
            let mut page = render(call, answer.reply);
            tell_freshness(&mut page, call, freshness, Some((answer.meta, level)));
            page
        }
        Err(error) => {
            let mut page = logged(call, &error, Teller::Servers);
            tell_freshness(&mut page, call, freshness, None);
            page
        }
    }
}

/// Shows a failure, and tells the log.
fn logged(call: &Call<'_>, error: &Error, teller: Teller) -> Page {
    tracing::debug!(path = call.path, %error, "request failed");
    fault(error, teller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_hides_a_later_one() {
        for (at, later) in ROUTES.iter().enumerate() {
            match find(later.path) {
                Found::Row(row, "") => assert_eq!(row.path, later.path, "row {at}"),
                Found::Row(row, _) => panic!("{} hides {}", row.path, later.path),
                Found::Slash | Found::Nothing => panic!("{} is not found", later.path),
            }
        }
    }

    #[test]
    fn paths_lead_as_in_gos_router() {
        assert!(matches!(find("/v1/kv/a/b"), Found::Row(_, "a/b")));
        assert!(matches!(find("/v1/kv"), Found::Slash));
        assert!(matches!(find("/v1/agent/service"), Found::Slash));
        assert!(matches!(find("/v1/agent/service/x"), Found::Row(_, "x")));
        assert!(matches!(find("/v1/agent/services/"), Found::Nothing));
        assert!(matches!(find("/v1/nope"), Found::Nothing));
    }
}
