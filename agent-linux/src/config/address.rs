//! The addresses that the agent binds to and tells others: templates, defaults, wildcards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::layer::Error;
use super::reader::Reader;
use super::runtime::Listen;
use super::template::{self, Interface};

/// Addresses that follow from the settings and the host.
pub(super) struct Addresses {
    pub(super) bind: IpAddr,
    pub(super) serf_lan_bind: IpAddr,
    pub(super) advertise: IpAddr,
    pub(super) advertise_wan: IpAddr,
    pub(super) client: Vec<IpAddr>,
}

impl Addresses {
    /// Finds all of them.
    pub(super) fn find(reader: &Reader<'_>, host: &[Interface]) -> Result<Self, Error> {
        let bind = bind(reader, host)?;
        let serf_lan_bind = one_ip(reader, "serf_lan", host)?.unwrap_or(bind);
        let advertise = advertise(reader, host, bind)?;
        let advertise_wan = one_ip(reader, "advertise_addr_wan", host)?.unwrap_or(advertise);
        if advertise_wan.is_unspecified() {
            return Err(reader.fault("advertise_addr_wan", "cannot be 0.0.0.0, :: or [::]"));
        }
        let client = match reader.some_text("client_addr") {
            Some(_) => ips(reader, "client_addr", host)?,
            None => vec![Ipv4Addr::LOCALHOST.into()],
        };
        Ok(Self { bind, serf_lan_bind, advertise, advertise_wan, client })
    }

    /// Finds where an edge listens: its own addresses, or the client addresses.
    pub(super) fn listen(
        &self,
        reader: &Reader<'_>,
        key: &'static str,
        port: Option<u16>,
        host: &[Interface],
    ) -> Result<Vec<Listen>, Error> {
        let tcp = |ip: &IpAddr| port.map(|port| Listen::Tcp(SocketAddr::new(*ip, port)));
        if reader.some_text(key).is_none() {
            return Ok(self.client.iter().filter_map(tcp).collect());
        }
        let mut found = Vec::new();
        for word in words(reader, key, host)? {
            match word.strip_prefix("unix://") {
                Some(path) => found.push(Listen::Unix(PathBuf::from(path))),
                None => found.extend(tcp(&ip(reader, key, &word)?)),
            }
        }
        Ok(found)
    }
}

/// Finds the address that cluster communication binds to.
fn bind(reader: &Reader<'_>, host: &[Interface]) -> Result<IpAddr, Error> {
    if !reader.has("bind_addr") {
        return Ok(Ipv4Addr::UNSPECIFIED.into());
    }
    match words(reader, "bind_addr", host)?.as_slice() {
        [] => Err(Error::Invalid("bind_addr cannot be empty".to_owned())),
        [word] => ip(reader, "bind_addr", word),
        _ => Err(Error::Invalid(
            "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' \
             instead."
                .to_owned(),
        )),
    }
}

/// Finds the address to tell others.
fn advertise(reader: &Reader<'_>, host: &[Interface], bind: IpAddr) -> Result<IpAddr, Error> {
    let by_family = if bind.is_ipv4() { "advertise_addr_ipv4" } else { "advertise_addr_ipv6" };
    let other = if bind.is_ipv4() { "advertise_addr_ipv6" } else { "advertise_addr_ipv4" };
    one_ip(reader, other, host)?;
    let given = match one_ip(reader, "advertise_addr", host)? {
        Some(given) => Some(given),
        None => one_ip(reader, by_family, host)?,
    };
    match given {
        Some(given) if given.is_unspecified() => {
            Err(Error::Invalid("Advertise address cannot be 0.0.0.0, :: or [::]".to_owned()))
        }
        Some(given) => Ok(given),
        None if bind.is_unspecified() => template::advertised(bind, host).map_err(Error::Invalid),
        None => Ok(bind),
    }
}

/// Reads a setting that holds at most one address.
fn one_ip(
    reader: &Reader<'_>,
    key: &'static str,
    host: &[Interface],
) -> Result<Option<IpAddr>, Error> {
    match (reader.some_text(key), words(reader, key, host)?.as_slice()) {
        (None, _) => Ok(None),
        (Some(_), [word]) => ip(reader, key, word).map(Some),
        (Some(text), []) => Err(reader.fault(key, format!("no address found for {text:?}"))),
        (Some(_), _) => Err(reader.fault(key, "cannot contain multiple addresses")),
    }
}

/// Reads a setting that holds addresses with space between.
fn ips(reader: &Reader<'_>, key: &'static str, host: &[Interface]) -> Result<Vec<IpAddr>, Error> {
    let found = words(reader, key, host)?;
    if found.is_empty() {
        return Err(reader.fault(key, "no address found"));
    }
    found.iter().map(|word| ip(reader, key, word)).collect()
}

/// Expands a setting's templates and splits it.
fn words(reader: &Reader<'_>, key: &'static str, host: &[Interface]) -> Result<Vec<String>, Error> {
    let text = reader.text(key).unwrap_or_default();
    let text = template::expand(text, host).map_err(|what| reader.fault(key, what))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Reads one address, in brackets or not.
fn ip(reader: &Reader<'_>, key: &'static str, word: &str) -> Result<IpAddr, Error> {
    if word.starts_with("unix://") {
        return Err(reader.fault(key, "cannot be a unix socket"));
    }
    let bare = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(word);
    bare.parse().map_err(|_| reader.fault(key, format!("invalid ip address: {word}")))
}

/// Reads a recursor: an address, with or without a port.
pub(super) fn recursors(reader: &Reader<'_>, host: &[Interface]) -> Result<Vec<SocketAddr>, Error> {
    /// The port of DNS (RFC 1035).
    const DNS_PORT: u16 = 53;
    let mut found = Vec::new();
    for text in reader.texts("recursors") {
        let text = template::expand(&text, host).map_err(|e| reader.fault("recursors", e))?;
        let with_port = text.parse::<SocketAddr>().ok();
        let alone = || ip(reader, "recursors", &text).map(|ip| SocketAddr::new(ip, DNS_PORT));
        let address = with_port.map_or_else(alone, Ok)?;
        if address.ip().is_unspecified() {
            return Err(reader.fault("recursors", format!("{text} cannot be asked")));
        }
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}
