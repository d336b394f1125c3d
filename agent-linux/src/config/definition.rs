//! Service and check definitions as configuration files, `services register` and the HTTP API
//! spell them.
//!
//! - [`ServiceDefinition`], [`CheckDefinition`]: what was written, nothing filled in.
//! - [`ServiceDefinition::from_json`], [`CheckDefinition::from_json`]: strict on unknown fields,
//!   lenient on spelling (any case, `snake_case` or not), with the error texts of Consul 1.8.
//! - [`ServiceDefinition::to_json`], [`CheckDefinition::to_json`]: the same value in Consul's
//!   spelling, empty fields left out; reading it back gives an equal definition.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/services/configuration>.

use std::collections::BTreeMap;

use agent_core::time::Duration;
use serde_json::{Map, Value, json};

pub use super::field::Error;
use super::field::{Fields, GoType, put, put_duration};

/// Weights that DNS puts in SRV records, by health.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weights {
    /// Weight while all checks pass, at least 1.
    pub passing: i64,
    /// Weight while a check warns, at least 0.
    pub warning: i64,
}

/// An address by which a service is known under one tag (`lan`, `wan`, ...).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceAddress {
    /// IP address or host name.
    pub address: String,
    /// TCP or UDP port, 0 for none.
    pub port: i64,
}

/// The mesh part of a service definition.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Connect {
    /// Whether the service speaks mesh TLS itself.
    pub native: bool,
    /// Definition of a proxy to register along with the service.
    pub sidecar_service: Option<Box<ServiceDefinition>>,
}

/// A service as a user wrote it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ServiceDefinition {
    /// Kind of service, empty for an ordinary one.
    pub kind: String,
    /// Unique within the agent; empty means the name.
    pub id: String,
    /// Name under which the service is discovered.
    pub name: String,
    /// Labels, in the order given.
    pub tags: Vec<String>,
    /// Address, empty for the node's.
    pub address: String,
    /// Addresses by tag.
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Free key/value pairs.
    pub meta: BTreeMap<String, String>,
    /// Port, 0 for none.
    pub port: i64,
    /// DNS weights; none means 1 and 1.
    pub weights: Option<Weights>,
    /// Whether the catalog's tags outlive the agent's.
    pub enable_tag_override: bool,
    /// Proxy part, kept as written.
    pub proxy: Option<Map<String, Value>>,
    /// Mesh part.
    pub connect: Option<Connect>,
    /// `Check` first, then those of `Checks`.
    pub checks: Vec<CheckDefinition>,
    /// Token for the catalog writes of this service.
    pub token: String,
}

/// A health check as a user wrote it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CheckDefinition {
    /// Unique within the agent; empty means derived from the service or the name.
    pub id: String,
    /// Name that people read.
    pub name: String,
    /// Free text.
    pub notes: String,
    /// Status before the first run; empty means critical.
    pub status: String,
    /// Service this check belongs to; empty for the node.
    pub service_id: String,
    /// Token for the catalog writes of this check.
    pub token: String,
    /// Command and arguments of a script check.
    pub args: Vec<String>,
    /// URL of an HTTP check.
    pub http: String,
    /// Method of an HTTP check, empty for GET.
    pub method: String,
    /// Headers of an HTTP check.
    pub header: BTreeMap<String, Vec<String>>,
    /// Body of an HTTP check.
    pub body: String,
    /// `host:port` of a TCP check.
    pub tcp: String,
    /// Time within which a TTL check must be refreshed, zero if it is none.
    pub ttl: Duration,
    /// `host:port[/service]` of a gRPC check.
    pub grpc: String,
    /// Whether the gRPC check speaks TLS.
    pub grpc_use_tls: bool,
    /// Node whose health an alias check copies.
    pub alias_node: String,
    /// Service whose health an alias check copies.
    pub alias_service: String,
    /// Container in which a script check runs.
    pub docker_container_id: String,
    /// Shell in the container.
    pub shell: String,
    /// Time between two runs, zero if not given.
    pub interval: Duration,
    /// Time that one run may take, zero for the type's default.
    pub timeout: Duration,
    /// Whether an HTTPS or gRPC check accepts any certificate.
    pub tls_skip_verify: bool,
    /// Time in critical state after which the service is removed, zero for never.
    pub deregister_critical_service_after: Duration,
    /// Good runs in a row before the check turns passing.
    pub success_before_passing: i64,
    /// Bad runs in a row before the check turns critical.
    pub failures_before_critical: i64,
    /// Bytes of output kept, 0 for the agent's limit.
    pub output_max_size: i64,
    /// HTTP address of a proxy through which to check.
    pub proxy_http: String,
    /// gRPC address of a proxy through which to check.
    pub proxy_grpc: String,
}

