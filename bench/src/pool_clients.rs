//! Client agents by the hundred: one process and one loopback address each.

use crate::picture::Picture;
use crate::process::{Sample, cpu_ns};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Clients that are asked what they see.
const ASKED: usize = 3;

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
        partial: bool,
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
            // They must not outlive a bench that is killed.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(binary).arg("agent");
            command.arg(format!("-node=edge{at}")).arg(format!("-bind={address}"));
            command.arg(format!("-client={address}"));
            command.arg(format!("-data-dir={}", folder.display()));
            command.arg(format!("-retry-join={}", picture.agents[at % 3].address));
            command.args(["-retry-interval=2s", "-log-level=err"]);
            if partial {
                command.arg("-hcl=gossip_lan { view = \"partial\" }");
            }
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
