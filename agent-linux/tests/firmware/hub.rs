//! A switch in user space: a QEMU instance at each port, and the lab's network at the last.
//!
//! Frames are UDP datagrams on 127.0.0.1, one socket a port, as QEMU's `-netdev dgram` has them.
//! Each port can lose, delay and cut, both ways.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest frame with its header.
const FRAME_BYTES_MAX: usize = 2048;

/// Port of QEMU's side at the first port; in a namespace of our own nobody else has it.
const QEMU_PORT: u16 = 20_001;

/// What a port does to frames.
#[derive(Clone, Copy, Default)]
pub struct Link {
    /// Of 1000 frames, how many are lost each way.
    pub loss: u32,
    /// How much later the others come.
    pub delay: Duration,
    /// Whether the cable is pulled.
    pub cut: bool,
}

/// One side of a cable.
enum Cable {
    Instance(UdpSocket, SocketAddr),
    Network(Mutex<File>),
}

impl Cable {
    fn send(&self, frame: &[u8]) {
        // An instance that does not run loses its frames.
        let _ = match self {
            Cable::Instance(socket, to) => socket.send_to(frame, to).map(|_| ()),
            Cable::Network(tap) => tap.lock().expect("no panic").write_all(frame),
        };
    }
}

struct Switch {
    cables: Vec<Cable>,
    links: Mutex<Vec<Link>>,
    /// Where a hardware address was last seen.
    seen: Mutex<HashMap<[u8; 6], usize>>,
    dice: Mutex<u64>,
    late: Mutex<Sender<(Instant, usize, Vec<u8>)>>,
}

impl Switch {
    /// Whether a link lets a frame through, and how late.
    fn pass(&self, port: usize) -> Option<Duration> {
        let Some(link) = self.links.lock().expect("no panic").get(port).copied() else {
            return Some(Duration::ZERO);
        };
        let mut dice = self.dice.lock().expect("no panic");
        // Xorshift: enough for weather.
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        let lost = link.cut || *dice % 1000 < u64::from(link.loss);
        (!lost).then_some(link.delay)
    }

    fn take(&self, from: usize, frame: &[u8]) {
        let (Some(to), Some(sender)) = (frame.get(0..6), frame.get(6..12)) else { return };
        let Some(delay) = self.pass(from) else { return };
        let mut seen = self.seen.lock().expect("no panic");
        if seen.len() < 1024 {
            seen.insert(sender.try_into().expect("six bytes"), from);
        }
        let known = seen.get(to).copied();
        drop(seen);
        match known {
            Some(port) => self.give(port, delay, frame),
            None => (0..self.cables.len())
                .filter(|port| *port != from)
                .for_each(|port| self.give(port, delay, frame)),
        }
    }

    fn give(&self, port: usize, before: Duration, frame: &[u8]) {
        let Some(delay) = self.pass(port).map(|delay| delay + before) else { return };
        if delay.is_zero() {
            return self.cables[port].send(frame);
        }
        let _ = self.late.lock().expect("no panic").send((
            Instant::now() + delay,
            port,
            frame.to_vec(),
        ));
    }
}

/// The switch at work, as long as the process.
pub struct Hub(Arc<Switch>);

impl Hub {
    /// Makes a switch with `ports` for instances, in the namespace of the calling thread, and plugs
    /// it into the bridge `br0` there.
    pub fn new(ports: usize) -> Hub {
        let mut cables = Vec::new();
        for port in 0..ports {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, QEMU_PORT + port as u16));
            cables.push(Cable::Instance(socket, to));
        }
        let tap = tap("tap0");
        for words in ["tap0 master br0", "tap0 up"] {
            let status = Command::new("ip").args(["link", "set"]).args(words.split(' ')).status();
            assert!(status.is_ok_and(|status| status.success()), "ip link set {words}");
        }
        let mut inside = tap.try_clone().expect("a file");
        cables.push(Cable::Network(Mutex::new(tap)));
        let (sender, late) = channel::<(Instant, usize, Vec<u8>)>();
        let switch = Arc::new(Switch {
            cables,
            links: Mutex::new(vec![Link::default(); ports]),
            seen: Mutex::default(),
            dice: Mutex::new(0x9e37_79b9_7f4a_7c15),
            late: Mutex::new(sender),
        });
        for port in 0..ports {
            let switch = switch.clone();
            std::thread::spawn(move || {
                let Cable::Instance(socket, _) = &switch.cables[port] else { return };
                let mut frame = [0; FRAME_BYTES_MAX];
                loop {
                    // A refusal of the last datagram is no matter: QEMU may be gone.
                    if let Ok(len) = socket.recv(&mut frame) {
                        switch.take(port, &frame[..len]);
                    }
                }
            });
        }
        let network = switch.clone();
        std::thread::spawn(move || {
            let mut frame = [0; FRAME_BYTES_MAX];
            while let Ok(len) = inside.read(&mut frame) {
                network.take(ports, &frame[..len]);
            }
        });
        let deliver = switch.clone();
        std::thread::spawn(move || {
            let mut waiting: Vec<(Instant, usize, Vec<u8>)> = Vec::new();
            loop {
                let next = waiting.iter().map(|(at, ..)| *at).min();
                let wait = next.map_or(Duration::from_secs(1), |at| {
                    at.saturating_duration_since(Instant::now())
                });
                match late.recv_timeout(wait) {
                    Ok(frame) => waiting.push(frame),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                let now = Instant::now();
                let (due, later): (Vec<_>, Vec<_>) =
                    waiting.drain(..).partition(|(at, ..)| *at <= now);
                waiting = later;
                due.iter().for_each(|(_, port, frame)| deliver.cables[*port].send(frame));
            }
        });
        Hub(switch)
    }

    /// QEMU's option for the instance at a port.
    pub fn netdev(&self, port: usize) -> String {
        let Cable::Instance(socket, qemu) = &self.0.cables[port] else { panic!("no such port") };
        let ours = socket.local_addr().expect("bound").port();
        let qemu = qemu.port();
        format!(
            "dgram,id=net0,local.type=inet,local.host=127.0.0.1,local.port={qemu},\
             remote.type=inet,remote.host=127.0.0.1,remote.port={ours}"
        )
    }

    /// Sets what a port does to frames.
    pub fn link(&self, port: usize, link: Link) {
        self.0.links.lock().expect("no panic")[port] = link;
    }
}

/// Opens a new network interface whose other side is the file answered.
#[allow(unsafe_code, reason = "there is no safe call for it")]
fn tap(name: &str) -> File {
    /// `struct ifreq` of `linux/if.h`: a name of 16 bytes, then 24 of which two are flags.
    const REQUEST_BYTES: usize = 40;
    const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
    const TAP_WITHOUT_HEADER: u16 = 0x0002 | 0x1000;
    let file = File::options().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun");
    let mut request = [0u8; REQUEST_BYTES];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&TAP_WITHOUT_HEADER.to_ne_bytes());
    // SAFETY: the call takes a pointer to such a request and only reads it.
    unsafe {
        let call = rustix::ioctl::Setter::<TUNSETIFF, _>::new(request);
        rustix::ioctl::ioctl(&file, call).expect("a tap");
    }
    file
}
