//! What one instance is told: `name=value` words, so that one image serves many boards.
//!
//! ```text
//! name=N               node name, required
//! address=A/P|dhcp     own address and prefix, required
//! peer=A[:P]           a member to join by, required, up to four; port 8301
//! dc=D                 datacentre; dc1
//! gateway=A            router, with a static address; none
//! generation=G         the higher, the later the start; the host's time of day
//! key=K                gossip key in base64, as Consul's `encrypt`; none, a plain pool
//! server=A:P           a server's RPC address; those that gossip tells
//! service=N:P          a service to register; none
//! tcp=A:P              a TCP check; none
//! kv=K                 a key whose value is printed; none
//! lookup=S             a service whose instances are printed; none
//! ```

use agent_core::gossip::seal::Key;
use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::str::FromStr;
use heapless::Vec;

/// Most members to join by.
pub const PEERS_MAX: usize = 4;

/// Longest name of a node, datacentre, service or key, in bytes: each has to fit a registration.
pub const NAME_BYTES_MAX: usize = 64;

/// The gossip port unless another is given.
const GOSSIP_PORT: u16 = 8301;

/// What one instance is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arguments<'a> {
    /// The node's name.
    pub name: &'a str,
    /// The datacentre.
    pub dc: &'a str,
    /// Own address and prefix length; none for DHCP.
    pub address: Option<(Ipv4Addr, u8)>,
    /// The router.
    pub gateway: Option<Ipv4Addr>,
    /// Members to join by; at least one.
    pub peers: Vec<SocketAddrV4, PEERS_MAX>,
    /// The higher, the later the start.
    pub generation: Option<u32>,
    /// The key that seals gossip.
    pub key: Option<Key>,
    /// Where a server takes requests.
    pub server: Option<SocketAddrV4>,
    /// Name and port of a service.
    pub service: Option<(&'a str, u16)>,
    /// What a TCP check connects to.
    pub tcp: Option<SocketAddrV4>,
    /// A key to read.
    pub kv: Option<&'a str>,
    /// A service to look up.
    pub lookup: Option<&'a str>,
}

