//! Stream frames: how requests and replies share one connection between agents and servers.
//!
//! ```text
//! connection   first byte: Channel, then frames in both directions
//! frame        u32 length of the body · u32 request id · u8 kind · body      (little-endian)
//! ```
//!
//! Many requests are in flight on one connection; the id ties a reply to its request. Whoever
//! opened the connection chooses the ids and must not reuse one that is still in flight. Nothing
//! here allocates: a board reads the header into nine bytes and the body into a buffer that it
//! lends.
//!
//! A frame that breaks a rule cannot be skipped safely, so after any [`Error`] the connection is of
//! no further use and should be closed.

use core::fmt;
use embedded_io_async::{Read, Write};

/// Bytes before the body of a frame.
pub const HEADER_BYTES: usize = 9;

/// Longest request body in bytes: the largest value of 512 KiB, eight times over, so that a
/// transaction with its keys and a batch of registrations fit. Longer requests close the
/// connection.
pub const REQUEST_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Longest reply body in bytes: a listing of many values. Larger answers are refused by the server.
pub const REPLY_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Longest body between raft peers in bytes: a full append (1 MiB and one more entry of at most
/// [`REQUEST_BYTES_MAX`]) or a chunk of a snapshot.
pub const RAFT_BYTES_MAX: u32 = 8 * 1024 * 1024;

const _: () = {
    assert!(REQUEST_BYTES_MAX + 1024 * 1024 < RAFT_BYTES_MAX);
    assert!(RAFT_BYTES_MAX < REPLY_BYTES_MAX);
};

/// What a connection carries: its first byte. It also names the version of the frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Channel {
    /// Requests of agents and their replies.
    Request,
    /// Calls between raft peers.
    Raft,
    /// Messages of a device: [`super::message`].
    Device,
}

impl Channel {
    /// Tells the first byte of such a connection.
    pub const fn emit(self) -> u8 {
        match self {
            Self::Request => 0x11,
            Self::Raft => 0x21,
            Self::Device => 0x31,
        }
    }

    /// Reads the first byte of a connection; `None` if it is not one of ours.
    pub const fn parse(byte: u8) -> Option<Self> {
        match byte {
            0x11 => Some(Self::Request),
            0x21 => Some(Self::Raft),
            0x31 => Some(Self::Device),
            _ => None,
        }
    }
}

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Asks; its id ties the reply to it.
    Request,
    /// Answers the request of the same id.
    Reply,
    /// The asker no longer wants the reply of that id. No body. Unknown ids are ignored: the reply
    /// may have crossed the cancel.
    Cancel,
    /// Asks whether the far side lives. No body.
    Ping,
    /// Answers a ping with its id. No body.
    Pong,
    /// The request of that id was not taken up because too many are in flight. No body.
    Busy,
}

impl Kind {
    const fn emit(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Cancel => 3,
            Self::Ping => 4,
            Self::Pong => 5,
            Self::Busy => 6,
        }
    }

    const fn parse(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Request),
            2 => Some(Self::Reply),
            3 => Some(Self::Cancel),
            4 => Some(Self::Ping),
            5 => Some(Self::Pong),
            6 => Some(Self::Busy),
            _ => None,
        }
    }

    /// Tells whether frames of this kind have a body.
    const fn has_body(self) -> bool {
        match self {
            Self::Request | Self::Reply => true,
            Self::Cancel | Self::Ping | Self::Pong | Self::Busy => false,
        }
    }
}

/// The first nine bytes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the body that follows.
    pub length: u32,
    /// Ties a reply to its request.
    pub id: u32,
    /// What the frame is for.
    pub kind: Kind,
}

/// Bytes that are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The kind byte is none that this version knows.
    Kind(u8),
    /// The body is longer than the reader allows.
    TooLong {
        /// Length that the header names, in bytes.
        length: u32,
        /// Longest length allowed, in bytes.
        max: u32,
    },
    /// A kind without body names a length.
    Body(Kind),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(byte) => write!(f, "unknown frame kind {byte}"),
            Self::TooLong { length, max } => {
                write!(f, "frame of {length} bytes is too long, at most {max} are taken")
            }
            Self::Body(kind) => write!(f, "{kind:?} frame with a body"),
        }
    }
}

impl core::error::Error for Error {}

/// Why a frame could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError<E> {
    /// The connection ended in the middle of a frame.
    Cut,
    /// The bytes are not a frame.
    Frame(Error),
    /// The body does not fit the lent buffer; it has not been read.
    Buffer {
        /// Length of the body, in bytes.
        length: u32,
    },
    /// The transport failed.
    Io(E),
}

