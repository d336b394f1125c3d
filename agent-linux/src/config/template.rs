//! Addresses that are found on the host: go-sockaddr templates and the default to advertise.
//!
//! A template is `{{ source | filter .. | output }}`, for instance `{{ GetPrivateIP }}`,
//! `{{ GetInterfaceIP "eth0" }}` or `{{ GetAllInterfaces | include "network" "10.0.0.0/8" |
//! attr "address" }}`. Text around the braces is kept.
//!
//! Source: <https://pkg.go.dev/github.com/hashicorp/go-sockaddr/template>.

use std::net::{IpAddr, Ipv4Addr};

use super::cidr::Cidr;

/// One address of one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Interface {
    /// Name, such as `eth0`.
    pub(super) name: String,
    /// The address.
    pub(super) address: IpAddr,
    /// Whether the interface is up.
    pub(super) up: bool,
}

/// Networks that are not reachable from the Internet (RFC 6890), loopback left out.
const PRIVATE: [&str; 13] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// Lists the host's addresses, in the kernel's order.
///
/// # Errors
///
/// The system's error if it cannot tell them.
pub(super) fn host_interfaces() -> std::io::Result<Vec<Interface>> {
    let found = if_addrs::get_if_addrs()?;
    let interface = |i: if_addrs::Interface| Interface {
        up: i.is_oper_up() || i.is_loopback(),
        address: i.ip(),
        name: i.name,
    };
    Ok(found.into_iter().map(interface).collect())
}

/// Finds the first IPv4 address of an interface.
///
/// # Errors
///
/// The system's error if it cannot tell addresses.
pub fn interface_ipv4(name: &str) -> std::io::Result<Option<String>> {
    let host = host_interfaces()?;
    let found = host.iter().find(|i| i.name == name && i.address.is_ipv4());
    Ok(found.map(|i| i.address.to_string()))
}

/// Tells whether an address is private as Consul sees it.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => PRIVATE
            .iter()
            .any(|net| Cidr::parse(net).expect("the table holds networks").contains(address)),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xfe00) == 0xfc00,
    }
}

/// Tells whether an address can be reached from the Internet.
fn is_public(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(v4) => v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unspecified() || (v6.segments()[0] & 0xffc0) == 0xfe80,
    };
    !local && !address.is_loopback() && !is_private(address)
}

/// Finds the address to advertise for a wildcard `bind`.
///
/// # Errors
///
/// Consul's text if there is none or more than one.
pub(super) fn advertised(bind: IpAddr, host: &[Interface]) -> Result<IpAddr, String> {
    let (kind, mut found): (_, Vec<IpAddr>) = if bind.is_ipv4() {
        let of = |i: &Interface| i.address.is_ipv4() && is_private(i.address);
        ("private IPv4", host.iter().filter(|i| of(i)).map(|i| i.address).collect())
    } else {
        let of = |i: &Interface| i.address.is_ipv6() && is_public(i.address);
        ("public IPv6", host.iter().filter(|i| of(i)).map(|i| i.address).collect())
    };
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(format!(
            "Multiple {kind} addresses found. Please configure one with 'bind' and/or 'advertise'."
        )),
        (None, _) => Err(format!("No {kind} address found")),
    }
}

/// Replaces each template in `text` by what it finds.
///
/// # Errors
///
/// A text that names the part that is not understood.
pub(super) fn expand(text: &str, host: &[Interface]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) =
            after.split_once("}}").ok_or_else(|| format!("unclosed template in {text:?}"))?;
        out.push_str(before);
        out.push_str(&pipeline(inside, host)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Evaluates what stands between the braces.
fn pipeline(text: &str, host: &[Interface]) -> Result<String, String> {
    let mut stages = text.split('|').map(words);
    let source = stages.next().unwrap_or_default();
    let source: Vec<&str> = source.iter().map(String::as_str).collect();
    let mut found: Vec<Interface> = match source.as_slice() {
        ["GetInterfaceIP" | "GetInterfaceIPs", name] => {
            host.iter().filter(|i| i.name == *name).cloned().collect()
        }
        ["GetPrivateIP" | "GetPrivateIPs"] => {
            let of = |i: &&Interface| i.address.is_ipv4() && is_private(i.address);
            host.iter().filter(of).cloned().collect()
        }
        ["GetPrivateInterfaces"] => {
            host.iter().filter(|i| is_private(i.address)).cloned().collect()
        }
        ["GetPublicIP" | "GetPublicIPs" | "GetPublicInterfaces"] => {
            host.iter().filter(|i| is_public(i.address)).cloned().collect()
        }
        ["GetAllInterfaces"] => host.to_vec(),
        _ => return Err(format!("unknown address template {:?}", text.trim())),
    };
    let mut output = match source[0] {
        "GetInterfaceIP" | "GetPrivateIP" | "GetPublicIP" => Some(Output::First),
        "GetInterfaceIPs" | "GetPrivateIPs" | "GetPublicIPs" => Some(Output::All(" ".to_owned())),
        _ => None,
    };
    for stage in stages {
        let stage: Vec<&str> = stage.iter().map(String::as_str).collect();
        match stage.as_slice() {
            ["include", by, want] => found = filtered(found, by, want, Keep::Matching)?,
            ["exclude", by, want] => found = filtered(found, by, want, Keep::Others)?,
            ["sort", by] => sort(&mut found, by)?,
            ["limit", count] => {
                found.truncate(count.parse().map_err(|_| format!("bad limit {count:?}"))?);
            }
            ["attr", "address"] => output = Some(Output::First),
            ["join", "address", between] => output = Some(Output::All((*between).to_owned())),
            _ => return Err(format!("unknown step {:?} in address template", stage.join(" "))),
        }
    }
    match output {
        Some(Output::First) => Ok(found.first().map_or(String::new(), |i| i.address.to_string())),
        Some(Output::All(between)) => {
            let all: Vec<String> = found.iter().map(|i| i.address.to_string()).collect();
            Ok(all.join(&between))
        }
        None => Err(format!("address template {:?} ends without 'attr' or 'join'", text.trim())),
    }
}

/// What a template writes.
enum Output {
    First,
    All(String),
}

/// Which interfaces a filter keeps.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Matching,
    Others,
}

