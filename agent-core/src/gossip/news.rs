//! What rides behind the updates of a datagram: metadata, departures, accusations, user events,
//! questions for metadata and for servers, contacts that leaves exchange, and the place of who
//! answers a probe.
//!
//! ```text
//! news      = 0 node:u64 generation:u32 version:u32 meta:bytes
//!           | 1 node:u64 generation:u32 pruned:u8
//!           | 2 node:u64
//!           | 3
//!           | 4 address*               address = 4 ip:4 | 6 ip:16, then port:u16
//!           | 5 node:u64 generation:u32 incarnation:u16 accuser:u64
//!           | 6
//!           | 7 event                  see wire::event
//!           | 8 number:f32*11          eight dimensions, error, adjustment, height
//!           | 9 identity incarnation:u16
//! ```

use super::coordinate::{Coordinate, NUMBERS};
use super::identity::{Address, IDENTITY_BYTES_MAX, Identity};
use crate::wire::event::Event;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};

/// Orders the metadata of one node: the start that published it, then its edits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// The generation at which the publishing process started.
    pub generation: u32,
    /// Rises with every edit; 0 means that nothing is known.
    pub version: u32,
}

/// Tells that a node left up to and including a generation; a later generation is back.
///
/// Ordered: the later generation counts, and a pruned departure beats a plain one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Departure {
    /// The last generation that left.
    pub generation: u32,
    /// Whether the member is to vanish from the list too (`force-leave -prune`).
    pub pruned: bool,
}

/// Tells who found a suspect out: an update says that a member is suspect, not who says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accusation {
    /// The suspect.
    pub node: u64,
    /// Its generation.
    pub generation: u32,
    /// Its incarnation; the next one refutes.
    pub incarnation: u16,
    /// Whose own probe failed.
    pub accuser: u64,
}

/// A live member, as last heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contact {
    /// Who.
    pub identity: Identity,
    /// Its incarnation.
    pub incarnation: u16,
}

/// Bytes of a contact at most.
pub const CONTACT_BYTES_MAX: usize = 1 + IDENTITY_BYTES_MAX + 2;

/// One broadcast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News<'a> {
    /// A node's metadata.
    Meta {
        /// Whose.
        node: u64,
        /// Which edition.
        stamp: Stamp,
        /// The encoded metadata.
        body: &'a [u8],
    },
    /// A node left, or was made to.
    Departure {
        /// Which.
        node: u64,
        /// Up to when.
        departure: Departure,
    },
    /// The sender lacks this node's metadata and would like it.
    Want {
        /// Whose.
        node: u64,
    },
    /// The sender would like to know where servers take requests. Leaves ask so.
    WantServers,
    /// Where some of the servers take requests.
    Servers(Servers<'a>),
    /// Who found a suspect out.
    Accusation(Accusation),
    /// The sender would give us up as a contact for another of ours. Rides with a leaf's probe.
    Shuffle,
    /// The other one: a live member for the sender of a [`News::Shuffle`].
    Contact(Contact),
    /// Where the sender is, to seven digits.
    Coordinate(Coordinate),
    /// A user event.
    Event(Event<'a>),
}

/// Bytes of a place.
pub const COORDINATE_BYTES: usize = 1 + 4 * NUMBERS;

/// RPC addresses of servers, encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Servers<'a>(&'a [u8]);

/// Most addresses that are told at once.
pub const SERVERS_MAX: usize = 8;

/// Bytes of [`SERVERS_MAX`] addresses at most.
pub const SERVERS_BYTES_MAX: usize = SERVERS_MAX * 19;

impl<'a> Servers<'a> {
    /// Checks encoded addresses to their last byte.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut count = 0;
        while !rest.is_empty() {
            (_, rest) = split_address(rest)?;
            count += 1;
        }
        (count <= SERVERS_MAX).then_some(Self(bytes))
    }

    /// Encodes addresses, as many as fit into `out` and [`SERVERS_MAX`].
    pub fn emit(addresses: impl Iterator<Item = SocketAddr>, out: &'a mut [u8]) -> Self {
        let mut at = 0;
        for address in addresses.take(SERVERS_MAX) {
            let mut bytes = [0; 19];
            let len = match address.ip() {
                IpAddr::V4(ip) => {
                    bytes[0] = 4;
                    bytes[1..5].copy_from_slice(&ip.octets());
                    5
                }
                IpAddr::V6(ip) => {
                    bytes[0] = 6;
                    bytes[1..17].copy_from_slice(&ip.octets());
                    17
                }
            };
            bytes[len..len + 2].copy_from_slice(&address.port().to_be_bytes());
            let Some(room) = out.get_mut(at..at + len + 2) else { break };
            room.copy_from_slice(&bytes[..len + 2]);
            at += len + 2;
        }
        Self(&out[..at])
    }

    /// Walks the addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Address> + use<'a> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (address, after) = split_address(rest)?;
            rest = after;
            Some(address)
        })
    }
}

