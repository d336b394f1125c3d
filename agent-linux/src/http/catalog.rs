//! `/v1/catalog/`: reads of nodes and services.

use super::ask::read;
use super::options::read_options;
use super::reply::{Freshness, Page, Refusal};
use super::route::{Act, Call};
use super::view::node::NodeView;
use super::view::service::{InstanceView, ServiceView};
use super::view::{Each, Entries};
use agent_core::model::catalog::{NodeServices, Query, Reply as CatalogReply};
use agent_core::model::request::{Body, Query as AnyQuery, Reply, Request};
use agent_core::model::service::Service;
use serde::Serialize;
use std::sync::Arc;

pub(super) const DATACENTERS: Act =
    read(parse_datacenters, render_datacenters, Freshness::CacheOnly);
pub(super) const NODES: Act = read(parse_nodes, render_nodes, Freshness::Effective);
pub(super) const SERVICES: Act = read(parse_services, render_services, Freshness::Cached);
pub(super) const SERVICE: Act = read(parse_service, render_instances, Freshness::Cached);
pub(super) const CONNECT: Act = read(parse_connect, render_instances, Freshness::Cached);
pub(super) const NODE: Act = read(parse_node, render_node, Freshness::Effective);
pub(super) const NODE_SERVICES: Act = read(parse_node, render_node_services, Freshness::Effective);
pub(super) const GATEWAY_SERVICES: Act =
    read(parse_gateway, render_gateway_services, Freshness::Effective);

/// Makes a request of a query.
fn request(call: &Call<'_>, query: Query) -> Result<Request, Refusal> {
    Ok(Request { options: read_options(call)?, body: Body::Query(AnyQuery::Catalog(query)) })
}

fn parse_datacenters(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    request(call, Query::Datacenters)
}

fn parse_nodes(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    request(call, Query::Nodes { node_meta: call.params.node_meta() })
}

/// Reads a read of the services; a filter is ignored, even a broken one, as in Consul 1.8.
fn parse_services(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let mut request = request(call, Query::Services { node_meta: call.params.node_meta() })?;
    request.options.filter.clear();
    Ok(request)
}

fn parse_service(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    parse_instances(call, false)
}

fn parse_connect(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    parse_instances(call, true)
}

/// Reads a read of a service's instances, or of those that speak for it in the mesh.
fn parse_instances(call: &Call<'_>, connect: bool) -> Result<Request, Refusal> {
    let name = call.required("Missing service name")?;
    let tags = call.params.all("tag").map(str::to_owned).collect();
    let node_meta = call.params.node_meta();
    request(call, Query::Service { name, tags, node_meta, connect })
}

fn parse_node(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let name = call.required("Missing node name")?;
    request(call, Query::Node(name))
}

fn parse_gateway(call: &Call<'_>, _: Vec<u8>) -> Result<Request, Refusal> {
    let name = call.required("Missing gateway name")?;
    request(call, Query::GatewayServices(name))
}

fn render_datacenters(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Catalog(CatalogReply::Datacenters(names)) = reply else { return Page::unexpected() };
    Page::json(call, &names)
}

fn render_nodes(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Catalog(CatalogReply::Nodes(nodes)) = reply else { return Page::unexpected() };
    Page::json(call, &Each::of(&nodes, |node| NodeView::from(&**node)))
}

fn render_services(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Catalog(CatalogReply::Services(services)) = reply else { return Page::unexpected() };
    Page::json(call, &Entries::of(&services, |(name, tags)| (name, tags)))
}

fn render_instances(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Catalog(CatalogReply::Instances(instances)) = reply else {
        return Page::unexpected();
    };
    Page::json(call, &Each::of(&instances, InstanceView::from))
}

/// A node with its instances, by id or in a list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeServicesView<'a, S> {
    node: Option<NodeView<'a>>,
    services: Option<S>,
}

/// Shows a node with its instances by id, `null` for an unknown node.
fn render_node(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Catalog(CatalogReply::Node(found)) = reply else { return Page::unexpected() };
    let Some(NodeServices { node, services }) = found else { return Page::json(call, &()) };
    let services = Entries::of(&services, by_id);
    let node = Some(NodeView::from(&*node));
    Page::json(call, &NodeServicesView { node, services: Some(services) })
}

/// Shows an instance under its id.
fn by_id(service: &Arc<Service>) -> (&str, ServiceView<'_>) {
    (&service.id, ServiceView::from(&**service))
}

/// Shows a node with its instances in a list, both `null` for an unknown node.
fn render_node_services(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Catalog(CatalogReply::Node(found)) = reply else { return Page::unexpected() };
    let Some(NodeServices { node, services }) = found else {
        return Page::json(call, &NodeServicesView::<()> { node: None, services: None });
    };
    let services = Each::of(&services, |service| ServiceView::from(&**service));
    let node = Some(NodeView::from(&*node));
    Page::json(call, &NodeServicesView { node, services: Some(services) })
}

/// Shows that no service is bound to a gateway, which takes configuration entries.
fn render_gateway_services(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Catalog(_) = reply else { return Page::unexpected() };
    Page::json(call, &())
}
