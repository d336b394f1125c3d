//! Push/pull over TCP: a few exchanges at a time, each bounded in time and size.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_core::gossip::sync::{Error, Frame, HEAD_BYTES, Purpose};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::driver::Inner;

/// Longest one exchange may take, connecting included.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most exchanges that others may have open with us; more wait in the listener's queue.
const INBOUND_MAX: usize = 8;

/// Pause after a failed accept: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two rounds of attempts to come back to a pool after a restart.
const REJOIN_PERIOD: Duration = Duration::from_secs(10);

/// Why an exchange did not happen.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Sync(Error),
    Late,
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
            Self::Io(error) => error.fmt(f),
            Self::Sync(error) => error.fmt(f),
            Self::Late => f.write_str("i/o timeout"),
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
    let hello = read(&mut stream, Frame::Hello).await?;
    let reply = inner.drive(|pool, now| pool.handle_sync_hello(now, from, &hello))?;
    drop(hello);
    stream.write_all(&reply).await?;
    drop(reply);
    let rest = read(&mut stream, Frame::Rest).await?;
    inner.drive(|pool, now| pool.handle_sync_rest(now, &rest))?;
    Ok(())
}

/// The asking side of one exchange.
async fn exchange(inner: &Inner, peer: SocketAddr, purpose: Purpose) -> Result<(), Failure> {
    let work = async {
        let mut stream = TcpStream::connect(peer).await?;
        stream.set_nodelay(true)?;
        let hello = inner.drive(|pool, _| pool.sync_hello(purpose));
        stream.write_all(&hello).await?;
        drop(hello);
        let reply = read(&mut stream, Frame::Reply).await?;
        let rest = inner.drive(|pool, now| pool.handle_sync_reply(now, peer, &reply))?;
        drop(reply);
        stream.write_all(&rest).await?;
        stream.shutdown().await?;
        Ok(())
    };
    timeout(EXCHANGE_TIMEOUT, work).await.unwrap_or(Err(Failure::Late))
}

/// Reads one frame's body. Memory grows with what arrives, not with what the head promises.
async fn read(stream: &mut TcpStream, frame: Frame) -> Result<Vec<u8>, Failure> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let len = frame.check(head)?;
    let mut body = Vec::new();
    stream.take(len as u64).read_to_end(&mut body).await?;
    if body.len() < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(body)
}

/// Exchanges state with each address in turn.
pub(super) async fn join(
    inner: &Arc<Inner>,
    addresses: &[SocketAddr],
) -> (usize, Vec<(SocketAddr, String)>) {
    let mut contacted = 0;
    let mut errors = Vec::new();
    for address in addresses {
        match exchange(inner, *address, Purpose::Join).await {
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
            match exchange(&inner, *peer, Purpose::Join).await {
                Ok(()) => {
                    tracing::info!("re-joined to previously known node {peer}");
                    return;
                }
                Err(error) => tracing::debug!(%peer, %error, "rejoin failed"),
            }
        }
        if inner.members().len() > 1 {
            return;
        }
        tracing::warn!("no previously known node answers; trying again");
        tokio::time::sleep(REJOIN_PERIOD).await;
    }
}
