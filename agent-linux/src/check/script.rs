//! Script checks: a command's exit code, and the last bytes that it wrote.
//!
//! When time is up, or the check is removed while it runs, everything that the command started is
//! killed with it.

use super::process::{Process, start_fault};
use super::{Outcome, go_time, tail, text_of};
use agent_core::health::{Status, Tail};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::ChildStdin;

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

impl Script {
    /// Runs the command once: exit code 0 is passing, 1 warning, anything else critical.
    pub async fn run(&self) -> Outcome {
        self.run_fed(&[], &[]).await
    }

    /// As [`Script::run`], with something on standard input and in the environment.
    pub async fn run_fed(&self, input: &[u8], env: &[(&str, String)]) -> Outcome {
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let (mut process, mut pipe) = match Process::start(&self.args, stdin, env) {
            Ok(started) => started,
            Err(error) => return Outcome::critical(start_fault(&self.args, &error)),
        };
        let mut output = tail(self.output_bytes);
        let done = async {
            let stdin = process.stdin();
            tokio::join!(write_all(stdin, input), read_all(&mut pipe, &mut output));
            process.wait().await
        };
        let exit = tokio::time::timeout(self.timeout, done).await;
        match exit {
            Ok(Ok(exit)) => {
                let status = match exit.code() {
                    Some(0) => Status::Passing,
                    Some(1) => Status::Warning,
                    Some(_) | None => Status::Critical,
                };
                Outcome { status, output: kept(&output) }
            }
            Ok(Err(error)) => Outcome::critical(error.to_string()),
            Err(_) => {
                process.kill().await;
                let mut text = format!("Timed out ({}) running check", go_time(self.timeout));
                if output.written() > 0 {
                    text = format!("{text}\n\n{}", kept(&output));
                }
                Outcome::critical(text)
            }
        }
    }
}

/// Writes everything and hangs up. A command that does not read its input is none the worse.
async fn write_all(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
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