impl<E: fmt::Display> fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("connection ended inside a frame"),
            Self::Frame(error) => error.fmt(f),
            Self::Buffer { length } => write!(f, "frame of {length} bytes exceeds the buffer"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl<E: embedded_io::Error> core::error::Error for ReadError<E> {}

impl<E: embedded_io::Error> embedded_io::Error for ReadError<E> {
    /// Sorts failures for a driver: `InvalidData` and `OutOfMemory` are the peer's or the caller's
    /// fault and come again, the others may pass with a new connection.
    fn kind(&self) -> embedded_io::ErrorKind {
        match self {
            Self::Cut => embedded_io::ErrorKind::ConnectionAborted,
            Self::Frame(_) => embedded_io::ErrorKind::InvalidData,
            Self::Buffer { .. } => embedded_io::ErrorKind::OutOfMemory,
            Self::Io(error) => error.kind(),
        }
    }
}

impl Header {
    /// Names a frame with a body of `length` bytes.
    pub const fn new(kind: Kind, id: u32, length: u32) -> Self {
        Self { length, id, kind }
    }

    /// Writes the header.
    pub const fn emit(self) -> [u8; HEADER_BYTES] {
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [i0, i1, i2, i3] = self.id.to_le_bytes();
        [l0, l1, l2, l3, i0, i1, i2, i3, self.kind.emit()]
    }

    /// Reads a header whose body may have up to `max` bytes.
    ///
    /// # Errors
    ///
    /// [`Error`] names what is wrong; close the connection.
    pub const fn parse(bytes: &[u8; HEADER_BYTES], max: u32) -> Result<Self, Error> {
        let [l0, l1, l2, l3, i0, i1, i2, i3, kind] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let id = u32::from_le_bytes([i0, i1, i2, i3]);
        match Kind::parse(kind) {
            None => Err(Error::Kind(kind)),
            Some(kind) if !kind.has_body() && length != 0 => Err(Error::Body(kind)),
            Some(_) if length > max => Err(Error::TooLong { length, max }),
            Some(kind) => Ok(Self { length, id, kind }),
        }
    }
}

/// Reads the next header; `None` if the connection ended between two frames.
///
/// # Errors
///
/// [`ReadError`]; close the connection. Not safe to drop half-way: bytes read so far are lost.
pub async fn read_header<R: Read>(
    from: &mut R,
    max: u32,
) -> Result<Option<Header>, ReadError<R::Error>> {
    let mut bytes = [0; HEADER_BYTES];
    let mut have = 0;
    while have < HEADER_BYTES {
        match from.read(&mut bytes[have..]).await.map_err(ReadError::Io)? {
            0 if have == 0 => return Ok(None),
            0 => return Err(ReadError::Cut),
            more => have += more,
        }
    }
    Header::parse(&bytes, max).map(Some).map_err(ReadError::Frame)
}

/// Reads the body that `header` names into the lent buffer and answers the part that it fills.
///
/// # Errors
///
/// [`ReadError::Buffer`] before anything is read: [`skip_body`] may then drop the body and keep the
/// connection. After other errors close it.
pub async fn read_body<'a, R: Read>(
    from: &mut R,
    header: Header,
    buffer: &'a mut [u8],
) -> Result<&'a mut [u8], ReadError<R::Error>> {
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    let body = buffer.get_mut(..length).ok_or(ReadError::Buffer { length: header.length })?;
    let mut have = 0;
    while have < length {
        match from.read(&mut body[have..]).await.map_err(ReadError::Io)? {
            0 => return Err(ReadError::Cut),
            more => have += more,
        }
    }
    Ok(body)
}

/// Reads and drops the body that `header` names, a piece of `scratch` at a time.
///
/// # Errors
///
/// [`ReadError`]; close the connection. An empty `scratch` is [`ReadError::Buffer`].
pub async fn skip_body<R: Read>(
    from: &mut R,
    header: Header,
    scratch: &mut [u8],
) -> Result<(), ReadError<R::Error>> {
    let mut left = usize::try_from(header.length).unwrap_or(usize::MAX);
    if left > 0 && scratch.is_empty() {
        return Err(ReadError::Buffer { length: header.length });
    }
    while left > 0 {
        let piece = left.min(scratch.len());
        match from.read(&mut scratch[..piece]).await.map_err(ReadError::Io)? {
            0 => return Err(ReadError::Cut),
            more => left -= more.min(left),
        }
    }
    Ok(())
}

