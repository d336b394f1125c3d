//! Which selectors each kind of row has, under Consul's Go field names, and their values.

use agent_core::model::Map;
use agent_core::model::check::Check;
use agent_core::model::node::Node;
use agent_core::model::service::{Proxy, Service, ServiceAddress, Weights};
use agent_core::model::{catalog, health};

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
    Records(Vec<&'a dyn Row>),
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

const PROXY: Selectors = &[
    ("DestinationServiceName", Text),
    ("DestinationServiceID", Text),
    ("LocalServiceAddress", Text),
    ("LocalServicePort", Number),
    ("MeshGateway", Record(MESH_GATEWAY)),
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

/// Fields that have one value in every row: a mesh gateway's mode, which is never set here.
struct Unset;

impl Row for Unset {
    fn select(&self, _name: &str) -> Value<'_> {
        Value::Text("")
    }
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
            "MeshGateway" => Value::Record(&Unset),
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

impl Row for health::Instance {
    fn select(&self, name: &str) -> Value<'_> {
        match name {
            "Node" => Value::Record(&*self.node),
            "Service" => Value::Record(&*self.service),
            "Checks" => Value::Records(self.checks.iter().map(|c| &**c as &dyn Row).collect()),
            _ => Value::Text(""),
        }
    }
}

impl Selectable for health::Instance {
    const SELECTORS: Selectors = HEALTH_INSTANCE;
}
