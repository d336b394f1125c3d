//! Peers on the host for a board that is alone in QEMU's user network, where the host is
//! `10.0.2.2`. They only react, so that a board may run faster than time.

use super::support::PATIENCE;
use agent_core::gossip::identity::Identity;
use agent_core::wire::frame::{HEADER_BYTES, Header as FrameHeader, Kind};
use agent_core::wire::memory::Heap;
use agent_core::wire::message::{Ask, Tell, emit, parse};
use agent_core::wire::packet::{Emitter, Header, Message, PACKET_BYTES_MAX, Packet, State, Update};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The host as a board sees it.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// How soon a thread sees that its peer is gone.
const GLANCE: Duration = Duration::from_millis(100);

/// A thread that goes with its owner.
struct Worker {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// A listener that the thread may wait at.
    listener: Option<SocketAddr>,
}

impl Worker {
    /// Runs a step again and again.
    fn new(listener: Option<SocketAddr>, mut step: impl FnMut() + Send + 'static) -> Worker {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                step();
            }
        });
        Worker { ends, thread: Some(thread), listener }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.listener.map(TcpStream::connect);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Whoever answers at a UDP port.
pub struct Member {
    /// Its address as the board sees it.
    pub address: SocketAddr,
    _worker: Worker,
}

impl Member {
    /// Answers each datagram as `answer` says, which is told the member's address.
    pub fn new(
        mut answer: impl FnMut(SocketAddr, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Member {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(Some(GLANCE)).expect("a timeout");
        let address = SocketAddr::from((HOST, socket.local_addr().expect("bound").port()));
        let mut room = [0; 2048];
        let worker = Worker::new(None, move || {
            let Ok((len, from)) = socket.recv_from(&mut room) else { return };
            for reply in answer(address, &room[..len]) {
                let _ = socket.send_to(&reply, from);
            }
        });
        Member { address, _worker: worker }
    }

    /// A member of datacentre `dc1` that answers pings, pings back, and feeds those who announce
    /// themselves with `others`.
    pub fn lively(node: u64, others: Vec<Update>) -> Member {
        Member::new(move |address, bytes| {
            let Ok(packet) = Packet::parse(bytes) else { return Vec::new() };
            let Header { pool, source: target, message, .. } = packet.header;
            let source = Identity::new(address, 1, node);
            let say = |message: Message, updates: &[Update]| {
                let header = Header { pool, source, incarnation: 0, target, message };
                let mut out = [0; PACKET_BYTES_MAX];
                let mut emitter = Emitter::new(&mut out, &header).expect("room");
                updates.iter().for_each(|update| emitter.push_update(update).expect("room"));
                let len = emitter.finish();
                out[..len].to_vec()
            };
            match message {
                Message::Ping(probe) => {
                    vec![say(Message::Ack(probe), &[]), say(Message::Ping(probe), &[])]
                }
                Message::Announce => vec![say(Message::Feed, &others)],
                _ => Vec::new(),
            }
        })
    }

    /// What others tell of it.
    pub fn update(&self, node: u64) -> Update {
        let identity = Identity::new(self.address, 1, node);
        Update { identity, incarnation: 0, state: State::Alive }
    }
}

/// A TCP port.
pub struct Server {
    /// Its address as the board sees it.
    pub address: SocketAddr,
    _worker: Worker,
}

impl Server {
    /// Hands each connection to `serve`, one after another.
    pub fn new(mut serve: impl FnMut(TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let ours = listener.local_addr().expect("bound");
        let address = SocketAddr::from((HOST, ours.port()));
        let worker = Worker::new(Some(ours), move || {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            serve(stream);
        });
        Server { address, _worker: worker }
    }

    /// A server that takes everything.
    pub fn kind() -> Server {
        Server::new(|mut stream| {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = stream.set_nodelay(true);
            let mut channel = [0; 1];
            if stream.read_exact(&mut channel).is_ok() {
                while answer(&mut stream).is_ok() {}
            }
        })
    }
}

/// Answers one frame; an error ends the connection.
fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head)?;
    let header = FrameHeader::parse(&head, 2048).expect("a frame of ours");
    let mut body = vec![0; header.length as usize];
    stream.read_exact(&mut body)?;
    let mut reply = [0; 128];
    let (kind, length) = match header.kind {
        Kind::Ping => (Kind::Pong, 0),
        _ => {
            let tell = match parse::<Ask<Heap>>(&body).expect("a message of ours") {
                Ask::Hello { .. } => {
                    Tell::<Heap>::Welcome { version: 1, sync_secs: 60, datacenter: "dc1".into() }
                }
                Ask::Get { .. } => Tell::Value { value: b"v".to_vec(), flags: 0, index: 9 },
                _ => Tell::Done,
            };
            (Kind::Reply, emit(&tell, &mut reply).expect("room"))
        }
    };
    stream.write_all(&FrameHeader::new(kind, header.id, length as u32).emit())?;
    stream.write_all(&reply[..length])
}
