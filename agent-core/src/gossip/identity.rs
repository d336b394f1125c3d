//! Who a member is on the wire: address, generation, node key. Names and tags never ride here.
//!
//! One node keeps its key for life; every start and every return from the dead is a higher
//! generation.
//! Two identities at one address are settled by [`Identity::wins`]: the younger generation stays.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A socket address in 18 bytes; IPv4 is kept IPv6-mapped, scopes and flow labels are dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    ip: [u8; 16],
    port: u16,
}

impl Address {
    /// Tells the address in the standard library's form.
    pub const fn socket(self) -> SocketAddr {
        let ip = match Ipv6Addr::from_octets(self.ip).to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_octets(self.ip)),
        };
        SocketAddr::new(ip, self.port)
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        let ip = match socket.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets(), port: socket.port() }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.socket(), f)
    }
}

/// A member's compact identity: 19 bytes on the wire with IPv4, 31 with IPv6, 32 in memory.
///
/// Aligned to four bytes, not eight: full members hold two of each member, with few bytes behind.
#[repr(Rust, packed(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Where the member listens for datagrams and streams.
    pub address: Address,
    /// Rises with every start and every return; the driver takes it from a clock or a disk.
    pub generation: u32,
    /// The node's key for life, see [`node_key`].
    pub node: u64,
}

const _: () = assert!(size_of::<Identity>() == 32 && align_of::<Identity>() == 4);

impl Identity {
    /// Names a node's current life at an address.
    pub fn new(address: SocketAddr, generation: u32, node: u64) -> Self {
        Self { address: address.into(), generation, node }
    }

    /// Tells whether this identity stays when `other` claims the same address or the same node.
    pub fn wins(&self, other: &Self) -> bool {
        (self.generation, self.node) > (other.generation, other.node)
    }

    /// Names the next life of this node, or nothing after four billion of them.
    pub fn renewed(&self) -> Option<Self> {
        self.after(self.generation)
    }

    /// Names the life of this node that comes after generation `past`.
    pub fn after(&self, past: u32) -> Option<Self> {
        let generation = past.max(self.generation).checked_add(1)?;
        Some(Self { generation, ..*self })
    }
}

/// Folds a node ID (a UUID's 16 bytes) into the node key.
pub const fn node_key(id: [u8; 16]) -> u64 {
    let both = u128::from_be_bytes(id);
    (both >> 64) as u64 ^ both as u64
}

/// Bytes of an IPv4 address with its port, and of an IPv6 one, behind the family byte.
const V4_BYTES: usize = 6;
const V6_BYTES: usize = 18;

/// Largest identity on the wire, in bytes: family, address, generation, node key.
pub const IDENTITY_BYTES_MAX: usize = 1 + V6_BYTES + 4 + 8;

impl Identity {
    /// Emits the identity; answers how many bytes it took, or nothing if `out` is too short.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        let mut put = |bytes: &[u8]| -> Option<()> {
            out.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
            at += bytes.len();
            Some(())
        };
        match self.address.socket().ip() {
            IpAddr::V4(v4) => {
                put(&[4])?;
                put(&v4.octets())?;
            }
            IpAddr::V6(v6) => {
                put(&[6])?;
                put(&v6.octets())?;
            }
        }
        put(&self.address.port.to_be_bytes())?;
        put(&self.generation.to_be_bytes())?;
        put(&self.node.to_be_bytes())?;
        Some(at)
    }

    /// Parses an identity from the front of `bytes`; answers it and how many bytes it took.
    ///
    /// An IPv4 address in IPv6-mapped form is refused, so that every identity has one form.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&family, rest) = bytes.split_first()?;
        let (ip, rest, address_bytes) = match family {
            4 => {
                let (ip, rest) = rest.split_first_chunk::<4>()?;
                (Ipv4Addr::from_octets(*ip).to_ipv6_mapped(), rest, V4_BYTES)
            }
            6 => {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                let ip = Ipv6Addr::from_octets(*ip);
                if ip.to_ipv4_mapped().is_some() {
                    return None;
                }
                (ip, rest, V6_BYTES)
            }
            _ => return None,
        };
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (node, _) = rest.split_first_chunk::<8>()?;
        let identity = Self {
            address: Address { ip: ip.octets(), port: u16::from_be_bytes(*port) },
            generation: u32::from_be_bytes(*generation),
            node: u64::from_be_bytes(*node),
        };
        Some((identity, 1 + address_bytes + 4 + 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, generation: u32, node: u64) -> Identity {
        Identity::new(text.parse().expect("an address"), generation, node)
    }

    #[test]
    fn both_families_round_trip_in_their_size() {
        for (identity, size) in [(at("10.0.0.1:8301", 7, 9), 19), (at("[fe80::1]:8301", 7, 9), 31)]
        {
            let mut bytes = [0; IDENTITY_BYTES_MAX];
            assert_eq!(identity.emit(&mut bytes), Some(size));
            assert_eq!(Identity::parse(&bytes), Some((identity, size)));
            assert_eq!(Identity::parse(&bytes[..size - 1]), None);
            assert_eq!(identity.emit(&mut bytes[..size - 1]), None);
        }
    }

    #[test]
    fn the_younger_generation_wins_then_the_larger_key() {
        assert!(at("1.1.1.1:1", 2, 1).wins(&at("1.1.1.1:1", 1, 9)));
        assert!(at("1.1.1.1:1", 2, 2).wins(&at("1.1.1.1:1", 2, 1)));
        assert!(!at("1.1.1.1:1", 2, 2).wins(&at("1.1.1.1:1", 2, 2)));
        assert_eq!(at("1.1.1.1:1", 5, 2).after(9).map(|id| id.generation), Some(10));
        assert_eq!(at("1.1.1.1:1", u32::MAX, 2).renewed(), None);
    }
}
