//! Where requests meet their socket: bodies in and out, and the deadlines of a slow peer.
//!
//! - [`take`]: the bounded intake of a request's body · [`pour`]: the same piece by piece
//! - [`Body`]: the body of a response
//! - [`Guarded`]: a connection's stream with its deadlines
//!
//! A connection between requests may stay as long as it likes: it costs no timer. Once the first
//! byte of a request head has come, the rest must come within [`HEAD_READ_MAX`]; a response that
//! makes no progress for [`WRITE_STALL_MAX`] ends the connection. Bodies have their own deadline.

use super::pack::Packer;
use super::{BODY_READ_MAX, HEAD_READ_MAX, Lines, WRITE_STALL_MAX};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Time for the rest of a body that nobody wants any more.
const REST_READ_MAX: Duration = Duration::from_secs(10);

/// Between requests.
const IDLE: u8 = 0;
/// Some of a request head has come.
const HEAD: u8 = 1;
/// A request is being served.
const BUSY: u8 = 2;

/// Where a connection stands; shared by its stream and its service.
#[derive(Clone, Default)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// Notes that a whole head has come.
    pub(super) fn begin(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// Notes that the response is ready.
    pub(super) fn end(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }

    /// Tells where the connection stands.
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that gives up on a peer that is too slow.
pub(super) struct Guarded<S> {
    stream: S,
    phase: Phase,
    head: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards a stream.
    pub(super) fn new(stream: S, phase: Phase) -> Self {
        Self { stream, phase, head: None, stall: None }
    }

    /// Starts or looks at the timer of a write that makes no progress.
    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        expired(&mut self.stall, WRITE_STALL_MAX, cx)
    }
}

/// Ends with an error once a timer, started on demand, has run out.
fn expired(
    timer: &mut Option<Pin<Box<Sleep>>>,
    span: Duration,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let fresh = || Box::pin(tokio::time::sleep_until(Instant::now() + span));
    ready!(timer.get_or_insert_with(fresh).as_mut().poll(cx));
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            if this.phase.get() == IDLE {
                this.phase.0.store(HEAD, Ordering::Relaxed);
                this.head = None;
            }
            return Poll::Ready(done);
        }
        if this.phase.get() == HEAD {
            return expired(&mut this.head, HEAD_READ_MAX, cx);
        }
        this.head = None;
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(done) => {
                self.stall = None;
                Poll::Ready(done)
            }
            Poll::Pending => self.stalled(cx).map(|end| end.map(|()| 0)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, pieces) {
            Poll::Ready(done) => {
                self.stall = None;
                Poll::Ready(done)
            }
            Poll::Pending => self.stalled(cx).map(|end| end.map(|()| 0)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Why a request's body was not taken.
pub(super) enum NotTaken {
    /// More bytes than allowed: how many were announced or read.
    TooLarge(u64),
    /// The client was too slow or went away.
    Gone,
}

/// Takes a whole body of at most `bytes_max`, in at most [`BODY_READ_MAX`].
///
/// # Errors
///
/// [`NotTaken`]; the connection is of no more use then.
pub(super) async fn take(body: Incoming, bytes_max: usize) -> Result<Vec<u8>, NotTaken> {
    let announced = HttpBody::size_hint(&body).lower();
    if announced > bytes_max as u64 {
        return Err(NotTaken::TooLarge(announced));
    }
    if HttpBody::is_end_stream(&body) {
        return Ok(Vec::new());
    }
    let taken = tokio::time::timeout(BODY_READ_MAX, read(body, bytes_max)).await;
    taken.unwrap_or(Err(NotTaken::Gone))
}

/// Reads frames until the end.
async fn read(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, NotTaken> {
    let announced = usize::try_from(HttpBody::size_hint(&body).lower()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(announced.min(bytes_max));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| NotTaken::Gone)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > bytes_max {
                return Err(NotTaken::TooLarge((bytes.len() + data.len()) as u64));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
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
        let Some(mut body) = body else { return };
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(BODY_READ_MAX, body.frame()).await {
            if let (Ok(data), Some(to)) = (frame.into_data(), &taker)
                && to.send(data).await.is_err()
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