/// Why arguments were refused; each names the argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error<'a> {
    /// A required argument is not there.
    Missing(&'static str),
    /// A value is not of its argument's form.
    Malformed(&'a str),
    /// There is no such argument.
    Unknown(&'a str),
    /// An argument is given more often than it may be.
    TooMany(&'static str),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "argument {name} is missing"),
            Self::Malformed(word) => write!(f, "argument {word} is malformed"),
            Self::Unknown(word) => write!(f, "argument {word} is unknown"),
            Self::TooMany(name) => write!(f, "argument {name} is given too often"),
        }
    }
}

impl core::error::Error for Error<'_> {}

/// Values as they come, before the required ones are asked for.
#[derive(Default)]
struct Draft<'a> {
    name: Option<&'a str>,
    dc: Option<&'a str>,
    address: Option<Option<(Ipv4Addr, u8)>>,
    gateway: Option<Ipv4Addr>,
    peers: Vec<SocketAddrV4, PEERS_MAX>,
    generation: Option<u32>,
    key: Option<Key>,
    server: Option<SocketAddrV4>,
    service: Option<(&'a str, u16)>,
    tcp: Option<SocketAddrV4>,
    kv: Option<&'a str>,
    lookup: Option<&'a str>,
}

impl<'a> Arguments<'a> {
    /// Parses words that are separated by blanks.
    ///
    /// # Errors
    ///
    /// Every [`Error`].
    pub fn parse(text: &'a str) -> Result<Self, Error<'a>> {
        let mut draft = Draft::default();
        for word in text.split_ascii_whitespace() {
            draft.take(word)?;
        }
        if draft.peers.is_empty() {
            draft.name.ok_or(Error::Missing("name"))?;
            draft.address.ok_or(Error::Missing("address"))?;
            return Err(Error::Missing("peer"));
        }
        Ok(Self {
            name: draft.name.ok_or(Error::Missing("name"))?,
            dc: draft.dc.unwrap_or("dc1"),
            address: draft.address.ok_or(Error::Missing("address"))?,
            gateway: draft.gateway,
            peers: draft.peers,
            generation: draft.generation,
            key: draft.key,
            server: draft.server,
            service: draft.service,
            tcp: draft.tcp,
            kv: draft.kv,
            lookup: draft.lookup,
        })
    }
}

impl<'a> Draft<'a> {
    fn take(&mut self, word: &'a str) -> Result<(), Error<'a>> {
        let malformed = Error::Malformed(word);
        let (name, value) = word.split_once('=').ok_or(Error::Unknown(word))?;
        match name {
            "name" => once("name", &mut self.name, label(value).ok_or(malformed)?),
            "dc" => once("dc", &mut self.dc, label(value).ok_or(malformed)?),
            "address" if value == "dhcp" => once("address", &mut self.address, None),
            "address" => {
                let address = network(value).ok_or(malformed)?;
                once("address", &mut self.address, Some(address))
            }
            "gateway" => once("gateway", &mut self.gateway, number(value).ok_or(malformed)?),
            "peer" => {
                let peer = endpoint(value, Some(GOSSIP_PORT)).ok_or(malformed)?;
                self.peers.push(peer).map_err(|_| Error::TooMany("peer"))
            }
            "generation" => {
                once("generation", &mut self.generation, number(value).ok_or(malformed)?)
            }
            "key" => once("key", &mut self.key, Key::parse(value).map_err(|_| malformed)?),
            "server" => once("server", &mut self.server, endpoint(value, None).ok_or(malformed)?),
            "service" => {
                let (name, port) = value.rsplit_once(':').ok_or(malformed)?;
                let service = label(name).zip(number(port)).ok_or(malformed)?;
                once("service", &mut self.service, service)
            }
            "tcp" => once("tcp", &mut self.tcp, endpoint(value, None).ok_or(malformed)?),
            "kv" => once("kv", &mut self.kv, key(value).ok_or(malformed)?),
            "lookup" => once("lookup", &mut self.lookup, label(value).ok_or(malformed)?),
            _ => Err(Error::Unknown(word)),
        }
    }
}

/// Sets a value that was not set before.
fn once<'a, T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), Error<'a>> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::TooMany(name)),
    }
}

/// A name that DNS can carry.
fn label(value: &str) -> Option<&str> {
    let fits = (1..=NAME_BYTES_MAX - 1).contains(&value.len());
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (fits && plain).then_some(value)
}

fn key(value: &str) -> Option<&str> {
    let fits = (1..=NAME_BYTES_MAX).contains(&value.len());
    (fits && value.bytes().all(|byte| byte.is_ascii_graphic())).then_some(value)
}

fn number<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

/// A host's address with the length of its network's prefix.
fn network(value: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = value.split_once('/')?;
    let (address, prefix): (Ipv4Addr, u8) = (number(address)?, number(prefix)?);
    let host = !(address.is_unspecified() || address.is_multicast() || address.is_broadcast());
    (host && prefix <= 32).then_some((address, prefix))
}