/// Fields of a proxy definition, in lower case; their content is not interpreted here.
const PROXY_FIELDS: [&str; 10] = [
    "config",
    "destinationserviceid",
    "destinationservicename",
    "expose",
    "localserviceaddress",
    "localserviceport",
    "meshgateway",
    "mode",
    "transparentproxy",
    "upstreams",
];

impl ServiceDefinition {
    /// Reads a definition from JSON.
    ///
    /// # Errors
    ///
    /// [`Error`] for an unknown field, a value of the wrong type or a bad duration.
    pub fn from_json(value: Value) -> Result<Self, Error> {
        let mut fields = Fields::of(value, "structs.ServiceDefinition")?;
        let mut service = Self::default();
        while let Some((name, key, value)) = fields.next() {
            service.set(&name, &key, value)?;
        }
        Ok(service)
    }

    /// Stores one field.
    fn set(&mut self, name: &str, key: &str, value: Value) -> Result<(), Error> {
        match name {
            "kind" => self.kind = value.string(key)?,
            "id" => self.id = value.string(key)?,
            "name" => self.name = value.string(key)?,
            "tags" => self.tags = value.strings(key)?,
            "address" => self.address = value.string(key)?,
            "taggedaddresses" => {
                for (tag, value) in value.object(key, "map[string]structs.ServiceAddress")? {
                    let address = ServiceAddress::from_json(key, value)?;
                    self.tagged_addresses.insert(tag, address);
                }
            }
            "meta" => self.meta = value.string_map(key)?,
            "port" => self.port = value.int(key)?,
            "weights" => self.weights = Some(Weights::from_json(key, value)?),
            "enabletagoverride" => self.enable_tag_override = value.bool(key)?,
            "proxy" => self.proxy = Some(proxy_from_json(key, value)?),
            "connect" => self.connect = Some(Connect::from_json(key, value)?),
            "check" => {
                value.require_object(key, "structs.CheckType")?;
                let check = CheckDefinition::from_json(value)?;
                if !check.is_empty() {
                    self.checks.insert(0, check);
                }
            }
            "checks" => {
                for value in value.array(key, "structs.CheckTypes")? {
                    self.checks.push(CheckDefinition::from_json(value)?);
                }
            }
            "token" => self.token = value.string(key)?,
            _ => return Err(Error::Unknown(key.to_owned())),
        }
        Ok(())
    }

    /// Writes the definition in Consul's spelling; empty fields are left out.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "Kind", &self.kind);
        put(&mut map, "ID", &self.id);
        put(&mut map, "Name", &self.name);
        put(&mut map, "Tags", &self.tags);
        put(&mut map, "Address", &self.address);
        let tagged: Map<String, Value> = self
            .tagged_addresses
            .iter()
            .map(|(tag, a)| (tag.clone(), json!({"Address": a.address, "Port": a.port})))
            .collect();
        put(&mut map, "TaggedAddresses", &tagged);
        put(&mut map, "Meta", &self.meta);
        put(&mut map, "Port", &self.port);
        if let Some(Weights { passing, warning }) = self.weights {
            put(&mut map, "Weights", &json!({"Passing": passing, "Warning": warning}));
        }
        put(&mut map, "EnableTagOverride", &self.enable_tag_override);
        if let Some(proxy) = &self.proxy {
            put(&mut map, "Proxy", proxy);
        }
        if let Some(connect) = &self.connect {
            put(&mut map, "Connect", &connect.to_json());
        }
        let checks: Vec<Value> = self.checks.iter().map(CheckDefinition::to_json).collect();
        put(&mut map, "Checks", &checks);
        put(&mut map, "Token", &self.token);
        Value::Object(map)
    }
}

