//! What a name asks for. Pure.

use domain::base::Rtype;
use domain::base::name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A name in wire form.
pub(super) type Wire = Name<Vec<u8>>;

/// The domains that are answered for.
#[derive(Clone, Debug)]
pub(super) struct Zones {
    /// The domain, `consul.`; answers speak of nothing else.
    pub(super) domain: Wire,
    /// A second domain that questions may use.
    pub(super) alternative: Option<Wire>,
}

/// What a name asks for. Texts are in lower case; an empty datacentre is the agent's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Lookup {
    /// Instances of a service, with a tag unless it is empty.
    Service { name: String, tag: String, datacenter: String },
    /// A prepared query.
    Query { name: String, datacenter: String },
    /// A node.
    Node { name: String, datacenter: String },
    /// An address that the name itself spells.
    Address(IpAddr),
    /// A spelt address of a length that no address has: the name is there, and has no data.
    Nothing,
    /// A name under the domain that can never be.
    Missing,
    /// Who has an address; `None` for names under `arpa.` that are no address.
    Reverse(Option<IpAddr>),
    /// A name outside all that is answered for.
    Foreign,
}

impl Zones {
    /// Tells whether a name is the domain, the alternative domain, or below one of them.
    pub(super) fn hold(&self, name: &Wire) -> bool {
        self.depth(name).is_some()
    }

    /// Counts the labels of the domain that a name is in, the root's included.
    fn depth(&self, name: &Wire) -> Option<usize> {
        [Some(&self.domain), self.alternative.as_ref()]
            .into_iter()
            .flatten()
            .find(|zone| name.ends_with(zone))
            .map(Name::label_count)
    }

    /// Finds what a name asks for when it is asked for records of a type.
    pub(super) fn find(&self, name: &Wire, rtype: Rtype) -> Lookup {
        let labels: Vec<&[u8]> = name.iter().map(|label| label.as_slice()).collect();
        match self.depth(name) {
            Some(depth) => inside(&labels[..labels.len() - depth], rtype),
            None => match labels.as_slice() {
                [rest @ .., top, _root] if top.eq_ignore_ascii_case(b"arpa") => {
                    Lookup::Reverse(reverse(rest))
                }
                _ => Lookup::Foreign,
            },
        }
    }
}

/// Finds what the labels in front of the domain ask for: the rightmost keyword decides.
fn inside(labels: &[&[u8]], rtype: Rtype) -> Lookup {
    for (at, label) in labels.iter().enumerate().rev() {
        let (before, after) = (&labels[..at], &labels[at + 1..]);
        if label.eq_ignore_ascii_case(b"service") {
            return service(before, after);
        }
        if label.eq_ignore_ascii_case(b"node") {
            return named(before, after, |name, datacenter| Lookup::Node { name, datacenter });
        }
        if label.eq_ignore_ascii_case(b"query") {
            return named(before, after, |name, datacenter| Lookup::Query { name, datacenter });
        }
        if label.eq_ignore_ascii_case(b"addr") {
            return address(before);
        }
        if [b"connect".as_slice(), b"ingress"].iter().any(|kind| label.eq_ignore_ascii_case(kind)) {
            return Lookup::Missing;
        }
        // The keyword is optional in SRV questions of RFC 2782 form.
        if rtype == Rtype::SRV && label.starts_with(b"_") {
            return service(&labels[..=at], after);
        }
    }
    Lookup::Missing
}

/// Reads `[tag.]name` or `_name._tag` before the keyword and the datacentre after it.
fn service(before: &[&[u8]], after: &[&[u8]]) -> Lookup {
    let Some(datacenter) = datacenter(after) else {
        return Lookup::Missing;
    };
    match before {
        [] => Lookup::Missing,
        [[b'_', name @ ..], [b'_', tag @ ..]] => {
            let tag = if tag.eq_ignore_ascii_case(b"tcp") { &[] } else { tag };
            Lookup::Service { name: text(&[name]), tag: text(&[tag]), datacenter }
        }
        [tag @ .., name] => Lookup::Service { name: text(&[name]), tag: text(tag), datacenter },
    }
}

