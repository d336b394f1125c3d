//! A service instance, in its three shapes: with a node, as a catalog row, as the agent's own.

use super::{Nothing, filled, is_false, is_zero, listed};
use crate::config::field::folded;
use agent_core::model::Map as Pairs;
use agent_core::model::catalog::Instance;
use agent_core::model::service::{Kind, Proxy, Service, ServiceAddress, Weights};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An instance as it stands beside its node in health and under a node in the catalog.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServiceView<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: Option<&'a [String]>,
    address: &'a str,
    #[serde(skip_serializing_if = "Addresses::is_none")]
    tagged_addresses: Addresses<'a>,
    meta: Option<&'a Pairs>,
    port: u16,
    weights: WeightsView,
    enable_tag_override: bool,
    proxy: ProxyView<'a>,
    connect: ConnectView,
    create_index: u64,
    modify_index: u64,
}

impl<'a> ServiceView<'a> {
    /// An instance as `/v1/query/` shows it.
    pub(crate) fn of_query(service: &'a Service) -> Self {
        Self { tags: listed(&service.tags), ..Self::from(service) }
    }
}

impl<'a> From<&'a Service> for ServiceView<'a> {
    fn from(service: &'a Service) -> Self {
        Self {
            kind: service.kind.as_str(),
            id: &service.id,
            service: &service.name,
            tags: Some(&service.tags),
            address: &service.address,
            tagged_addresses: Addresses(&service.tagged_addresses),
            meta: filled(&service.meta),
            port: service.port,
            weights: service.weights.into(),
            enable_tag_override: service.enable_tag_override,
            proxy: ProxyView::of(service),
            connect: ConnectView { native: service.connect_native },
            create_index: service.stamp.create,
            modify_index: service.stamp.modify,
        }
    }
}

impl<'a> ServiceView<'a> {
    /// An instance as `/v1/txn` shows it: tags or `null`.
    pub(crate) fn of_txn(service: &'a Service) -> Self {
        let tags = &service.tags;
        Self { tags: (!tags.is_empty()).then_some(tags), ..Self::from(service) }
    }
}

/// An instance with its node in one flat row, as `/v1/catalog/service/` shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InstanceView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: Option<&'a Pairs>,
    node_meta: Option<&'a Pairs>,
    service_kind: &'static str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    #[serde(skip_serializing_if = "Addresses::is_none")]
    service_tagged_addresses: Addresses<'a>,
    service_weights: WeightsView,
    service_meta: &'a Pairs,
    service_port: u16,
    service_enable_tag_override: bool,
    service_proxy: ProxyView<'a>,
    service_connect: ConnectView,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Instance> for InstanceView<'a> {
    fn from(instance: &'a Instance) -> Self {
        let (node, service) = (&*instance.node, &*instance.service);
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: filled(&node.tagged_addresses),
            node_meta: filled(&node.meta),
            service_kind: service.kind.as_str(),
            service_id: &service.id,
            service_name: &service.name,
            service_tags: &service.tags,
            service_address: &service.address,
            service_tagged_addresses: Addresses(&service.tagged_addresses),
            service_weights: service.weights.into(),
            service_meta: &service.meta,
            service_port: service.port,
            service_enable_tag_override: service.enable_tag_override,
            service_proxy: ProxyView::of(service),
            service_connect: ConnectView { native: service.connect_native },
            create_index: service.stamp.create,
            modify_index: service.stamp.modify,
        }
    }
}

/// An instance as `/v1/agent/` shows its own.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OwnServiceView<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    meta: &'a Pairs,
    port: u16,
    address: &'a str,
    #[serde(skip_serializing_if = "Addresses::is_none")]
    tagged_addresses: Addresses<'a>,
    weights: WeightsView,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<ConnectView>,
}

