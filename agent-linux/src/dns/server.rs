//! Sockets of the DNS edge.

use super::Dns;
use super::message::{TCP_BYTES_MAX, Transport};
use crate::lane::Moved;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bytes of a question: far more than a name, a type and the options of EDNS take. Longer ones are
/// damaged over UDP, and end a connection.
const QUESTION_BYTES_MAX: usize = 4096;
/// Questions over UDP that wait for a server or a recursor at once. More are dropped: resolvers ask
/// again, and whoever waits behind a thousand has given up.
const WAITING_MAX: usize = 1024;
/// TCP connections at once. More are closed as soon as they come.
const CONNECTIONS_MAX: usize = 1024;
/// How long a connection may be silent, or take for one message: RFC 7766 §6.2.3.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Rest after a failure to accept, for file descriptors to come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves DNS on a pair of sockets until told to stop, on the runtime that polls this first.
pub async fn serve(
    udp: UdpSocket,
    tcp: TcpListener,
    dns: Arc<Dns>,
    mut shutdown: watch::Receiver<bool>,
) {
    let (udp, tcp) = match (udp.moved(), tcp.moved()) {
        (Ok(udp), Ok(tcp)) => (udp, tcp),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "DNS cannot be served");
            return;
        }
    };
    tokio::select! {
        () = datagrams(Arc::new(udp), Arc::clone(&dns)) => {}
        () = connections(tcp, dns) => {}
        _stopped = shutdown.wait_for(|stop| *stop) => {}
    }
}

type Answering = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// Answers datagrams. What is answered from local state is answered on the spot; only what has to
/// wait for others becomes a task.
async fn datagrams(socket: Arc<UdpSocket>, dns: Arc<Dns>) {
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let mut tasks = JoinSet::new();
    let mut room = vec![0; QUESTION_BYTES_MAX];
    loop {
        while tasks.try_join_next().is_some() {}
        let (len, from) = match socket.recv_from(&mut room).await {
            Ok(received) => received,
            // A client that is gone (ICMP unreachable) is no failure of the socket.
            Err(error) => {
                tracing::debug!(%error, "receiving a DNS question");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let packet = room[..len].to_vec();
        let asked = Arc::clone(&dns);
        let mut answering: Answering =
            Box::pin(async move { asked.answer(&packet, Transport::Udp, from.ip()).await });
        let first = std::future::poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await;
        match first {
            Poll::Ready(reply) => send(&socket, reply, from).await,
            Poll::Pending => {
                let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else {
                    tracing::debug!(%from, "too many DNS questions wait: dropped one");
                    continue;
                };
                let socket = Arc::clone(&socket);
                tasks.spawn(async move {
                    send(&socket, answering.await, from).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: Option<Vec<u8>>, to: SocketAddr) {
    if let Some(reply) = reply
        && let Err(error) = socket.send_to(&reply, to).await
    {
        tracing::debug!(%error, %to, "sending a DNS answer");
    }
}

/// Accepts connections.
async fn connections(listener: TcpListener, dns: Arc<Dns>) {
    let open = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a DNS connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&open).try_acquire_owned() else {
            tracing::debug!(%from, "too many DNS connections: closed one");
            continue;
        };
        let dns = Arc::clone(&dns);
        tasks.spawn(async move {
            if let Err(error) = connection(stream, from.ip(), &dns).await {
                tracing::debug!(%error, %from, "a DNS connection ended");
            }
            drop(permit);
        });
    }
}

/// Answers the questions of one connection, one after the other: RFC 7766 §6.2.1.
async fn connection(mut stream: TcpStream, from: IpAddr, dns: &Dns) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut packet = Vec::new();
    loop {
        let mut len = [0; 2];
        match timeout(IDLE_MAX, stream.read_exact(&mut len)).await? {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let len = usize::from(u16::from_be_bytes(len));
        if len > QUESTION_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        packet.resize(len, 0);
        timeout(IDLE_MAX, stream.read_exact(&mut packet)).await??;
        if let Some(reply) = dns.answer(&packet, Transport::Tcp, from).await {
            let mut framed = Vec::with_capacity(reply.len() + 2);
            // An answer is cut to what two bytes can say.
            let len = u16::try_from(reply.len().min(TCP_BYTES_MAX)).unwrap_or(u16::MAX);
            framed.extend(len.to_be_bytes());
            framed.extend(reply);
            timeout(IDLE_MAX, stream.write_all(&framed)).await??;
        }
    }
}