/// Reads the name of a node or a prepared query, which may hold dots, and the datacentre.
fn named(
    before: &[&[u8]],
    after: &[&[u8]],
    lookup: fn(name: String, datacenter: String) -> Lookup,
) -> Lookup {
    match (before, datacenter(after)) {
        ([], _) | (_, None) => Lookup::Missing,
        (name, Some(datacenter)) => lookup(text(name), datacenter),
    }
}

/// Reads the address that SRV targets spell: 8 or 32 hexadecimal digits.
fn address(before: &[&[u8]]) -> Lookup {
    let [digits] = before else {
        return Lookup::Missing;
    };
    let number = || {
        let all = digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).ok().filter(|_| all)?;
        u128::from_str_radix(text, 16).ok()
    };
    match digits.len() {
        8 => number().map_or(Lookup::Missing, |bits| {
            let bits = u32::try_from(bits).expect("eight hexadecimal digits are 32 bits");
            Lookup::Address(IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }),
        32 => number()
            .map_or(Lookup::Missing, |bits| Lookup::Address(IpAddr::V6(Ipv6Addr::from_bits(bits)))),
        _ => Lookup::Nothing,
    }
}

/// Reads the labels in front of `arpa` as RFC 1035 §3.5 and RFC 3596 §2.5 lay addresses out.
fn reverse(labels: &[&[u8]]) -> Option<IpAddr> {
    let (kind, digits) = labels.split_last()?;
    if kind.eq_ignore_ascii_case(b"in-addr") && digits.len() == 4 {
        let mut octets = [0; 4];
        for (octet, label) in octets.iter_mut().rev().zip(digits) {
            *octet = std::str::from_utf8(label).ok()?.parse().ok()?;
        }
        return Some(IpAddr::from(octets));
    }
    if kind.eq_ignore_ascii_case(b"ip6") && digits.len() == 32 {
        let mut bits = 0u128;
        for label in digits.iter().rev() {
            let [digit] = label else {
                return None;
            };
            bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
        }
        return Some(IpAddr::V6(Ipv6Addr::from_bits(bits)));
    }
    None
}

/// Reads what follows the keyword: nothing, or a datacentre.
fn datacenter(after: &[&[u8]]) -> Option<String> {
    match after {
        [] => Some(String::new()),
        [name] => Some(text(&[name])),
        _ => None,
    }
}