/// Writes one frame and flushes it.
///
/// # Errors
///
/// That of the transport, after which the far side may have half a frame: close the connection.
///
/// # Panics
///
/// If the body has more than `u32::MAX` bytes.
pub async fn write<W: Write>(to: &mut W, kind: Kind, id: u32, body: &[u8]) -> Result<(), W::Error> {
    let length = u32::try_from(body.len()).expect("bodies are far below 4 GiB");
    to.write_all(&Header::new(kind, id, length).emit()).await?;
    to.write_all(body).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use proptest::prelude::*;
    use std::vec::Vec;

    /// A pipe that gives at most `piece` bytes a call and never waits.
    struct Pipe {
        bytes: Vec<u8>,
        at: usize,
        piece: usize,
    }

    impl embedded_io_async::ErrorType for Pipe {
        type Error = Infallible;
    }

    impl Read for Pipe {
        async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
            let count = self.piece.min(buf.len()).min(self.bytes.len() - self.at);
            buf[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    impl Write for Pipe {
        async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
            let count = self.piece.min(buf.len());
            self.bytes.extend_from_slice(&buf[..count]);
            Ok(count)
        }

        async fn flush(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    fn pipe(bytes: &[u8], piece: usize) -> Pipe {
        Pipe { bytes: bytes.to_vec(), at: 0, piece }
    }

    fn run<T>(task: impl Future<Output = T>) -> T {
        match pin!(task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a pipe never waits"),
        }
    }

    const KINDS: [Kind; 6] =
        [Kind::Request, Kind::Reply, Kind::Cancel, Kind::Ping, Kind::Pong, Kind::Busy];

    #[test]
    fn the_layout_of_a_header_is_fixed() {
        let header = Header::new(Kind::Reply, 0x0403_0201, 0x0000_0605);
        assert_eq!(header.emit(), [5, 6, 0, 0, 1, 2, 3, 4, 2]);
        assert_eq!(Channel::Request.emit(), 0x11);
        assert_eq!(Channel::Raft.emit(), 0x21);
        assert_eq!(Channel::Device.emit(), 0x31);
        for channel in [Channel::Request, Channel::Raft, Channel::Device] {
            assert_eq!(Channel::parse(channel.emit()), Some(channel));
        }
        assert_eq!(Channel::parse(b'G'), None);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let long = Header::new(Kind::Request, 1, 11).emit();
        let error = Header::parse(&long, 10).unwrap_err();
        assert_eq!(error, Error::TooLong { length: 11, max: 10 });
        assert_eq!(std::format!("{error}"), "frame of 11 bytes is too long, at most 10 are taken");
        let mut foreign = long;
        foreign[8] = 99;
        assert_eq!(Header::parse(&foreign, 99), Err(Error::Kind(99)));
        let fat = Header { length: 1, id: 1, kind: Kind::Ping }.emit();
        assert_eq!(Header::parse(&fat, 99), Err(Error::Body(Kind::Ping)));
    }

    #[test]
    fn an_end_between_frames_is_clean_and_inside_one_is_not() {
        assert_eq!(run(read_header(&mut pipe(&[], 9), 10)), Ok(None));
        assert_eq!(run(read_header(&mut pipe(&[1, 0], 9), 10)), Err(ReadError::Cut));
        let header = Header::new(Kind::Request, 1, 4);
        let mut buffer = [0; 8];
        let cut = run(read_body(&mut pipe(&[1, 2], 9), header, &mut buffer));
        assert_eq!(cut, Err(ReadError::Cut));
    }

    #[test]
    fn a_body_beyond_the_lent_buffer_can_be_skipped() {
        let mut stream = pipe(&[], 2);
        run(write(&mut stream, Kind::Request, 1, &[7; 20])).unwrap();
        run(write(&mut stream, Kind::Request, 2, &[8; 3])).unwrap();
        let mut small = [0; 4];
        let header = run(read_header(&mut stream, 100)).unwrap().unwrap();
        let refused = run(read_body(&mut stream, header, &mut small));
        assert_eq!(refused, Err(ReadError::Buffer { length: 20 }));
        run(skip_body(&mut stream, header, &mut small)).unwrap();
        let header = run(read_header(&mut stream, 100)).unwrap().unwrap();
        assert_eq!(header.id, 2);
        assert_eq!(run(read_body(&mut stream, header, &mut small)), Ok(&mut [8, 8, 8][..]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_arrives(
            kind in 0_usize..2, id: u32, body in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1_usize..12,
        ) {
            let kind = KINDS[kind];
            let mut stream = pipe(&[], piece);
            run(write(&mut stream, kind, id, &body)).unwrap();
            let header = run(read_header(&mut stream, 300)).unwrap().unwrap();
            prop_assert_eq!((header.kind, header.id), (kind, id));
            let mut buffer = [0; 300];
            prop_assert_eq!(run(read_body(&mut stream, header, &mut buffer)).unwrap(), &body[..]);
            prop_assert_eq!(run(read_header(&mut stream, 300)), Ok(None));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut stream = pipe(&bytes, 7);
            let mut buffer = [0; 64];
            while let Ok(Some(header)) = run(read_header(&mut stream, 128)) {
                prop_assert_eq!(Header::parse(&header.emit(), 128), Ok(header));
                if run(read_body(&mut stream, header, &mut buffer)).is_err()
                    && run(skip_body(&mut stream, header, &mut buffer)).is_err()
                {
                    break;
                }
            }
        }
    }
}
