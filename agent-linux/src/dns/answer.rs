//! What was found, as records. Pure; borrows names and metadata from what was found.

use super::name::Wire;
use agent_core::model::catalog::NodeServices;
use agent_core::model::check::Status;
use agent_core::model::health::Instance;
use agent_core::model::node::Node;
use domain::base::Rtype;
use domain::base::iana::Rcode;
use std::collections::HashSet;
use std::net::IpAddr;

/// Name servers in one answer: what fits in 512 bytes with their addresses.
const NAME_SERVERS_MAX: usize = 3;

/// A name in an answer, spelt when it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Host<'a> {
    /// The name that was asked for, in the asker's spelling.
    Asked,
    /// The domain.
    Domain,
    /// `<name>.node.<datacenter>.<domain>`.
    Node { name: &'a str, datacenter: &'a str },
    /// The same in lower case, as the domain's name servers are called.
    Server { name: &'a str, datacenter: &'a str },
    /// `<name>.service.<datacenter>.<domain>`.
    Service { name: &'a str, datacenter: &'a str },
    /// `<hex>.addr.<datacenter>.<domain>`.
    Address { ip: IpAddr, datacenter: &'a str },
    /// A host name that was registered as an address.
    Registered(&'a str),
    /// A name from somebody else's answer.
    Wire(&'a Wire),
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Data<'a> {
    /// A or AAAA.
    Ip(IpAddr),
    /// CNAME.
    Alias(Host<'a>),
    /// SRV with priority 1.
    Srv { weight: u16, port: u16, target: Host<'a> },
    /// PTR.
    Pointer(Host<'a>),
    /// NS.
    NameServer(Host<'a>),
    /// TXT: a pair of a node's metadata.
    Meta { key: &'a str, value: &'a str },
    /// SOA of the domain, with its serial number.
    Authority { serial: u32 },
}

/// A record, of class IN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record<'a> {
    pub(super) owner: Host<'a>,
    pub(super) ttl: u32,
    pub(super) data: Data<'a>,
}

/// A record of the additional section, and the answer that it goes along with, if any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extra<'a> {
    pub(super) of: Option<usize>,
    pub(super) record: Record<'a>,
}

/// An answer before it is written.
#[derive(Clone, Debug)]
pub(super) struct Sections<'a> {
    pub(super) rcode: Rcode,
    pub(super) voice: Voice,
    pub(super) bound: Bound,
    pub(super) answer: Vec<Record<'a>>,
    pub(super) authority: Vec<Record<'a>>,
    pub(super) additional: Vec<Extra<'a>>,
}

/// On whose authority an answer is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Voice {
    /// The domain's own.
    Zone,
    /// Somebody else's, who was asked or should have been.
    Resolver,
}

/// What bounds an answer over UDP besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    /// The configured number of answers: services, whose instances are alike.
    Answers,
    /// Nothing: every record says something else.
    Bytes,
}

/// What resolving a registered host name brought.
#[derive(Clone, Debug, Default)]
pub(super) struct Chase {
    /// The name as registered.
    pub(super) host: String,
    /// Records that lead from it to addresses.
    pub(super) found: Vec<Chased>,
}

/// One record of a chase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chased {
    pub(super) owner: Wire,
    pub(super) ttl: u32,
    pub(super) data: ChasedData,
}

/// What a record of a chase says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ChasedData {
    /// A or AAAA.
    Ip(IpAddr),
    /// CNAME.
    Alias(Wire),
}

/// What is the same for every record of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The name asked for.
    pub(super) name: &'a Wire,
    /// The type asked for.
    pub(super) rtype: Rtype,
    /// The datacentre looked in.
    pub(super) datacenter: &'a str,
    /// Lifetime of the records, in seconds.
    pub(super) ttl: u32,
    /// Nodes with an address in one answer, 0 for no bound.
    pub(super) addresses_max: usize,
    /// Whether node metadata comes along.
    pub(super) meta: Meta,
    /// The domain's own record.
    pub(super) apex: Apex,
}

