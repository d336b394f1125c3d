//! Script checks: a command's exit code, and the last bytes that it wrote.
//!
//! The command leads a process group of its own. When time is up, or the check is removed while it
//! runs, the whole group is killed: nothing that the command started stays behind.

use super::{Outcome, go_time, tail, text_of};
use agent_core::health::{Status, Tail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

/// Bytes read from a command at a time.
const READ_BYTES: usize = 1024;

/// A script check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// The command and its arguments; no shell unless it is named.
    pub args: Vec<String>,
    /// Time for one run.
    pub timeout: Duration,
    /// Bytes of output kept.
    pub output_bytes: usize,
}

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

impl Script {
    /// Runs the command once: exit code 0 is passing, 1 warning, anything else critical.
    pub async fn run(&self) -> Outcome {
        let (mut child, mut pipe) = match self.start() {
            Ok(started) => started,
            Err(error) => return Outcome::critical(self.start_fault(&error)),
        };
        // The group's id is its leader's. The leader is not reaped before its group is done with,
        // so the id cannot pass to strangers.
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut group = Group(id);
        let mut output = tail(self.output_bytes);
        let done = async {
            read_all(&mut pipe, &mut output).await;
            child.wait().await
        };
        let exit = tokio::time::timeout(self.timeout, done).await;
        match exit {
            Ok(Ok(exit)) => {
                group.0 = None;
                let status = match exit.code() {
                    Some(0) => Status::Passing,
                    Some(1) => Status::Warning,
                    Some(_) | None => Status::Critical,
                };
                Outcome { status, output: kept(&output) }
            }
            Ok(Err(error)) => Outcome::critical(error.to_string()),
            Err(_) => {
                group.kill();
                let _ = child.wait().await;
                let mut text = format!("Timed out ({}) running check", go_time(self.timeout));
                if output.written() > 0 {
                    text = format!("{text}\n\n{}", kept(&output));
                }
                Outcome::critical(text)
            }
        }
    }

    /// Starts the command with one pipe for both of its outputs, so that they stay in order.
    fn start(&self) -> io::Result<(Child, pipe::Receiver)> {
        let (program, args) =
            self.args.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let (reader, writer) = io::pipe()?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, pipe::Receiver::from_owned_fd(reader.into())?))
    }

    /// Says what Go says about a command that does not start.
    fn start_fault(&self, error: &io::Error) -> String {
        let program = self.args.first().map_or("", String::as_str);
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
}

/// Reads until every writer has hung up.
async fn read_all(pipe: &mut pipe::Receiver, output: &mut Tail<Box<[u8]>>) {
    let mut buffer = [0; READ_BYTES];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        output.push(&buffer[..count]);
    }
}

/// Reads what was kept, with a word on what was not.
fn kept(output: &Tail<Box<[u8]>>) -> String {
    let text = text_of(output);
    if output.overflowed() {
        let (front, back) = output.pieces();
        let kept = front.len() + back.len();
        format!("Captured {kept} of {} bytes\n...\n{text}", output.written())
    } else {
        text
    }
}
