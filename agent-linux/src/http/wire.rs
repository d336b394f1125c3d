//! One connection's socket, and what has come over it and is not used yet.
//!
//! A connection owns a buffer only while something is in it: bytes are read into one buffer per
//! thread, and kept only where a head or a body has come in part, or a request behind another.
//!
//! A connection between requests may stay as long as it likes: it costs no timer. Once the first
//! byte of a request head has come, the rest must come within [`HEAD_READ_MAX`]; a response that
//! makes no progress for [`WRITE_STALL_MAX`] ends the connection. Bodies have their own deadline.

use super::chunk::Chunks;
use super::head::{self, Framing, Refused, Whole};
use super::{HEAD_BYTES_MAX, HEAD_READ_MAX, WRITE_STALL_MAX};
use bytes::Bytes;
use hyper::StatusCode;
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes read at once, into one buffer per thread.
const READ_BYTES: usize = 16 * 1024;

/// What a client hears that waits to be told to send its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Why a connection is of no further use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// The client closed it or the socket failed, or the client was too slow.
    Gone,
    /// What came is no request; it is told so.
    Refused(Refused),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// What is left of a request's body.
enum Left {
    Length(u64),
    Chunks(Chunks),
}

/// A socket with what has come and is not used yet.
pub(super) struct Wire<S> {
    stream: S,
    /// Has come; used up to `at`.
    stash: Vec<u8>,
    at: usize,
    /// Bytes that have come and are known to be no whole head.
    looked: usize,
    left: Left,
    /// Somebody reads the body.
    is_lent: bool,
    /// What is left to tell the client before it sends its body.
    untold: &'static [u8],
    is_stopping: bool,
    /// Of a head that comes slowly, or a write that makes no progress.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Starts with nothing.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            stash: Vec::new(),
            at: 0,
            looked: 0,
            left: Left::Length(0),
            is_lent: false,
            untold: b"",
            is_stopping: false,
            timer: None,
        }
    }

    /// Has the connection end with the request under way, or at once if there is none.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Tells whether the connection is to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// What has come.
    fn come(&self) -> &[u8] {
        &self.stash[self.at..]
    }

    /// Takes note that bytes were used.
    fn used(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.at += count;
        self.looked = 0;
        if self.at == self.stash.len() {
            (self.stash, self.at) = (Vec::new(), 0);
        }
    }

    /// Keeps bytes.
    fn keep(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.stash.drain(..self.at);
            self.at = 0;
        }
        self.stash.extend_from_slice(bytes);
    }

    /// Reads once and keeps what came; answers how much, 0 at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ.with_borrow_mut(|buffer| {
            let mut window = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut window))?;
            self.keep(window.filled());
            Poll::Ready(Ok(window.filled().len()))
        })
    }

    /// Waits for the next head; nothing if the connection ends before it begins.
    ///
    /// # Errors
    ///
    /// Why there will be none.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Whole>, Broken>> {
        loop {
            // Some clients send them after a body.
            self.used(empty_lines(self.come()));
            if let Some(whole) = self.look().map_err(Broken::Refused)? {
                return Poll::Ready(Ok(Some(whole)));
            }
            let is_empty = self.come().is_empty();
            if self.is_stopping && is_empty {
                return Poll::Ready(Ok(None));
            }
            match self.poll_first(cx)? {
                Poll::Ready(First::Head(whole)) => return Poll::Ready(Ok(Some(whole))),
                Poll::Ready(First::End) if is_empty => return Poll::Ready(Ok(None)),
                Poll::Ready(First::End) => {
                    let refused = head::parse(self.come()).err().map(Broken::Refused);
                    return Poll::Ready(Err(refused.unwrap_or(Broken::Gone)));
                }
                Poll::Ready(First::Part) => {}
                Poll::Pending if is_empty => {
                    self.timer = None;
                    return Poll::Pending;
                }
                Poll::Pending => {
                    ready!(self.expired(HEAD_READ_MAX, cx));
                    return Poll::Ready(Err(Broken::Gone));
                }
            }
        }
    }

    /// Takes the head at the start of what has come; nothing if it is not whole. It is not parsed
    /// for each byte of a slow one, but only where an empty line may end it.
    fn look(&mut self) -> Result<Option<Whole>, Refused> {
        let (come, looked) = (self.come(), self.looked);
        if come.len() == looked {
            return Ok(None);
        }
        let is_full = come.len() >= HEAD_BYTES_MAX;
        if looked == 0 || is_full || has_end(&come[looked.saturating_sub(3)..]) {
            match head::parse(come)? {
                Some(whole) if whole.used <= HEAD_BYTES_MAX => {
                    self.begin(&whole);
                    self.used(whole.used);
                    return Ok(Some(whole));
                }
                None if !is_full => {}
                Some(_) | None => return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into()),
            }
        }
        self.looked = self.come().len();
        Ok(None)
    }

    /// Reads once. A head that comes whole while nothing is kept is taken where it was read.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<First, Broken>> {
        if !self.come().is_empty() {
            let count = ready!(self.poll_more(cx))?;
            return Poll::Ready(Ok(if count == 0 { First::End } else { First::Part }));
        }
        READ.with_borrow_mut(|buffer| {
            let mut window = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut window))?;
            let bytes = window.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(First::End));
            }
            let bytes = &bytes[empty_lines(bytes)..];
            let Some(whole) = head::parse(bytes).map_err(Broken::Refused)? else {
                self.keep(bytes);
                self.looked = bytes.len();
                return Poll::Ready(Ok(First::Part));
            };
            self.begin(&whole);
            if whole.used < bytes.len() {
                self.keep(&bytes[whole.used..]);
            }
            Poll::Ready(Ok(First::Head(whole)))
        })
    }

    /// Prepares for the body of a request.
    fn begin(&mut self, whole: &Whole) {
        self.timer = None;
        self.left = match whole.manner.framing {
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks(Chunks::new()),
        };
        self.untold = if whole.manner.waits { CONTINUE } else { b"" };
    }

    /// Tells whether the body has been read to its end.
    pub(super) fn is_body_done(&self) -> bool {
        match &self.left {
            Left::Length(left) => *left == 0,
            Left::Chunks(chunks) => chunks.is_done(),
        }
    }

    /// Tells how much of the body is still to come, if that is known.
    pub(super) fn body_left(&self) -> Option<u64> {
        match &self.left {
            Left::Length(left) => Some(*left),
            Left::Chunks(_) => None,
        }
    }

    /// Tells whether the client still waits to be told to send its body.
    pub(super) fn is_body_withheld(&self) -> bool {
        self.untold.len() == CONTINUE.len()
    }

    /// Hands the body to a reader, or takes it back.
    pub(super) fn lend(&mut self, is_lent: bool) {
        self.is_lent = is_lent;
    }

    /// Appends some of the body to `out`; false once it has ended.
    ///
    /// # Errors
    ///
    /// Why there will be no more.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<bool, Broken>> {
        if self.is_body_done() {
            return Poll::Ready(Ok(false));
        }
        if self.come().is_empty() {
            ready!(self.poll_tell(cx))?;
            if ready!(self.poll_more(cx))? == 0 {
                return Poll::Ready(Err(Broken::Gone));
            }
        }
        let come = &self.stash[self.at..];
        let count = match &mut self.left {
            Left::Length(left) => {
                let count = come.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&come[..count]);
                *left -= count as u64;
                count
            }
            Left::Chunks(chunks) => {
                let decoded = chunks.decode(come, out);
                decoded.map_err(|_| Broken::Refused(StatusCode::BAD_REQUEST.into()))?
            }
        };
        self.untold = b"";
        self.used(count);
        Poll::Ready(Ok(true))
    }

    /// Tells the client to send its body, if it waits for that.
    fn poll_tell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.untold.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.untold.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, self.untold))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.untold = &self.untold[count..];
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Waits until the client is gone, while it waits for an answer. What else it sends is kept as
    /// far as there is room; nothing is noticed while somebody reads the body.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_lent && self.come().len() < HEAD_BYTES_MAX {
            match ready!(self.poll_more(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Writes all of a message and passes it on.
    ///
    /// # Errors
    ///
    /// Those of the socket, and of one that takes nothing for [`WRITE_STALL_MAX`].
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<io::Result<()>> {
        if !self.is_body_withheld() {
            ready!(self.poll_tell(cx))?;
        }
        while let Some(slices) = message.slices() {
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => message.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(self.expired(WRITE_STALL_MAX, cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            self.timer = None;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes the sending half.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Reads over what the client still sends, until it closes.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.used(self.come().len());
            match ready!(self.poll_more(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Tells whether something has come that nobody has asked for.
    pub(super) fn has_more(&self) -> bool {
        !self.come().is_empty()
    }

    /// Waits for the end of a time that began when it was first asked for.
    fn expired(&mut self, span: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let fresh = || Box::pin(tokio::time::sleep_until(Instant::now() + span));
        ready!(self.timer.get_or_insert_with(fresh).as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(())
    }
}

/// What one read brought.
enum First {
    Head(Whole),
    Part,
    End,
}

/// Counts the bytes of empty lines at the start.
fn empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
        rest = after;
    }
    bytes.len() - rest.len()
}

/// Tells whether an empty line ends a head somewhere in `bytes`.
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

/// Bytes to write: a head of their own, and a body that others may share.
pub(super) struct Message {
    pub(super) head: Vec<u8>,
    body: Bytes,
    tail: &'static [u8],
    written: usize,
}

impl Message {
    /// A message of which nothing is written.
    pub(super) fn new(head: Vec<u8>, body: Bytes, tail: &'static [u8]) -> Self {
        Self { head, body, tail, written: 0 }
    }

    /// What is still to be written; nothing once all is.
    fn slices(&self) -> Option<[IoSlice<'_>; 3]> {
        let mut skip = self.written;
        let parts = [&self.head[..], &self.body, self.tail].map(|part| {
            let rest = &part[skip.min(part.len())..];
            skip = skip.saturating_sub(part.len());
            IoSlice::new(rest)
        });
        parts.iter().any(|part| !part.is_empty()).then_some(parts)
    }
}
