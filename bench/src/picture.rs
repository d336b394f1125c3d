//! Servers and a client of one binary, started, killed, started again and stopped.

pub(crate) mod etcd;
pub(crate) mod serf;

use crate::client::Http;
use crate::lab::Lab;
use crate::process::cpu_ns;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the agents have to find each other.
const START: Duration = Duration::from_secs(60);
/// How long they have to end before they are killed.
const STOP: Duration = Duration::from_secs(10);

/// What an agent is in the picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Leader,
    Follower,
    Client,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Client => "client",
        }
    }
}

/// One running agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) role: Role,
    pub(crate) address: Ipv4Addr,
    child: Child,
    name: String,
    words: Vec<String>,
}

impl Agent {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        SocketAddr::from((self.address, 8500))
    }

    pub(crate) fn dns(&self) -> SocketAddr {
        SocketAddr::from((self.address, 8600))
    }
}

/// Some servers and a client, the last; they end with the value.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) agents: Vec<Agent>,
    folder: PathBuf,
    // After the agents: they live in it.
    lab: Option<Lab>,
}

impl Picture {
    /// Starts three servers and a client and waits until all know all and a write is accepted.
    ///
    /// # Errors
    ///
    /// If an agent does not start or they do not find each other in time; they have been stopped.
    pub(crate) fn start(binary: &Path, lab: Option<Lab>) -> Result<Picture, String> {
        Picture::start_with(binary, lab, 3)
    }

    /// Does so with so many servers.
    ///
    /// # Errors
    ///
    /// As [`Picture::start`].
    pub(crate) fn start_with(
        binary: &Path,
        lab: Option<Lab>,
        servers: usize,
    ) -> Result<Picture, String> {
        let mut picture = Picture::empty(lab);
        for at in 0..=servers {
            let mut flags: Vec<String> = Vec::new();
            let server = at < servers;
            if server {
                flags.push("-server".into());
            }
            match picture.agents.first() {
                None => flags.push(format!("-bootstrap-expect={servers}")),
                Some(first) => flags.push(format!("-join={}", first.address)),
            }
            let name = if server { format!("server{}", at + 1) } else { "client1".into() };
            picture.spawn(binary, &name, flags)?;
            picture.until("answers HTTP", |agents| {
                Http::new(agents[at].http()).get("/v1/agent/self").map(|_| ())
            })?;
        }
        picture.settle()?;
        Ok(picture)
    }

    fn empty(lab: Option<Lab>) -> Picture {
        let folder = std::env::temp_dir().join(format!("reeve-bench-{}", std::process::id()));
        Picture { agents: Vec::new(), folder, lab }
    }

