//! Tells systemd how the agent stands, where it is asked to: sd_notify(3), `Type=notify`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names systemd's socket: a path, or `@` and a name without a file.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// What an agent tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It answers requests, and has joined those that `-join` names.
    Ready,
    /// It stops.
    Stopping,
}

/// Tells a state to whoever started the agent; nobody, unless `NOTIFY_SOCKET` is set.
pub(super) fn tell(state: State) {
    let Some(name) = env::var_os(VARIABLE) else { return };
    if let Err(error) = send(&name, state) {
        tracing::warn!("agent: {VARIABLE} {name:?}: {error}");
    }
}

fn send(name: &OsStr, state: State) -> io::Result<()> {
    let text = match state {
        State::Ready => "READY=1",
        State::Stopping => "STOPPING=1",
    };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_to_a_path_and_to_a_name_without_a_file() {
        let name = format!("reeve-notify-{}", std::process::id());
        let path = env::temp_dir().join(&name);
        let told = |socket: &UnixDatagram| {
            let mut room = [0; 64];
            let len = socket.recv(&mut room).expect("a message");
            String::from_utf8_lossy(&room[..len]).into_owned()
        };
        let socket = UnixDatagram::bind(&path).expect("binds");
        send(path.as_os_str(), State::Ready).expect("sent");
        assert_eq!(told(&socket), "READY=1");
        std::fs::remove_file(&path).expect("removed");
        send(path.as_os_str(), State::Ready).expect_err("nobody is there");

        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("binds");
        send(OsStr::new(&format!("@{name}")), State::Stopping).expect("sent");
        assert_eq!(told(&socket), "STOPPING=1");
    }
}