/// The start of authority: what differs from answer to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Apex {
    /// How long "there is no such name" may be kept, in seconds.
    pub(super) ttl: u32,
    /// Seconds since 1970: the zone may be another one every second.
    pub(super) serial: u32,
}

/// Whether node metadata comes along in the additional section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meta {
    /// Always.
    Along,
    /// Only when TXT records are asked for.
    IfAsked,
}

impl<'a> Sections<'a> {
    /// An answer without records.
    pub(super) fn empty(rcode: Rcode) -> Self {
        Self {
            rcode,
            voice: Voice::Zone,
            bound: Bound::Bytes,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }

    /// Nobody could be asked.
    pub(super) fn failure(voice: Voice) -> Self {
        Self { voice, ..Self::empty(Rcode::SERVFAIL) }
    }

    /// No records, and how long that may be remembered.
    pub(super) fn negative(rcode: Rcode, apex: Apex) -> Self {
        Self { authority: vec![Record::authority(apex)], ..Self::empty(rcode) }
    }

    fn along(&mut self, record: Record<'a>) {
        let of = self.answer.len().checked_sub(1);
        self.additional.push(Extra { of, record });
    }
}

impl<'a> Record<'a> {
    /// The start of authority, which goes where there is nothing else to say.
    pub(super) fn authority(apex: Apex) -> Self {
        let data = Data::Authority { serial: apex.serial };
        Self { owner: Host::Domain, ttl: apex.ttl, data }
    }

    fn chased(from: &'a Chased, ttl: u32) -> Self {
        let data = match &from.data {
            ChasedData::Ip(ip) => Data::Ip(*ip),
            ChasedData::Alias(to) => Data::Alias(Host::Wire(to)),
        };
        Self { owner: Host::Wire(&from.owner), ttl, data }
    }
}

/// Where an instance is to be found.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// At its node's address.
    Node(IpAddr),
    /// At an address of its own.
    Own(IpAddr),
    /// At a host name.
    Host(&'a str),
}

/// Finds where an instance is; `None` if nobody said.
fn place<'a>(instance: &'a Instance, asked: &Asked<'_>) -> Option<Place<'a>> {
    let (node, own) = (instance.node.address.as_str(), instance.service.address.as_str());
    let text = if own.is_empty() { node } else { own };
    if text.is_empty() {
        return None;
    }
    match text.parse() {
        Ok(ip) if own.is_empty() => Some(Place::Node(ip)),
        Ok(ip) => Some(Place::Own(ip)),
        // A service whose address is its own DNS name would lead in a circle.
        Err(_) => match node.parse() {
            Ok(ip) if is_asked(own, asked.name) => Some(Place::Node(ip)),
            Ok(_) | Err(_) => Some(Place::Host(text)),
        },
    }
}

/// Tells whether a registered host name is the name that was asked for.
fn is_asked(host: &str, asked: &Wire) -> bool {
    !host.is_empty()
        && host.parse::<Wire>().is_ok_and(|name| domain::base::name::ToName::name_eq(&name, asked))
}

/// Lists the host names that have to be resolved for the answer, each once.
pub(super) fn hosts_of_service<'a>(asked: &Asked<'_>, instances: &'a [Instance]) -> Vec<&'a str> {
    let places = || instances.iter().filter_map(|instance| place(instance, asked));
    let mut hosts = Vec::new();
    if asked.rtype == Rtype::SRV {
        for place in places() {
            if let Place::Host(host) = place
                && !hosts.contains(&host)
            {
                hosts.push(host);
            }
        }
        return hosts;
    }
    // One alias is all that an answer may hold, and none beside addresses.
    for place in places() {
        match place {
            Place::Node(ip) | Place::Own(ip) if wants(asked.rtype, ip) => return Vec::new(),
            Place::Node(_) | Place::Own(_) => {}
            Place::Host(host) if hosts.is_empty() => hosts.push(host),
            Place::Host(_) => {}
        }
    }
    hosts
}

/// Tells whether an address is of the kind asked for.
fn wants(rtype: Rtype, ip: IpAddr) -> bool {
    rtype == Rtype::ANY || rtype == if ip.is_ipv4() { Rtype::A } else { Rtype::AAAA }
}

/// Answers with the instances of a service in the order given.
pub(super) fn service<'a>(
    asked: &Asked<'a>,
    instances: &'a [Instance],
    chases: &'a [Chase],
) -> Sections<'a> {
    let mut sections = if instances.is_empty() {
        Sections::negative(Rcode::NXDOMAIN, asked.apex)
    } else if asked.rtype == Rtype::SRV {
        targets(asked, instances, chases)
    } else {
        addresses(asked, instances, chases)
    };
    sections.bound = Bound::Answers;
    if sections.answer.is_empty() && sections.authority.is_empty() {
        sections.authority.push(Record::authority(asked.apex));
    }
    sections
}

