//! From what a user wrote to what the agent keeps: defaults, checks' names and ids, and the texts
//! with which Consul refuses a definition. Pure.

use crate::check::Work;
use crate::config::definition::{CheckDefinition, ServiceDefinition, Weights};
use crate::config::{Reserved, check_meta};
use agent_core::health::{Pace, Plan, Status, Thresholds};
use agent_core::model::check::Check;
use agent_core::model::request::{Error, Kind};
use agent_core::model::service::{self, Proxy, Service, ServiceAddress};
use agent_core::time::Duration;
use serde_json::Value;
use std::net::IpAddr;

/// Bytes of a definition as JSON at most: it travels whole in one raft entry and one disk file.
const DEFINITION_BYTES_MAX: usize = 256 * 1024;

/// Checks in one service definition at most: they travel in one raft entry.
const SERVICE_CHECKS_MAX: usize = 256;

/// Where a definition came from: it decides about scripts, persistence and reloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// A configuration file: kept by the file, gone when the file no longer has it.
    Config,
    /// The API: kept by the agent in its data directory.
    Api,
}

/// A service as the agent keeps it, and its checks, complete with ids and names.
pub(super) struct Registration {
    pub(super) service: Service,
    pub(super) token: String,
    pub(super) checks: Vec<CheckDefinition>,
}

/// The request is wrong: Consul answers 400.
pub(super) fn invalid(text: impl Into<String>) -> Error {
    Error::with(Kind::Invalid, text)
}

/// The request is well-formed but cannot be done: Consul answers 500.
pub(super) fn failed(text: impl Into<String>) -> Error {
    Error::with(Kind::Failed, text)
}

/// Checks a service definition and fills in what was left out.
///
/// # Errors
///
/// The text that Consul answers.
pub(super) fn service(definition: ServiceDefinition) -> Result<Registration, Error> {
    if definition.name.is_empty() {
        return Err(invalid("Missing service name"));
    }
    let address: Option<IpAddr> = definition.address.parse().ok();
    if address.is_some_and(|ip| ip.is_unspecified()) || definition.address == "[::]" {
        return Err(invalid("Invalid service address"));
    }
    if let Some(weights) = &definition.weights {
        weights.validate().map_err(|fault| invalid(format!("Invalid Weights: {fault}")))?;
    }
    check_meta(&definition.meta, Reserved::Refused)
        .map_err(|fault| invalid(format!("Invalid Service Meta: {fault}")))?;
    bounded(&definition.to_json())?;
    let kind = service::Kind::parse(&definition.kind)
        .ok_or_else(|| invalid(format!("Invalid service kind \"{}\"", definition.kind)))?;
    let proxy = proxy(&definition, kind)?;
    if definition.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some()) {
        return Err(invalid("Invalid SidecarService: not supported by this agent"));
    }
    let port = |port: i64| {
        u16::try_from(port).map_err(|_| invalid(format!("Invalid service port: {port}")))
    };
    let mut tagged_addresses = std::collections::BTreeMap::new();
    for (tag, wanted) in &definition.tagged_addresses {
        let address = ServiceAddress { address: wanted.address.clone(), port: port(wanted.port)? };
        tagged_addresses.insert(tag.clone(), address);
    }
    let port = port(definition.port)?;
    if let Some(ip) = address {
        let (lan, wan) = match ip.to_canonical() {
            IpAddr::V4(_) => ("lan_ipv4", "wan_ipv4"),
            IpAddr::V6(_) => ("lan_ipv6", "wan_ipv6"),
        };
        for tag in [lan, wan] {
            let own = || ServiceAddress { address: definition.address.clone(), port };
            tagged_addresses.entry(tag.into()).or_insert_with(own);
        }
    }
    let id = if definition.id.is_empty() { &definition.name } else { &definition.id };
    let service = Service {
        id: id.clone(),
        kind,
        address: definition.address,
        tagged_addresses,
        meta: definition.meta,
        port,
        weights: weights(definition.weights),
        enable_tag_override: definition.enable_tag_override,
        proxy,
        connect_native: definition.connect.is_some_and(|connect| connect.native),
        tags: definition.tags,
        name: definition.name,
        ..Service::default()
    };
    let checks = service_checks(&service, definition.checks, &definition.token)?;
    Ok(Registration { service, token: definition.token, checks })
}

