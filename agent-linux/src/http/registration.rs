//! `/v1/catalog/register` and `deregister`: writes to the catalog that go past any agent.

use super::body;
use super::options::write_options;
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call, Intake};
use crate::config::field::{Error, Fields, GoType, folded, go_fault};
use agent_core::model::catalog::{Deregister, Register};
use agent_core::model::check::{Check, Definition, Status};
use agent_core::model::command::Command;
use agent_core::model::request::{Body, Reply, Request};
use agent_core::model::service::{Kind, Proxy, Service, ServiceAddress, Weights};
use agent_core::time::parse_go;
use serde_json::Value;

pub(super) const REGISTER: Act = Act::Ask {
    intake: Intake::Json,
    parse: parse_register,
    render: render_done,
    freshness: Freshness::Untold,
};
pub(super) const DEREGISTER: Act = Act::Ask {
    intake: Intake::Json,
    parse: parse_deregister,
    render: render_done,
    freshness: Freshness::Untold,
};

/// Reads a registration: a node and, with it, an instance and checks.
fn parse_register(call: &Call<'_>, bytes: Vec<u8>) -> Result<Request, Refusal> {
    let mut options = write_options(call)?;
    let (register, datacenter) = read_register(body::json(&bytes)?).map_err(body::decode_failed)?;
    if !datacenter.is_empty() {
        options.datacenter = datacenter;
    }
    Ok(Request { options, body: Body::Command(Command::Register(Box::new(register))) })
}

/// Reads what is to be removed: a node, an instance or a check.
fn parse_deregister(call: &Call<'_>, bytes: Vec<u8>) -> Result<Request, Refusal> {
    let mut options = write_options(call)?;
    let (deregister, datacenter) =
        read_deregister(body::json(&bytes)?).map_err(body::decode_failed)?;
    if !datacenter.is_empty() {
        options.datacenter = datacenter;
    }
    Ok(Request { options, body: Body::Command(Command::Deregister(deregister)) })
}

/// Shows that it was done.
fn render_done(call: &Call<'_>, reply: Reply) -> Page {
    if matches!(reply, Reply::Done | Reply::Applied(_)) {
        Page::json(call, &true)
    } else {
        Page::unexpected()
    }
}

/// Reads a registration and the datacentre it names.
fn read_register(value: Value) -> Result<(Register, String), Error> {
    let mut fields = Fields::of(value, "structs.RegisterRequest")?;
    let mut register = Register::default();
    let mut datacenter = String::new();
    let (mut check, mut checks) = (None, Vec::new());
    let node = &mut register.node;
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "datacenter" => datacenter = value.string(&key)?,
            "id" => node.id = value.string(&key)?,
            "node" => node.name = value.string(&key)?,
            "address" => node.address = value.string(&key)?,
            "taggedaddresses" => node.tagged_addresses = value.string_map(&key)?,
            "nodemeta" => node.meta = value.string_map(&key)?,
            "service" => register.service = Some(read_service(value, &key)?),
            "check" => check = Some(read_check(value, &key)?),
            "checks" => {
                for item in value.array(&key, "structs.HealthChecks")? {
                    checks.push(read_check(item, &key)?);
                }
            }
            "skipnodeupdate" => register.skip_node_update = value.bool(&key)?,
            "createindex" | "modifyindex" => {}
            _ => return Err(Error::Unknown(key)),
        }
    }
    register.checks = checks.into_iter().chain(check).collect();
    for check in register.checks.iter_mut().filter(|check| check.kind.is_empty()) {
        check.kind = kind(&check.definition).to_owned();
    }
    Ok((register, datacenter))
}

/// Names the type of a check by how it is run.
fn kind(definition: &Definition) -> &'static str {
    if !definition.http.is_empty() {
        "http"
    } else if !definition.tcp.is_empty() {
        "tcp"
    } else {
        ""
    }
}

/// Reads a removal and the datacentre it names.
fn read_deregister(value: Value) -> Result<(Deregister, String), Error> {
    let mut fields = Fields::of(value, "structs.DeregisterRequest")?;
    let mut deregister = Deregister::default();
    let mut datacenter = String::new();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "datacenter" => datacenter = value.string(&key)?,
            "node" => deregister.node = value.string(&key)?,
            "serviceid" => deregister.service_id = value.string(&key)?,
            "checkid" => deregister.check_id = value.string(&key)?,
            "address" => drop(value.string(&key)?),
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok((deregister, datacenter))
}

