//! Watches as configuration files and `reeve watch` spell them: what is watched, and what is done
//! when it changes.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/dynamic-app-config/watches>.

use std::collections::BTreeMap;

use agent_core::time::Duration;
use serde_json::{Map, Value};

use super::field::GoType;

/// Time for one HTTP handler unless it is told otherwise.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// What is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// The view.
    pub subject: Subject,
    /// The datacentre, or empty for the agent's own.
    pub datacenter: String,
    /// The ACL token, or empty.
    pub token: String,
    /// Whether any server may answer.
    pub stale: bool,
}

/// A view that can be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// One key.
    Key(String),
    /// All keys under a prefix.
    KeyPrefix(String),
    /// Names of services with their tags.
    Services,
    /// Nodes.
    Nodes,
    /// Instances of a service.
    Service {
        /// Its name.
        name: String,
        /// Tags that an instance must have.
        tags: Vec<String>,
        /// Whether only healthy instances count.
        passing_only: bool,
    },
    /// Checks of a service.
    ChecksOf(String),
    /// Checks in a state; `any` is one.
    ChecksIn(String),
    /// User events of a name, or all for no name.
    Event(String),
    /// A service of the agent, by its id.
    AgentService(String),
    /// The certificates that mesh services trust.
    ConnectRoots,
    /// The certificate of a mesh service, by its name.
    ConnectLeaf(String),
}

/// Where a view may be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// By the verb and by the configuration.
    Everywhere,
    /// By the configuration only.
    Configuration,
    /// By neither: Consul keeps it for its library.
    Nowhere,
}

impl Subject {
    /// Tells where it may be watched.
    pub const fn place(&self) -> Place {
        match self {
            Self::Key(_)
            | Self::KeyPrefix(_)
            | Self::Services
            | Self::Nodes
            | Self::Service { .. }
            | Self::ChecksOf(_)
            | Self::ChecksIn(_)
            | Self::Event(_) => Place::Everywhere,
            Self::AgentService(_) => Place::Configuration,
            Self::ConnectRoots | Self::ConnectLeaf(_) => Place::Nowhere,
        }
    }

    /// Tells the watch's type.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::KeyPrefix(_) => "keyprefix",
            Self::Services => "services",
            Self::Nodes => "nodes",
            Self::Service { .. } => "service",
            Self::ChecksOf(_) | Self::ChecksIn(_) => "checks",
            Self::Event(_) => "event",
            Self::AgentService(_) => "agent_service",
            Self::ConnectRoots => "connect_roots",
            Self::ConnectLeaf(_) => "connect_leaf",
        }
    }
}

/// What is done with each result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Handler {
    /// A shell is given this; the result is its standard input.
    Shell(String),
    /// A command with its arguments.
    Args(Vec<String>),
    /// An HTTP request with the result as its body.
    Http(HttpHandler),
}

/// An HTTP handler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpHandler {
    /// The URL.
    pub path: String,
    /// The method. Default: POST.
    pub method: String,
    /// Time for the request. Default: 10 s.
    pub timeout: Duration,
    /// More headers.
    pub header: BTreeMap<String, Vec<String>>,
    /// Whether any certificate will do.
    pub tls_skip_verify: bool,
}

/// A watch of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// What is watched.
    pub query: Query,
    /// What is done.
    pub handler: Handler,
}

impl Watch {
    /// Reads a watch.
    ///
    /// # Errors
    ///
    /// Consul's words.
    pub fn from_json(value: Value) -> Result<Self, String> {
        let Value::Object(mut fields) = value else {
            return Err("Expecting a watch to be a map".to_owned());
        };
        let failed = |error| format!("Failed to parse watch: {error}");
        let handler = take_handler(&mut fields)?;
        let query = Query::take(&mut fields).map_err(failed)?;
        match query.subject.place() {
            Place::Everywhere | Place::Configuration => {}
            Place::Nowhere => {
                let kind = query.subject.kind();
                return Err(format!("Watch type {kind} is not allowed in agent config"));
            }
        }
        let handler = handler.ok_or("Must define a watch handler")?;
        Ok(Self { query, handler })
    }
}

