//! Compression: whole bodies, and streams whose pieces can be read as they come.
//!
//! The form is gzip's, [RFC 1952].
//!
//! [RFC 1952]: https://www.rfc-editor.org/rfc/rfc1952

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::cell::RefCell;

/// What every compressed body starts with: no name, no time, fastest compression.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

thread_local! {
    /// One compressor a thread: its tables are 300 KB, too much to set up for each answer.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// Compresses with the gzip header and trailer of [RFC 1952].
///
/// [RFC 1952]: https://www.rfc-editor.org/rfc/rfc1952
pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 3 + 64);
    out.extend_from_slice(&HEAD);
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        loop {
            let from = usize::try_from(compressor.total_in()).expect("a body fits in memory");
            out.reserve(body.len() / 8 + 64);
            let done = compressor.compress_vec(&body[from..], &mut out, FlushCompress::Finish);
            if done.expect("only decompression meets bad data") == Status::StreamEnd {
                break;
            }
        }
    });
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    let length = u32::try_from(body.len() & 0xffff_ffff).expect("32 bits");
    out.extend_from_slice(&length.to_le_bytes());
    out
}

/// Where a stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Head,
    Pieces,
    Over,
}

/// Compresses a stream.
pub(super) struct Packer {
    compress: Compress,
    sum: crc32fast::Hasher,
    length: u32,
    stage: Stage,
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            compress: Compress::new(Compression::fast(), false),
            sum: crc32fast::Hasher::new(),
            length: 0,
            stage: Stage::Head,
        }
    }
}

impl Packer {
    /// Tells what the stream starts with, once.
    pub(super) fn begin(&mut self) -> Option<Bytes> {
        (self.stage == Stage::Head).then(|| {
            self.stage = Stage::Pieces;
            Bytes::from_static(&HEAD)
        })
    }

    /// Compresses a piece so that all of it can be read.
    pub(super) fn add(&mut self, piece: &[u8]) -> Option<Bytes> {
        self.sum.update(piece);
        self.length = self.length.wrapping_add(piece.len() as u32);
        Some(self.push(piece, FlushCompress::Sync).into())
    }

    /// Ends the stream, once.
    pub(super) fn end(&mut self) -> Option<Bytes> {
        if self.stage == Stage::Over {
            return None;
        }
        self.stage = Stage::Over;
        let mut out = self.push(&[], FlushCompress::Finish);
        out.extend_from_slice(&self.sum.clone().finalize().to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        Some(out.into())
    }

    fn push(&mut self, piece: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut out = Vec::new();
        let start = self.compress.total_in();
        loop {
            let taken = usize::try_from(self.compress.total_in() - start).expect("within a piece");
            out.reserve(piece.len() / 2 + 64);
            let done = self.compress.compress_vec(&piece[taken..], &mut out, flush);
            let status = done.expect("only decompression meets bad data");
            let all_in = self.compress.total_in() - start == piece.len() as u64;
            let has_room = out.len() < out.capacity();
            if status == Status::StreamEnd || (flush == FlushCompress::Sync && all_in && has_room) {
                return out;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn compressed_bodies_come_back_whole() {
        for body in [Vec::new(), vec![b'a'; 100_000], (0..70_000u32).map(|n| n as u8).collect()] {
            let mut back = Vec::new();
            let packed = gzip(&body);
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
            assert_eq!(back, body);
        }
    }

    #[test]
    fn each_piece_of_a_stream_can_be_read_when_it_comes() {
        let mut packer = Packer::default();
        let mut sent = packer.begin().unwrap().to_vec();
        assert!(packer.begin().is_none());
        let mut all = Vec::new();
        for piece in [b"one\n".to_vec(), vec![b'x'; 5000], (0..3000u32).map(|n| n as u8).collect()]
        {
            sent.extend_from_slice(&packer.add(&piece).unwrap());
            all.extend_from_slice(&piece);
            let mut back = vec![0; all.len()];
            flate2::read::GzDecoder::new(&sent[..]).read_exact(&mut back).unwrap();
            assert_eq!(back, all);
        }
        sent.extend_from_slice(&packer.end().unwrap());
        assert!(packer.end().is_none());
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&sent[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, all);
    }
}
