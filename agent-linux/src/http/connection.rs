//! Bodies in and out.
//!
//! - [`Incoming`]: the body of a request · [`take`]: all of it · [`pour`]: piece by piece
//! - [`Body`]: the body of a response

use super::pack::Packer;
use super::wire::{Broken, Wire};
use super::{BODY_READ_MAX, Lines};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Time for the rest of a body that nobody wants any more.
pub(super) const REST_READ_MAX: Duration = Duration::from_secs(10);

/// A connection, as a reader of a body sees it.
trait Source: Send {
    /// See [`Wire::poll_body`].
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, Broken>>;
    /// See [`Wire::body_left`].
    fn body_left(&self) -> Option<u64>;
    /// See [`Wire::lend`].
    fn lend(&mut self, is_lent: bool);
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Source for Wire<S> {
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, Broken>> {
        Self::poll_body(self, cx, out)
    }

    fn body_left(&self) -> Option<u64> {
        Self::body_left(self)
    }

    fn lend(&mut self, is_lent: bool) {
        Self::lend(self, is_lent);
    }
}

/// The body of a request, which is read from its connection as it comes.
pub(super) struct Incoming(Arc<Mutex<dyn Source>>);

impl Incoming {
    /// Reads the body of the request under way. Until this is dropped nobody else reads.
    pub(super) fn of<S>(wire: &Arc<Mutex<Wire<S>>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let incoming = Self(Arc::clone(wire) as Arc<Mutex<dyn Source>>);
        incoming.lock().lend(true);
        incoming
    }

    fn lock(&self) -> MutexGuard<'_, dyn Source + 'static> {
        self.0.lock().expect("nothing panics while it reads")
    }

    /// Appends some of the body to `out`; false once it has ended.
    async fn read(&self, out: &mut Vec<u8>) -> Result<bool, NotTaken> {
        let more = poll_fn(|cx| self.lock().poll_body(cx, out)).await;
        more.map_err(|broken| match broken {
            Broken::Gone => NotTaken::Gone,
            Broken::Refused(_) => NotTaken::Broken,
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.lock().lend(false);
    }
}

/// Why a request's body was not taken.
pub(super) enum NotTaken {
    /// More bytes than allowed: how many were announced or read.
    TooLarge(u64),
    /// The client was too slow or went away.
    Gone,
    /// What came is no body.
    Broken,
}

/// Takes a whole body of at most `bytes_max`, in at most [`BODY_READ_MAX`].
///
/// # Errors
///
/// [`NotTaken`]; the connection is of no more use then.
pub(super) async fn take(body: Incoming, bytes_max: usize) -> Result<Vec<u8>, NotTaken> {
    let announced = body.lock().body_left().unwrap_or(0);
    let length = usize::try_from(announced).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(NotTaken::TooLarge(announced));
    }
    let taken = tokio::time::timeout(BODY_READ_MAX, async {
        let mut bytes = Vec::with_capacity(length);
        while body.read(&mut bytes).await? {
            if bytes.len() > bytes_max {
                return Err(NotTaken::TooLarge(bytes.len() as u64));
            }
        }
        Ok(bytes)
    });
    taken.await.unwrap_or(Err(NotTaken::Gone))
}

/// Hands a body on piece by piece while `work` takes it; a client that is too slow with a piece, or
/// goes away, ends it early.
pub(super) async fn pour<T>(
    body: Option<Incoming>,
    work: impl FnOnce(mpsc::Receiver<Bytes>) -> Pouring<T>,
) -> T {
    let (sender, pieces) = mpsc::channel(1);
    let pour = async move {
        let mut taker = Some(sender);
        let Some(body) = body else { return };
        loop {
            let mut piece = Vec::new();
            let more = tokio::time::timeout(BODY_READ_MAX, body.read(&mut piece)).await;
            if !matches!(more, Ok(Ok(true))) {
                return;
            }
            if let Some(to) = &taker
                && !piece.is_empty()
                && to.send(piece.into()).await.is_err()
            {
                taker = None;
            }
        }
    };
    let (mut pour, mut work) = (std::pin::pin!(pour), work(pieces));
    tokio::select! {
        done = &mut work => {
            // A client that still writes would not see the answer.
            let _ = tokio::time::timeout(REST_READ_MAX, pour).await;
            return done;
        }
        () = &mut pour => {}
    }
    work.await
}

/// Work that takes a body.
pub(super) type Pouring<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The body of a response.
pub(super) enum Body {
    /// All of it.
    Whole(Bytes),
    /// Pieces as they come, until the sender is dropped.
    Stream(Lines),
    /// The same, but an error breaks the answer off, so that nobody takes it for whole.
    Fragile(mpsc::Receiver<io::Result<Bytes>>),
    /// A stream, compressed; each piece can be read when it comes.
    Packed(Lines, Box<Packer>),
}

impl Body {
    /// Streams pieces compressed.
    pub(super) fn packed(pieces: Lines) -> Self {
        Self::Packed(pieces, Box::default())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole(bytes.into())
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Whole(Bytes::from_static(bytes))
    }
}

impl Body {
    /// Tells how long the body is, if all of it is there.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Self::Whole(bytes) => Some(bytes.len()),
            Self::Stream(_) | Self::Fragile(_) | Self::Packed(..) => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
            Self::Fragile(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
            Self::Packed(pieces, packer) => match packer.begin() {
                Some(head) => Poll::Ready(Some(Ok(Frame::data(head)))),
                None => {
                    let piece = ready!(pieces.poll_recv(cx));
                    let packed = match piece {
                        Some(piece) => packer.add(&piece),
                        None => packer.end(),
                    };
                    Poll::Ready(packed.map(|packed| Ok(Frame::data(packed))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(_) | Self::Fragile(_) | Self::Packed(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) | Self::Fragile(_) | Self::Packed(..) => SizeHint::default(),
        }
    }
}