impl ServiceAddress {
    /// Reads one tagged address.
    fn from_json(key: &str, value: Value) -> Result<Self, Error> {
        value.require_object(key, "structs.ServiceAddress")?;
        let mut fields = Fields::of(value, "structs.ServiceAddress")?;
        let mut address = Self::default();
        while let Some((name, key, value)) = fields.next() {
            match name.as_str() {
                "address" => address.address = value.string(&key)?,
                "port" => address.port = value.int(&key)?,
                _ => return Err(Error::Unknown(key)),
            }
        }
        Ok(address)
    }
}

impl Weights {
    /// Reads the weights; one that is left out is 0.
    fn from_json(key: &str, value: Value) -> Result<Self, Error> {
        value.require_object(key, "structs.Weights")?;
        let mut fields = Fields::of(value, "structs.Weights")?;
        let mut weights = Self { passing: 0, warning: 0 };
        while let Some((name, key, value)) = fields.next() {
            match name.as_str() {
                "passing" => weights.passing = value.int(&key)?,
                "warning" => weights.warning = value.int(&key)?,
                _ => return Err(Error::Unknown(key)),
            }
        }
        Ok(weights)
    }

    /// Checks the weights' bounds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with Consul's text.
    pub fn validate(&self) -> Result<(), Error> {
        if self.passing < 1 {
            return Err(Error::Invalid("Passing must be greater than 0"));
        }
        if self.warning < 0 {
            return Err(Error::Invalid("Warning must be greater or equal than 0"));
        }
        if self.passing > i64::from(u16::MAX) || self.warning > i64::from(u16::MAX) {
            return Err(Error::Invalid("DNS Weight must be between 0 and 65535"));
        }
        Ok(())
    }
}

impl Connect {
    /// Reads the mesh part.
    fn from_json(key: &str, value: Value) -> Result<Self, Error> {
        value.require_object(key, "structs.ServiceConnect")?;
        let mut fields = Fields::of(value, "structs.ServiceConnect")?;
        let mut connect = Self::default();
        while let Some((name, key, value)) = fields.next() {
            match name.as_str() {
                "native" => connect.native = value.bool(&key)?,
                "sidecarservice" => {
                    let sidecar = ServiceDefinition::from_json(value)?;
                    connect.sidecar_service = Some(Box::new(sidecar));
                }
                _ => return Err(Error::Unknown(key)),
            }
        }
        Ok(connect)
    }

    /// Writes the mesh part in Consul's spelling.
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "Native", &self.native);
        if let Some(sidecar) = &self.sidecar_service {
            map.insert("SidecarService".to_owned(), sidecar.to_json());
        }
        Value::Object(map)
    }
}

/// Checks the names of a proxy's fields and keeps their values.
fn proxy_from_json(key: &str, value: Value) -> Result<Map<String, Value>, Error> {
    let map = value.object(key, "structs.ConnectProxyConfig")?;
    for key in map.keys() {
        if !PROXY_FIELDS.contains(&super::field::folded(key).as_str()) {
            return Err(Error::Unknown(key.clone()));
        }
    }
    Ok(map)
}

impl CheckDefinition {
    /// Reads a definition from JSON.
    ///
    /// # Errors
    ///
    /// [`Error`] for an unknown field, a value of the wrong type or a bad duration.
    pub fn from_json(value: Value) -> Result<Self, Error> {
        let mut fields = Fields::of(value, "structs.CheckDefinition")?;
        let mut check = Self::default();
        while let Some((name, key, value)) = fields.next() {
            check.set(&name, &key, value)?;
        }
        Ok(check)
    }

