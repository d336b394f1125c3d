//! Agents as processes: each with its address, data folder and log.

use super::http::{Client, Response};
use super::lab::Lab;
use super::{Folder, PATIENCE, eventually, loopback, reeve};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// One agent: its process may be up or down, its data stays.
pub struct Agent {
    pub name: String,
    pub address: Ipv4Addr,
    pub data: PathBuf,
    folder: Folder,
    namespace: Option<String>,
    /// The words that start the command under test: its path, and an emulator's before it.
    program: Vec<String>,
    flags: Vec<String>,
    child: Option<Child>,
}

impl Agent {
    /// Starts the process with its flags; its log is appended to.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = std::fs::File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("log file");
        let mut words = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace]);
        }
        words.extend(self.program.iter().map(String::as_str));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.arg("agent").args(&self.flags).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log file")).stderr(log);
        clean(&mut command);
        self.child = Some(command.spawn().expect("agent starts"));
    }

    /// Kills the process at once, as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the agent runs");
        let pid = Pid::from_raw(child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("signal sent");
    }

    /// Sends a signal and waits for the end of the process.
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let child = self.child.as_mut().expect("the agent runs");
        let status = eventually(PATIENCE, &what, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        self.child = None;
        status
    }

    /// Tells whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Process id of the running agent.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the agent runs").id()
    }

    /// Kills the process and takes its data away.
    pub fn wipe(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.data).expect("data folder");
        std::fs::create_dir_all(&self.data).expect("data folder");
    }

    /// Adds a flag for the next start.
    pub fn flag(&mut self, flag: impl Into<String>) {
        self.flags.push(flag.into());
    }

    /// Names another program for the next start, and what runs it.
    pub fn run_by(&mut self, program: Vec<String>) {
        self.program = program;
    }

    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, 8500))
    }

    pub fn http(&self) -> Client {
        Client::new(self.http_address())
    }

    /// Runs a verb of the command line against this agent.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_fed(arguments, b"")
    }

    /// Makes the command of a verb against this agent, to be run on its host.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(String::from));
        }
        words.push(reeve());
        let mut command = Command::new(&words[0]);
        clean(&mut command);
        command.args(&words[1..]).args(arguments);
        command.env("CONSUL_HTTP_ADDR", self.http_address().to_string());
        command
    }

    /// As [`Agent::cli`], with something to read.
    pub fn cli_fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        // A verb that reads nothing may have ended by now.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        child.wait_with_output().expect("the command ends")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Everything that the agent has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A folder that goes with the agent: for configuration files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let skip = log.lines().count().saturating_sub(80);
            let tail: Vec<&str> = log.lines().skip(skip).collect();
            eprintln!("---- {} ({}), end of its log\n{}", self.name, self.address, tail.join("\n"));
        }
    }
}

/// Takes away what the caller's own shell may say about agents.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONSUL_")) {
        command.env_remove(name);
    }
}

/// Agents that know each other, on loopback addresses or in a lab.
pub struct Cluster {
    // Agents go before the network they live in.
    pub agents: Vec<Agent>,
    pub lab: Option<Lab>,
}

impl Cluster {
    /// An empty cluster on loopback addresses.
    pub fn loopback() -> Cluster {
        Cluster { agents: Vec::new(), lab: None }
    }

    /// An empty cluster in network namespaces; the calling thread moves into the lab.
    pub fn lab() -> Cluster {
        Cluster { agents: Vec::new(), lab: Some(Lab::new()) }
    }

    /// Three servers and a client, started in this order, joined through the first server.
    pub fn picture(self) -> Cluster {
        self.picture_with(&[])
    }

    /// As [`Cluster::picture`], with more flags for everybody.
    pub fn picture_with(mut self, flags: &[&str]) -> Cluster {
        let first = ["-server", "-bootstrap-expect=3", "-ui"];
        let first = self.add("agent128", &[&first, flags].concat()).address;
        let join = format!("-join={first}");
        self.start(0);
        self.until_http(0);
        self.add("agent129", &[&["-server", &join][..], flags].concat());
        self.add("agent130", &[&["-server", &join][..], flags].concat());
        self.add("agent131", &[&[join.as_str()][..], flags].concat());
        for at in 1..4 {
            self.start(at);
        }
        self.until_leader();
        self
    }

