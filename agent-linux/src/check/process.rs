//! A command that runs: with one pipe for both of its outputs, in a process group of its own.
//!
//! When it is killed, or dropped before it was waited for, the whole group goes: nothing that the
//! command started stays behind.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::process::{ExitStatus, Stdio};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};

/// A process group that is killed when nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    /// Kills every process of the group; a group that is gone is no failure.
    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running command.
pub struct Process {
    child: Child,
    group: Group,
}

impl Process {
    /// Starts a command with its arguments; answers where both of its outputs come, in order.
    ///
    /// # Errors
    ///
    /// What the system says; see [`start_fault`] for words.
    pub fn start(
        args: &[String],
        stdin: Stdio,
        env: &[(&str, String)],
    ) -> io::Result<(Self, pipe::Receiver)> {
        let (program, args) = args.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let (reader, writer) = io::pipe()?;
        let child = Command::new(program)
            .args(args)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        // The group's id is its leader's. The leader is not reaped before its group is done with,
        // so the id cannot pass to strangers.
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let output = pipe::Receiver::from_owned_fd(reader.into())?;
        Ok((Self { child, group: Group(id) }, output))
    }

    /// Hands out its standard input, once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for its end; what it started may live on.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let exit = self.child.wait().await?;
        self.group.0 = None;
        Ok(exit)
    }

    /// Kills it with everything that it started.
    pub async fn kill(&mut self) {
        self.group.kill();
        let _ = self.child.wait().await;
    }
}

/// Says what Go says about a command that does not start.
pub fn start_fault(args: &[String], error: &io::Error) -> String {
    let program = args.first().map_or("", String::as_str);
    let what = match error.kind() {
        io::ErrorKind::NotFound if !program.contains('/') => {
            return format!("exec: \"{program}\": executable file not found in $PATH");
        }
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!("fork/exec {program}: {what}")
}