/// Address and port; the port may be left out if there is a usual one.
fn endpoint(value: &str, port: Option<u16>) -> Option<SocketAddrV4> {
    let found = match (value.contains(':'), port) {
        (true, _) => number::<SocketAddrV4>(value)?,
        (false, Some(port)) => SocketAddrV4::new(number(value)?, port),
        (false, None) => return None,
    };
    (found.port() != 0 && !found.ip().is_unspecified()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const ENOUGH: &str = "name=thermo address=10.0.0.9/24 peer=10.0.0.1";

    #[test]
    fn defaults_are_consuls() {
        let arguments = Arguments::parse(ENOUGH).expect("enough");
        assert_eq!(arguments.name, "thermo");
        assert_eq!(arguments.dc, "dc1");
        assert_eq!(arguments.address, Some((Ipv4Addr::new(10, 0, 0, 9), 24)));
        assert_eq!(arguments.peers, [SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 8301)]);
    }

    #[test]
    fn everything_can_be_said() {
        let text = "name=a dc=lab address=dhcp gateway=10.0.0.254 peer=10.0.0.1:9301 \
                    peer=10.0.0.2 generation=7 key=MDEyMzQ1Njc4OWFiY2RlZg== \
                    server=10.0.0.1:8300 service=web:80 tcp=10.0.0.3:22 kv=a/b lookup=db";
        let arguments = Arguments::parse(text).expect("all known");
        assert_eq!(arguments.address, None);
        assert_eq!(arguments.peers.len(), 2);
        assert_eq!(arguments.peers[0].port(), 9301);
        assert_eq!(arguments.service, Some(("web", 80)));
        assert_eq!(arguments.generation, Some(7));
        assert_eq!(arguments.key, Key::new(b"0123456789abcdef").ok());
        assert_eq!(arguments.server.map(|server| server.port()), Some(8300));
        assert_eq!((arguments.kv, arguments.lookup), (Some("a/b"), Some("db")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let refusal = |text| Arguments::parse(text).expect_err("not enough").to_string();
        assert_eq!(refusal(""), "argument name is missing");
        assert_eq!(refusal("name=a"), "argument address is missing");
        assert_eq!(refusal("name=a address=dhcp"), "argument peer is missing");
        assert_eq!(refusal("address=dhcp peer=10.0.0.1"), "argument name is missing");
        assert_eq!(refusal("name=a peer=10.0.0.1"), "argument address is missing");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |word: &str| {
            let text = std::format!("{ENOUGH} {word}");
            Arguments::parse(&text).expect_err("wrong").to_string()
        };
        assert_eq!(with("flash"), "argument flash is unknown");
        assert_eq!(with("flash=1"), "argument flash=1 is unknown");
        assert_eq!(with("name=b"), "argument name is given too often");
        assert_eq!(with("dc=a.b"), "argument dc=a.b is malformed");
        for word in [
            "dc=",
            "gateway=10.0.0",
            "peer=host",
            "peer=10.0.0.1:0",
            "generation=-1",
            "key=",
            "key=MDEyMzQ1Njc4OWFiY2RlZg=",
            "key=MDEyMzQ1Njc4OWFiY2RlZg",
            "key=MDEyMzQ1Njc4OWFiY2Rl",
            "key=MDEyMzQ1Njc4OWFiY2RlZ!==",
            "server=10.0.0.1",
            "service=a",
            "service=:1",
            "tcp=10.0.0.1",
            "kv=",
            "lookup=a_b",
        ] {
            assert_eq!(with(word), std::format!("argument {word} is malformed"));
        }
        let peers =
            std::format!("{ENOUGH} peer=10.0.0.2 peer=10.0.0.3 peer=10.0.0.4 peer=10.0.0.5");
        assert_eq!(Arguments::parse(&peers), Err(Error::TooMany("peer")));
        for address in ["10.0.0.9", "10.0.0.9/33", "0.0.0.0/8", "224.0.0.1/4", "x/8"] {
            let text = std::format!("name=a peer=10.0.0.1 address={address}");
            let refused = Arguments::parse(&text).expect_err("no host's address").to_string();
            assert_eq!(refused, std::format!("argument address={address} is malformed"));
        }
    }

    #[test]
    fn whatever_is_said_nothing_panics() {
        const WORDS: [&str; 18] = [
            "name=",
            "address=",
            "dhcp",
            "peer=",
            "dc=",
            "gateway=",
            "key=",
            "server=",
            "service=",
            "10.0.0.1",
            "/24",
            ":8300",
            ":",
            " ",
            "=",
            "MDEyMzQ1Njc4OWFiY2RlZg==",
            "a",
            "\u{e9}",
        ];
        let mut dice = agent_core::rand::Rng::new(1);
        let mut refused = 0;
        for _ in 0..50_000 {
            let count = dice.below(16);
            let text: std::string::String =
                (0..count).map(|_| WORDS[dice.below(WORDS.len() as u64) as usize]).collect();
            if let Err(error) = Arguments::parse(&text) {
                assert!(error.to_string().starts_with("argument "));
                refused += 1;
            }
        }
        assert!(refused > 0);
    }
}
