//! The machine's floor: an empty hyper server and a UDP echo in a process of their own, and what
//! the disk takes to make 4 KiB durable.

use crate::process::cpu_ns;
use crate::work::Place;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

/// The verb that is the other process; not for people.
pub(crate) const VERB: &str = "floor";

/// The other process; it ends with the value.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    place: Place,
}

impl Floor {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If this program cannot be started a second time.
    pub(crate) fn start() -> Result<Floor, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        // It must not outlive a bench that is killed.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args([program.as_os_str(), VERB.as_ref()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("setpriv: {error}"))?;
        let mut line = String::new();
        let out = child.stdout.take();
        let read = out.map(|out| BufReader::new(out).read_line(&mut line));
        let addresses = addresses(&line);
        let place =
            Place { http: SocketAddr::from(([0; 4], 0)), dns: SocketAddr::from(([0; 4], 0)) };
        let mut floor = Floor { child, place };
        match (read, addresses) {
            (Some(Ok(_)), Some((http, dns))) => floor.place = Place { http, dns },
            (read, _) => return Err(format!("the floor says {line:?}, {read:?}")),
        }
        Ok(floor)
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn cpu_ns(&self) -> u64 {
        cpu_ns(self.child.id())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two addresses in the line that the other process writes.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (http, dns) = line.trim().split_once(' ')?;
    Some((http.parse().ok()?, dns.parse().ok()?))
}

/// Serves until it is killed.
///
/// # Errors
///
/// If there is no port.
pub(crate) fn serve() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(listen()).map_err(|error| error.to_string())
}

async fn listen() -> std::io::Result<()> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let udp = UdpSocket::bind("127.0.0.1:0").await?;
    println!("{} {}", tcp.local_addr()?, udp.local_addr()?);
    tokio::spawn(async move {
        let mut datagram = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut datagram).await {
            // A client that is gone is no trouble of ours.
            let _ = udp.send_to(&datagram[..length], from).await;
        }
    });
    loop {
        let (stream, _) = tcp.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(nothing)),
        );
    }
}

/// Where a request waits until another one comes to [`RING`].
pub(crate) const PARK: &str = "/park";
/// Wakes all that wait.
pub(crate) const RING: &str = "/ring";
static RUNG: LazyLock<watch::Sender<()>> = LazyLock::new(|| watch::Sender::new(()));

async fn nothing(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    match request.uri().path() {
        PARK => drop(RUNG.subscribe().changed().await),
        RING => RUNG.send_modify(|()| {}),
        _ => {}
    }
    // A body that is left unread would close the connection.
    let _ = request.into_body().collect().await;
    Ok(Response::new(Empty::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_other_process_is_understood() {
        assert!(addresses("127.0.0.1:1 127.0.0.1:2\n").is_some());
        assert!(addresses("").is_none() && addresses("127.0.0.1:1").is_none());
    }
}
