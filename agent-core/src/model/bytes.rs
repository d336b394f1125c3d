//! Bytes as one piece, for `#[serde(with = "...")]`: serde takes a `Vec<u8>` for a sequence, and
//! writes and reads it one by one. Postcard's encoding of both is the same.

use alloc::vec::Vec;
use core::fmt;
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    from.deserialize_bytes(Owned)
}

struct Owned;

impl Visitor<'_> for Owned {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Piece(#[serde(with = "super")] Vec<u8>);

    #[test]
    fn they_are_written_as_the_sequence_that_they_are() {
        for length in [0, 1, 127, 128, 70_000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let sequence = postcard::to_allocvec(&bytes).expect("encoded");
            let piece = postcard::to_allocvec(&Piece(bytes.clone())).expect("encoded");
            assert_eq!(piece, sequence);
            let Piece(read) = postcard::from_bytes(&piece).expect("decoded");
            assert_eq!(read, bytes);
            let short = piece.split_last().map(|(_, rest)| postcard::from_bytes::<Piece>(rest));
            assert!(short.is_some_and(|read| read.is_err()));
        }
    }
}
