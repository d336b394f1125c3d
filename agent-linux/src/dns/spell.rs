//! Records in wire form: names are spelt here, out of what they are made of. Pure.

use super::answer::{Data, Host, Record};
use super::name::{Wire, Zones};
use crate::config::Soa as Timers;
use domain::base::message_builder::RecordSectionBuilder;
use domain::base::wire::Composer;
use domain::base::{Name, Serial, Ttl};
use domain::rdata::{A, Aaaa, Cname, Ns, Ptr, Soa, Srv, Txt};
use std::net::IpAddr;

/// SRV records have no other priority: instances are alike.
const SRV_PRIORITY: u16 = 1;
/// Bytes of a record between its owner and its data: RFC 1035 §3.2.1.
const RECORD_HEAD_BYTES: usize = 10;
/// Bytes of an SRV record before its target: RFC 2782.
const SRV_HEAD_BYTES: usize = 6;
/// Bytes of an SOA record after its names: RFC 1035 §3.3.13.
const SOA_TAIL_BYTES: usize = 20;
/// Keys of metadata that go without their key start with this, in any case.
const RAW_PREFIX: &str = "rfc1035-";

/// Writes records, spelling their names on the way.
pub(super) struct Speller<'a> {
    /// The name that was asked for.
    pub(super) asked: &'a Wire,
    /// The domains; names are made in the first.
    pub(super) zones: &'a Zones,
    /// Timers of the start of authority.
    pub(super) soa: &'a Timers,
}

impl Speller<'_> {
    /// Writes a record. One with a name that DNS cannot spell costs itself, not the whole answer.
    pub(super) fn push<T: Composer>(
        &self,
        builder: &mut impl RecordSectionBuilder<T>,
        record: &Record<'_>,
    ) {
        if self.try_push(builder, record).is_none() {
            tracing::debug!(?record, "left out of a DNS answer: a name that cannot be spelt");
        }
    }

    fn try_push<T: Composer>(
        &self,
        builder: &mut impl RecordSectionBuilder<T>,
        record: &Record<'_>,
    ) -> Option<()> {
        let mut owner = Spelling::default();
        let owner = self.spell(record.owner, &mut owner)?;
        let ttl = Ttl::from_secs(record.ttl);
        let (mut room, domain) = (Spelling::default(), self.zones.domain.for_slice());
        match record.data {
            Data::Ip(IpAddr::V4(ip)) => builder.push((owner, ttl, A::new(ip))),
            Data::Ip(IpAddr::V6(ip)) => builder.push((owner, ttl, Aaaa::new(ip))),
            Data::Alias(to) => builder.push((owner, ttl, Cname::new(self.spell(to, &mut room)?))),
            Data::Srv { weight, port, target } => {
                let target = self.spell(target, &mut room)?;
                builder.push((owner, ttl, Srv::new(SRV_PRIORITY, weight, port, target)))
            }
            Data::Pointer(to) => builder.push((owner, ttl, Ptr::new(self.spell(to, &mut room)?))),
            Data::NameServer(to) => builder.push((owner, ttl, Ns::new(self.spell(to, &mut room)?))),
            Data::Meta { key, value } => {
                let text = Txt::<Vec<u8>>::build_from_slice(&meta(key, value)).ok()?;
                builder.push((owner, ttl, text))
            }
            Data::Authority { serial } => {
                let mut mailbox = Spelling::default();
                let timers = self.soa;
                let soa = Soa::new(
                    room.label(b"ns")?.end(domain)?,
                    mailbox.label(b"hostmaster")?.end(domain)?,
                    Serial(serial),
                    Ttl::from_secs(timers.refresh),
                    Ttl::from_secs(timers.retry),
                    Ttl::from_secs(timers.expire),
                    Ttl::from_secs(timers.min_ttl),
                );
                builder.push((owner, ttl, soa))
            }
        }
        .ok()
    }

    /// Tells a bound of a record's bytes with its names written out.
    pub(super) fn bytes_max(&self, record: &Record<'_>) -> usize {
        let data = match record.data {
            Data::Ip(IpAddr::V4(_)) => 4,
            Data::Ip(IpAddr::V6(_)) => 16,
            Data::Alias(to) | Data::Pointer(to) | Data::NameServer(to) => self.name_bytes_max(to),
            Data::Srv { target, .. } => SRV_HEAD_BYTES + self.name_bytes_max(target),
            Data::Meta { key, value } => {
                // Every byte may be quoted, and every 255 have a length before them.
                let text = 2 * (key.len() + value.len()) + 1;
                text + text / 255 + 1
            }
            Data::Authority { .. } => SOA_TAIL_BYTES + 2 * Spelling::BYTES_MAX,
        };
        self.name_bytes_max(record.owner) + RECORD_HEAD_BYTES + data
    }

    fn name_bytes_max(&self, host: Host<'_>) -> usize {
        const LONGEST_KIND: usize = "service".len();
        const HEX: usize = 32;
        let labels = match host {
            Host::Asked => return self.asked.len(),
            Host::Domain => return self.zones.domain.len(),
            Host::Wire(name) => return name.len(),
            Host::Registered(name) => return name.len() + 2,
            Host::Address { datacenter, .. } => HEX + datacenter.len(),
            Host::Node { name, datacenter }
            | Host::Server { name, datacenter }
            | Host::Service { name, datacenter } => name.len() + datacenter.len(),
        };
        // Three labels have their lengths before them.
        labels + LONGEST_KIND + 3 + self.zones.domain.len()
    }

    /// Spells a name; `None` if DNS cannot.
    fn spell<'r>(&'r self, host: Host<'r>, room: &'r mut Spelling) -> Option<&'r Name<[u8]>> {
        let domain = &self.zones.domain;
        let (name, kind, datacenter) = match host {
            Host::Asked => return Some(self.asked.for_slice()),
            Host::Domain => return Some(domain.for_slice()),
            Host::Wire(name) => return Some(name.for_slice()),
            Host::Registered(name) => {
                return room
                    .labels(name.strip_suffix('.').unwrap_or(name))?
                    .end(Name::root_slice());
            }
            Host::Address { ip, datacenter } => {
                match ip {
                    IpAddr::V4(ip) => room.hex(&ip.octets())?,
                    IpAddr::V6(ip) => room.hex(&ip.octets())?,
                };
                return room.label(b"addr")?.labels(datacenter)?.end(domain.for_slice());
            }
            Host::Node { name, datacenter } | Host::Server { name, datacenter } => {
                (name, b"node".as_slice(), datacenter)
            }
            Host::Service { name, datacenter } => (name, b"service".as_slice(), datacenter),
        };
        room.labels(name)?;
        if matches!(host, Host::Server { .. }) {
            room.make_lowercase();
        }
        room.label(kind)?.labels(datacenter)?.end(domain.for_slice())
    }
}

