//! Which selectors each kind of row has, under Consul's Go field names, and their values.

use crate::config::field::folded;
use agent_core::model::Map;
use agent_core::model::check::Check;
use agent_core::model::node::Node;
use agent_core::model::service::{Proxy, Service, ServiceAddress, Weights};
use agent_core::model::{catalog, health};
use serde_json::Value as Json;

/// What a selector finds in any row of a kind.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Text,
    Number,
    Flag,
    Texts,
    Map,
    Record(Selectors),
    Records(Selectors),
    RecordMap(Selectors),
}

/// Names and shapes of a row's fields.
pub type Selectors = &'static [(&'static str, Shape)];

/// What a selector finds in one row.
pub enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Flag(bool),
    Texts(&'a [String]),
    Map(&'a Map),
    Record(&'a dyn Row),
    Records(Vec<Box<dyn Row + 'a>>),
    RecordMap(Vec<(&'a str, &'a dyn Row)>),
}

impl Value<'_> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Texts(texts) => texts.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Records(rows) => rows.is_empty(),
            Self::RecordMap(rows) => rows.is_empty(),
            Self::Number(_) | Self::Flag(_) | Self::Record(_) => false,
        }
    }
}

/// Something with fields.
pub trait Row {
    /// Finds a field that the row's selectors name; an unknown name finds an empty text.
    fn select(&self, name: &str) -> Value<'_>;
}

impl<T: Row + ?Sized> Row for &T {
    fn select(&self, name: &str) -> Value<'_> {
        (**self).select(name)
    }
}

/// A row that expressions may select from.
pub trait Selectable: Row {
    /// Its fields.
    const SELECTORS: Selectors;
}

use Shape::{Flag, Number, Record, RecordMap, Records, Text, Texts};

const NODE: Selectors = &[
    ("ID", Text),
    ("Node", Text),
    ("Address", Text),
    ("Datacenter", Text),
    ("TaggedAddresses", Shape::Map),
    ("Meta", Shape::Map),
];

const WEIGHTS: Selectors = &[("Passing", Number), ("Warning", Number)];
const ADDRESS: Selectors = &[("Address", Text), ("Port", Number)];
const CONNECT: Selectors = &[("Native", Flag)];
const MESH_GATEWAY: Selectors = &[("Mode", Text)];

const UPSTREAM: Selectors = &[
    ("DestinationType", Text),
    ("DestinationNamespace", Text),
    ("DestinationName", Text),
    ("Datacenter", Text),
    ("LocalBindAddress", Text),
    ("LocalBindPort", Number),
    ("MeshGateway", Record(MESH_GATEWAY)),
];

const EXPOSED_PATH: Selectors = &[
    ("ListenerPort", Number),
    ("Path", Text),
    ("LocalPathPort", Number),
    ("Protocol", Text),
    ("ParsedFromCheck", Flag),
];

const EXPOSE: Selectors = &[("Checks", Flag), ("Paths", Records(EXPOSED_PATH))];

const PROXY: Selectors = &[
    ("DestinationServiceName", Text),
    ("DestinationServiceID", Text),
    ("LocalServiceAddress", Text),
    ("LocalServicePort", Number),
    ("Upstreams", Records(UPSTREAM)),
    ("MeshGateway", Record(MESH_GATEWAY)),
    ("Expose", Record(EXPOSE)),
];

const SERVICE: Selectors = &[
    ("Kind", Text),
    ("ID", Text),
    ("Service", Text),
    ("Tags", Texts),
    ("Address", Text),
    ("TaggedAddresses", RecordMap(ADDRESS)),
    ("Meta", Shape::Map),
    ("Port", Number),
    ("Weights", Record(WEIGHTS)),
    ("EnableTagOverride", Flag),
    ("Proxy", Record(PROXY)),
    ("Connect", Record(CONNECT)),
];

