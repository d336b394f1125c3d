//! The DNS edge: <https://developer.hashicorp.com/consul/docs/discovery/dns>.
//!
//! ```text
//! server    sockets: one loop for UDP, a task for each TCP connection
//!   message   bytes -> Question                       (pure)
//!   name      Question -> Lookup                      (pure)
//!   Dns       Lookup -> Query -> endpoint -> Reply    (here; the only place that waits)
//!   answer    Reply -> records                        (pure)
//!   message   records -> bytes, cut to size           (pure)
//! recursor  names of others, asked of those who know
//! ttl       lifetimes of records
//! ```
//!
//! Names of the mesh (`.connect`, `.ingress`) are answered as by a Consul that has none: there is
//! no such name.

mod answer;
mod message;
mod name;
mod recursor;
mod server;
mod spell;
#[cfg(test)]
mod tests;
mod ttl;

pub use message::Transport;
pub use server::serve;

use crate::config;
use crate::endpoint::Endpoint;
use crate::endpoint::cache::{Cache, Control};
use crate::metrics::{self, Stopwatch};
use agent_core::model::catalog::NodeServices;
use agent_core::model::check::Status;
use agent_core::model::health::{Instance, ServiceQuery};
use agent_core::model::request::{Body, Consistency, Error, Kind, Options, Query, Reply, Request};
use agent_core::model::{catalog, health, query};
use agent_core::rand::Rng;
use agent_core::time::Duration;
use answer::{Apex, Asked, Chase, Chased, ChasedData, Data, Host, Meta, Sections, Voice};
use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::base::name::{FromStrError, Name};
use message::{Compression, Form, Question, Recursion, Truncation};
use name::{Lookup, Wire, Zones};
use recursor::Recursors;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use ttl::{Ttls, seconds};

/// Aliases of aliases that are followed: a guard against circles.
const CHASE_DEPTH_MAX: u32 = 3;
/// Host names that are resolved for one answer: each may cost a question to others.
const CHASES_MAX: usize = 8;
/// The service that all servers are instances of.
const SERVERS: &str = "consul";

/// The DNS edge of an agent.
pub struct Dns {
    endpoint: Endpoint,
    /// Kept answers, if they are to be used, and how old they may be.
    cache: Option<(Cache, Control)>,
    settings: config::Dns,
    datacenter: String,
    /// Name of this agent's node: what prepared queries may be near to.
    node: String,
    form: Form,
    recursors: Recursors,
    ttls: Ttls,
    dice: Mutex<Rng>,
}

/// Why a question that was asked of the servers has no answer.
enum Failure {
    /// The datacentre or the prepared query does not exist.
    Absent,
    /// Anything else.
    Failed,
}

impl Dns {
    /// Makes the edge of the agent on `node`; `seed` rolls the order of answers.
    ///
    /// # Errors
    ///
    /// If a domain of the settings is no domain name.
    pub fn new(
        endpoint: Endpoint,
        settings: config::Dns,
        node: String,
        seed: u64,
    ) -> Result<Self, FromStrError> {
        let alternative = Some(&settings.alt_domain).filter(|domain| !domain.is_empty());
        let zones = Zones {
            domain: settings.domain.parse()?,
            alternative: alternative.map(|domain| domain.parse()).transpose()?,
        };
        let form = Form {
            zones,
            soa: settings.soa,
            udp_answers_max: settings.udp_answer_limit,
            truncation: match settings.enable_truncate {
                true => Truncation::Flagged,
                false => Truncation::Silent,
            },
            compression: match settings.disable_compression {
                true => Compression::Off,
                false => Compression::On,
            },
            recursion: match settings.recursors.is_empty() {
                true => Recursion::Unavailable,
                false => Recursion::Available,
            },
        };
        let recursors = Recursors {
            servers: settings.recursors.clone(),
            time_max: settings.recursor_timeout.to_core(),
        };
        let ttls = Ttls::new(&settings.service_ttl);
        let dice = Mutex::new(Rng::new(seed));
        let datacenter = endpoint.datacenter().to_owned();
        Ok(Self { endpoint, cache: None, settings, datacenter, node, form, recursors, ttls, dice })
    }

    /// Has what may be as old as the settings say come from the cache (`dns_config.use_cache`).
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> Self {
        let max_age = self.settings.cache_max_age.to_core();
        let max_age = Some(max_age).filter(|age| !age.is_zero());
        let control = Control { max_age, ..Control::default() };
        self.cache = Some((cache, control)).filter(|_| self.settings.use_cache);
        self
    }

