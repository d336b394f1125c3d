//! `services`: registers and deregisters with the agent.

use std::path::Path;

use super::client::{Keep, escape, put};
use super::flag::{Flag, pairs, text, texts, whole};
use super::{Api, Call, Failure, Spec, Verb, failure};
use crate::config::definition::{ServiceAddress, ServiceDefinition};
use crate::config::source;

/// Help of the family.
pub(super) const HELP: &str = "Usage: reeve services <subcommand> [options] [args]

  Registers services with the local agent and removes them. See \"reeve catalog\"
  for the services of the whole cluster.
";

/// Registers services.
pub(super) struct Register;
/// Removes services.
pub(super) struct Deregister;

const NAMESPACE: Flag = texts("namespace", "(Enterprise-only) Namespace of the service.");

const REGISTER_FLAGS: &[Flag] = &[
    text("address", "Address of the service."),
    text("id", "ID of the service. Default: its name."),
    text("kind", "Kind of the service."),
    pairs("meta", "Metadata key=value of the service. May be repeated."),
    text("name", "Name of the service."),
    NAMESPACE,
    whole("port", "Port of the service."),
    texts("tag", "Tag of the service. May be repeated."),
    pairs("tagged-address", "Address of the service under a tag, tag=IP:port. May be repeated."),
];

const REGISTER: Spec = Spec {
    path: "services register",
    summary: "Register services with the local agent",
    help: " [options] [FILE...]

  Registers services with the local agent, from configuration files (HCL or
  JSON) or from flags.

      $ reeve services register web.json

      $ reeve services register -name=web -port=80 -tag=v1
",
    api: Api::Servers,
    flags: REGISTER_FLAGS,
};

const DEREGISTER: Spec = Spec {
    path: "services deregister",
    summary: "Deregister services with the local agent",
    help: " [options] [FILE...]

  Removes services from the local agent: those that configuration files define,
  or one by its ID. It must be the agent that they were registered with.

      $ reeve services deregister web.json db.json

      $ reeve services deregister -id=web
",
    api: Api::Servers,
    flags: &[text("id", "ID of the service to remove."), NAMESPACE],
};

/// Reads the services that files define, and tells which files are skipped.
fn from_files(call: &mut Call<'_>) -> Result<Vec<ServiceDefinition>, Failure> {
    let (mut services, mut warnings) = (Vec::new(), Vec::new());
    for path in &call.args {
        let found = source::services(Path::new(path), &mut warnings);
        services.extend(found.map_err(|error| failure(format!("Error: {error}")))?);
    }
    for warning in warnings {
        call.complain(&warning);
    }
    Ok(services)
}

/// Reads the service that flags define.
fn from_flags(call: &Call<'_>) -> Result<ServiceDefinition, Failure> {
    let text = |name| call.given.text(name).unwrap_or_default().to_owned();
    let mut service = ServiceDefinition {
        kind: text("kind"),
        id: text("id"),
        name: text("name"),
        address: text("address"),
        port: call.given.whole("port").unwrap_or(0),
        tags: call.given.texts("tag").map(str::to_owned).collect(),
        ..ServiceDefinition::default()
    };
    for (name, value) in call.given.pairs("meta") {
        service.meta.insert(name.to_owned(), value.to_owned());
    }
    for (tag, address) in call.given.pairs("tagged-address") {
        service.tagged_addresses.insert(tag.to_owned(), tagged_address(address)?);
    }
    Ok(service)
}

/// Reads an address with its port; one of IPv6 alone has the port 0.
fn tagged_address(text: &str) -> Result<ServiceAddress, Failure> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(ServiceAddress { address: text.to_owned(), port: 0 });
    }
    let invalid = |why: String| failure(format!("Invalid Tagged Address: {why}"));
    let (address, port) = text
        .rsplit_once(':')
        .ok_or_else(|| invalid(format!("address {text}: missing port in address")))?;
    let port = port
        .parse()
        .map_err(|_| invalid(format!("strconv.Atoi: parsing {port:?}: invalid syntax")))?;
    let address = address.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(ServiceAddress { address, port })
}

impl Verb for Register {
    fn spec(&self) -> &'static Spec {
        &REGISTER
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let named = call.given.text("name").is_some_and(|name| !name.is_empty());
        let services = match (named, call.args.is_empty()) {
            (true, true) => vec![from_flags(call)?],
            (false, false) => from_files(call)?,
            (true, false) => {
                return Err(failure("Service registration requires arguments or -id, not both."));
            }
            (false, true) => {
                return Err(failure(
                    "Service registration requires at least one argument or flags.",
                ));
            }
        };
        let client = call.client()?;
        for service in services {
            let body = service.to_json().to_string();
            let name = &service.name;
            let sent = client.ok(put("/v1/agent/service/register", body.as_bytes()));
            sent.map_err(|e| failure(format!("Error registering service {name:?}: {e}")))?;
            call.say(format!("Registered service: {name}"))?;
        }
        Ok(())
    }
}

impl Verb for Deregister {
    fn spec(&self) -> &'static Spec {
        &DEREGISTER
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let id = call.given.text("id").filter(|id| !id.is_empty()).map(str::to_owned);
        let ids: Vec<String> = match (id, call.args.is_empty()) {
            (Some(id), true) => vec![id],
            (None, false) => {
                let id = |s: ServiceDefinition| if s.id.is_empty() { s.name } else { s.id };
                from_files(call)?.into_iter().map(id).collect()
            }
            (Some(_), false) => {
                return Err(failure("Service deregistration requires arguments or -id, not both."));
            }
            (None, true) => {
                return Err(failure(
                    "Service deregistration requires at least one argument or -id.",
                ));
            }
        };
        let client = call.client()?;
        for id in ids.iter().filter(|id| !id.is_empty()) {
            let path = format!("/v1/agent/service/deregister/{}", escape(id, Keep::Nothing));
            let sent = client.ok(put(path, &[]));
            sent.map_err(|e| failure(format!("Error deregistering service {id:?}: {e}")))?;
            call.say(format!("Deregistered service: {id}"))?;
        }
        Ok(())
    }
}