const CHECK: Selectors = &[
    ("Node", Text),
    ("CheckID", Text),
    ("Name", Text),
    ("Status", Text),
    ("Notes", Text),
    ("Output", Text),
    ("ServiceID", Text),
    ("ServiceName", Text),
    ("ServiceTags", Texts),
    ("Type", Text),
];

const CATALOG_INSTANCE: Selectors = &[
    ("ID", Text),
    ("Node", Text),
    ("Address", Text),
    ("Datacenter", Text),
    ("TaggedAddresses", Shape::Map),
    ("NodeMeta", Shape::Map),
    ("ServiceKind", Text),
    ("ServiceID", Text),
    ("ServiceName", Text),
    ("ServiceTags", Texts),
    ("ServiceAddress", Text),
    ("ServiceTaggedAddresses", RecordMap(ADDRESS)),
    ("ServiceWeights", Record(WEIGHTS)),
    ("ServiceMeta", Shape::Map),
    ("ServicePort", Number),
    ("ServiceEnableTagOverride", Flag),
    ("ServiceProxy", Record(PROXY)),
    ("ServiceConnect", Record(CONNECT)),
];

const HEALTH_INSTANCE: Selectors =
    &[("Node", Record(NODE)), ("Service", Record(SERVICE)), ("Checks", Records(CHECK))];

const NODE_DUMP: Selectors = &[
    ("ID", Text),
    ("Node", Text),
    ("Address", Text),
    ("TaggedAddresses", Shape::Map),
    ("Meta", Shape::Map),
    ("Services", Records(SERVICE)),
    ("Checks", Records(CHECK)),
];

/// Fields that have one value in every row: what a proxy exposes and its mesh gateway's mode, which
/// are never set here.
struct Unset;

impl Row for Unset {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "Checks" => Value::Flag(false),
            "Paths" => Value::Records(Vec::new()),
            _ => Value::Text(""),
        }
    }
}

/// The fields of one upstream, however its user spelled them.
type Upstream = serde_json::Map<String, Json>;

impl Row for Upstream {
    fn select(&self, name: &str) -> Value<'_> {
        let wanted = folded(name);
        let field = self.iter().find(|(key, _)| folded(key) == wanted).map(|(_, field)| field);
        match (name, field) {
            ("LocalBindPort", field) => Value::Number(field.and_then(Json::as_i64).unwrap_or(0)),
            ("MeshGateway", Some(Json::Object(gateway))) => Value::Record(gateway),
            ("MeshGateway", _) => Value::Record(&Unset),
            (_, Some(Json::String(text))) => Value::Text(text),
            (_, _) => Value::Text(""),
        }
    }
}

/// Reads the upstreams of a proxy, which are kept as JSON.
fn upstreams(proxy: &Proxy) -> Vec<Box<dyn Row>> {
    let list: Vec<Upstream> = serde_json::from_str(&proxy.upstreams).unwrap_or_default();
    list.into_iter().map(|upstream| Box::new(upstream) as Box<dyn Row>).collect()
}

impl Row for Node {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "ID" => Value::Text(&self.id),
            "Node" => Value::Text(&self.name),
            "Address" => Value::Text(&self.address),
            "Datacenter" => Value::Text(&self.datacenter),
            "TaggedAddresses" => Value::Map(&self.tagged_addresses),
            "Meta" => Value::Map(&self.meta),
            _ => Value::Text(""),
        }
    }
}

impl Selectable for Node {
    const SELECTORS: Selectors = NODE;
}

impl Row for Weights {
    fn select(&self, name: &str) -> Value<'_> {
        Value::Number(i64::from(if name == "Passing" { self.passing } else { self.warning }))
    }
}

impl Row for ServiceAddress {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "Port" => Value::Number(i64::from(self.port)),
            _ => Value::Text(&self.address),
        }
    }
}