    /// Answers a packet of this client; `None` if nothing should be said.
    pub async fn answer(
        &self,
        packet: &[u8],
        transport: Transport,
        from: IpAddr,
    ) -> Option<Vec<u8>> {
        let mut question = match Question::parse(packet) {
            Ok(question) => question,
            Err(refusal) => return message::refuse(packet, refusal),
        };
        question.come_from(from);
        let watch = Stopwatch::start();
        let lookup = self.form.zones.find(&question.name, question.rtype);
        let sample = match lookup {
            Lookup::Foreign => None,
            Lookup::Reverse(_) => Some(&metrics::DNS_PTR_QUERY),
            _ => Some(&metrics::DNS_DOMAIN_QUERY),
        };
        let answer = self.find(question, lookup, packet, transport).await;
        if let Some(sample) = sample {
            watch.stop(sample);
        }
        answer
    }

    /// Answers a question whose place is known.
    async fn find(
        &self,
        question: Question,
        lookup: Lookup,
        packet: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        match lookup {
            Lookup::Foreign => Some(self.recurse(question, packet, transport).await),
            Lookup::Reverse(ip) => Some(self.reverse(question, ip, packet, transport).await),
            Lookup::Service { .. }
            | Lookup::Query { .. }
            | Lookup::Node { .. }
            | Lookup::Address(_)
            | Lookup::Nothing
            | Lookup::Missing => Some(match question.rtype {
                Rtype::SOA | Rtype::NS => self.authority(&question, transport).await,
                Rtype::AXFR | Rtype::IXFR => {
                    self.emit(&question, &Sections::empty(Rcode::NOTIMP), transport)
                }
                _ => {
                    self.look_up(&question, &lookup, CHASE_DEPTH_MAX, |sections| {
                        self.emit(&question, sections, transport)
                    })
                    .await
                }
            }),
        }
    }

    fn emit(&self, question: &Question, sections: &Sections<'_>, transport: Transport) -> Vec<u8> {
        message::emit(question, sections, &self.form, transport)
    }

    /// Rolls a generator for one answer.
    fn roll(&self) -> Rng {
        Rng::new(self.dice.lock().unwrap_or_else(PoisonError::into_inner).next_u64())
    }