/// Joins labels with dots, in lower case. Bytes that are no text match nothing.
fn text(labels: &[&[u8]]) -> String {
    let mut bytes = labels.join(&b'.');
    bytes.make_ascii_lowercase();
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zones() -> Zones {
        Zones {
            domain: "consul.".parse().unwrap(),
            alternative: Some("edge.example.".parse().unwrap()),
        }
    }

    fn find(name: &str, rtype: Rtype) -> Lookup {
        zones().find(&name.parse().unwrap(), rtype)
    }

    fn a_service(name: &str, tag: &str, datacenter: &str) -> Lookup {
        let (name, tag, datacenter) = (name.into(), tag.into(), datacenter.into());
        Lookup::Service { name, tag, datacenter }
    }

    fn a_query(name: &str, datacenter: &str) -> Lookup {
        Lookup::Query { name: name.into(), datacenter: datacenter.into() }
    }

    fn a_node(name: &str, datacenter: &str) -> Lookup {
        Lookup::Node { name: name.into(), datacenter: datacenter.into() }
    }

    #[test]
    fn services_take_tags_datacentres_and_the_form_of_rfc_2782() {
        for (name, rtype, found) in [
            ("web.service.consul", Rtype::A, a_service("web", "", "")),
            ("WEB.Service.dc1.CONSUL", Rtype::A, a_service("web", "", "dc1")),
            ("v1.2.web.service.consul", Rtype::A, a_service("web", "v1.2", "")),
            ("_web._tcp.service.consul", Rtype::SRV, a_service("web", "", "")),
            ("_web._v1.service.dc2.consul", Rtype::A, a_service("web", "v1", "dc2")),
            ("_web._tcp.dc1.consul", Rtype::SRV, a_service("web", "", "dc1")),
            ("_web._tcp.consul", Rtype::SRV, a_service("web", "", "")),
            ("_web._tcp.consul", Rtype::A, Lookup::Missing),
            ("_a._b.web.service.consul", Rtype::SRV, a_service("web", "_a._b", "")),
            ("web.service.edge.example", Rtype::A, a_service("web", "", "")),
            ("web.service.a.b.consul", Rtype::A, Lookup::Missing),
            ("service.consul", Rtype::A, Lookup::Missing),
            ("consul", Rtype::A, Lookup::Missing),
            ("web.connect.consul", Rtype::A, Lookup::Missing),
            ("a.Web.query.dc1.consul", Rtype::SRV, a_query("a.web", "dc1")),
            ("query.consul", Rtype::A, Lookup::Missing),
            ("x.connect.web.service.consul", Rtype::A, a_service("web", "x.connect", "")),
        ] {
            assert_eq!(find(name, rtype), found, "{name}");
        }
    }

    #[test]
    fn nodes_may_hold_dots_and_addresses_are_spelt() {
        let v6 = "0001:203:405:607:809:a0b:c0d:e0f".parse().unwrap();
        for (name, found) in [
            ("n1.node.consul", a_node("n1", "")),
            ("a.b.node.dc1.consul", a_node("a.b", "dc1")),
            ("node.consul", Lookup::Missing),
            ("n1.node.x.y.consul", Lookup::Missing),
            ("7F00000e.addr.dc1.consul", Lookup::Address([127, 0, 0, 14].into())),
            ("7f00001.addr.consul", Lookup::Nothing),
            ("zf000001.addr.consul", Lookup::Missing),
            ("+f000001.addr.consul", Lookup::Missing),
            ("a.7f000001.addr.consul", Lookup::Missing),
            ("000102030405060708090a0b0c0d0e0f.addr.consul", Lookup::Address(v6)),
        ] {
            assert_eq!(find(name, Rtype::A), found, "{name}");
        }
    }

    #[test]
    fn reverse_names_are_addresses_or_somebody_elses() {
        for (name, found) in [
            ("14.0.0.127.in-addr.arpa", Some([127, 0, 0, 14].into())),
            ("0.0.127.IN-ADDR.ARPA", None),
            ("x.0.0.127.in-addr.arpa", None),
            ("300.0.0.127.in-addr.arpa", None),
            ("arpa", None),
        ] {
            assert_eq!(find(name, Rtype::PTR), Lookup::Reverse(found), "{name}");
        }
        let v6 = Wire::reverse_from_addr("fd00::1".parse().unwrap()).unwrap();
        let found = Lookup::Reverse("fd00::1".parse().ok());
        assert_eq!(zones().find(&v6, Rtype::PTR), found);
        for name in ["example.com", ".", "notconsul", "consul.example"] {
            assert_eq!(find(name, Rtype::A), Lookup::Foreign, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_labels_find_something(labels in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    b"service".to_vec(), b"node".to_vec(), b"addr".to_vec(), b"arpa".to_vec(),
                    b"ip6".to_vec(), b"in-addr".to_vec(), b"_tcp".to_vec(), b"7f000001".to_vec(),
                ]),
                prop::collection::vec(any::<u8>(), 1..12),
            ], 0..12), inside in any::<bool>(), srv in any::<bool>()
        ) {
            let mut wire = Vec::new();
            let end: &[&[u8]] = if inside { &[b"consul"] } else { &[] };
            for label in labels.iter().map(Vec::as_slice).chain(end.iter().copied()) {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend(label);
            }
            wire.push(0);
            let name = Name::from_octets(wire).unwrap();
            let found = zones().find(&name, if srv { Rtype::SRV } else { Rtype::A });
            let foreign = matches!(found, Lookup::Foreign | Lookup::Reverse(_));
            prop_assert_eq!(foreign, !inside);
        }
    }
}
