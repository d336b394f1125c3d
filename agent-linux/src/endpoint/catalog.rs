//! Nodes and services: what is settled before a registration is proposed, and filtered reads.

use super::filter::Filter;
use super::{Prepared, Read};
use agent_core::model::catalog::{Deregister, Instance, Query, Register, Reply};
use agent_core::model::node::Node;
use agent_core::model::request::{self, Error, Kind};
use agent_core::model::service::{Kind as ServiceKind, Service};

fn refuse<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::with(Kind::Invalid, text))
}

/// Fills in what a registration may leave out, and refuses what Consul refuses, in its words.
pub(super) fn prepare(wanted: &mut Register, datacenter: &str) -> Result<Prepared, Error> {
    if wanted.node.name.is_empty() {
        return refuse("Must provide node");
    }
    if wanted.node.address.is_empty() && !wanted.skip_node_update {
        return refuse("Must provide address if SkipNodeUpdate is not set");
    }
    check_node_id(&wanted.node.id)?;
    if wanted.node.datacenter.is_empty() {
        wanted.node.datacenter = datacenter.into();
    }
    if let Some(service) = &mut wanted.service {
        prepare_service(service)?;
    }
    for check in &mut wanted.checks {
        if check.id.is_empty() {
            check.id.clone_from(&check.name);
        }
        if check.node.is_empty() {
            check.node.clone_from(&wanted.node.name);
        }
    }
    Ok(Prepared::Propose)
}

/// Refuses an id that is neither empty nor a UUID.
pub(super) fn check_node_id(id: &str) -> Result<(), Error> {
    uuid_fault(id).map_or(Ok(()), |why| refuse(format!("Bad node ID: {why}")))
}

/// Tells what is wrong with a UUID, if it is given.
pub(super) fn uuid_fault(id: &str) -> Option<&'static str> {
    const GROUPS: [usize; 4] = [8, 13, 18, 23];
    if id.is_empty() {
        return None;
    }
    if id.len() != 36 {
        return Some("uuid string is wrong length");
    }
    let fits = id.bytes().enumerate().all(|(at, byte)| match GROUPS.contains(&at) {
        true => byte == b'-',
        false => byte.is_ascii_hexdigit(),
    });
    (!fits).then_some("uuid is improperly formatted")
}

/// Fills in an instance's id, and refuses what Consul refuses.
pub(super) fn prepare_service(service: &mut Service) -> Result<(), Error> {
    if service.id.is_empty() {
        service.id.clone_from(&service.name);
    }
    if !service.id.is_empty() && service.name.is_empty() {
        return refuse("Must provide service name with ID");
    }
    let unspecified = service.address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_unspecified());
    if unspecified {
        return refuse("Invalid service address");
    }
    if service.kind != ServiceKind::ConnectProxy {
        return Ok(());
    }
    let mut wrong = Vec::new();
    if service.proxy.as_ref().is_none_or(|proxy| proxy.destination_service_name.is_empty()) {
        wrong.push("Proxy.DestinationServiceName must be non-empty for Connect proxy services");
    }
    if service.port == 0 {
        wrong.push("Port must be set for a Connect proxy");
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let errors = if wrong.len() == 1 { "error" } else { "errors" };
    let lines: String = wrong.iter().map(|line| format!("\t* {line}\n")).collect();
    refuse(format!("{} {errors} occurred:\n{lines}\n", wrong.len()))
}

/// Refuses a removal that names no node.
pub(super) fn prepare_removal(unwanted: &Deregister) -> Result<Prepared, Error> {
    if unwanted.node.is_empty() {
        return refuse("Must provide node");
    }
    Ok(Prepared::Propose)
}

/// Finds how a query is read. Consul filters nodes and instances, and ignores a filter elsewhere.
pub(super) fn reader<'a>(query: &'a Query, filter: Option<&str>) -> Result<Read<'a>, Error> {
    let sift = match filter {
        Some(text) => sift(query, text)?,
        None => None,
    };
    Ok(Box::new(move |tables| {
        tables.catalog(query).map(|reply| {
            request::Reply::Catalog(match &sift {
                Some(sift) => sift(reply),
                None => reply,
            })
        })
    }))
}

/// What takes the rows out of a reply that do not meet a filter.
type Sift = Box<dyn Fn(Reply) -> Reply + Send + Sync>;

fn sift(query: &Query, text: &str) -> Result<Option<Sift>, Error> {
    Ok(match query {
        Query::Nodes { .. } => {
            let filter = Filter::<Node>::parse(text)?;
            Some(Box::new(move |mut reply| {
                if let Reply::Nodes(nodes) = &mut reply {
                    nodes.retain(|node| filter.fits(node));
                }
                reply
            }))
        }
        Query::Service { .. } => {
            let filter = Filter::<Instance>::parse(text)?;
            Some(Box::new(move |mut reply| {
                if let Reply::Instances(instances) = &mut reply {
                    instances.retain(|instance| filter.fits(instance));
                }
                reply
            }))
        }
        Query::Node(_) => {
            let filter = Filter::<Service>::parse(text)?;
            Some(Box::new(move |mut reply| {
                if let Reply::Node(Some(found)) = &mut reply {
                    found.services.retain(|service| filter.fits(service));
                }
                reply
            }))
        }
        Query::Datacenters
        | Query::Services { .. }
        | Query::Address(_)
        | Query::GatewayServices(_) => None,
    })
}