/// Turns weights to their stored form; they were validated.
fn weights(wanted: Option<Weights>) -> service::Weights {
    let narrow = |weight: i64| u16::try_from(weight).unwrap_or(u16::MAX);
    wanted.map_or_else(service::Weights::default, |wanted| service::Weights {
        passing: narrow(wanted.passing),
        warning: narrow(wanted.warning),
    })
}

/// Checks the checks of a service definition and gives them ids and names.
fn service_checks(
    service: &Service,
    mut checks: Vec<CheckDefinition>,
    token: &str,
) -> Result<Vec<CheckDefinition>, Error> {
    if checks.len() > SERVICE_CHECKS_MAX {
        return Err(invalid(format!(
            "Invalid check: a service has at most {SERVICE_CHECKS_MAX} checks"
        )));
    }
    for check in &checks {
        check.validate().map_err(|fault| invalid(format!("Invalid check: {fault}")))?;
    }
    if checks.iter().any(|check| status(&check.status).is_none()) {
        return Err(invalid("Status for checks must 'passing', 'warning', 'critical'"));
    }
    let several = checks.len() > 1;
    for (index, check) in checks.iter_mut().enumerate() {
        service.id.clone_into(&mut check.service_id);
        if check.id.is_empty() {
            check.id = format!("service:{}", service.id);
            if several {
                check.id = format!("{}:{}", check.id, index + 1);
            }
        }
        if check.name.is_empty() {
            check.name = format!("Service '{}' check", service.name);
        }
        if check.token.is_empty() {
            token.clone_into(&mut check.token);
        }
    }
    Ok(checks)
}

/// Checks a check definition and fills in its id.
///
/// # Errors
///
/// The text that Consul answers.
pub(super) fn check(mut definition: CheckDefinition) -> Result<CheckDefinition, Error> {
    if definition.name.is_empty() {
        return Err(invalid("Missing check name"));
    }
    if status(&definition.status).is_none() {
        return Err(invalid("Bad check status"));
    }
    definition.validate().map_err(|fault| invalid(format!("Invalid check: {fault}")))?;
    bounded(&definition.to_json())?;
    if definition.id.is_empty() {
        definition.name.clone_into(&mut definition.id);
    }
    Ok(definition)
}

/// Reads a status; an empty one is critical.
pub(super) fn status(text: &str) -> Option<Status> {
    if text.is_empty() { Some(Status::Critical) } else { Status::parse(text) }
}

/// Makes the catalog's row of a check.
pub(super) fn row(
    definition: &CheckDefinition,
    node: &str,
    kind: &str,
    service: Option<&Service>,
) -> Check {
    Check {
        node: node.to_owned(),
        id: definition.id.clone(),
        name: definition.name.clone(),
        status: status(&definition.status).unwrap_or_default(),
        notes: definition.notes.clone(),
        service_id: definition.service_id.clone(),
        service_name: service.map(|service| service.name.clone()).unwrap_or_default(),
        service_tags: service.map(|service| service.tags.clone()).unwrap_or_default(),
        kind: kind.to_owned(),
        ..Check::default()
    }
}

/// Tells the engine how to keep a check.
pub(super) fn plan(definition: &CheckDefinition, work: &Work, status: Status) -> Plan {
    let count = |wanted: i64| u16::try_from(wanted.max(0)).unwrap_or(u16::MAX);
    let of_service = !definition.service_id.is_empty();
    Plan {
        pace: match work {
            Work::Run(_) => Pace::Every(definition.interval),
            Work::Ttl(ttl) => Pace::Ttl(*ttl),
            Work::Alias(_) | Work::Nothing => Pace::Told,
        },
        thresholds: Thresholds {
            success_before_passing: count(definition.success_before_passing),
            failures_before_critical: count(definition.failures_before_critical),
        },
        status,
        critical_max: if of_service {
            definition.deregister_critical_service_after
        } else {
            Duration::ZERO
        },
    }
}

/// Refuses a definition that is too large to travel.
fn bounded(json: &Value) -> Result<(), Error> {
    let bytes = json.to_string().len();
    if bytes > DEFINITION_BYTES_MAX {
        return Err(invalid(format!(
            "Definition is too large ({bytes} bytes, limit {DEFINITION_BYTES_MAX})"
        )));
    }
    Ok(())
}

