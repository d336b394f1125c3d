//! Push/pull over TCP: a few exchanges at a time, each bounded in time and size.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_core::gossip::seal::Refused;
use agent_core::gossip::seal::frame::Thread;
use agent_core::gossip::sync::{Bar, Error, Frame, HEAD_BYTES, Purpose, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::driver::{Inner, PartialView};
use crate::config::os_text;

/// Longest one exchange may take, connecting included.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most exchanges that others may have open with us; more wait in the listener's queue.
const INBOUND_MAX: usize = 8;

/// Most hellos of one exchange: a summary, then the parts that differ.
const HELLOS_MAX: usize = 2;

/// Pause after a failed accept: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two rounds of attempts to come back to a pool after a restart.
const REJOIN_PERIOD: Duration = Duration::from_secs(10);

/// Why an exchange did not happen.
#[derive(Debug)]
enum Failure {
    /// There was no connection to this address.
    Dial(SocketAddr, io::Error),
    Io(io::Error),
    Sync(Error),
    Seal(Refused),
    Late,
    Partial(PartialView),
}

impl From<PartialView> for Failure {
    fn from(partial: PartialView) -> Self {
        Self::Partial(partial)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Sync(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // In Go's words.
            Self::Dial(peer, error) => write!(f, "dial tcp {peer}: connect: {}", os_text(error)),
            Self::Io(error) => f.write_str(&os_text(error)),
            Self::Sync(error) => error.fmt(f),
            Self::Seal(why) => why.fmt(f),
            Self::Late => f.write_str("i/o timeout"),
            Self::Partial(partial) => partial.fmt(f),
        }
    }
}

/// Takes exchanges that others open.
pub(super) async fn listen(inner: Arc<Inner>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(INBOUND_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                let task = Arc::clone(&inner);
                inner.spawn(async move {
                    let answered = timeout(EXCHANGE_TIMEOUT, answer(&task, stream, from)).await;
                    match answered.unwrap_or(Err(Failure::Late)) {
                        Ok(()) => {}
                        Err(error) => tracing::debug!(%from, %error, "exchange failed"),
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The answering side of one exchange.
async fn answer(inner: &Inner, mut stream: TcpStream, from: SocketAddr) -> Result<(), Failure> {
    let mut thread = Thread::default();
    let mut frame = match read(inner, &mut stream, Frame::Hello, &mut thread).await {
        Ok(hello) => hello,
        Err(Failure::Seal(why)) => {
            let bar = match &inner.seal {
                Some(seal) => {
                    seal.tell_drop(inner.name, from, why);
                    Bar::from(why)
                }
                None => Bar::NoKeys,
            };
            stream.write_all(&bar.emit()).await?;
            return Err(Failure::Seal(why));
        }
        Err(failure) => return Err(failure),
    };
    for _ in 0..HELLOS_MAX {
        let (reply, next) =
            inner.drive(|pool, now| pool.handle_sync_hello(now, from, &frame))??;
        write(inner, &mut stream, Frame::Reply, reply, &mut thread).await?;
        frame = read(inner, &mut stream, next, &mut thread).await?;
        if next == Frame::Rest {
            return Ok(inner.drive(|pool, now| pool.handle_sync_rest(now, &frame))??);
        }
    }
    Err(Error::Malformed.into())
}

/// The asking side of one exchange.
async fn exchange(inner: &Inner, peer: SocketAddr, purpose: Purpose) -> Result<(), Failure> {
    let work = async {
        let mut thread = Thread::default();
        let mut stream =
            TcpStream::connect(peer).await.map_err(|error| Failure::Dial(peer, error))?;
        stream.set_nodelay(true)?;
        let mut hello = inner.drive(|pool, _| pool.sync_hello(purpose))?;
        for _ in 0..HELLOS_MAX {
            write(inner, &mut stream, Frame::Hello, hello, &mut thread).await?;
            let reply = read(inner, &mut stream, Frame::Reply, &mut thread).await?;
            match inner.drive(|pool, now| pool.handle_sync_reply(now, peer, &reply))?? {
                Step::Hello(next) => hello = next,
                Step::Rest(rest) => {
                    write(inner, &mut stream, Frame::Rest, rest, &mut thread).await?;
                    return Ok(stream.shutdown().await?);
                }
            }
        }
        Err(Error::Malformed.into())
    };
    timeout(EXCHANGE_TIMEOUT, work).await.unwrap_or(Err(Failure::Late))
}

/// Writes one frame, sealed if the pool is.
async fn write(
    inner: &Inner,
    stream: &mut TcpStream,
    frame: Frame,
    bytes: Vec<u8>,
    thread: &mut Thread,
) -> Result<(), Failure> {
    let bytes = match &inner.seal {
        Some(seal) => seal
            .with(|sealer| sealer.seal_frame(frame, bytes, thread))
            .ok_or_else(|| io::Error::other("no nonces left"))?,
        None => bytes,
    };
    Ok(stream.write_all(&bytes).await?)
}

/// Reads one frame's body, opened. Memory grows with what arrives, not with what the head promises.
async fn read(
    inner: &Inner,
    stream: &mut TcpStream,
    frame: Frame,
    thread: &mut Thread,
) -> Result<Vec<u8>, Failure> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let head = frame.check(head)?;
    let mut body = Vec::new();
    stream.take(head.len as u64).read_to_end(&mut body).await?;
    if body.len() < head.len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match &inner.seal {
        Some(seal) => {
            seal.with(|sealer| sealer.open_frame(frame, head, body, thread)).map_err(Failure::Seal)
        }
        None if head.sealed => Err(Failure::Seal(Refused::UnknownKey)),
        None => Ok(body),
    }
}

/// Exchanges state with a member to become one: as a newcomer, to whom the pool's past means
/// nothing, or for the first time after a restart.
async fn enter(inner: &Inner, peer: SocketAddr) -> Result<(), Failure> {
    if !inner.returning.load(Ordering::Relaxed) {
        return exchange(inner, peer, Purpose::Join).await;
    }
    exchange(inner, peer, Purpose::Return).await?;
    inner.returning.store(false, Ordering::Relaxed);
    Ok(())
}

/// Exchanges state with each address in turn.
pub(super) async fn join(
    inner: &Arc<Inner>,
    addresses: &[SocketAddr],
) -> (usize, Vec<(SocketAddr, String)>) {
    let mut contacted = 0;
    let mut errors = Vec::new();
    for address in addresses {
        match enter(inner, *address).await {
            Ok(()) => contacted += 1,
            Err(error) => errors.push((*address, error.to_string())),
        }
    }
    (contacted, errors)
}

/// Exchanges state with a member because the pool wants it.
pub(super) fn spawn_repair(inner: &Arc<Inner>, peer: SocketAddr) {
    let task = Arc::clone(inner);
    inner.spawn(async move {
        if let Err(error) = exchange(&task, peer, Purpose::Repair).await {
            tracing::debug!(%peer, %error, "exchange failed");
        }
    });
}

/// Goes back to the pool of before the restart: tries its members until one answers.
pub(super) async fn rejoin(inner: Arc<Inner>, members: Vec<SocketAddr>) {
    loop {
        for peer in &members {
            match enter(&inner, *peer).await {
                Ok(()) => {
                    tracing::info!("re-joined to previously known node {peer}");
                    return;
                }
                Err(error) => tracing::debug!(%peer, %error, "rejoin failed"),
            }
        }
        if inner.count() > 1 {
            return;
        }
        tracing::warn!("no previously known node answers; trying again");
        tokio::time::sleep(REJOIN_PERIOD).await;
    }
}