/// Takes one address off the front.
fn split_address(bytes: &[u8]) -> Option<(Address, &[u8])> {
    let (&family, rest) = bytes.split_first()?;
    let (ip, rest) = match family {
        4 => {
            let (ip, rest) = rest.split_first_chunk::<4>()?;
            (IpAddr::from(*ip), rest)
        }
        6 => {
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            (IpAddr::from(*ip), rest)
        }
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)).into(), rest))
}

/// Reads a contact, to its last byte.
fn contact(bytes: &[u8]) -> Option<Contact> {
    let (identity, len) = Identity::parse(bytes)?;
    let incarnation = bytes.get(len..)?.try_into().ok()?;
    Some(Contact { identity, incarnation: u16::from_be_bytes(incarnation) })
}

/// Bytes of an accusation.
pub const ACCUSATION_BYTES: usize = 1 + 8 + 4 + 2 + 8;

/// Reads a place; nothing for one of another length or with a number that is none.
fn coordinate(bytes: &[u8]) -> Option<Coordinate> {
    let (numbers, []) = bytes.as_chunks::<4>() else { return None };
    let numbers: &[[u8; 4]; NUMBERS] = numbers.try_into().ok()?;
    let place = Coordinate::from_numbers(numbers.map(|n| f64::from(f32::from_be_bytes(n))));
    place.is_valid().then_some(place)
}

/// Bytes of a metadata broadcast before its body.
pub const META_HEAD_BYTES: usize = 1 + 8 + 4 + 4;

impl<'a> News<'a> {
    /// Tells whether this is news of a departure.
    pub const fn is_departure(&self) -> bool {
        matches!(self, Self::Departure { .. })
    }

