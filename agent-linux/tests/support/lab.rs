//! Network namespaces joined by a switch, cables that can be cut, and small disks. Needs root.

use super::Folder;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tells whether this process may make namespaces and mounts; prints why not.
pub fn allowed(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let may = root && ip(&["netns", "list"]).is_ok();
    if !may {
        eprintln!("{test}: skipped: needs root and the command `ip`");
    }
    may
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

fn must(arguments: &[&str]) {
    ip(arguments).unwrap_or_else(|error| panic!("{error}"));
}

/// A switch in a namespace of its own, and one namespace per host, `10.77.0.n`.
///
/// The thread that makes the lab moves into the switch's namespace, and so does every process and
/// thread that it starts: nothing of the machine's own network is touched.
pub struct Lab {
    name: String,
    hosts: u8,
}

impl Lab {
    pub fn new() -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rv{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { name, hosts: 0 };
        let hub = lab.hub();
        must(&["netns", "add", &hub]);
        must(&["-n", &hub, "link", "set", "lo", "up"]);
        must(&["-n", &hub, "link", "add", "br0", "type", "bridge"]);
        must(&["-n", &hub, "addr", "add", "10.77.0.254/24", "dev", "br0"]);
        must(&["-n", &hub, "link", "set", "br0", "up"]);
        let file = std::fs::File::open(Path::new("/run/netns").join(&hub)).expect("namespace");
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
            .expect("into the namespace");
        lab
    }

    fn hub(&self) -> String {
        format!("{}hub", self.name)
    }

    /// Adds a host; answers its namespace and address.
    pub fn host(&mut self) -> (String, Ipv4Addr) {
        self.hosts += 1;
        let (host, hub) = (format!("{}h{}", self.name, self.hosts), self.hub());
        let (port, address) = (format!("p{}", self.hosts), Ipv4Addr::new(10, 77, 0, self.hosts));
        must(&["netns", "add", &host]);
        must(&["-n", &host, "link", "set", "lo", "up"]);
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", host.as_str()];
        must(&[&["-n", &hub, "link", "add", &port][..], &peer[..]].concat());
        must(&["-n", &hub, "link", "set", &port, "master", "br0", "up"]);
        must(&["-n", &host, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        must(&["-n", &host, "link", "set", "eth0", "up"]);
        (host, address)
    }

    fn port(address: Ipv4Addr) -> String {
        format!("p{}", address.octets()[3])
    }

    /// Pulls the host's cable out of the switch. Nobody is told: packets are lost.
    pub fn cut(&self, address: Ipv4Addr) {
        must(&["-n", &self.hub(), "link", "set", &Lab::port(address), "nomaster"]);
    }

    /// Puts the cable back.
    pub fn heal(&self, address: Ipv4Addr) {
        must(&["-n", &self.hub(), "link", "set", &Lab::port(address), "master", "br0"]);
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

/// A file system in memory of a given size, to be filled.
pub struct Disk(Folder);

impl Disk {
    pub fn new(megabytes: u32) -> Disk {
        let folder = Folder::new("disk");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "reeve-test"])
            .arg(folder.path())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "mount a tmpfs");
        Disk(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
