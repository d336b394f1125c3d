//! A network namespace per agent, so that the kernel counts each one's traffic. Needs root.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

/// A switch and the hosts at it, `10.78.0.n`. The calling thread moves in.
#[derive(Debug)]
pub(crate) struct Lab {
    name: String,
    hosts: u8,
}

impl Lab {
    /// Makes the switch.
    ///
    /// # Errors
    ///
    /// Without root or the command `ip`; nothing is left behind.
    pub(crate) fn new() -> Result<Lab, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not root".into());
        }
        let lab = Lab { name: format!("bench{}", std::process::id()), hosts: 0 };
        let hub = lab.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", "10.78.0.254/24", "dev", "br0"])?;
        ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        let file = std::fs::File::open(format!("/run/netns/{hub}"));
        let file = file.map_err(|error| error.to_string())?;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind)
            .map_err(|error| error.to_string())?;
        Ok(lab)
    }

    fn hub(&self) -> String {
        format!("{}hub", self.name)
    }

    /// Adds a host; answers its namespace and address.
    ///
    /// # Errors
    ///
    /// Of the command `ip`.
    pub(crate) fn host(&mut self) -> Result<(String, Ipv4Addr), String> {
        self.hosts += 1;
        let (host, hub) = (format!("{}h{}", self.name, self.hosts), self.hub());
        let (port, address) = (format!("p{}", self.hosts), Ipv4Addr::new(10, 78, 0, self.hosts));
        ip(&["netns", "add", &host])?;
        ip(&["-n", &host, "link", "set", "lo", "up"])?;
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", host.as_str()];
        ip(&[&["-n", &hub, "link", "add", &port][..], &peer[..]].concat())?;
        ip(&["-n", &hub, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", &host, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &host, "link", "set", "eth0", "up"])?;
        Ok((host, address))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in 1..=self.hosts {
            let _ = ip(&["netns", "del", &format!("{}h{host}", self.name)]);
        }
        let _ = ip(&["netns", "del", &self.hub()]);
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
