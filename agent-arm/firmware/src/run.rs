//! The loop of an image.

use crate::argument::Arguments;
use crate::board::Board;
use crate::host;
use crate::node::{
    Agent, Check, FRAME_BYTES_MAX, Memory, Node, Notice, Origin, PROBE_BYTES, Papers,
    RECEIVED_BYTES_MAX, RECEIVED_MAX, SOCKETS,
};
use crate::stack;
use agent_core::gossip::seal::DATAGRAM_BYTES_MAX;
use agent_core::health::Status;
use agent_core::time::{Duration, Instant};
use cortex_m::singleton;
use smoltcp::iface::SocketStorage;
use smoltcp::socket::udp::PacketMetadata as Mark;

/// Why memory that is lent for ever is free.
const ONCE: &str = "the program runs once";

/// Between two lines about memory and time.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Stack never used, in bytes, below which our own check warns and below which it is critical.
const STACK_WARNING: u32 = 1024;
const STACK_CRITICAL: u32 = 256;

/// Makes memory where it stays, once.
macro_rules! lend {
    ($type:ty = $value:expr) => {
        singleton!(: $type = $value).expect(ONCE)
    };
}

/// Runs an image on a board, for ever; without usable arguments it says so and ends.
pub fn run<B: Board>(mut board: B) -> ! {
    let start = board.now();
    let (node, dc) = begin(&mut board, start);
    node.start(start);
    let mut report_at = start + REPORT_INTERVAL;
    loop {
        board.arm();
        let now = board.now();
        let mut due = node.step(now, board.nic());
        while let Some(notice) = node.poll_notice() {
            if notice == Notice::Run {
                node.report(now, headroom());
            }
            tell(now, dc, notice);
        }
        if report_at <= now {
            report_at = now + REPORT_INTERVAL;
            report(now, &board, node);
        }
        due = due.min(report_at);
        board.sleep(due);
    }
}

/// Makes the node that the arguments ask for; answers its datacentre, too. Not inlined: what the
/// start takes of the stack is given back.
#[inline(never)]
fn begin<B: Board>(board: &mut B, now: Instant) -> (&'static mut Node<'static>, &'static str) {
    let room = lend!([u8; host::ARGUMENT_BYTES_MAX] = [0; host::ARGUMENT_BYTES_MAX]);
    let text = host::arguments(room).unwrap_or_else(|error| refuse(now, &error));
    let arguments = Arguments::parse(text).unwrap_or_else(|error| refuse(now, &error));
    let mac = board.mac();
    let [a, b, c, d, e, f] = mac;
    let (name, dc) = (arguments.name, arguments.dc);
    say!(now, "reeve firmware on {}: node {name}, datacentre {dc}", B::NAME);
    say!(now, "hardware address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let generation = arguments.generation.unwrap_or_else(host::time);
    let seed = u64::from(generation) << 32 ^ u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    let origin = Origin { mac, generation, seed };
    let device = lend!(Option<Agent<'static>> = None);
    let memory = Memory {
        sockets: lend!([SocketStorage<'static>; SOCKETS] = [SocketStorage::EMPTY; SOCKETS]),
        received: lend!([u8; RECEIVED_BYTES_MAX] = [0; RECEIVED_BYTES_MAX]),
        received_marks: lend!([Mark; RECEIVED_MAX] = [Mark::EMPTY; RECEIVED_MAX]),
        sent: lend!([u8; DATAGRAM_BYTES_MAX] = [0; DATAGRAM_BYTES_MAX]),
        sent_marks: lend!([Mark; 1] = [Mark::EMPTY; 1]),
        stream: lend!([[u8; FRAME_BYTES_MAX]; 2] = [[0; FRAME_BYTES_MAX]; 2]),
        probe: lend!([[u8; PROBE_BYTES]; 2] = [[0; PROBE_BYTES]; 2]),
        papers: lend!(Papers<'static> = Papers::new()),
    };
    let node = Node::new(arguments, origin, memory, device, board.nic(), now);
    (lend!(Node<'static> = node), dc)
}

fn refuse(now: Instant, why: &dyn core::fmt::Display) -> ! {
    say!(now, "error: {why}");
    host::fail()
}

/// Our own check: whether the stack has room.
fn headroom() -> Status {
    let used = stack::measure();
    match used.stack_max.saturating_sub(used.stack) {
        ..STACK_CRITICAL => Status::Critical,
        STACK_CRITICAL..STACK_WARNING => Status::Warning,
        STACK_WARNING.. => Status::Passing,
    }
}

fn report<B: Board>(now: Instant, board: &B, node: &Node<'_>) {
    let used = stack::measure();
    let (data, stack, contacts) = (used.data, used.stack, node.contacts());
    let seconds = board.seconds();
    say!(now, "ram: data {data}, stack {stack}; contacts {contacts}; second {seconds}");
}

/// Writes what happened. Not inlined, as [`begin`].
#[inline(never)]
fn tell(now: Instant, dc: &str, notice: Notice) {
    match notice {
        Notice::Address(address) => say!(now, "address {address}"),
        Notice::Moved => {
            say!(now, "the address is no longer ours: starting anew");
            cortex_m::peripheral::SCB::sys_reset();
        }
        Notice::Unfit(error) => refuse(now, &error),
        Notice::Server(text) => say!(now, "{text}"),
        Notice::Joined => say!(now, "joined datacentre {dc}"),
        Notice::Asked(peer, wait, doubt) => {
            let secs = wait.millis() / 1000;
            say!(now, "no member of datacentre {dc} known{doubt}: asked {peer}, next in {secs} s");
        }
        Notice::Renewed(generation) => say!(now, "renewed: generation {generation}"),
        Notice::Run => {}
        Notice::Check(check, status) => {
            let check = match check {
                Check::Tcp => "tcp",
                Check::Own => "stack",
            };
            say!(now, "check {check} is {}", status.as_str());
        }
    }
}

/// What a fault or a panic ends in: there is nothing left to trust.
#[allow(unsafe_code, reason = "a handler's name is known to the linker")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    let (at, from) = (frame.pc(), frame.lr());
    say!(Instant::default(), "error: fault at {at:#x}, called from {from:#x}");
    host::fail()
}