/// Room to spell a name in: RFC 1035 §3.1.
struct Spelling {
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Default for Spelling {
    fn default() -> Self {
        Self { bytes: [0; Self::BYTES_MAX], len: 0 }
    }
}

impl Spelling {
    /// Bytes of a name: RFC 1035 §2.3.4.
    const BYTES_MAX: usize = 255;
    /// Bytes of a label: RFC 1035 §2.3.4.
    const LABEL_BYTES_MAX: usize = 63;

    fn append(&mut self, bytes: &[u8]) -> Option<&mut Self> {
        let end = self.len + bytes.len();
        self.bytes.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(self)
    }

    fn label(&mut self, label: &[u8]) -> Option<&mut Self> {
        let fits = (1..=Self::LABEL_BYTES_MAX).contains(&label.len());
        let len = u8::try_from(label.len()).ok().filter(|_| fits)?;
        self.append(&[len])?.append(label)
    }

    /// Spells a text whose dots part labels.
    fn labels(&mut self, text: &str) -> Option<&mut Self> {
        for label in text.split('.') {
            self.label(label.as_bytes())?;
        }
        Some(self)
    }

    /// Spells bytes as one label of hexadecimal digits.
    fn hex(&mut self, bytes: &[u8]) -> Option<&mut Self> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.append(&[u8::try_from(bytes.len() * 2).ok()?])?;
        for byte in bytes {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            self.append(&[DIGITS[high], DIGITS[low]])?;
        }
        Some(self)
    }

    /// Turns what was spelt so far into lower case; lengths are below any letter.
    fn make_lowercase(&mut self) {
        self.bytes[..self.len].make_ascii_lowercase();
    }

    /// Ends the name with another.
    fn end(&mut self, name: &Name<[u8]>) -> Option<&Name<[u8]>> {
        self.append(name.as_slice())?;
        Name::from_slice(&self.bytes[..self.len]).ok()
    }
}

/// Writes a pair of metadata as RFC 1464 has it; the value alone if the key says `rfc1035-`.
fn meta(key: &str, value: &str) -> Vec<u8> {
    let raw = key.get(..RAW_PREFIX.len()).is_some_and(|k| k.eq_ignore_ascii_case(RAW_PREFIX));
    if raw {
        return value.as_bytes().to_vec();
    }
    let mut text = Vec::with_capacity(key.len() + value.len() + 1);
    let inner = key.trim_start_matches(' ').len();
    let inner = key.len() - inner..key.trim_end_matches(' ').len();
    for (at, byte) in key.bytes().enumerate() {
        if matches!(byte, b'`' | b'=') || byte == b' ' && !inner.contains(&at) {
            text.push(b'`');
        }
        text.push(byte);
    }
    text.push(b'=');
    for byte in value.bytes() {
        if byte == b'`' {
            text.push(b'`');
        }
        text.push(byte);
    }
    text
}
