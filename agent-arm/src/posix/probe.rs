//! Runs checks without waiting: each is a small state that is looked at again when its descriptor
//! is ready or its time is over.

use super::config::Probe;
use agent_core::health::Status;
use agent_core::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags};
use std::format;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::string::{String, ToString};
use std::vec::Vec;

/// Bytes of output that are kept of a run: the device cuts further.
const OUTPUT_BYTES_MAX: usize = 4096;

/// Bytes of a GPIO file that are looked at.
const GPIO_BYTES_MAX: u64 = 64;

/// What a run came to.
pub type Outcome = (Status, String);

/// A check that runs.
pub struct Run {
    until: Instant,
    timeout: Duration,
    what: What,
}

enum What {
    Tcp(TcpStream, String),
    Http { stream: TcpStream, request: Vec<u8>, answer: Vec<u8>, target: String },
    Script { child: Child, output: Vec<u8> },
    Done(Outcome),
}

fn critical<T: ToString>(text: T) -> Outcome {
    (Status::Critical, text.to_string())
}

impl Run {
    /// Starts a run.
    pub fn start(probe: &Probe, timeout: Duration, now: Instant) -> Self {
        let what = match probe {
            Probe::Tcp(address) => match super::connect(*address) {
                Ok(stream) => What::Tcp(stream, address.to_string()),
                Err(error) => What::Done(critical(format!("dial tcp {address}: {error}"))),
            },
            Probe::Http(address, path) => match super::connect(*address) {
                Ok(stream) => {
                    let request = format!(
                        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Consul Health \
                         Check\r\nAccept: text/plain, text/*, */*\r\nConnection: close\r\n\r\n"
                    );
                    let target = format!("http://{address}{path}");
                    let (request, answer) = (request.into_bytes(), Vec::new());
                    What::Http { stream, request, answer, target }
                }
                Err(error) => What::Done(critical(format!("dial tcp {address}: {error}"))),
            },
            Probe::Script(args) => match spawn(args) {
                Ok(child) => What::Script { child, output: Vec::new() },
                Err(error) => What::Done(critical(format!("{}: {error}", args[0]))),
            },
            Probe::Gpio(path) => What::Done(read_gpio(path)),
            Probe::Ttl(_) => What::Done(critical("not a check that runs")),
        };
        Self { until: now + timeout, timeout, what }
    }

    /// Tells when to look again at the latest.
    pub const fn due(&self) -> Instant {
        self.until
    }

    /// Looks what the run came to; nothing while it lasts.
    pub fn step(&mut self, now: Instant) -> Option<Outcome> {
        let outcome = match &mut self.what {
            What::Done(outcome) => Some(outcome.clone()),
            What::Tcp(stream, address) => super::connected(stream).map(|result| match result {
                Ok(()) => (Status::Passing, format!("TCP connect {address}: Success")),
                Err(error) => critical(format!("dial tcp {address}: {error}")),
            }),
            What::Http { stream, request, answer, target } => step_http(stream, request, answer)
                .map(|result| match result {
                    Ok(()) => judge(target, answer),
                    Err(error) => critical(format!("Get {target:?}: {error}")),
                }),
            What::Script { child, output } => step_script(child, output),
        };
        if outcome.is_none() && self.until <= now {
            let secs = self.timeout.millis() as f64 / 1000.0;
            return Some(critical(format!("Timed out ({secs}s) running check")));
        }
        outcome
    }

    /// Adds what to wait for.
    pub fn poll_fds<'s>(&'s self, fds: &mut Vec<PollFd<'s>>) {
        match &self.what {
            What::Done(_) => {}
            What::Tcp(stream, _) => fds.push(PollFd::new(stream, PollFlags::OUT)),
            What::Http { stream, request, .. } => {
                let flags = if request.is_empty() { PollFlags::IN } else { PollFlags::OUT };
                fds.push(PollFd::new(stream, flags));
            }
            What::Script { child, .. } => {
                if let Some(stdout) = &child.stdout {
                    fds.push(PollFd::new(stdout, PollFlags::IN));
                }
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let What::Script { child, .. } = &mut self.what {
            // A script that ended is gone already; one that hangs must not stay.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(args: &[String]) -> io::Result<Child> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]).stdin(Stdio::null());
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    drop(command);
    rustix::io::ioctl_fionbio(&reader, true)?;
    let reader: std::os::fd::OwnedFd = reader.into();
    child.stdout = Some(reader.into());
    Ok(child)
}

/// Reads until the far side has no more for now; true at its end.
fn drain(from: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 512];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(count) => {
                let room = OUTPUT_BYTES_MAX.saturating_sub(into.len()).min(count);
                into.extend_from_slice(&piece[..room]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn step_script(child: &mut Child, output: &mut Vec<u8>) -> Option<Outcome> {
    let ended = match child.stdout.as_mut().map(|stdout| drain(stdout, output)) {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => return Some(critical(error)),
        None => true,
    };
    if ended {
        child.stdout = None;
    }
    match child.try_wait() {
        Ok(None) => None,
        // A grandchild may hold the pipe open; what it says later is of no interest.
        Ok(Some(status)) => {
            let status = match status.code() {
                Some(0) => Status::Passing,
                Some(1) => Status::Warning,
                Some(_) | None => Status::Critical,
            };
            Some((status, String::from_utf8_lossy(output).into_owned()))
        }
        Err(error) => Some(critical(error)),
    }
}

/// Sends the request and reads the answer; nothing while that lasts.
fn step_http(
    stream: &mut TcpStream,
    request: &mut Vec<u8>,
    answer: &mut Vec<u8>,
) -> Option<io::Result<()>> {
    if !request.is_empty() {
        match super::connected(stream)? {
            Ok(()) => {}
            Err(error) => return Some(Err(error)),
        }
    }
    while !request.is_empty() {
        match stream.write(request) {
            Ok(count) => _ = request.drain(..count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Err(error)),
        }
    }
    match drain(stream, answer) {
        Ok(true) => Some(Ok(())),
        Ok(false) if answer.len() >= OUTPUT_BYTES_MAX => Some(Ok(())),
        Ok(false) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Tells what an answer means: 2xx passes, 429 warns, all else is critical.
fn judge(target: &str, answer: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let line = head.lines().next().unwrap_or_default();
    let Some(("HTTP/1.1" | "HTTP/1.0", rest)) = line.split_once(' ') else {
        return critical(format!("Get {target:?}: malformed HTTP response"));
    };
    let code = rest.split(' ').next().and_then(|code| code.parse::<u16>().ok());
    let status = match code {
        Some(200..300) => Status::Passing,
        Some(429) => Status::Warning,
        Some(_) | None => Status::Critical,
    };
    (status, format!("HTTP GET {target}: {rest} Output: {body}"))
}

/// Reads a file of the kernel such as `/sys/class/gpio/gpio17/value`.
fn read_gpio(path: &str) -> Outcome {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(GPIO_BYTES_MAX).read_to_string(&mut text));
    match read {
        Err(error) => critical(format!("{path}: {error}")),
        Ok(_) if text.starts_with('1') => (Status::Passing, format!("{path}: 1")),
        Ok(_) => critical(format!("{path}: {}", text.trim_end())),
    }
}