    /// Describes a question to those who answer it.
    fn asked<'a>(
        &'a self,
        question: &'a Question,
        datacenter: &'a str,
        ttl: Duration,
    ) -> Asked<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Asked {
            name: &question.name,
            rtype: question.rtype,
            datacenter: if datacenter.is_empty() { &self.datacenter } else { datacenter },
            ttl: seconds(ttl),
            addresses_max: self.settings.a_record_limit,
            meta: if self.settings.node_meta_txt { Meta::Along } else { Meta::IfAsked },
            // Serial numbers wrap round: RFC 1982.
            apex: Apex { ttl: self.settings.soa.min_ttl, serial: now as u32 },
        }
    }

    /// Looks a name of the domain up and hands the answer to `render`.
    async fn look_up<T>(
        &self,
        question: &Question,
        lookup: &Lookup,
        depth: u32,
        render: impl FnOnce(&Sections<'_>) -> T,
    ) -> T {
        match lookup {
            Lookup::Service { name, tag, datacenter } => {
                let asked = self.asked(question, datacenter, self.ttls.of(name));
                let mut instances = match self.instances(name, tag, datacenter).await {
                    Ok(instances) => instances,
                    Err(failure) => return render(&failure.sections(&asked)),
                };
                self.roll().shuffle(&mut instances);
                let hosts = answer::hosts_of_service(&asked, &instances);
                let chases = self.chase(&hosts, depth).await;
                render(&answer::service(&asked, &instances, &chases))
            }
            Lookup::Query { name, datacenter } => {
                let found = match self.run(name, datacenter, question.asker).await {
                    Ok(found) => found,
                    Err(failure) => {
                        let asked = self.asked(question, datacenter, Duration::ZERO);
                        return render(&failure.sections(&asked));
                    }
                };
                let ttl = ttl::parse(&found.dns_ttl);
                let ttl = ttl.unwrap_or_else(|| self.ttls.of(&found.service));
                let asked = self.asked(question, &found.datacenter, ttl);
                let hosts = answer::hosts_of_service(&asked, &found.instances);
                let chases = self.chase(&hosts, depth).await;
                render(&answer::service(&asked, &found.instances, &chases))
            }
            Lookup::Node { name, datacenter } => {
                let asked = self.asked(question, datacenter, self.settings.node_ttl);
                if !matches!(asked.rtype, Rtype::A | Rtype::AAAA | Rtype::TXT | Rtype::ANY) {
                    return render(&Sections::empty(Rcode::NOERROR));
                }
                let found = match self.node(name, datacenter).await {
                    Ok(found) => found,
                    Err(failure) => return render(&failure.sections(&asked)),
                };
                let host = found.as_ref().and_then(|f| answer::host_of_node(&asked, &f.node));
                let chases = self.chase(host.as_slice(), depth).await;
                render(&answer::node(&asked, found.as_ref(), &chases))
            }
            Lookup::Address(ip) => {
                let asked = self.asked(question, "", self.settings.node_ttl);
                render(&answer::address(&asked, *ip))
            }
            Lookup::Nothing => render(&Sections::empty(Rcode::NOERROR)),
            Lookup::Missing | Lookup::Reverse(_) | Lookup::Foreign => {
                let asked = self.asked(question, "", Duration::ZERO);
                render(&Sections::negative(Rcode::NXDOMAIN, asked.apex))
            }
        }
    }

    /// Answers who the name servers of the domain are.
    async fn authority(&self, question: &Question, transport: Transport) -> Vec<u8> {
        let asked = self.asked(question, "", self.settings.node_ttl);
        let mut servers = self.instances(SERVERS, "", "").await.unwrap_or_default();
        self.roll().shuffle(&mut servers);
        self.emit(question, &answer::authority(&asked, &servers), transport)
    }

    /// Answers who has an address: a node, else a service, else whoever the recursors know.
    async fn reverse(
        &self,
        question: Question,
        ip: Option<IpAddr>,
        packet: &[u8],
        transport: Transport,
    ) -> Vec<u8> {
        let Some(ip) = ip else {
            return self.recurse_or_fail(&question, packet, transport).await;
        };
        let query = Query::Catalog(catalog::Query::Address(ip.to_string()));
        let found = match self.ask(query, "").await {
            Ok(Reply::Catalog(reply)) => Some(reply),
            Ok(_) | Err(_) => None,
        };
        let asked = self.asked(&question, "", Duration::ZERO);
        let datacenter = asked.datacenter;
        let host = match &found {
            Some(catalog::Reply::Nodes(nodes)) => {
                nodes.first().map(|node| Host::Node { name: &node.name, datacenter })
            }
            Some(catalog::Reply::Instances(instances)) => instances
                .first()
                .map(|found| Host::Service { name: &found.service.name, datacenter }),
            Some(
                catalog::Reply::Datacenters(_)
                | catalog::Reply::Services(_)
                | catalog::Reply::Node(_),
            )
            | None => None,
        };
        match host {
            Some(host) => self.emit(&question, &answer::pointer(&asked, host), transport),
            None => self.recurse_or_fail(&question, packet, transport).await,
        }
    }

    /// Answers a question about a name of others. Without recursors it fails, as in Consul 1.8,
    /// and without a word of EDNS.
    async fn recurse(&self, question: Question, packet: &[u8], transport: Transport) -> Vec<u8> {
        let question = match self.form.recursion {
            Recursion::Available => question,
            Recursion::Unavailable => question.without_edns(),
        };
        self.recurse_or_fail(&question, packet, transport).await
    }

    async fn recurse_or_fail(
        &self,
        question: &Question,
        packet: &[u8],
        transport: Transport,
    ) -> Vec<u8> {
        let mut rng = self.roll();
        match self.recursors.forward(packet, transport, &mut rng).await {
            Some(reply) => reply,
            None => self.emit(question, &Sections::failure(Voice::Resolver), transport),
        }
    }

    /// Resolves host names that instances were registered with.
    async fn chase(&self, hosts: &[&str], depth: u32) -> Vec<Chase> {
        let mut chases = Vec::new();
        for host in hosts.iter().take(CHASES_MAX) {
            if let Ok(name) = host.parse() {
                let found = self.resolve(name, depth).await;
                chases.push(Chase { host: (*host).to_owned(), found });
            }
        }
        chases
    }

    /// Resolves a host name: by own knowledge in the own domain, else by the recursors.
    fn resolve(
        &self,
        host: Wire,
        depth: u32,
    ) -> Pin<Box<dyn Future<Output = Vec<Chased>> + Send + '_>> {
        Box::pin(async move {
            if !self.form.zones.hold(&host) {
                let mut rng = self.roll();
                return self.recursors.addresses(&host, &mut rng).await;
            }
            let Some(depth) = depth.checked_sub(1) else {
                tracing::warn!(%host, "names lead to each other in a circle: not resolved");
                return Vec::new();
            };
            let question = Question::internal(host, Rtype::ANY);
            let lookup = self.form.zones.find(&question.name, question.rtype);
            self.look_up(&question, &lookup, depth, |sections| chased(&question, sections)).await
        })
    }

    /// Asks for the instances of a service that may be used.
    async fn instances(
        &self,
        name: &str,
        tag: &str,
        datacenter: &str,
    ) -> Result<Vec<Instance>, Failure> {
        let worst = if self.settings.only_passing { Status::Passing } else { Status::Warning };
        let query = Query::Health(health::Query::Service(ServiceQuery {
            name: name.to_owned(),
            tags: Some(tag.to_owned()).filter(|tag| !tag.is_empty()).into_iter().collect(),
            worst: Some(worst),
            ..ServiceQuery::default()
        }));
        match self.ask(query, datacenter).await? {
            Reply::Health(health::Reply::Instances(instances)) => Ok(instances),
            _ => Err(Failure::Failed),
        }
    }

    /// Runs a prepared query.
    async fn run(
        &self,
        name: &str,
        datacenter: &str,
        asker: Option<IpAddr>,
    ) -> Result<Box<query::Found>, Failure> {
        let asker = asker.map(|ip| ip.to_string()).unwrap_or_default();
        let (name, agent) = (name.to_owned(), self.node.clone());
        let execute = query::Execute { name, agent, asker, ..query::Execute::default() };
        match self.ask(Query::Prepared(query::Query::Execute(execute)), datacenter).await? {
            Reply::Prepared(query::Reply::Found(found)) => Ok(found),
            _ => Err(Failure::Failed),
        }
    }

    /// Asks for a node.
    async fn node(&self, name: &str, datacenter: &str) -> Result<Option<NodeServices>, Failure> {
        let query = Query::Catalog(catalog::Query::Node(name.to_owned()));
        match self.ask(query, datacenter).await? {
            Reply::Catalog(catalog::Reply::Node(node)) => Ok(node),
            _ => Err(Failure::Failed),
        }
    }

    /// Asks the servers: any of them, or the leader, as is set.
    async fn ask(&self, query: Query, datacenter: &str) -> Result<Reply, Failure> {
        let consistency = match self.settings.allow_stale {
            true => Consistency::Stale,
            false => Consistency::Default,
        };
        // The own datacentre may be spelt out, in any case.
        let foreign = !datacenter.eq_ignore_ascii_case(&self.datacenter);
        let datacenter = if foreign { datacenter.to_owned() } else { String::new() };
        let max_stale_ms = self.settings.max_stale.millis();
        let options = Options { datacenter, consistency, max_stale_ms, ..Options::default() };
        let request = Request { options, body: Body::Query(query) };
        let outcome = match &self.cache {
            Some((cache, control)) => {
                cache.serve(request, *control).await.map(|cached| cached.answer)
            }
            None => self.endpoint.serve(request).await,
        };
        match outcome {
            Ok(answer) => Ok(answer.reply),
            Err(Error { kind: Kind::NoPath | Kind::NotFound, .. }) => Err(Failure::Absent),
            Err(error) => {
                tracing::warn!(%error, "a DNS question could not be answered");
                Err(Failure::Failed)
            }
        }
    }
}

