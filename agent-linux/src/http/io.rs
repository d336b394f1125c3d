//! A connection's stream with the deadlines of a slow peer.
//!
//! A connection between requests may stay as long as it likes: it costs no timer. Once the first
//! byte of a request head has come, the rest must come within [`HEAD_READ_MAX`]; a response that
//! makes no progress for [`WRITE_STALL_MAX`] ends the connection. Bodies have their own deadline.

use super::{HEAD_READ_MAX, WRITE_STALL_MAX};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

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
