//! Requests read from memory as they are read from a socket, for fuzz targets and tests.

use super::wire::{Broken, Wire};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was read of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Its method and target.
    pub line: String,
    /// Its body, as far as it came.
    pub body: Vec<u8>,
}

/// Why reading ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Between two requests.
    Clean,
    /// Inside one.
    Inside,
    /// With a refusal of this status code.
    Refused(u16),
}

/// Reads requests out of `bytes`, which come in pieces of up to `piece` bytes. However they come,
/// the same is read.
pub fn read(bytes: &[u8], piece: usize) -> (Vec<Request>, End) {
    let mut wire = Wire::new(Script { bytes, piece: piece.max(1) });
    let mut cx = Context::from_waker(Waker::noop());
    let mut requests = Vec::new();
    let end = loop {
        let head = match wire.poll_head(&mut cx) {
            Poll::Ready(Ok(Some(whole))) => whole.head,
            Poll::Ready(Ok(None)) => break End::Clean,
            Poll::Ready(Err(broken)) => break end(broken),
            Poll::Pending => unreachable!("what is in memory need not be waited for"),
        };
        let line = format!("{} {}", head.method, head.target.text());
        requests.push(Request { line, body: Vec::new() });
        let body = &mut requests.last_mut().expect("one was pushed").body;
        let broken = loop {
            match wire.poll_body(&mut cx, body) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => break None,
                Poll::Ready(Err(broken)) => break Some(broken),
                Poll::Pending => unreachable!("what is in memory need not be waited for"),
            }
        };
        if let Some(broken) = broken {
            break end(broken);
        }
    };
    (requests, end)
}

fn end(broken: Broken) -> End {
    match broken {
        Broken::Gone => End::Inside,
        Broken::Refused(refused) => End::Refused(refused.status.as_u16()),
    }
}

/// Bytes that come in pieces; what is written is lost.
struct Script<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl AsyncRead for Script<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.bytes.len().min(self.piece).min(buffer.remaining());
        let (now, later) = self.bytes.split_at(count);
        buffer.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_same_however_they_come() {
        let text = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
                    PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n\
                    PUT /c HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n\
                    2\r\nde\r\n0\r\n\r\n\
                    GET /d HTTP/1.0\n\n";
        let request = |line: &str, body: &str| Request { line: line.into(), body: body.into() };
        let want = [
            request("GET /a", ""),
            request("PUT /b", "abc"),
            request("PUT /c", "de"),
            request("GET /d", ""),
        ];
        for piece in 1..=text.len() {
            assert_eq!(read(text.as_bytes(), piece), (want.to_vec(), End::Clean), "by {piece}");
        }
        let cut = |bytes: usize| read(&text.as_bytes()[..bytes], 7).1;
        assert_eq!((cut(5), cut(75), cut(text.len())), (End::Inside, End::Inside, End::Clean));
    }

    #[test]
    fn a_head_without_end_is_refused_where_it_is_too_long() {
        let text = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(70_000));
        for piece in [1000, 16 * 1024, usize::MAX] {
            assert_eq!(read(text.as_bytes(), piece), (Vec::new(), End::Refused(431)), "{piece}");
        }
    }
}