/// Answers with addresses, each once, or with one alias if there are none.
fn addresses<'a>(
    asked: &Asked<'a>,
    instances: &'a [Instance],
    chases: &'a [Chase],
) -> Sections<'a> {
    let mut sections = Sections::empty(Rcode::NOERROR);
    let mut seen = HashSet::with_capacity(instances.len());
    let mut alias = None;
    for instance in instances {
        match place(instance, asked) {
            Some(Place::Node(ip) | Place::Own(ip)) if wants(asked.rtype, ip) => {
                if seen.insert(ip) {
                    let record = Record { owner: Host::Asked, ttl: asked.ttl, data: Data::Ip(ip) };
                    sections.answer.push(record);
                }
                if sections.answer.len() == asked.addresses_max {
                    break;
                }
            }
            Some(Place::Host(host)) => alias = alias.or(Some(host)),
            Some(Place::Node(_) | Place::Own(_)) | None => {}
        }
    }
    if let (Some(host), true) = (alias, sections.answer.is_empty()) {
        let data = Data::Alias(Host::Registered(host));
        sections.answer.push(Record { owner: Host::Asked, ttl: asked.ttl, data });
        let found = found(chases, host).map(|chased| Record::chased(chased, asked.ttl));
        sections.answer.extend(found);
    }
    sections
}

/// Answers with SRV records, and with the addresses and metadata of their targets.
fn targets<'a>(asked: &Asked<'a>, instances: &'a [Instance], chases: &'a [Chase]) -> Sections<'a> {
    let (datacenter, ttl) = (asked.datacenter, asked.ttl);
    let mut sections = Sections::empty(Rcode::NOERROR);
    let mut seen = HashSet::with_capacity(instances.len());
    let mut placed = HashSet::with_capacity(instances.len());
    let mut described = HashSet::with_capacity(instances.len());
    for instance in instances {
        let (node, service) = (&*instance.node, &*instance.service);
        let Some(place) = place(instance, asked) else { continue };
        if !seen.insert((node.name.as_str(), service.address.as_str(), service.port)) {
            continue;
        }
        let target = match place {
            Place::Node(_) => Host::Node { name: &node.name, datacenter },
            Place::Own(ip) => Host::Address { ip, datacenter },
            Place::Host(host) => Host::Registered(host),
        };
        let data = Data::Srv { weight: weight(instance), port: service.port, target };
        sections.answer.push(Record { owner: Host::Asked, ttl, data });
        if placed.insert(target) {
            match place {
                Place::Node(ip) | Place::Own(ip) => {
                    sections.along(Record { owner: target, ttl, data: Data::Ip(ip) });
                }
                Place::Host(host) => {
                    for chased in found(chases, host) {
                        sections.along(Record::chased(chased, ttl));
                    }
                }
            }
        }
        if asked.meta == Meta::Along && described.insert(node.name.as_str()) {
            let owner = Host::Node { name: &node.name, datacenter };
            for (key, value) in &node.meta {
                sections.along(Record { owner, ttl, data: Data::Meta { key, value } });
            }
        }
    }
    sections
}

/// Finds what resolving a host name brought.
fn found<'a>(chases: &'a [Chase], host: &str) -> impl Iterator<Item = &'a Chased> {
    chases.iter().filter(move |chase| chase.host == host).flat_map(|chase| &chase.found)
}

