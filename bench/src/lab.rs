//! Network namespaces: one per agent, so that the kernel counts each one's traffic, or one for a
//! whole measurement. Needs root.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use crate::picture::is_gone;

/// A namespace with a loopback of its own; it goes with the value and whoever is in it.
#[derive(Debug)]
pub(crate) struct Space(String);

impl Space {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Without root or the command `ip`; nothing is left behind.
    fn new(name: String) -> Result<Space, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not root".into());
        }
        ip(&["netns", "add", &name])?;
        let space = Space(name);
        ip(&["-n", &space.0, "link", "set", "lo", "up"])?;
        Ok(space)
    }

    /// Makes one, and moves the calling thread and what it starts from now on there: no firewall of
    /// the machine has to remember who of thousands talks to whom, and drops what it cannot.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or the kernel's.
    pub(crate) fn alone() -> Result<Space, String> {
        let space = Space::new(format!("bench{}", std::process::id()))?;
        space.enter()?;
        Ok(space)
    }

    fn enter(&self) -> Result<(), String> {
        let file = std::fs::File::open(format!("/run/netns/{}", self.0));
        let file = file.map_err(|error| error.to_string())?;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind)
            .map_err(|error| error.to_string())
    }
}

/// Removes the namespaces of runs that were killed.
pub(crate) fn sweep() {
    let Ok(list) = std::fs::read_dir("/run/netns") else { return };
    for entry in list.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("bench") else { continue };
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        if is_gone(&rest[..end]) {
            drop(Space(name));
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.0]);
    }
}

/// A switch and the hosts at it, `10.78.0.n`. The calling thread moves in.
#[derive(Debug)]
pub(crate) struct Lab {
    hub: Space,
    hosts: Vec<Space>,
}

impl Lab {
    /// Makes the switch.
    ///
    /// # Errors
    ///
    /// Without root or the command `ip`; nothing is left behind.
    pub(crate) fn new() -> Result<Lab, String> {
        let hub = Space::new(format!("bench{}hub", std::process::id()))?;
        ip(&["-n", &hub.0, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &hub.0, "addr", "add", "10.78.0.254/24", "dev", "br0"])?;
        ip(&["-n", &hub.0, "link", "set", "br0", "up"])?;
        hub.enter()?;
        Ok(Lab { hub, hosts: Vec::new() })
    }

    /// Adds a host; answers its namespace and address.
    ///
    /// # Errors
    ///
    /// Of the command `ip`.
    pub(crate) fn host(&mut self) -> Result<(String, Ipv4Addr), String> {
        let number = u8::try_from(self.hosts.len() + 1).map_err(|_| "at most 255 hosts")?;
        let (port, address) = (format!("p{number}"), Ipv4Addr::new(10, 78, 0, number));
        let host = Space::new(format!("bench{}h{number}", std::process::id()))?;
        let (hub, name) = (self.hub.0.as_str(), host.0.clone());
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", name.as_str()];
        ip(&[&["-n", hub, "link", "add", &port][..], &peer[..]].concat())?;
        ip(&["-n", hub, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", &name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        self.hosts.push(host);
        Ok((name, address))
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