impl Row for Option<Box<Proxy>> {
    fn select(&self, name: &str) -> Value<'_> {
        let text = |of: fn(&Proxy) -> &str| Value::Text(self.as_deref().map_or("", of));
        match name {
            "DestinationServiceName" => text(|proxy| &proxy.destination_service_name),
            "DestinationServiceID" => text(|proxy| &proxy.destination_service_id),
            "LocalServiceAddress" => text(|proxy| &proxy.local_service_address),
            "LocalServicePort" => {
                let port = self.as_ref().map_or(0, |proxy| proxy.local_service_port);
                Value::Number(i64::from(port))
            }
            "Upstreams" => Value::Records(self.as_deref().map_or_else(Vec::new, upstreams)),
            "MeshGateway" | "Expose" => Value::Record(&Unset),
            _ => Value::Text(""),
        }
    }
}

/// Whether a service speaks the mesh's TLS itself, as a row of its own.
impl Row for bool {
    fn select(&self, _name: &str) -> Value<'_> {
        Value::Flag(*self)
    }
}

impl Row for Service {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "Kind" => Value::Text(self.kind.as_str()),
            "ID" => Value::Text(&self.id),
            "Service" => Value::Text(&self.name),
            "Tags" => Value::Texts(&self.tags),
            "Address" => Value::Text(&self.address),
            "TaggedAddresses" => Value::RecordMap(
                self.tagged_addresses.iter().map(|(k, v)| (k.as_str(), v as &dyn Row)).collect(),
            ),
            "Meta" => Value::Map(&self.meta),
            "Port" => Value::Number(i64::from(self.port)),
            "Weights" => Value::Record(&self.weights),
            "EnableTagOverride" => Value::Flag(self.enable_tag_override),
            "Proxy" => Value::Record(&self.proxy),
            "Connect" => Value::Record(&self.connect_native),
            _ => Value::Text(""),
        }
    }
}

impl Selectable for Service {
    const SELECTORS: Selectors = SERVICE;
}

impl Row for Check {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "Node" => Value::Text(&self.node),
            "CheckID" => Value::Text(&self.id),
            "Name" => Value::Text(&self.name),
            "Status" => Value::Text(self.status.as_str()),
            "Notes" => Value::Text(&self.notes),
            "Output" => Value::Text(&self.output),
            "ServiceID" => Value::Text(&self.service_id),
            "ServiceName" => Value::Text(&self.service_name),
            "ServiceTags" => Value::Texts(&self.service_tags),
            "Type" => Value::Text(&self.kind),
            _ => Value::Text(""),
        }
    }
}

impl Selectable for Check {
    const SELECTORS: Selectors = CHECK;
}

impl Row for catalog::Instance {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "NodeMeta" => self.node.select("Meta"),
            "ServiceName" => self.service.select("Service"),
            name => match name.strip_prefix("Service") {
                Some(field) => self.service.select(field),
                None => self.node.select(name),
            },
        }
    }
}

impl Selectable for catalog::Instance {
    const SELECTORS: Selectors = CATALOG_INSTANCE;
}

fn boxed(check: &Check) -> Box<dyn Row + '_> {
    Box::new(check)
}

impl Row for health::Instance {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "Node" => Value::Record(&*self.node),
            "Service" => Value::Record(&*self.service),
            "Checks" => Value::Records(self.checks.iter().map(|check| boxed(check)).collect()),
            _ => Value::Text(""),
        }
    }
}

impl Selectable for health::Instance {
    const SELECTORS: Selectors = HEALTH_INSTANCE;
}

fn boxed_service(service: &Service) -> Box<dyn Row + '_> {
    Box::new(service)
}

impl Row for health::NodeDump {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "Services" => Value::Records(self.services.iter().map(|s| boxed_service(s)).collect()),
            "Checks" => Value::Records(self.checks.iter().map(|check| boxed(check)).collect()),
            name => self.node.select(name),
        }
    }
}

impl Selectable for health::NodeDump {
    const SELECTORS: Selectors = NODE_DUMP;
}
