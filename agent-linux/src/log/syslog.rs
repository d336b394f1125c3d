//! The system's log: a datagram for each line, to `/dev/log`.
//!
//! A line that does not go out at once is lost: the log must never hold the agent up. The form is
//! that of [RFC 3164], section 4.1; time and level of the line are in its head.
//!
//! [RFC 3164]: https://www.rfc-editor.org/rfc/rfc3164

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_core::time::Civil;

use crate::config::{Facility, LogLevel};

/// Where the system listens.
const PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Bytes of one datagram; every syslog takes as many (RFC 5424, section 6.1). More is cut.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Time between two tries to find who listens.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Program that lines are filed under: filters of Consul's users know it.
const TAG: &str = "consul";
/// Names of the months in a head.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The way to the system's log.
pub(super) struct Syslog {
    facility: Facility,
    paths: Vec<PathBuf>,
    socket: Option<UnixDatagram>,
    tried: Option<Instant>,
}

impl Syslog {
    /// Files lines under a facility.
    pub(super) fn new(facility: Facility) -> Self {
        Self::to(facility, PATHS.iter().map(PathBuf::from).collect())
    }

    /// The same, to where somebody listens.
    fn to(facility: Facility, paths: Vec<PathBuf>) -> Self {
        Self { facility, paths, socket: None, tried: None }
    }

    /// Tells whether somebody listens.
    ///
    /// # Errors
    ///
    /// The system's, if nobody does.
    pub(super) fn find(&mut self) -> io::Result<()> {
        self.socket().map(|_| ())
    }

    /// Sends a line without waiting for anybody.
    ///
    /// # Errors
    ///
    /// The system's, for a line that is lost. After one that says that nobody listens there is a
    /// new try to find somebody a second later.
    pub(super) fn write(&mut self, now: SystemTime, level: LogLevel, line: &str) -> io::Result<()> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let priority = u16::from(self.facility.0) * 8 + u16::from(severity(level));
        let Civil { month, day, hour, minute, second, .. } = Civil::of(since.as_secs());
        let (month, pid) = (MONTHS[usize::from(month) - 1], std::process::id());
        let mut datagram = format!(
            "<{priority}>{month} {day:>2} {hour:02}:{minute:02}:{second:02} {TAG}[{pid}]: {line}"
        );
        datagram.truncate(datagram.floor_char_boundary(DATAGRAM_BYTES_MAX));
        let sent = self.socket()?.send(datagram.as_bytes());
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                self.socket = None;
                Err(error)
            }
        }
    }

    /// Finds who listens.
    fn socket(&mut self) -> io::Result<&UnixDatagram> {
        if self.socket.is_none() {
            let early = self.tried.is_some_and(|tried| tried.elapsed() < RETRY_PAUSE);
            if early {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.tried = Some(Instant::now());
            let mut found = self.paths.iter().map(|path| connect(path));
            let first = found.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
            let found = first.or_else(|error| found.find_map(Result::ok).ok_or(error));
            self.socket = Some(found?);
        }
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Connects to a listener; sending to it will not wait.
fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

/// Translates a level as Consul does: what it calls information is worth a notice.
fn severity(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 5,
        LogLevel::Debug => 6,
        LogLevel::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place for a listener.
    fn place() -> PathBuf {
        std::env::temp_dir().join(format!("reeve-syslog-{}", uuid::Uuid::new_v4()))
    }

    fn receive(listener: &UnixDatagram) -> String {
        let mut room = [0; 4096];
        let length = listener.recv(&mut room).unwrap();
        String::from_utf8(room[..length].to_vec()).unwrap()
    }

    #[test]
    fn lines_go_out_with_their_priority_and_long_ones_are_cut() {
        let path = place();
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::to(Facility::default(), vec![place(), path.clone()]);
        let now = UNIX_EPOCH + Duration::from_secs(1_795_337_314);
        syslog.write(now, LogLevel::Warn, "agent: text").unwrap();
        let pid = std::process::id();
        let head = format!("<132>Nov 22 08:48:34 consul[{pid}]: ");
        assert_eq!(receive(&listener), format!("{head}agent: text"));
        let early = UNIX_EPOCH + Duration::from_secs(3 * 86_400);
        syslog.write(early, LogLevel::Info, &"\u{e4}".repeat(3000)).unwrap();
        let got = receive(&listener);
        assert!(got.starts_with("<133>Jan  4 00:00:00 consul["), "{got}");
        assert!(got.len() <= DATAGRAM_BYTES_MAX && got.len() > DATAGRAM_BYTES_MAX - 2);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_listener_that_does_not_read_holds_nobody_up_and_one_that_came_back_is_found() {
        let path = place();
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::to(Facility::default(), vec![path.clone()]);
        let now = SystemTime::now();
        let lost = (0..100_000).find_map(|_| syslog.write(now, LogLevel::Info, "x").err());
        assert_eq!(lost.unwrap().kind(), io::ErrorKind::WouldBlock);
        receive(&listener);
        syslog.write(now, LogLevel::Info, "fits again").unwrap();
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        assert!(syslog.write(now, LogLevel::Info, "gone").is_err());
        let _again = UnixDatagram::bind(&path).unwrap();
        let early = syslog.write(now, LogLevel::Info, "a little later");
        assert_eq!(early.unwrap_err().kind(), io::ErrorKind::NotConnected);
        syslog.tried = None;
        syslog.write(now, LogLevel::Info, "found").unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