    /// Waits until there is one leader, all know all and a write is accepted; tells every server's
    /// role anew.
    ///
    /// # Errors
    ///
    /// If that is not so in time.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.until("one leader, all members alive", |agents| {
            let (last, servers) = agents.split_last_mut().ok_or("no agents")?;
            let leader = Http::new(last.http()).get("/v1/status/leader")?;
            for agent in servers.iter_mut() {
                let this = format!("\"{}:8300\"", agent.address);
                let leads = String::from_utf8_lossy(&leader).trim() == this;
                agent.role = if leads { Role::Leader } else { Role::Follower };
            }
            if !servers.iter().any(|agent| agent.role == Role::Leader) {
                return Err(format!("leader: {}", String::from_utf8_lossy(&leader)));
            }
            for agent in agents.iter() {
                let members = Http::new(agent.http()).get("/v1/agent/members")?;
                let members: serde_json::Value =
                    serde_json::from_slice(&members).map_err(|error| error.to_string())?;
                let alive = |list: &Vec<serde_json::Value>| {
                    list.iter().filter(|member| member["Status"] == 1).count()
                };
                let alive = members.as_array().map_or(0, alive);
                if alive != agents.len() {
                    return Err(format!("{} sees {alive} alive", agent.address));
                }
            }
            let last = agents.last().ok_or("no agents")?;
            Http::new(last.http()).put("/v1/kv/bench/start", b"1").map(|_| ())
        })
    }

    /// Kills an agent, as a power cut does.
    pub(crate) fn kill(&mut self, at: usize) {
        let child = &mut self.agents[at].child;
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Asks an agent to end and waits until it has.
    ///
    /// # Errors
    ///
    /// If it does not in time.
    pub(crate) fn stop(&mut self, at: usize) -> Result<(), String> {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = i32::try_from(self.agents[at].pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("no process")?;
        kill_process(pid, Signal::TERM).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + START;
        while matches!(self.agents[at].child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return Err(format!("{} does not end", self.agents[at].name));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Starts an agent again, with the data that it left.
    ///
    /// # Errors
    ///
    /// If the command cannot be started.
    pub(crate) fn restart(&mut self, at: usize) -> Result<(), String> {
        let agent = &mut self.agents[at];
        agent.child = launch(&self.folder.join(&agent.name), &agent.words)?;
        Ok(())
    }

    fn spawn(&mut self, binary: &Path, name: &str, flags: Vec<String>) -> Result<(), String> {
        let (namespace, address) = match &mut self.lab {
            Some(lab) => lab.host().map(|(namespace, address)| (Some(namespace), address))?,
            None => (None, loopback()?),
        };
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{folder:?}: {error}"))?;
        let mut words: Vec<String> = Vec::new();
        if let Some(namespace) = &namespace {
            words.extend(["ip", "netns", "exec", namespace].map(str::to_string));
        }
        words.extend(guarded(binary));
        words.extend(["agent".into(), format!("-node={name}"), format!("-bind={address}")]);
        words.push(format!("-client={address}"));
        words.push(format!("-data-dir={}", folder.join("data").display()));
        words.extend(flags);
        let child = launch(&folder, &words)?;
        let role = if name == "client1" { Role::Client } else { Role::Follower };
        self.agents.push(Agent { role, address, child, name: name.into(), words });
        Ok(())
    }

    /// Asks until `probe` answers; says what the agents wrote when it never does.
    fn until(
        &mut self,
        what: &str,
        mut probe: impl FnMut(&mut Vec<Agent>) -> Result<(), String>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + START;
        loop {
            let Err(why) = probe(&mut self.agents) else { return Ok(()) };
            let ended = self
                .agents
                .iter_mut()
                .position(|agent| matches!(agent.child.try_wait(), Ok(Some(_)) | Err(_)));
            if Instant::now() > deadline || ended.is_some() {
                return Err(format!("{what}: {why}\n{}", self.logs()));
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let mut text = String::new();
        for Agent { name, .. } in &self.agents {
            let log = std::fs::read_to_string(self.folder.join(name).join("log"));
            let log = log.unwrap_or_default();
            let skip = log.lines().count().saturating_sub(10);
            text += &format!("---- {name}\n");
            log.lines().skip(skip).for_each(|line| text += &format!("{line}\n"));
        }
        text
    }

    /// Where the agents keep their data, each in a folder of its name; goes with the picture.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the first agent of a role is in the list.
    pub(crate) fn place(&self, role: Role) -> usize {
        let found = self.agents.iter().position(|agent| agent.role == role);
        found.expect("a picture has every role")
    }

    /// The first agent of a role.
    pub(crate) fn one(&self, role: Role) -> &Agent {
        &self.agents[self.place(role)]
    }

    /// CPU time of all agents so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.agents.iter().map(|agent| cpu_ns(agent.pid())).sum()
    }
}

/// The words that start a program which does not outlive a bench that is killed.
pub(crate) fn guarded(program: &Path) -> Vec<String> {
    let mut words = ["setpriv", "--pdeathsig", "KILL", "--"].map(str::to_string).to_vec();
    words.push(program.to_string_lossy().into_owned());
    words
}

/// Starts a command that writes to `log` in a folder.
fn launch(folder: &Path, words: &[String]) -> Result<Child, String> {
    let log = File::options().create(true).append(true).open(folder.join("log"));
    let log = log.map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))
}

impl Drop for Picture {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        for agent in self.agents.iter().rev() {
            if let Some(pid) = i32::try_from(agent.pid()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP;
        for agent in &mut self.agents {
            while Instant::now() < deadline && matches!(agent.child.try_wait(), Ok(None)) {
                sleep(Duration::from_millis(20));
            }
            let _ = agent.child.kill();
            let _ = agent.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A loopback address on which nobody listens.
pub(crate) fn loopback() -> Result<Ipv4Addr, String> {
    loopbacks(1).map(|found| found[0])
}

fn loopbacks(count: usize) -> Result<Vec<Ipv4Addr>, String> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let free = |address: &Ipv4Addr| {
        [8300, 8301, 8302, 8500, 8600]
            .iter()
            .all(|port| TcpListener::bind((*address, *port)).is_ok())
    };
    let hosts = (1..=250).map(|host| Ipv4Addr::new(127, 32 | (high & 31), low, host));
    let found: Vec<Ipv4Addr> = hosts.filter(free).take(count).collect();
    if found.len() == count { Ok(found) } else { Err("no free loopback address".into()) }
}

/// Removes what a bench that was killed has left: folders of programs that no longer run.
pub(crate) fn sweep() {
    let Ok(list) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in list.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("reeve-bench-") else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        if is_gone(pid) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Tells whether a name is the number of a process, and that process is gone.
pub(crate) fn is_gone(pid: &str) -> bool {
    pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()
}