    /// Stores one field.
    fn set(&mut self, name: &str, key: &str, value: Value) -> Result<(), Error> {
        match name {
            "id" | "checkid" => self.id = value.string(key)?,
            "name" => self.name = value.string(key)?,
            "notes" => self.notes = value.string(key)?,
            "status" => self.status = value.string(key)?,
            "serviceid" => self.service_id = value.string(key)?,
            "token" => self.token = value.string(key)?,
            "args" | "scriptargs" => self.args = value.strings(key)?,
            "http" => self.http = value.string(key)?,
            "method" => self.method = value.string(key)?,
            "header" => self.header = value.header_map(key)?,
            "body" => self.body = value.string(key)?,
            "tcp" => self.tcp = value.string(key)?,
            "ttl" => self.ttl = value.duration()?,
            "grpc" => self.grpc = value.string(key)?,
            "grpcusetls" => self.grpc_use_tls = value.bool(key)?,
            "aliasnode" => self.alias_node = value.string(key)?,
            "aliasservice" => self.alias_service = value.string(key)?,
            "dockercontainerid" => self.docker_container_id = value.string(key)?,
            "shell" => self.shell = value.string(key)?,
            "interval" => self.interval = value.duration()?,
            "timeout" => self.timeout = value.duration()?,
            "tlsskipverify" => self.tls_skip_verify = value.bool(key)?,
            "deregistercriticalserviceafter" => {
                self.deregister_critical_service_after = value.duration()?;
            }
            "successbeforepassing" => self.success_before_passing = value.int(key)?,
            "failuresbeforecritical" => self.failures_before_critical = value.int(key)?,
            "outputmaxsize" => self.output_max_size = value.int(key)?,
            "proxyhttp" => self.proxy_http = value.string(key)?,
            "proxygrpc" => self.proxy_grpc = value.string(key)?,
            _ => return Err(Error::Unknown(key.to_owned())),
        }
        Ok(())
    }

    /// Tells whether nothing was written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether the check runs a command.
    pub fn is_script(&self) -> bool {
        !self.args.is_empty()
    }

    /// Tells whether the check copies another's health.
    pub fn is_alias(&self) -> bool {
        !self.alias_node.is_empty() || !self.alias_service.is_empty()
    }

