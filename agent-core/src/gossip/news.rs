//! What rides behind the updates of a datagram: metadata, departures and questions for metadata.
//!
//! ```text
//! news      = 0 node:u64 generation:u32 version:u32 meta:bytes
//!           | 1 node:u64 generation:u32 pruned:u8
//!           | 2 node:u64
//! ```

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
        ] {
            let mut bytes = [0; 64];
            let len = news.emit(&mut bytes).expect("room");
            assert_eq!(News::parse(&bytes[..len]), Some(news));
            assert_eq!(news.emit(&mut bytes[..len - 1]), None);
        }
        assert_eq!(News::parse(b""), None);
        assert_eq!(News::parse(&[9; 20]), None);
    }
}