impl Query {
    /// Takes a query's parameters; none may be left.
    ///
    /// # Errors
    ///
    /// Consul's words.
    pub fn take(fields: &mut Map<String, Value>) -> Result<Self, String> {
        let datacenter = text(fields, "datacenter")?;
        let token = text(fields, "token")?;
        let kind = text(fields, "type")?;
        if kind.is_empty() {
            return Err("Watch type must be specified".to_owned());
        }
        let subject = match kind.as_str() {
            "key" => Subject::Key(required(fields, "key", "key")?),
            "keyprefix" => Subject::KeyPrefix(required(fields, "prefix", "prefix")?),
            "services" => Subject::Services,
            "nodes" => Subject::Nodes,
            "service" => {
                let tags = tags(fields)?;
                Subject::Service {
                    name: required(fields, "service", "service")?,
                    tags,
                    passing_only: flag(fields, "passingonly")?,
                }
            }
            "checks" => match (text(fields, "service")?, text(fields, "state")?) {
                (service, state) if service.is_empty() && state.is_empty() => {
                    Subject::ChecksIn("any".to_owned())
                }
                (service, state) if service.is_empty() => Subject::ChecksIn(state),
                (service, state) if state.is_empty() => Subject::ChecksOf(service),
                _ => return Err("Cannot specify service and state".to_owned()),
            },
            "event" => Subject::Event(text(fields, "name")?),
            "agent_service" => Subject::AgentService(text(fields, "service_id")?),
            "connect_roots" => Subject::ConnectRoots,
            "connect_leaf" => Subject::ConnectLeaf(text(fields, "service")?),
            other => return Err(format!("Unsupported watch type: {other}")),
        };
        let stale = match subject.place() {
            Place::Everywhere => flag(fields, "stale")?,
            Place::Configuration | Place::Nowhere => false,
        };
        if !fields.is_empty() {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            return Err(format!("Invalid parameters: [{}]", names.join(" ")));
        }
        Ok(Self { subject, datacenter, token, stale })
    }
}

/// Takes the handler, if there is one.
fn take_handler(fields: &mut Map<String, Value>) -> Result<Option<Handler>, String> {
    let kind = fields.remove("handler_type");
    let kind = kind.map(|kind| kind.string("").map_err(|_| "Handler type must be a string"));
    match kind.transpose()?.as_deref() {
        None | Some("script") => take_script(fields),
        Some("http") => {
            let config = fields.remove("http_handler_config").ok_or(
                "Failed to parse watch: Handler type 'http' requires 'http_handler_config' to be \
                 set",
            )?;
            let handler = http_handler(config).map_err(|error| {
                format!("Failed to parse watch: Failed to parse 'http_handler_config': {error}")
            })?;
            Ok(Some(Handler::Http(handler)))
        }
        Some(other) => Err(format!("Handler type '{other}' not recognized")),
    }
}

/// Takes a script, as a list of words or, deprecated, as one text.
fn take_script(fields: &mut Map<String, Value>) -> Result<Option<Handler>, String> {
    match (fields.remove("handler"), fields.remove("args")) {
        (Some(_), Some(_)) => Err("Only one watch handler allowed".to_owned()),
        (Some(Value::String(script)), None) => Ok(Some(Handler::Shell(script))),
        (Some(_), None) => Err("Watch handler must be a string".to_owned()),
        (None, Some(Value::String(word))) => Ok(Some(Handler::Args(vec![word]))),
        (None, Some(args)) => match args.strings("") {
            Ok(args) if !args.is_empty() => Ok(Some(Handler::Args(args))),
            Ok(_) => Ok(None),
            Err(_) => Err("Watch args must be a list of strings".to_owned()),
        },
        (None, None) => Ok(None),
    }
}

/// Reads an HTTP handler.
fn http_handler(config: Value) -> Result<HttpHandler, String> {
    let Value::Object(mut fields) = config else { return Err("Expecting a map".to_owned()) };
    let path = text(&mut fields, "path")?;
    if path.is_empty() {
        return Err("Requires 'path' to be set".to_owned());
    }
    let method = Some(text(&mut fields, "method")?).filter(|method| !method.is_empty());
    let timeout = match fields.remove("timeout") {
        None => HTTP_TIMEOUT,
        Some(value) => match value.duration() {
            Ok(Duration::ZERO) => HTTP_TIMEOUT,
            Ok(timeout) => timeout,
            Err(error) => return Err(format!("Failed to parse timeout: {error}")),
        },
    };
    let header = fields.remove("header").map(|header| header.header_map("header"));
    let header = header.transpose().map_err(|error| error.to_string())?.unwrap_or_default();
    Ok(HttpHandler {
        path,
        method: method.unwrap_or_else(|| "POST".to_owned()),
        timeout,
        header,
        tls_skip_verify: flag(&mut fields, "tls_skip_verify")?,
    })
}