    /// Names the type that Consul shows for this check.
    pub fn kind(&self) -> &'static str {
        if !self.grpc.is_empty() {
            "grpc"
        } else if !self.http.is_empty() {
            "http"
        } else if !self.tcp.is_empty() {
            "tcp"
        } else if self.is_alias() {
            "alias"
        } else if !self.docker_container_id.is_empty() {
            "docker"
        } else if self.is_script() {
            "script"
        } else if self.ttl > Duration::ZERO {
            "ttl"
        } else {
            ""
        }
    }

    /// Checks that the fields make one runnable check.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the text that Consul puts after `Invalid check: `.
    pub fn validate(&self) -> Result<(), Error> {
        let on_interval = self.is_script()
            || !self.http.is_empty()
            || !self.tcp.is_empty()
            || !self.grpc.is_empty();
        let (interval, ttl) = (self.interval > Duration::ZERO, self.ttl > Duration::ZERO);
        let fault = if interval && ttl {
            "Interval and TTL cannot both be specified"
        } else if on_interval && !interval {
            "Interval must be > 0 for Script, HTTP, or TCP checks"
        } else if on_interval && self.is_alias() {
            "Interval cannot be set for Alias checks"
        } else if self.is_alias() && ttl {
            "TTL must be not be set for Alias checks"
        } else if !on_interval && !self.is_alias() && !ttl {
            "TTL must be > 0 for TTL checks"
        } else if self.output_max_size < 0 {
            "MaxOutputMaxSize must be positive"
        } else {
            return Ok(());
        };
        Err(Error::Invalid(fault))
    }

    /// Writes the definition in Consul's spelling; empty fields are left out.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "ID", &self.id);
        put(&mut map, "Name", &self.name);
        put(&mut map, "Notes", &self.notes);
        put(&mut map, "Status", &self.status);
        put(&mut map, "ServiceID", &self.service_id);
        put(&mut map, "Token", &self.token);
        put(&mut map, "Args", &self.args);
        put(&mut map, "HTTP", &self.http);
        put(&mut map, "Method", &self.method);
        put(&mut map, "Header", &self.header);
        put(&mut map, "Body", &self.body);
        put(&mut map, "TCP", &self.tcp);
        put_duration(&mut map, "TTL", self.ttl);
        put(&mut map, "GRPC", &self.grpc);
        put(&mut map, "GRPCUseTLS", &self.grpc_use_tls);
        put(&mut map, "AliasNode", &self.alias_node);
        put(&mut map, "AliasService", &self.alias_service);
        put(&mut map, "DockerContainerID", &self.docker_container_id);
        put(&mut map, "Shell", &self.shell);
        put_duration(&mut map, "Interval", self.interval);
        put_duration(&mut map, "Timeout", self.timeout);
        put(&mut map, "TLSSkipVerify", &self.tls_skip_verify);
        put_duration(
            &mut map,
            "DeregisterCriticalServiceAfter",
            self.deregister_critical_service_after,
        );
        put(&mut map, "SuccessBeforePassing", &self.success_before_passing);
        put(&mut map, "FailuresBeforeCritical", &self.failures_before_critical);
        put(&mut map, "OutputMaxSize", &self.output_max_size);
        put(&mut map, "ProxyHTTP", &self.proxy_http);
        put(&mut map, "ProxyGRPC", &self.proxy_grpc);
        Value::Object(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Result<ServiceDefinition, String> {
        let value = serde_json::from_str(text).unwrap();
        ServiceDefinition::from_json(value).map_err(|e| e.to_string())
    }

    #[test]
    fn any_spelling_of_a_field_is_read() {
        let a = service(
            r#"{"Name":"web","EnableTagOverride":true,
                "TaggedAddresses":{"lan":{"Address":"1.2.3.4"}},
               "Check":{"ScriptArgs":["true"],"Interval":"10s"}}"#,
        );
        let b = service(
            r#"{"name":"web","enable_tag_override":true,
                "tagged_addresses":{"lan":{"address":"1.2.3.4"}},
               "check":{"args":["true"],"interval":10000000000}}"#,
        );
        assert_eq!(a, b);
        assert_eq!(a.unwrap().checks[0].interval, Duration::from_secs(10));
    }

    #[test]
    fn faults_are_told_in_consuls_words() {
        for (text, want) in [
            (r#"{"Nam":1}"#, r#"json: unknown field "Nam""#),
            (
                r#"{"Port":"80"}"#,
                "json: cannot unmarshal string into Go struct field .Port of type int",
            ),
            (
                r#"{"Name":5}"#,
                "json: cannot unmarshal number into Go struct field .Name of type string",
            ),
            (
                r#"{"Port":1.5}"#,
                "json: cannot unmarshal number 1.5 into Go struct field .Port of type int",
            ),
            (
                r#"{"Tags":"x"}"#,
                "json: cannot unmarshal string into Go struct field .Tags of type []string",
            ),
            (
                r#"{"Meta":{"a":1}}"#,
                "json: cannot unmarshal number into Go struct field .Meta of type string",
            ),
            (
                r#"{"Checks":{}}"#,
                "json: cannot unmarshal object into Go struct field .Checks of type \
                 structs.CheckTypes",
            ),
            (r#"{"Check":{"TTL":"5x"}}"#, "time: unknown unit \"x\" in duration \"5x\""),
            (r#"{"Check":{"TTL":"5"}}"#, "time: missing unit in duration \"5\""),
            (r#"{"Proxy":{"x":1}}"#, r#"json: unknown field "x""#),
        ] {
            assert_eq!(service(text).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let text = r#"{"id":"w1","name":"web","tags":["a"],"port":80,"meta":{"k":"v"},
            "weights":{"passing":3},"connect":{"native":true,"sidecar_service":{}},
            "proxy":{"destination_service_name":"x"},
            "checks":[{"http":"http://x","interval":"5s","header":{"a":["b"]}},{"ttl":"1m"}]}"#;
        let service = service(text).unwrap();
        assert_eq!(ServiceDefinition::from_json(service.to_json()), Ok(service));
    }

    #[test]
    fn a_check_must_be_of_one_runnable_kind() {
        for (text, want) in [
            (r#"{"name":"m"}"#, "TTL must be > 0 for TTL checks"),
            (r#"{"tcp":"a:1"}"#, "Interval must be > 0 for Script, HTTP, or TCP checks"),
            (r#"{"ttl":"1s","interval":"1s"}"#, "Interval and TTL cannot both be specified"),
            (r#"{"alias_node":"x","ttl":"1s"}"#, "TTL must be not be set for Alias checks"),
            (r#"{"ttl":"1s","output_max_size":-1}"#, "MaxOutputMaxSize must be positive"),
        ] {
            let value = serde_json::from_str(text).unwrap();
            let check = CheckDefinition::from_json(value).unwrap();
            assert_eq!(check.validate(), Err(Error::Invalid(want)), "{text}");
        }
    }

    #[test]
    fn null_leaves_a_field_empty() {
        let read = service(r#"{"Name":"a","Tags":null,"Check":null,"Checks":null}"#).unwrap();
        assert!(read.tags.is_empty() && read.checks.is_empty());
    }
}