impl<'a> OwnServiceView<'a> {
    /// Shows a service with its hash; an empty hash is left out.
    pub(crate) fn with_hash(service: &'a Service, hash: &'a str) -> Self {
        Self {
            kind: service.kind.as_str(),
            id: &service.id,
            service: &service.name,
            tags: &service.tags,
            meta: &service.meta,
            port: service.port,
            address: &service.address,
            tagged_addresses: Addresses(&service.tagged_addresses),
            weights: service.weights.into(),
            enable_tag_override: service.enable_tag_override,
            content_hash: hash,
            proxy: (service.kind != Kind::Typical).then(|| ProxyView::of(service)),
            connect: service.connect_native.then_some(ConnectView { native: true }),
        }
    }
}

impl<'a> From<&'a Service> for OwnServiceView<'a> {
    fn from(service: &'a Service) -> Self {
        Self::with_hash(service, "")
    }
}

/// DNS weights.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WeightsView {
    passing: u16,
    warning: u16,
}

impl From<Weights> for WeightsView {
    fn from(Weights { passing, warning }: Weights) -> Self {
        Self { passing, warning }
    }
}

/// Further addresses by name.
struct Addresses<'a>(&'a BTreeMap<String, ServiceAddress>);

/// One of them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AddressView<'a> {
    address: &'a str,
    port: u16,
}

impl Addresses<'_> {
    /// Tells whether there is nothing to write.
    fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, ServiceAddress { address, port })| {
            (name, AddressView { address, port: *port })
        }))
    }
}

/// What a proxy stands for; for other services all but empty.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProxyView<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    destination_service_name: &'a str,
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "str::is_empty")]
    destination_service_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    local_service_address: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    local_service_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<UpstreamView>,
    mesh_gateway: Nothing,
    expose: Nothing,
}

/// What all services but proxies show.
const NO_PROXY: ProxyView<'static> = ProxyView {
    destination_service_name: "",
    destination_service_id: "",
    local_service_address: "",
    local_service_port: 0,
    config: None,
    upstreams: Vec::new(),
    mesh_gateway: Nothing {},
    expose: Nothing {},
};

impl<'a> ProxyView<'a> {
    /// Shows the proxy part of a service.
    fn of(service: &'a Service) -> Self {
        let Some(proxy) = &service.proxy else { return NO_PROXY };
        let Proxy { config, upstreams, .. } = &**proxy;
        Self {
            destination_service_name: &proxy.destination_service_name,
            destination_service_id: &proxy.destination_service_id,
            local_service_address: &proxy.local_service_address,
            local_service_port: proxy.local_service_port,
            config: serde_json::from_str(config).ok(),
            upstreams: serde_json::from_str::<Vec<Map<String, Value>>>(upstreams).map_or_else(
                |_| Vec::new(),
                |list| list.into_iter().map(UpstreamView::of).collect(),
            ),
            ..NO_PROXY
        }
    }
}

/// Something that a proxy reaches on behalf of its service.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UpstreamView {
    destination_type: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    destination_namespace: Value,
    destination_name: Value,
    datacenter: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    local_bind_address: Value,
    local_bind_port: Value,
    config: Value,
    mesh_gateway: Value,
}

impl UpstreamView {
    /// Shows an upstream, however its user spelled the fields.
    fn of(fields: Map<String, Value>) -> Self {
        let mut view = Self {
            destination_type: "".into(),
            destination_namespace: Value::Null,
            destination_name: "".into(),
            datacenter: "".into(),
            local_bind_address: Value::Null,
            local_bind_port: 0.into(),
            config: Value::Null,
            mesh_gateway: Value::Object(Map::new()),
        };
        for (key, value) in fields {
            let field = match folded(&key).as_str() {
                "destinationtype" => &mut view.destination_type,
                "destinationnamespace" => &mut view.destination_namespace,
                "destinationname" => &mut view.destination_name,
                "datacenter" => &mut view.datacenter,
                "localbindaddress" => &mut view.local_bind_address,
                "localbindport" => &mut view.local_bind_port,
                "config" => &mut view.config,
                "meshgateway" => &mut view.mesh_gateway,
                _ => continue,
            };
            *field = value;
        }
        view
    }
}

/// The mesh part of a service.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConnectView {
    #[serde(skip_serializing_if = "is_false")]
    native: bool,
}
