//! The two halves of a connection, for clients and servers alike.
//!
//! An idle connection owns no buffer: bytes are read into one buffer per thread, and only a frame
//! that has arrived in part is kept. A frame is written at once by whoever sends it, in one call to
//! the kernel; only what the socket does not take waits in a queue. Where many frames come together
//! (the requests of a client's many askers, the answers to requests that arrived in one piece) they
//! gather there first and leave in one call.

use agent_core::wire::frame::{self, HEADER_BYTES, Header, Kind};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

/// Bytes read at once, into one buffer per thread: one call for many small frames.
const READ_BYTES: usize = 64 * 1024;

/// Bytes by which the buffer of a long body grows while it arrives: what a peer claims is not
/// allocated before it has sent it.
const BODY_STEP_BYTES: usize = 256 * 1024;

/// Frames that wait to be written, in bytes. Above it the connection takes no new requests.
pub(super) const QUEUED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes up to which further frames join the one before them in one buffer.
const JOINED_BYTES_MAX: usize = 8 * 1024;

/// Frames that gather for one call to the kernel, in bytes; beyond it they are written.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// How long a peer may read nothing while frames wait for it; then the connection is closed.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Why a connection is of no further use.
#[derive(Debug)]
pub(super) enum Error {
    /// The far side closed it, between two frames or inside one.
    Closed,
    /// The far side sent what is not a frame.
    Frame(frame::Error),
    /// The far side took nothing for [`WRITE_TIMEOUT`].
    SlowReader,
    /// The socket failed.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection closed by the far side"),
            Self::Frame(error) => error.fmt(f),
            Self::SlowReader => f.write_str("the far side does not read"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Cuts what arrives into frames.
pub(super) struct Inbox {
    half: OwnedReadHalf,
    length_max: u32,
    /// Arrived but not yet handed out; starts with a header.
    stash: Vec<u8>,
    /// Where in `stash` the next frame starts.
    at: usize,
    /// A body that arrives in pieces.
    body: Option<(Header, Vec<u8>)>,
    /// Counts reads that brought bytes, so that a watcher can tell progress.
    reads: u64,
}

impl Inbox {
    /// Takes frames with bodies of up to `length_max` bytes.
    pub(super) fn new(half: OwnedReadHalf, length_max: u32) -> Self {
        Self { half, length_max, stash: Vec::new(), at: 0, body: None, reads: 0 }
    }

    /// Tells how often bytes have arrived.
    pub(super) fn reads(&self) -> u64 {
        self.reads
    }

    /// Tells whether a frame has arrived in part.
    pub(super) fn is_partial(&self) -> bool {
        self.body.is_some() || self.at < self.stash.len()
    }

    /// Tells whether the next frame is there already.
    pub(super) fn has_frame(&self) -> bool {
        let Some((head, after)) = self.stash[self.at..].split_first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        let header = Header::parse(head, self.length_max);
        self.body.is_none() && header.is_ok_and(|header| after.len() >= header.length as usize)
    }

    /// Waits for the next frame. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<(Header, Vec<u8>), Error> {
        loop {
            if let Some(frame) = self.cut()? {
                return Ok(frame);
            }
            self.read().await?;
        }
    }

    /// Cuts the next frame out of what has arrived.
    fn cut(&mut self) -> Result<Option<(Header, Vec<u8>)>, Error> {
        if let Some((header, body)) = &self.body {
            return match body.len() == header.length as usize {
                true => Ok(self.body.take()),
                false => Ok(None),
            };
        }
        let rest = &self.stash[self.at..];
        let Some((head, after)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::parse(head, self.length_max).map_err(Error::Frame)?;
        let length = header.length as usize;
        if let Some(body) = after.get(..length) {
            let frame = (header, body.to_vec());
            self.at += HEADER_BYTES + length;
            if self.at == self.stash.len() {
                (self.stash, self.at) = (Vec::new(), 0);
            }
            return Ok(Some(frame));
        }
        self.body = Some((header, after.to_vec()));
        (self.stash, self.at) = (Vec::new(), 0);
        Ok(None)
    }

    /// Waits until more has arrived and keeps it.
    async fn read(&mut self) -> Result<(), Error> {
        let (half, body, stash) = (&mut self.half, &mut self.body, &mut self.stash);
        let count = poll_fn(|cx| match body {
            Some((header, body)) => {
                let missing = header.length as usize - body.len();
                let start = body.len();
                body.resize(start + missing.min(BODY_STEP_BYTES), 0);
                let mut window = ReadBuf::new(&mut body[start..]);
                let result = Pin::new(&mut *half).poll_read(cx, &mut window);
                let count = window.filled().len();
                body.truncate(start + count);
                ready!(result)?;
                Poll::Ready(io::Result::Ok(count))
            }
            None => READ.with_borrow_mut(|buffer| {
                let mut window = ReadBuf::new(buffer);
                ready!(Pin::new(&mut *half).poll_read(cx, &mut window))?;
                stash.extend_from_slice(window.filled());
                Poll::Ready(Ok(window.filled().len()))
            }),
        })
        .await
        .map_err(Error::Io)?;
        if count == 0 {
            return Err(Error::Closed);
        }
        self.reads += 1;
        if self.at > 0 {
            self.stash.drain(..self.at);
            self.at = 0;
        }
        Ok(())
    }
}

/// Writes frames, from any task.
pub(super) struct Outbox {
    half: OwnedWriteHalf,
    queue: Mutex<Queue>,
    /// Told when something was queued, or on close.
    queued: Notify,
    /// Told when the queue has room again, or on close.
    room: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    /// Bytes of the first frame that are written already.
    written: usize,
    bytes: usize,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self { half, queue: Mutex::default(), queued: Notify::new(), room: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder panics")
    }

    /// Sends a frame, at once if the socket takes it, else later. After close it is dropped.
    ///
    /// # Panics
    ///
    /// If the body has more than `u32::MAX` bytes.
    pub(super) fn send(&self, kind: Kind, id: u32, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("bodies are far below 4 GiB");
        let head = Header::new(kind, id, length).emit();
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        let mut written = 0;
        if queue.frames.is_empty() {
            match self.half.try_write_vectored(&[IoSlice::new(&head), IoSlice::new(body)]) {
                Ok(count) if count == head.len() + body.len() => return,
                Ok(count) => written = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return self.shut(queue),
            }
        }
        let mut frame = Vec::with_capacity(head.len() + body.len() - written);
        frame.extend_from_slice(head.get(written..).unwrap_or_default());
        frame.extend_from_slice(&body[written.saturating_sub(head.len())..]);
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        self.queued.notify_one();
    }

    /// Queues a frame for the next [`flush`](Self::flush); writes once many have gathered. After
    /// close it is dropped.
    ///
    /// # Panics
    ///
    /// If the body has more than `u32::MAX` bytes.
    pub(super) fn put(&self, kind: Kind, id: u32, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("bodies are far below 4 GiB");
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        queue.bytes += HEADER_BYTES + body.len();
        let is_joined = queue.frames.back().is_some_and(|last| last.len() < JOINED_BYTES_MAX);
        if !is_joined {
            queue.frames.push_back(Vec::with_capacity(HEADER_BYTES + body.len()));
        }
        let last = queue.frames.back_mut().expect("one was pushed if there was none");
        last.extend_from_slice(&Header::new(kind, id, length).emit());
        last.extend_from_slice(body);
        let is_much = queue.bytes > GATHERED_BYTES_MAX;
        drop(queue);
        if is_much {
            self.flush();
        }
    }

    /// Queues a frame and has the task that drains write it, with all that others queue until it
    /// runs. After close it is dropped.
    ///
    /// # Panics
    ///
    /// If the body has more than `u32::MAX` bytes.
    pub(super) fn gather(&self, kind: Kind, id: u32, body: &[u8]) {
        self.put(kind, id, body);
        self.queued.notify_one();
    }

    /// Writes what was queued; what the socket does not take now is left to the task that drains.
    pub(super) fn flush(&self) {
        let is_empty = || self.lock().frames.is_empty();
        if is_empty() {
            return;
        }
        match self.write_queued() {
            Ok(()) if is_empty() => {}
            Ok(()) => self.queued.notify_one(),
            Err(_) => self.close(),
        }
    }

    fn shut(&self, mut queue: MutexGuard<'_, Queue>) {
        *queue = Queue { closed: true, ..Queue::default() };
        drop(queue);
        self.queued.notify_one();
        self.room.notify_waiters();
    }

    /// Drops what waits and everything sent from now on.
    pub(super) fn close(&self) {
        self.shut(self.lock());
    }

    /// Waits until less than [`QUEUED_BYTES_MAX`] wait to be written, or the outbox is closed.
    pub(super) async fn room(&self) {
        loop {
            let told = self.room.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.lock().bytes < QUEUED_BYTES_MAX {
                return;
            }
            told.await;
        }
    }

    /// Writes what was queued, until the connection ends.
    pub(super) async fn drain(&self) -> Error {
        loop {
            self.queued.notified().await;
            loop {
                if self.lock().closed {
                    return Error::Closed;
                }
                if self.lock().frames.is_empty() {
                    break;
                }
                match tokio::time::timeout(WRITE_TIMEOUT, self.half.writable()).await {
                    Err(_) => return Error::SlowReader,
                    Ok(Err(error)) => return Error::Io(error),
                    Ok(Ok(())) => {}
                }
                if let Err(error) = self.write_queued() {
                    return Error::Io(error);
                }
            }
        }
    }

    /// Writes as much of the queue as the socket takes now, many frames in one call.
    fn write_queued(&self) -> io::Result<()> {
        /// Frames joined into one write.
        const SLICES: usize = 64;
        let mut queue = self.lock();
        while !queue.frames.is_empty() {
            let skip = queue.written;
            let slices: Vec<IoSlice<'_>> = (queue.frames.iter().take(SLICES).enumerate())
                .map(|(place, frame)| IoSlice::new(&frame[if place == 0 { skip } else { 0 }..]))
                .collect();
            let mut count = match self.half.try_write_vectored(&slices) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            queue.bytes = queue.bytes.saturating_sub(count);
            while let Some(first) = queue.frames.front() {
                let left = first.len() - queue.written;
                if count < left {
                    queue.written += count;
                    break;
                }
                count -= left;
                queue.written = 0;
                queue.frames.pop_front();
            }
        }
        if queue.bytes < QUEUED_BYTES_MAX {
            drop(queue);
            self.room.notify_waiters();
        }
        Ok(())
    }
}