/// Reads the proxy part of a definition.
fn proxy(definition: &ServiceDefinition, kind: service::Kind) -> Result<Option<Box<Proxy>>, Error> {
    let find = |wanted: &str| {
        let fields = definition.proxy.iter().flatten();
        fields.into_iter().find(|(key, _)| folded(key) == wanted).map(|(_, value)| value)
    };
    let text = |name| find(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let json = |name| find(name).map(Value::to_string).unwrap_or_default();
    let port = find("localserviceport").and_then(Value::as_i64).unwrap_or(0);
    let proxy = Proxy {
        destination_service_name: text("destinationservicename"),
        destination_service_id: text("destinationserviceid"),
        local_service_address: text("localserviceaddress"),
        local_service_port: u16::try_from(port)
            .map_err(|_| invalid(format!("Invalid proxy port: {port}")))?,
        config: json("config"),
        upstreams: json("upstreams"),
    };
    if kind == service::Kind::ConnectProxy {
        let mut faults = Vec::new();
        if proxy.destination_service_name.is_empty() {
            faults
                .push("Proxy.DestinationServiceName must be non-empty for Connect proxy services");
        }
        if definition.port == 0 {
            faults.push("Port must be set for a Connect proxy");
        }
        several(&faults)?;
    }
    Ok(definition.proxy.as_ref().map(|_| Box::new(proxy)))
}

/// Writes several faults as Consul does.
fn several(faults: &[&str]) -> Result<(), Error> {
    if faults.is_empty() {
        return Ok(());
    }
    let noun = if faults.len() == 1 { "error" } else { "errors" };
    let list: String = faults.iter().map(|fault| format!("\t* {fault}\n")).collect();
    Err(invalid(format!("{} {noun} occurred:\n{list}\n", faults.len())))
}

/// Folds the spellings of a field into one.
fn folded(key: &str) -> String {
    key.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn registration(value: Value) -> Result<Registration, String> {
        service(ServiceDefinition::from_json(value).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_filled_in_as_consul_does() {
        let one = registration(json!({"Name": "web", "Check": {"TTL": "1s"}})).unwrap();
        assert_eq!((one.service.id.as_str(), one.service.weights.passing), ("web", 1));
        assert_eq!(one.checks[0].id, "service:web");
        assert_eq!(one.checks[0].name, "Service 'web' check");
        assert_eq!(one.checks[0].service_id, "web");
        let two = registration(json!({
            "Name": "web", "ID": "w1",
            "Checks": [{"TTL": "1s"}, {"TTL": "1s", "CheckID": "own", "Name": "n"}, {"TTL": "2s"}],
        }))
        .unwrap();
        let ids: Vec<&str> = two.checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["service:w1:1", "own", "service:w1:3"]);
        assert_eq!(two.checks[1].name, "n");
    }

    #[test]
    fn faults_have_consuls_texts() {
        for (value, want) in [
            (json!({}), "Missing service name"),
            (json!({"Name": "a", "Address": "0.0.0.0"}), "Invalid service address"),
            (json!({"Name": "a", "Address": "::"}), "Invalid service address"),
            (
                json!({"Name": "a", "Weights": {"Passing": 0}}),
                "Invalid Weights: Passing must be greater than 0",
            ),
            (
                json!({"Name": "a", "Meta": {"": "x"}}),
                "Invalid Service Meta: Couldn't load metadata pair ('', 'x'): Key cannot be blank",
            ),
            (
                json!({"Name": "a", "Meta": {"a b": "x"}}),
                "Invalid Service Meta: Couldn't load metadata pair ('a b', 'x'): Key contains \
                 invalid characters",
            ),
            (
                json!({"Name": "x", "Check": {"HTTP": "http://x"}}),
                "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (
                json!({"Name": "x", "Check": {"TTL": "1s", "Status": "foo"}}),
                "Status for checks must 'passing', 'warning', 'critical'",
            ),
            (
                json!({"Name": "x", "Kind": "connect-proxy"}),
                "2 errors occurred:\n\t* Proxy.DestinationServiceName must be non-empty for \
                 Connect proxy services\n\t* Port must be set for a Connect proxy\n\n",
            ),
        ] {
            assert_eq!(registration(value).err().unwrap(), want);
        }
        let lone = |value| check(CheckDefinition::from_json(value).unwrap()).unwrap_err().text;
        assert_eq!(lone(json!({"TTL": "1s"})), "Missing check name");
        assert_eq!(lone(json!({"Name": "x", "Status": "y", "TTL": "1s"})), "Bad check status");
        assert_eq!(lone(json!({"Name": "x"})), "Invalid check: TTL must be > 0 for TTL checks");
    }
}