/// Reads an instance.
pub(super) fn read_service(value: Value, key: &str) -> Result<Service, Error> {
    value.require_object(key, "structs.NodeService")?;
    let mut fields = Fields::of(value, "structs.NodeService")?;
    let mut service = Service::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "kind" => service.kind = Kind::parse(&value.string(&key)?).unwrap_or_default(),
            "id" => service.id = value.string(&key)?,
            "service" => service.name = value.string(&key)?,
            "tags" => service.tags = value.strings(&key)?,
            "address" => service.address = value.string(&key)?,
            "taggedaddresses" => {
                for (tag, value) in value.object(&key, "map[string]structs.ServiceAddress")? {
                    service.tagged_addresses.insert(tag, read_address(value, &key)?);
                }
            }
            "meta" => service.meta = value.string_map(&key)?,
            "port" => service.port = port(value, &key)?,
            "weights" => service.weights = read_weights(value, &key)?,
            "enabletagoverride" => service.enable_tag_override = value.bool(&key)?,
            "proxy" => service.proxy = read_proxy(value, &key)?.map(Box::new),
            "connect" => service.connect_native = read_connect(value, &key)?,
            "createindex" => drop(value.uint(&key)?),
            "modifyindex" => service.stamp.modify = value.uint(&key)?,
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(service)
}

/// Reads a port; one that no socket can have is refused as Go refuses a number out of range.
fn port(value: Value, key: &str) -> Result<u16, Error> {
    let number = value.int(key)?;
    u16::try_from(number).map_err(|_| Error::Type {
        found: format!("number {number}"),
        field: key.to_owned(),
        want: "uint16",
    })
}

/// Reads a tagged address.
fn read_address(value: Value, key: &str) -> Result<ServiceAddress, Error> {
    value.require_object(key, "structs.ServiceAddress")?;
    let mut fields = Fields::of(value, "structs.ServiceAddress")?;
    let mut address = ServiceAddress::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "address" => address.address = value.string(&key)?,
            "port" => address.port = port(value, &key)?,
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(address)
}

/// Reads weights; one that is left out is 0.
fn read_weights(value: Value, key: &str) -> Result<Weights, Error> {
    value.require_object(key, "structs.Weights")?;
    let mut fields = Fields::of(value, "structs.Weights")?;
    let mut weights = Weights { passing: 0, warning: 0 };
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "passing" => weights.passing = port(value, &key)?,
            "warning" => weights.warning = port(value, &key)?,
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(weights)
}

/// Reads the mesh part: whether the service speaks the mesh's TLS itself.
fn read_connect(value: Value, key: &str) -> Result<bool, Error> {
    value.require_object(key, "structs.ServiceConnect")?;
    let mut fields = Fields::of(value, "structs.ServiceConnect")?;
    let mut native = false;
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "native" => native = value.bool(&key)?,
            "sidecarservice" => {}
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(native)
}

/// Reads the proxy part; nothing if it says nothing.
fn read_proxy(value: Value, key: &str) -> Result<Option<Proxy>, Error> {
    value.require_object(key, "structs.ConnectProxyConfig")?;
    let mut fields = Fields::of(value, "structs.ConnectProxyConfig")?;
    let mut proxy = Proxy::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "destinationservicename" => proxy.destination_service_name = value.string(&key)?,
            "destinationserviceid" => proxy.destination_service_id = value.string(&key)?,
            "localserviceaddress" => proxy.local_service_address = value.string(&key)?,
            "localserviceport" => proxy.local_service_port = port(value, &key)?,
            "config" => proxy.config = value.to_string(),
            "upstreams" => proxy.upstreams = read_upstreams(value, &key)?,
            "meshgateway" | "expose" | "mode" | "transparentproxy" => {}
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok((proxy != Proxy::default()).then_some(proxy))
}

/// Fields of an upstream, in lower case.
const UPSTREAM_FIELDS: [&str; 8] = [
    "config",
    "datacenter",
    "destinationname",
    "destinationnamespace",
    "destinationtype",
    "localbindaddress",
    "localbindport",
    "meshgateway",
];

/// Checks the names of upstreams' fields and keeps their values.
fn read_upstreams(value: Value, key: &str) -> Result<String, Error> {
    let upstreams = value.array(key, "structs.Upstreams")?;
    for upstream in &upstreams {
        upstream.require_object(key, "structs.Upstream")?;
        let mut names = upstream.as_object().into_iter().flatten().map(|(name, _)| name);
        if let Some(name) = names.find(|name| !UPSTREAM_FIELDS.contains(&&*folded(name))) {
            return Err(Error::Unknown(name.clone()));
        }
    }
    Ok(Value::Array(upstreams).to_string())
}