/// Filters by one attribute.
fn filtered(
    found: Vec<Interface>,
    by: &str,
    want: &str,
    keep: Keep,
) -> Result<Vec<Interface>, String> {
    let matches: Box<dyn Fn(&Interface) -> bool> = match by {
        "name" => {
            let pattern = regex_lite::Regex::new(want).map_err(|e| e.to_string())?;
            Box::new(move |i| pattern.is_match(&i.name))
        }
        "address" => {
            let pattern = regex_lite::Regex::new(want).map_err(|e| e.to_string())?;
            Box::new(move |i| pattern.is_match(&i.address.to_string()))
        }
        "network" => {
            let net = Cidr::parse(want).ok_or_else(|| format!("invalid network {want:?}"))?;
            Box::new(move |i| net.contains(i.address))
        }
        "type" => {
            let want = want.to_ascii_lowercase();
            Box::new(move |i| match want.as_str() {
                "ipv4" => i.address.is_ipv4(),
                "ipv6" => i.address.is_ipv6(),
                _ => want == "ip",
            })
        }
        "flags" | "flag" => {
            let want = want.to_ascii_lowercase();
            Box::new(move |i| has_flags(i, &want))
        }
        "rfc" if matches!(want, "1918" | "6890") => Box::new(|i| is_private(i.address)),
        _ => return Err(format!("unknown filter {by:?} in address template")),
    };
    Ok(found.into_iter().filter(|i| matches(i) == (keep == Keep::Matching)).collect())
}

/// Tells whether an interface has all of the named flags.
fn has_flags(interface: &Interface, flags: &str) -> bool {
    flags.split('|').all(|flag| match flag {
        "up" => interface.up,
        "down" => !interface.up,
        "loopback" => interface.address.is_loopback(),
        "forwardable" => !matches!(interface.address, IpAddr::V4(v4) if unroutable(v4)),
        _ => false,
    })
}

/// Tells whether routers drop packets to an address.
fn unroutable(v4: Ipv4Addr) -> bool {
    v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()
}

/// Sorts by one attribute; a leading `-` reverses.
fn sort(found: &mut [Interface], by: &str) -> Result<(), String> {
    match by.trim_start_matches(['-', '+']) {
        "address" => found.sort_by_key(|i| i.address),
        "name" => found.sort_by(|a, b| a.name.cmp(&b.name)),
        "type" => found.sort_by_key(|i| i.address.is_ipv6()),
        "default" | "private" | "size" => {}
        _ => return Err(format!("unknown order {by:?} in address template")),
    }
    if by.starts_with('-') {
        found.reverse();
    }
    Ok(())
}

/// Splits one stage into words; quotes (`"..."` or backquotes) hold a word together.
fn words(stage: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = stage.trim();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '`' => rest[1..].split_once(first).unwrap_or((&rest[1..], "")),
            _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        out.push(word.to_owned());
        rest = after.trim_start();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<Interface> {
        [("lo", "127.0.0.1"), ("eth0", "10.1.2.3"), ("eth0", "2001:db9::1"), ("eth1", "8.8.4.4")]
            .map(|(name, address)| Interface {
                name: name.to_owned(),
                address: address.parse().unwrap(),
                up: true,
            })
            .to_vec()
    }

    #[test]
    fn templates_find_addresses() {
        for (text, want) in [
            ("1.2.3.4", "1.2.3.4"),
            (r#"{{ GetInterfaceIP "eth0" }}"#, "10.1.2.3"),
            (r#"{{ GetInterfaceIP "eth9" }}"#, ""),
            ("{{ GetPrivateIP }}", "10.1.2.3"),
            ("{{GetPublicIP}}", "2001:db9::1"),
            (r#"{{ GetInterfaceIPs "eth0" }} 127.0.0.1"#, "10.1.2.3 2001:db9::1 127.0.0.1"),
            (
                r#"{{ GetAllInterfaces | include "network" "10.0.0.0/8" | attr "address" }}"#,
                "10.1.2.3",
            ),
            (
                r#"{{GetAllInterfaces | exclude "name" "lo" | sort "-address" | limit 1
                    | join "address" " "}}"#,
                "2001:db9::1",
            ),
        ] {
            assert_eq!(expand(text, &host()).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_template_that_is_not_understood_is_refused() {
        for text in ["{{ Foo }}", "{{ GetPrivateIP", "{{ GetAllInterfaces }}", "{{}}"] {
            assert!(expand(text, &host()).is_err(), "{text}");
        }
    }

    #[test]
    fn one_private_address_is_advertised_and_more_are_a_fault() {
        let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        assert_eq!(advertised(any, &host()), Ok("10.1.2.3".parse().unwrap()));
        let fault = advertised(any, &[]).unwrap_err();
        assert_eq!(fault, "No private IPv4 address found");
        let mut two = host();
        two.push(Interface { address: "192.168.0.1".parse().unwrap(), ..two[1].clone() });
        assert!(advertised(any, &two).unwrap_err().starts_with("Multiple private IPv4"));
    }
}
