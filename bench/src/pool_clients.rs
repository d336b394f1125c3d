//! Client agents by the hundred: one process and one loopback address each.

use crate::client::Http;
use crate::picture::{Picture, guarded, serf};
use crate::process::{Sample, cpu_ns};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// How long an agent may take to tell all members.
const PATIENCE: Duration = Duration::from_secs(600);
/// Clients that are asked what they see.
const ASKED: usize = 3;

/// What clients are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Breed {
    /// Agents that know all others.
    Full,
    /// Agents that know few others.
    Partial,
    /// Serf's agents.
    Serf,
}

impl Breed {
    /// Names the view of the pool that they have.
    pub(crate) const fn view(self) -> &'static str {
        match self {
            Self::Full | Self::Serf => "full",
            Self::Partial => "partial",
        }
    }

    /// Starts three servers, and for agents a client.
    ///
    /// # Errors
    ///
    /// As [`Picture::start`].
    pub(crate) fn picture(self, binary: &Path) -> Result<Picture, String> {
        match self {
            Self::Full | Self::Partial => Picture::start(binary, None),
            Self::Serf => Picture::start_serf(binary),
        }
    }

    /// Counts the members that an agent shows alive.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub(crate) fn alive(self, binary: &Path, agent: Ipv4Addr) -> Result<usize, String> {
        if self == Self::Serf {
            return serf::alive(binary, agent);
        }
        let mut http = Http::new(SocketAddr::from((agent, 8500))).within(PATIENCE);
        let members = http.get("/v1/agent/members")?;
        let members: Value = serde_json::from_slice(&members).map_err(|error| error.to_string())?;
        let alive = |list: &Vec<Value>| list.iter().filter(|member| member["Status"] == 1).count();
        Ok(members.as_array().map_or(0, alive))
    }

    /// What follows the program's name for a client that joins another agent.
    fn words(self, at: usize, address: Ipv4Addr, peer: Ipv4Addr, folder: &Path) -> Vec<String> {
        let name = format!("edge{at}");
        if self == Self::Serf {
            return serf::words_of(&name, address, peer);
        }
        let mut words =
            ["agent", "-retry-interval=2s", "-log-level=err"].map(str::to_owned).to_vec();
        words.extend([
            format!("-node={name}"),
            format!("-bind={address}"),
            format!("-client={address}"),
            format!("-data-dir={}", folder.display()),
            format!("-retry-join={peer}"),
        ]);
        if self == Self::Partial {
            words.push("-hcl=gossip_lan { view = \"partial\" }".into());
        }
        words
    }
}

/// Running clients; they end with the value.
pub(crate) struct Clients {
    running: Vec<(Ipv4Addr, Child)>,
}

impl Clients {
    /// Starts clients that join through the servers in turn, evenly within `span`.
    ///
    /// # Errors
    ///
    /// If one cannot be started; those before it are killed.
    pub(crate) fn start(
        binary: &Path,
        picture: &Picture,
        count: usize,
        span: Duration,
        breed: Breed,
    ) -> Result<Clients, String> {
        let mut clients = Clients { running: Vec::new() };
        let [_, _, network, _] = picture.agents[0].address.octets();
        for at in 0..count {
            let address = Ipv4Addr::new(
                127,
                160 | (network & 31),
                u8::try_from(at / 250).map_err(|_| "at most 64,000 clients")?,
                (at % 250 + 1) as u8,
            );
            let folder = picture.folder().join(format!("edge{at}"));
            std::fs::create_dir_all(&folder).map_err(|error| format!("{folder:?}: {error}"))?;
            let words = guarded(binary);
            let peer = picture.agents[at % 3].address;
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).args(breed.words(at, address, peer, &folder));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().map_err(|error| format!("client {at}: {error}"))?;
            clients.running.push((address, child));
            sleep(span / count.max(1) as u32);
        }
        Ok(clients)
    }

    /// The addresses of the first, the middle and the last.
    pub(crate) fn some(&self) -> Vec<Ipv4Addr> {
        let step = (self.running.len() / ASKED).max(1);
        self.running.iter().step_by(step).map(|(address, _)| *address).collect()
    }

    pub(crate) fn cpu_ns(&self) -> u64 {
        self.running.iter().map(|(_, child)| cpu_ns(child.id())).sum()
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.running.iter().map(|(_, child)| Sample::of(child.id())).collect()
    }

    /// Kills the last ones at once; answers how many.
    pub(crate) fn kill(&mut self, count: usize) -> usize {
        let kept = self.running.len().saturating_sub(count);
        let mut killed = self.running.split_off(kept);
        end(&mut killed);
        killed.len()
    }
}

/// Kills all of them, then waits for each.
fn end(running: &mut [(Ipv4Addr, Child)]) {
    for (_, child) in running.iter_mut() {
        let _ = child.kill();
    }
    for (_, child) in running {
        let _ = child.wait();
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        end(&mut self.running);
    }
}