/// Reads a check.
pub(super) fn read_check(value: Value, key: &str) -> Result<Check, Error> {
    value.require_object(key, "structs.HealthCheck")?;
    let mut fields = Fields::of(value, "structs.HealthCheck")?;
    let mut check = Check::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "node" => check.node = value.string(&key)?,
            "checkid" | "id" => check.id = value.string(&key)?,
            "name" => check.name = value.string(&key)?,
            // Unknown texts count as critical: the safe side for whoever routes by them.
            "status" => check.status = Status::parse(&value.string(&key)?).unwrap_or_default(),
            "notes" => check.notes = value.string(&key)?,
            "output" => check.output = value.string(&key)?,
            "serviceid" => check.service_id = value.string(&key)?,
            "servicename" => check.service_name = value.string(&key)?,
            "servicetags" => check.service_tags = value.strings(&key)?,
            "type" => check.kind = value.string(&key)?,
            "definition" => check.definition = read_definition(value, &key)?,
            "createindex" => drop(value.uint(&key)?),
            "modifyindex" => check.stamp.modify = value.uint(&key)?,
            _ => return Err(Error::Unknown(key)),
        }
    }
    Ok(check)
}

/// Reads how to run a check; fields that nobody knows are let pass here.
fn read_definition(value: Value, key: &str) -> Result<Definition, Error> {
    value.require_object(key, "structs.HealthCheckDefinition")?;
    let mut fields = Fields::of(value, "structs.HealthCheckDefinition")?;
    let mut definition = Definition::default();
    while let Some((name, key, value)) = fields.next() {
        match name.as_str() {
            "http" => definition.http = value.string(&key)?,
            "tlsskipverify" => definition.tls_skip_verify = value.bool(&key)?,
            "header" => definition.header = value.header_map(&key)?,
            "method" => definition.method = value.string(&key)?,
            "body" => definition.body = value.string(&key)?,
            "tcp" => definition.tcp = value.string(&key)?,
            "interval" | "intervalduration" => definition.interval_ns = span(&value)?,
            "timeout" | "timeoutduration" => definition.timeout_ns = span(&value)?,
            "deregistercriticalserviceafter" | "deregistercriticalserviceafterduration" => {
                definition.deregister_critical_service_after_ns = span(&value)?;
            }
            _ => {}
        }
    }
    Ok(definition)
}

/// Reads nanoseconds: a Go duration or a number; any other type is none.
fn span(value: &Value) -> Result<i64, Error> {
    match value {
        Value::String(text) if text.is_empty() => Ok(0),
        Value::String(text) => parse_go(text).map_err(|_| Error::Duration(go_fault(text))),
        Value::Number(number) => Ok(number.as_f64().map_or(0, |nanos| nanos as i64)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(text: &str) -> Result<Register, String> {
        let value = body::json(text.as_bytes()).map_err(|refusal| refusal.text.into_owned())?;
        read_register(value).map(|(register, _)| register).map_err(|error| error.to_string())
    }

    #[test]
    fn a_registration_is_read_in_any_spelling() {
        let read = register(
            r#"{"node":"ext","address":"1.2.3.4","nodemeta":{"a":"b"},"skip_node_update":true,
                "service":{"service":"s1","port":80,"weights":{"passing":3},
                           "tagged_addresses":{"lan":{"address":"5.5.5.5","port":7}}},
                "check":{"name":"c1","serviceid":"s1","status":"warning",
                         "definition":{"http":"http://x","interval":"10s","nosuch":1}},
                "checks":[{"checkid":"c2"}]}"#,
        )
        .unwrap();
        let service = read.service.unwrap();
        assert_eq!((service.name.as_str(), service.port), ("s1", 80));
        assert_eq!(service.weights, Weights { passing: 3, warning: 0 });
        assert_eq!(service.tagged_addresses["lan"].port, 7);
        assert_eq!(read.checks[0].id, "c2");
        let c1 = &read.checks[1];
        assert_eq!((c1.kind.as_str(), c1.status), ("http", Status::Warning));
        assert_eq!(c1.definition.interval_ns, 10_000_000_000);
    }

    #[test]
    fn a_bad_registration_is_refused_in_gos_words() {
        for (text, want) in [
            (r#"{"Nam":"x"}"#, r#"json: unknown field "Nam""#),
            (r#"{"Service":{"Nam":"x"}}"#, r#"json: unknown field "Nam""#),
            (r#"{"Check":{"Interval":"5s"}}"#, r#"json: unknown field "Interval""#),
            (
                r#"{"Node":5}"#,
                "json: cannot unmarshal number into Go struct field .Node of type string",
            ),
            (
                r#"{"Check":{"Definition":{"Interval":"5x"}}}"#,
                "time: unknown unit \"x\" in duration \"5x\"",
            ),
        ] {
            assert_eq!(register(text).unwrap_err(), want, "{text}");
        }
    }
}
