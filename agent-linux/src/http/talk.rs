//! What is said over one connection: request after request, each with its answer.

use super::connection::{Body, Incoming, REST_READ_MAX};
use super::emit::{self, Ending};
use super::head::{Head, Manner, Whole};
use super::wire::{Broken, Message, Wire};
use super::{Http, route};
use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::CONNECTION;
use hyper::{Response, StatusCode, Version};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Time that requests under way have once the agent stops.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Most bytes of a body that are read over for the sake of the next request.
const REST_BYTES_MAX: u64 = 256 * 1024;

/// Time that a client has to read the answer to what was not read to its end: if the connection
/// were closed while bytes come, the answer would be lost with it. As long as Go waits.
const LINGER_MAX: Duration = Duration::from_millis(500);

/// Bytes up to which the room for the head of an answer is kept for the next one.
const HEAD_ROOM_MAX: usize = 4 * 1024;

thread_local! {
    /// Room for the head of an answer.
    static HEAD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Serves the requests of one connection, one after the other, until the client ends it or the
/// agent stops.
pub(super) async fn converse<S>(
    stream: S,
    from: Option<IpAddr>,
    http: Arc<Http>,
    mut shutdown: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let talk = Talk { wire: Arc::new(Mutex::new(Wire::new(stream))), from, http };
    let mut talking = pin!(talk.run());
    tokio::select! {
        biased;
        () = talking.as_mut() => return,
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    talk.lock().stop();
    drop(tokio::time::timeout(DRAIN_MAX, talking).await);
}

/// A connection and who serves it.
struct Talk<S> {
    wire: Arc<Mutex<Wire<S>>>,
    from: Option<IpAddr>,
    http: Arc<Http>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Talk<S> {
    fn lock(&self) -> MutexGuard<'_, Wire<S>> {
        self.wire.lock().expect("nothing panics while it reads or writes")
    }

    async fn run(&self) {
        loop {
            let next = poll_fn(|cx| self.lock().poll_head(cx)).await;
            let goes_on = match next {
                // Boxed, so that a connection between requests has no room for one.
                Ok(Some(whole)) => Box::pin(async move { self.serve(&whole).await }).await,
                Ok(None) | Err(Broken::Gone) => return,
                Err(Broken::Refused(refused)) => {
                    let refusal = Message::new(emit::refusal(refused), Bytes::new(), b"");
                    Box::pin(self.send(refusal)).await.map_or_else(Err, |_| Err(Close::Unread))
                }
            };
            match goes_on {
                Ok(()) => {}
                Err(Close::Now) => return,
                Err(Close::Told) => return self.close().await,
                Err(Close::Unread) => return Box::pin(self.linger()).await,
            }
        }
    }

    /// Closes the sending half, so that the client sees the end of the answer.
    async fn close(&self) {
        let _ = poll_fn(|cx| self.lock().poll_shutdown(cx)).await;
    }

    /// The same, and leaves the client time to read.
    async fn linger(&self) {
        self.close().await;
        let end = poll_fn(|cx| self.lock().poll_end(cx));
        drop(tokio::time::timeout(LINGER_MAX, end).await);
    }

    /// Serves one request; fails if the connection is to end.
    async fn serve(&self, Whole { head, manner, .. }: &Whole) -> Result<(), Close> {
        let has_body = !self.lock().is_body_done();
        let response = self.response(head, has_body).await?;
        let is_read = !has_body || Box::pin(self.read_over()).await;
        let close = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
        let keeps = manner.keeps && is_read && !close && !self.lock().is_stopping();
        let keeps = match written(response, *manner, keeps) {
            Written::Whole(message) => {
                let Message { mut head, .. } = self.send(message).await?;
                if head.capacity() <= HEAD_ROOM_MAX {
                    head.clear();
                    HEAD.set(head);
                }
                keeps
            }
            Written::Streamed(head, body, ending) => {
                Box::pin(self.stream(head, body, ending)).await?;
                keeps && ending == Ending::Chunked
            }
        };
        match keeps {
            true => Ok(()),
            false if is_read && !self.lock().has_more() => Err(Close::Told),
            false => Err(Close::Unread),
        }
    }

    /// Has a request answered, its body read as far as it is wanted.
    async fn response(&self, head: &Head, has_body: bool) -> Result<Response<Body>, Close> {
        let body = has_body.then(|| Incoming::of(&self.wire));
        let answer = pin!(route::answer(&self.http, self.from, head, body));
        self.unless_gone(answer).await
    }

    /// Waits for an answer, but no longer than somebody waits for it.
    fn unless_gone<F: Future + Unpin>(
        &self,
        mut answer: F,
    ) -> impl Future<Output = Result<F::Output, Close>> {
        poll_fn(move |cx| match Pin::new(&mut answer).poll(cx) {
            Poll::Ready(response) => Poll::Ready(Ok(response)),
            Poll::Pending => self.lock().poll_gone(cx).map(|()| Err(Close::Now)),
        })
    }

    /// Reads over what is left of a body; tells whether the next request may be read after it.
    async fn read_over(&self) -> bool {
        {
            let wire = self.lock();
            if wire.is_body_done() {
                return true;
            }
            if wire.is_body_withheld() || wire.body_left().is_some_and(|left| left > REST_BYTES_MAX)
            {
                return false;
            }
        }
        let rest = async {
            let (mut rest, mut count) = (Vec::new(), 0);
            while let Ok(true) = poll_fn(|cx| self.lock().poll_body(cx, &mut rest)).await {
                count += rest.len() as u64;
                rest.clear();
                if count > REST_BYTES_MAX {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(REST_READ_MAX, rest).await);
        self.lock().is_body_done()
    }

    /// Sends an answer whose body comes in pieces, each at once.
    async fn stream(&self, head: Vec<u8>, mut body: Body, ending: Ending) -> Result<(), Close> {
        self.send(Message::new(head, Bytes::new(), b"")).await?;
        let is_chunked = ending == Ending::Chunked;
        loop {
            let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            match self.unless_gone(next).await? {
                // Without the last chunk nobody takes it for whole.
                Some(Err(_)) => return Err(Close::Now),
                Some(Ok(frame)) => {
                    let Some(piece) = frame.into_data().ok().filter(|piece| !piece.is_empty())
                    else {
                        continue;
                    };
                    let mut size = Vec::new();
                    if is_chunked {
                        emit::chunk_size(&mut size, piece.len());
                    }
                    let tail: &[u8] = if is_chunked { b"\r\n" } else { b"" };
                    self.send(Message::new(size, piece, tail)).await?;
                }
                None => {
                    let end: &[u8] = if is_chunked { b"0\r\n\r\n" } else { b"" };
                    self.send(Message::new(Vec::new(), Bytes::new(), end)).await?;
                    return Ok(());
                }
            }
        }
    }

    /// Sends a message whole and gives it back.
    fn send(&self, message: Message) -> impl Future<Output = Result<Message, Close>> {
        let mut message = Some(message);
        poll_fn(move |cx| {
            let unsent = message.as_mut().expect("not polled after its end");
            let sent = ready!(self.lock().poll_send(cx, unsent));
            let message = message.take().expect("it was there");
            Poll::Ready(sent.map(|()| message).map_err(|_| Close::Now))
        })
    }
}

/// An answer as it goes out.
enum Written {
    /// In one message.
    Whole(Message),
    /// Its head, and a body that comes in pieces.
    Streamed(Vec<u8>, Body, Ending),
}

/// Writes the head of an answer.
fn written(response: Response<Body>, manner: Manner, keeps: bool) -> Written {
    let (parts, body) = response.into_parts();
    let is_bodiless = parts.status.is_informational()
        || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let ending = match body.length() {
        _ if is_bodiless => Ending::Bodiless,
        Some(length) => Ending::Length(length),
        None if manner.is_old => Ending::Close,
        None => Ending::Chunked,
    };
    let keeps = keeps && ending != Ending::Close;
    let version = if manner.is_old { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut head = HEAD.take();
    emit::head(&mut head, version, parts.status, &parts.headers, ending, keeps);
    let whole = match body {
        _ if is_bodiless || manner.is_head => Bytes::new(),
        Body::Whole(bytes) => bytes,
        body @ (Body::Stream(_) | Body::Fragile(_) | Body::Packed(..)) => {
            return Written::Streamed(head, body, ending);
        }
    };
    Written::Whole(Message::new(head, whole, b""))
}

/// Why and how a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Close {
    /// The client is gone, or an answer was broken off.
    Now,
    /// The client has got its answer.
    Told,
    /// The same, but not everything was read that it sends.
    Unread,
}