fn text(fields: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    match fields.remove(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("Expecting {key} to be a string")),
    }
}

fn required(fields: &mut Map<String, Value>, key: &str, what: &str) -> Result<String, String> {
    let value = text(fields, key)?;
    if value.is_empty() { Err(format!("Must specify a single {what} to watch")) } else { Ok(value) }
}

fn flag(fields: &mut Map<String, Value>, key: &str) -> Result<bool, String> {
    match fields.remove(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(on),
        Some(_) => Err(format!("Expecting {key} to be a boolean")),
    }
}

fn tags(fields: &mut Map<String, Value>) -> Result<Vec<String>, String> {
    match fields.remove("tag") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(tag)) => Ok(vec![tag]),
        Some(list) => {
            list.strings("").map_err(|_| "Expecting tag to be a string or []string".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn watches_are_read_as_consul_reads_them() {
        let service = json!({"type": "service", "service": "web", "tag": "a", "passingonly": true,
                             "datacenter": "dc2", "args": ["x", "y"]});
        let watch = Watch::from_json(service).unwrap();
        let subject =
            Subject::Service { name: "web".into(), tags: vec!["a".into()], passing_only: true };
        assert_eq!(watch.query.subject, subject);
        assert_eq!(watch.query.datacenter, "dc2");
        assert_eq!(watch.handler, Handler::Args(vec!["x".into(), "y".into()]));
        let http = json!({"type": "event", "handler_type": "http", "http_handler_config":
                          {"path": "http://a", "header": {"x": ["1"]}, "timeout": "2s"}});
        let Handler::Http(http) = Watch::from_json(http).unwrap().handler else {
            panic!("an HTTP handler")
        };
        assert_eq!((http.method.as_str(), http.timeout), ("POST", Duration::from_secs(2)));
        assert_eq!(http.header["x"], ["1"]);
    }

    #[test]
    fn faults_are_told_in_consuls_words() {
        for (watch, want) in [
            (json!({"args": ["x"]}), "Failed to parse watch: Watch type must be specified"),
            (
                json!({"type": "foo", "args": ["x"]}),
                "Failed to parse watch: Unsupported watch type: foo",
            ),
            (
                json!({"type": "key", "args": ["x"]}),
                "Failed to parse watch: Must specify a single key to watch",
            ),
            (json!({"type": "nodes"}), "Must define a watch handler"),
            (
                json!({"type": "nodes", "args": ["x"], "handler": "y"}),
                "Only one watch handler allowed",
            ),
            (
                json!({"type": "nodes", "args": ["x"], "bogus": 1}),
                "Failed to parse watch: Invalid parameters: [bogus]",
            ),
            (
                json!({"type": "nodes", "handler_type": "zz", "args": ["x"]}),
                "Handler type 'zz' not recognized",
            ),
            (
                json!({"type": "nodes", "handler_type": "http", "http_handler_config": {}}),
                "Failed to parse watch: Failed to parse 'http_handler_config': Requires 'path' to \
                 be set",
            ),
            (
                json!({"type": "checks", "service": "a", "state": "b", "args": ["x"]}),
                "Failed to parse watch: Cannot specify service and state",
            ),
            (
                json!({"type": "service", "service": "a", "tag": 5, "args": ["x"]}),
                "Failed to parse watch: Expecting tag to be a string or []string",
            ),
            (
                json!({"type": "connect_leaf", "service": "a", "args": ["x"]}),
                "Watch type connect_leaf is not allowed in agent config",
            ),
            (
                json!({"type": "connect_roots", "args": ["x"]}),
                "Watch type connect_roots is not allowed in agent config",
            ),
            (
                json!({"type": "agent_service", "service_id": 5, "args": ["x"]}),
                "Failed to parse watch: Expecting service_id to be a string",
            ),
            (
                json!({"type": "agent_service", "stale": true, "args": ["x"]}),
                "Failed to parse watch: Invalid parameters: [stale]",
            ),
            (
                json!({"type": 1, "args": ["x"]}),
                "Failed to parse watch: Expecting type to be a string",
            ),
        ] {
            assert_eq!(Watch::from_json(watch), Err(want.to_owned()));
        }
    }
}
