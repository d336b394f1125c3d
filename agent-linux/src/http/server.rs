//! The listener, the limits on connections, and one task per connection.
//!
//! They are served by [`lane`](crate::lane)s where there are any.

use super::Http;
use super::talk::{DRAIN_MAX, converse};
use crate::lane::{self, Moved};
use crate::tls::Offer;
use rustix::net::sockopt;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Pause after a failed accept: out of descriptors, say, which only time mends.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Silence after which the kernel asks whether the client is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// First byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// What a client hears that speaks plain HTTP to a listener of HTTPS, in Go's words.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Where connections come from, and whether they speak TLS.
pub struct Listener {
    socket: Socket,
    tls: Option<Offer>,
}

/// A socket that connections are accepted from.
enum Socket {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket; the limit per client does not apply.
    Unix(UnixListener),
}

impl Listener {
    /// Has connections speak TLS.
    pub fn with_tls(self, offer: Offer) -> Self {
        Self { tls: Some(offer), ..self }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { socket: Socket::Tcp(listener), tls: None }
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self { socket: Socket::Unix(listener), tls: None }
    }
}

/// Serves the listener until `shutdown` is true or its sender is gone, then lets requests under
/// way end within a second.
pub async fn serve(
    listener: impl Into<Listener>,
    http: Arc<Http>,
    shutdown: watch::Receiver<bool>,
) {
    let listener = listener.into();
    let mut stop = shutdown.clone();
    let counts = Arc::new(Counts::default());
    // Each task holds a sender; the receiver ends once all are gone.
    let (alive, mut drained) = mpsc::channel::<Infallible>(1);
    loop {
        tokio::select! {
            accepted = accept(&listener.socket) => match accepted {
                Ok(Peer::Tcp(stream, ip)) => {
                    let max = http.settings.connections_per_client_max.get();
                    let Some(ticket) = Counts::admit(&counts, ip, max) else { continue };
                    let (http, shutdown) = (Arc::clone(&http), shutdown.clone());
                    let held = (ticket, alive.clone());
                    let offer = listener.tls.clone();
                    lane::next().spawn(async move {
                        let stream = match stream.moved() {
                            Ok(stream) => stream,
                            Err(error) => {
                                tracing::warn!(%error, "an HTTP connection cannot be served");
                                return;
                            }
                        };
                        match offer {
                            Some(offer) => {
                                Box::pin(secure(stream, ip, offer, http, shutdown)).await;
                            }
                            None if prepare(&stream).is_err() => {}
                            None => converse(stream, Some(ip), http, shutdown).await,
                        }
                        drop(held);
                    });
                }
                Ok(Peer::Unix(stream)) => {
                    let (http, shutdown) = (Arc::clone(&http), shutdown.clone());
                    let held = alive.clone();
                    let offer = listener.tls.clone();
                    tokio::spawn(async move {
                        match offer {
                            Some(offer) => {
                                let shaken = Box::pin(shake(stream, offer, &http)).await;
                                if let Some(stream) = shaken {
                                    Box::pin(converse(stream, None, http, shutdown)).await;
                                }
                            }
                            None => converse(stream, None, http, shutdown).await,
                        }
                        drop(held);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept HTTP connections");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            () = stopped(&mut stop) => break,
        }
    }
    drop(alive);
    drop(tokio::time::timeout(DRAIN_MAX, drained.recv()).await);
}

/// Waits until the edge is to stop; a sender that is gone means so, too.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

/// A connection just accepted.
enum Peer {
    /// Over TCP, with the client's address.
    Tcp(TcpStream, IpAddr),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// Waits for a connection.
async fn accept(socket: &Socket) -> std::io::Result<Peer> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            Ok(Peer::Tcp(stream, from.ip()))
        }
        Socket::Unix(listener) => Ok(Peer::Unix(listener.accept().await?.0)),
    }
}

/// Waits until a client speaks, so that nothing is allocated for one that never does; tells the
/// first byte if it is worth going on.
async fn first_byte(stream: &TcpStream, mut shutdown: watch::Receiver<bool>) -> Option<u8> {
    let mut first = [0];
    tokio::select! {
        peeked = stream.peek(&mut first) => match peeked {
            Ok(1..) if prepare(stream).is_ok() => Some(first[0]),
            Ok(_) | Err(_) => None,
        },
        () = stopped(&mut shutdown) => None,
    }
}

/// Serves a connection that is to speak TLS; one that does not in time is closed.
async fn secure(
    mut stream: TcpStream,
    ip: IpAddr,
    offer: Offer,
    http: Arc<Http>,
    shutdown: watch::Receiver<bool>,
) {
    let patience = http.settings.tls_handshake_max;
    let first = tokio::time::timeout(patience, first_byte(&stream, shutdown.clone())).await;
    match first {
        Ok(Some(TLS_HANDSHAKE)) => {
            if let Some(stream) = Box::pin(shake(stream, offer, &http)).await {
                converse(stream, Some(ip), http, shutdown).await;
            }
        }
        Ok(Some(letter)) if letter.is_ascii_uppercase() => {
            let told = async {
                // What is left unread would break the connection before the answer is read.
                let _ = stream.try_read(&mut [0; 1024]);
                stream.write_all(NOT_TLS).await?;
                stream.shutdown().await
            };
            drop(tokio::time::timeout(patience, told).await);
        }
        Ok(Some(_) | None) | Err(_) => {}
    }
}

/// Shakes hands; nothing if that fails or takes too long.
async fn shake<S>(stream: S, offer: Offer, http: &Http) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = Arc::clone(&offer.borrow());
    let shaking = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(http.settings.tls_handshake_max, shaking).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Sets a socket up: answers go out at once, and a client that vanished is noticed in the end, or
/// its idle connection would stay for ever.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    Ok(sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?)
}

/// How many connections each client address has.
#[derive(Default)]
struct Counts(Mutex<HashMap<IpAddr, usize>>);

/// One connection's place in the counts, given back when dropped.
struct Ticket {
    counts: Arc<Counts>,
    ip: IpAddr,
}

impl Counts {
    /// Counts a connection in; nothing if its client has `max` already (0 for no limit).
    fn admit(counts: &Arc<Self>, ip: IpAddr, max: usize) -> Option<Ticket> {
        let mut table = counts.0.lock().expect("nothing panics while counting");
        let count = table.entry(ip).or_insert(0);
        if max > 0 && *count >= max {
            return None;
        }
        *count += 1;
        drop(table);
        Some(Ticket { counts: Arc::clone(counts), ip })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut table = self.counts.0.lock().expect("nothing panics while counting");
        if let Some(count) = table.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.ip);
            }
        }
    }
}