    /// Adds an agent without starting it: `-node`, `-bind`, `-client` and `-data-dir` are given.
    pub fn add(&mut self, name: &str, flags: &[&str]) -> &mut Agent {
        let folder = Folder::new(name);
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).expect("data folder");
        self.add_at(name, flags, folder, data)
    }

    /// Like [`Cluster::add`], with the data folder somewhere else.
    pub fn add_on(&mut self, name: &str, flags: &[&str], data: &Path) -> &mut Agent {
        self.add_at(name, flags, Folder::new(name), data.to_path_buf())
    }

    fn add_at(&mut self, name: &str, flags: &[&str], folder: Folder, data: PathBuf) -> &mut Agent {
        let (namespace, address) = match &mut self.lab {
            Some(lab) => {
                let (namespace, address) = lab.host();
                (Some(namespace), address)
            }
            None => (None, loopback()),
        };
        // On one machine every agent has its own address; in a namespace it has all of them.
        let client = if namespace.is_some() { Ipv4Addr::UNSPECIFIED } else { address };
        let mut all = vec![format!("-node={name}")];
        all.push(format!("-client={client}"));
        all.push(format!("-bind={address}"));
        all.push(format!("-data-dir={}", data.display()));
        all.extend(flags.iter().map(|flag| flag.to_string()));
        let name = name.to_string();
        let (program, flags, child) = (vec![reeve()], all, None);
        self.agents.push(Agent { name, address, data, folder, namespace, program, flags, child });
        self.agents.last_mut().expect("just pushed")
    }

    pub fn start(&mut self, at: usize) {
        self.agents[at].start();
    }

    /// Answers the agent of a name.
    pub fn named(&mut self, name: &str) -> &mut Agent {
        let found = self.agents.iter_mut().find(|agent| agent.name == name);
        found.unwrap_or_else(|| panic!("no agent {name}"))
    }

    /// Answers the place of the leader among the running agents, once they agree on one.
    pub fn until_leader(&mut self) -> usize {
        self.until_leader_within(PATIENCE)
    }

    /// As [`Cluster::until_leader`], with its own patience.
    pub fn until_leader_within(&mut self, patience: Duration) -> usize {
        let running: Vec<usize> =
            (0..self.agents.len()).filter(|at| self.agents[*at].runs()).collect();
        let agents = &self.agents;
        eventually(patience, "one leader for all, which accepts a write", || {
            let mut seen = Vec::new();
            for at in &running {
                seen.push(get(&agents[*at], "/v1/status/leader")?.text());
            }
            let of = |at: &&usize| seen[0].trim() == format!("\"{}:8300\"", agents[**at].address);
            let leader = running.iter().find(of).filter(|_| seen.iter().all(|one| *one == seen[0]));
            let leader = *leader.ok_or_else(|| format!("{seen:?}"))?;
            let client = Client { timeout: Duration::from_secs(5), ..agents[leader].http() };
            let answer = client.try_request("PUT", "/v1/kv/until-leader", b"1");
            match answer.map_err(|error| error.to_string())? {
                answer if answer.status == 200 => Ok(leader),
                answer => Err(answer.text()),
            }
        })
    }

    /// Waits until the agent answers HTTP.
    pub fn until_http(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        let what = format!("{} answers HTTP", agent.name);
        eventually(PATIENCE, &what, || {
            assert!(agent.runs(), "{} has ended:\n{}", agent.name, agent.log());
            get(agent, "/v1/agent/self").map(|_| ())
        });
    }

    /// Waits until `at` sees these members in these states (`alive`, `failed`, `left`).
    pub fn until_members(&self, at: usize, states: &[(&str, &str)]) {
        eventually(PATIENCE, "members", || {
            let seen = members(&self.agents[at])?;
            let mut wanted: Vec<(String, String)> =
                states.iter().map(|(name, state)| (name.to_string(), state.to_string())).collect();
            wanted.sort();
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }
}

/// Answers the names and states of the members that an agent sees, sorted.
pub fn members(agent: &Agent) -> Result<Vec<(String, String)>, String> {
    let list = get(agent, "/v1/agent/members")?.json();
    let mut seen: Vec<(String, String)> = list
        .as_array()
        .ok_or("no list")?
        .iter()
        .map(|member| {
            let state = match member["Status"].as_u64() {
                Some(1) => "alive",
                Some(2) => "leaving",
                Some(3) => "left",
                Some(4) => "failed",
                _ => "unknown",
            };
            (member["Name"].as_str().unwrap_or_default().to_string(), state.to_string())
        })
        .collect();
    seen.sort();
    Ok(seen)
}

/// Asks with a short patience; a refused connection or another status than 200 is the reason.
pub fn get(agent: &Agent, path: &str) -> Result<Response, String> {
    let client = Client { timeout: Duration::from_secs(5), ..agent.http() };
    let answer = client.try_request("GET", path, b"").map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(answer),
        status => Err(format!("{status} {}", answer.text())),
    }
}

/// Raft ids of the configuration, by node name.
pub fn raft_ids(agent: &Agent) -> Result<Vec<(String, String, bool)>, String> {
    let configuration = get(agent, "/v1/operator/raft/configuration")?.json();
    let servers = configuration["Servers"].as_array().ok_or("no servers")?;
    Ok(servers
        .iter()
        .map(|server| {
            let text = |name: &str| server[name].as_str().unwrap_or_default().to_string();
            (text("Node"), text("ID"), server["Voter"].as_bool().unwrap_or(false))
        })
        .collect())
}

/// Waits until the configuration has this many servers and all of them vote.
pub fn until_voters(agent: &Agent, count: usize) {
    eventually(PATIENCE, "voters", || {
        let ids = raft_ids(agent)?;
        let voters = ids.iter().filter(|(_, _, voter)| *voter).count();
        if ids.len() == count && voters == count { Ok(()) } else { Err(format!("{ids:?}")) }
    });
}