/// Picks the weight of an instance by the worst of its checks.
fn weight(instance: &Instance) -> u16 {
    let weights = instance.service.weights;
    match instance.checks.iter().map(|check| check.status).max().unwrap_or(Status::Passing) {
        Status::Passing => weights.passing,
        Status::Warning => weights.warning,
        Status::Critical => 0,
    }
}

/// Names the host that has to be resolved for the answer, if any.
pub(super) fn host_of_node<'a>(asked: &Asked<'_>, node: &'a Node) -> Option<&'a str> {
    let address = node.address.as_str();
    let alias = asked.rtype != Rtype::TXT && !address.is_empty();
    (alias && address.parse::<IpAddr>().is_err()).then_some(address)
}

/// Answers with a node's address and metadata.
pub(super) fn node<'a>(
    asked: &Asked<'a>,
    found_node: Option<&'a NodeServices>,
    chases: &'a [Chase],
) -> Sections<'a> {
    let Some(NodeServices { node, .. }) = found_node else {
        return Sections::negative(Rcode::NXDOMAIN, asked.apex);
    };
    let mut sections = Sections::empty(Rcode::NOERROR);
    let (owner, ttl) = (Host::Asked, asked.ttl);
    if let Some(host) = host_of_node(asked, node) {
        let data = Data::Alias(Host::Registered(host));
        sections.answer.push(Record { owner, ttl, data });
        let found = found(chases, host).map(|chased| Record::chased(chased, chased.ttl));
        sections.answer.extend(found);
    } else if let Ok(ip) = node.address.parse()
        && wants(asked.rtype, ip)
    {
        sections.answer.push(Record { owner, ttl, data: Data::Ip(ip) });
    }
    for (key, value) in &node.meta {
        let record = Record { owner, ttl, data: Data::Meta { key, value } };
        if matches!(asked.rtype, Rtype::TXT | Rtype::ANY) {
            sections.answer.push(record);
        } else if asked.meta == Meta::Along {
            sections.additional.push(Extra { of: None, record });
        }
    }
    sections
}

/// Answers with the address that the name spells; along with nothing if another kind was asked for.
pub(super) fn address<'a>(asked: &Asked<'a>, ip: IpAddr) -> Sections<'a> {
    let mut sections = Sections::empty(Rcode::NOERROR);
    let record = Record { owner: Host::Asked, ttl: asked.ttl, data: Data::Ip(ip) };
    if wants(asked.rtype, ip) {
        sections.answer.push(record);
    } else {
        sections.additional.push(Extra { of: None, record });
    }
    sections
}

/// Answers who has an address.
pub(super) fn pointer<'a>(asked: &Asked<'a>, to: Host<'a>) -> Sections<'a> {
    let mut sections = Sections::empty(Rcode::NOERROR);
    let data = Data::Pointer(to);
    sections.answer.push(Record { owner: Host::Asked, ttl: asked.ttl, data });
    if asked.rtype == Rtype::SOA {
        sections.authority.push(Record::authority(asked.apex));
    }
    sections
}

/// Answers SOA and NS questions: the servers of the datacentre, in the order given.
pub(super) fn authority<'a>(asked: &Asked<'a>, servers: &'a [Instance]) -> Sections<'a> {
    let mut sections = Sections::empty(Rcode::NOERROR);
    let (datacenter, ttl) = (asked.datacenter, asked.ttl);
    let mut named = Vec::new();
    let usable = servers.iter().filter(|server| is_host_label(&server.node.name));
    for Instance { node, .. } in usable.take(NAME_SERVERS_MAX) {
        let host = Host::Server { name: &node.name, datacenter };
        named.push(Record { owner: Host::Domain, ttl, data: Data::NameServer(host) });
        if let Ok(ip) = node.address.parse() {
            let record = Record { owner: host, ttl, data: Data::Ip(ip) };
            sections.additional.push(Extra { of: None, record });
        }
    }
    if asked.rtype == Rtype::SOA {
        sections.answer.push(Record::authority(asked.apex));
        sections.authority = named;
    } else {
        sections.answer = named;
    }
    sections
}

/// Tells whether a node's name may be part of a name server's: letters, digits, hyphens.
fn is_host_label(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