    /// Parses one broadcast, or nothing if it is none of ours.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            3 => return rest.is_empty().then_some(Self::WantServers),
            4 => return Servers::parse(rest).map(Self::Servers),
            6 => return rest.is_empty().then_some(Self::Shuffle),
            8 => return coordinate(rest).map(Self::Coordinate),
            9 => return contact(rest).map(Self::Contact),
            7 => return Event::parse(rest).map(Self::Event),
            _ => {}
        }
        let (node, rest) = rest.split_first_chunk::<8>()?;
        let node = u64::from_be_bytes(*node);
        match kind {
            0 => {
                let (generation, rest) = rest.split_first_chunk::<4>()?;
                let (version, body) = rest.split_first_chunk::<4>()?;
                let generation = u32::from_be_bytes(*generation);
                let version = u32::from_be_bytes(*version);
                Some(Self::Meta { node, stamp: Stamp { generation, version }, body })
            }
            1 => {
                let (generation, rest) = rest.split_first_chunk::<4>()?;
                let generation = u32::from_be_bytes(*generation);
                let pruned = match rest {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                };
                Some(Self::Departure { node, departure: Departure { generation, pruned } })
            }
            2 if rest.is_empty() => Some(Self::Want { node }),
            5 => {
                let (generation, rest) = rest.split_first_chunk::<4>()?;
                let (incarnation, rest) = rest.split_first_chunk::<2>()?;
                let accuser: [u8; 8] = rest.try_into().ok()?;
                Some(Self::Accusation(Accusation {
                    node,
                    generation: u32::from_be_bytes(*generation),
                    incarnation: u16::from_be_bytes(*incarnation),
                    accuser: u64::from_be_bytes(accuser),
                }))
            }
            _ => None,
        }
    }

    /// Emits the broadcast; answers its length, or nothing if `out` is too short.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        let mut put = |bytes: &[u8]| -> Option<()> {
            out.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
            at += bytes.len();
            Some(())
        };
        match self {
            Self::Meta { node, stamp, body } => {
                put(&[0])?;
                put(&node.to_be_bytes())?;
                put(&stamp.generation.to_be_bytes())?;
                put(&stamp.version.to_be_bytes())?;
                put(body)?;
            }
            Self::Departure { node, departure } => {
                put(&[1])?;
                put(&node.to_be_bytes())?;
                put(&departure.generation.to_be_bytes())?;
                put(&[u8::from(departure.pruned)])?;
            }
            Self::Want { node } => {
                put(&[2])?;
                put(&node.to_be_bytes())?;
            }
            Self::WantServers => put(&[3])?,
            Self::Servers(servers) => {
                put(&[4])?;
                put(servers.0)?;
            }
            Self::Accusation(Accusation { node, generation, incarnation, accuser }) => {
                put(&[5])?;
                put(&node.to_be_bytes())?;
                put(&generation.to_be_bytes())?;
                put(&incarnation.to_be_bytes())?;
                put(&accuser.to_be_bytes())?;
            }
            Self::Shuffle => put(&[6])?,
            Self::Contact(Contact { identity, incarnation }) => {
                let mut bytes = [0; IDENTITY_BYTES_MAX];
                let len = identity.emit(&mut bytes)?;
                put(&[9])?;
                put(&bytes[..len])?;
                put(&incarnation.to_be_bytes())?;
            }
            Self::Coordinate(place) => {
                put(&[8])?;
                for number in place.numbers() {
                    put(&(number as f32).to_be_bytes())?;
                }
            }
            Self::Event(event) => {
                put(&[7])?;
                at += event.emit(out.get_mut(at..)?).ok()?;
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips() {
        let stamp = Stamp { generation: 3, version: 4 };
        for news in [
            News::Meta { node: 1, stamp, body: b"body" },
            News::Departure { node: 2, departure: Departure { generation: 9, pruned: true } },
            News::Want { node: 3 },
            News::WantServers,
            News::Shuffle,
            News::Contact(Contact {
                identity: Identity::new(SocketAddr::from(([10, 0, 0, 1], 8301)), 2, 3),
                incarnation: 4,
            }),
            News::Accusation(Accusation { node: 4, generation: 5, incarnation: 6, accuser: 7 }),
            News::Coordinate(Coordinate { error: 0.25, height: 0.5, ..Coordinate::default() }),
            News::Servers(Servers(b"\x04\x7f\x00\x00\x01\x20\x6c")),
            News::Event(Event { time: 9, name: "n", payload: b"p", ..Event::default() }),
        ] {
            let mut bytes = [0; 64];
            let len = news.emit(&mut bytes).expect("room");
            assert_eq!(News::parse(&bytes[..len]), Some(news));
            assert_eq!(news.emit(&mut bytes[..len - 1]), None);
        }
        assert_eq!(News::parse(b""), None);
        assert_eq!(News::parse(&[10; 20]), None);
        assert_eq!(News::parse(&[9; 20]), None, "no family of addresses");
        assert_eq!(News::parse(&[6, 0]), None);
        assert_eq!(News::parse(&[8; COORDINATE_BYTES - 1]), None);
        assert_eq!(News::parse(&[[8; 1].as_slice(), &[0xff; 44]].concat()), None, "no numbers");
    }

    #[test]
    fn addresses_of_servers_are_bounded_and_whole() {
        let v4 = SocketAddr::from(([10, 0, 0, 1], 8300));
        let v6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 8300));
        let mut room = [0; SERVERS_BYTES_MAX];
        let servers = Servers::emit([v4, v6].into_iter(), &mut room);
        assert!(servers.addresses().map(Address::socket).eq([v4, v6]));
        let many = Servers::emit(core::iter::repeat_n(v6, 20), &mut room);
        assert_eq!(many.addresses().count(), SERVERS_MAX);
        assert_eq!(News::parse(b"\x04\x04\x7f\x00"), None);
        assert_eq!(News::parse(&[4, 4, 1, 2, 3, 4, 5, 6].repeat(2)), None);
        let mut nine = [4, 1, 2, 3, 4, 5, 6].repeat(SERVERS_MAX + 1);
        nine.insert(0, 4);
        assert_eq!(News::parse(&nine), None);
    }
}