impl Failure {
    fn sections<'a>(&self, asked: &Asked<'a>) -> Sections<'a> {
        match self {
            Self::Absent => Sections::negative(Rcode::NXDOMAIN, asked.apex),
            Self::Failed => Sections::failure(Voice::Zone),
        }
    }
}

/// Takes aliases and addresses out of an answer of our own.
fn chased(question: &Question, sections: &Sections<'_>) -> Vec<Chased> {
    let wire = |host: Host<'_>| match host {
        Host::Asked => Some(question.name.clone()),
        Host::Wire(name) => Some(name.clone()),
        Host::Registered(name) => name.parse::<Name<Vec<u8>>>().ok(),
        Host::Domain
        | Host::Node { .. }
        | Host::Server { .. }
        | Host::Service { .. }
        | Host::Address { .. } => None,
    };
    let records = sections.answer.iter();
    let found = records.filter_map(|record| {
        let data = match record.data {
            Data::Ip(ip) => ChasedData::Ip(ip),
            Data::Alias(to) => ChasedData::Alias(wire(to)?),
            Data::Srv { .. }
            | Data::Pointer(_)
            | Data::NameServer(_)
            | Data::Meta { .. }
            | Data::Authority { .. } => return None,
        };
        Some(Chased { owner: wire(record.owner)?, ttl: record.ttl, data })
    });
    found.collect()
}
