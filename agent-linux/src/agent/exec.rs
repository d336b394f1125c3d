//! Remote execution: an event tells where in the key/value store a command lies; it is run here,
//! and what it says is put beside it, locked by the session of whoever asked.
//!
//! ```text
//! <prefix>/<session>/job                      what is to be run
//! <prefix>/<session>/<node>/ack               it was read here
//! <prefix>/<session>/<node>/out/00000         a piece of output, empty as a sign of life
//! <prefix>/<session>/<node>/exit              its exit code
//! ```
//!
//! The session deletes it all when it ends. Source: <https://www.consul.io/commands/exec>.

use super::Agent;
use crate::check::process::{Process, start_fault};
use crate::gossip::UserEvent;
use agent_core::model::command::Command;
use agent_core::model::kv::{Op, Put, Query, Reply};
use agent_core::model::request::{
    Body, Consistency, Options, Query as AnyQuery, Reply as AnyReply, Request,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// The name of the events that ask for a run.
pub(super) const EVENT: &str = "_rexec";

/// Most commands that run at once; others are refused.
pub(super) const RUNS_MAX: usize = 8;

/// Bytes of one piece of output.
const PIECE_BYTES: usize = 4096;

/// Most pieces of one run; what is beyond is not told.
const PIECES_MAX: u32 = 4096;

/// Time after which a piece that is not full is told.
const PIECE_TIME: Duration = Duration::from_millis(500);

/// Bounds of the time after which a silent command shows a sign of life.
const QUIET_MIN: Duration = Duration::from_millis(200);
const QUIET_MAX: Duration = Duration::from_secs(60);

/// The exit code of a command that did not start.
const NOT_STARTED: i32 = 255;

/// What the event carries.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Call {
    prefix: String,
    session: String,
}

/// What is to be run: arguments, or a script, or a line for a shell.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Job {
    command: String,
    args: Vec<String>,
    /// In base64.
    script: String,
    /// Nanoseconds of silence that the asker bears.
    wait: i64,
}

/// Why a run was given up.
type Fault = String;

/// Runs what an event asks for.
pub(super) async fn run(agent: &Agent, event: UserEvent) {
    tracing::debug!("agent: received remote exec event");
    if let Err(fault) = attempt(agent, &event).await {
        tracing::error!("agent: remote exec: {fault}");
    }
}

async fn attempt(agent: &Agent, event: &UserEvent) -> Result<(), Fault> {
    let call: Call = serde_json::from_slice(&event.payload)
        .map_err(|error| format!("failed to decode the event: {error}"))?;
    let place = format!("{}/{}", call.prefix, call.session);
    let job = job(agent, &format!("{place}/job")).await?;
    let teller = Teller {
        agent,
        place: format!("{place}/{}", agent.config().node_name),
        session: call.session,
    };
    teller.tell("ack", Vec::new()).await?;
    let (args, _script) = arguments(&job).map_err(|error| format!("no script: {error}"))?;
    tracing::info!("agent: remote exec: {args:?}");
    let code = match Process::start(&args, Stdio::null(), &[]) {
        Ok((process, output)) => relay(&teller, process, output, quiet(&job)).await?,
        Err(error) => {
            tracing::debug!("agent: failed to start remote exec: {}", start_fault(&args, &error));
            NOT_STARTED
        }
    };
    teller.tell("exit", code.to_string().into_bytes()).await
}

/// Reads the job: from any server, and if that one lags, from the leader.
async fn job(agent: &Agent, key: &str) -> Result<Job, Fault> {
    for consistency in [Consistency::Stale, Consistency::Consistent] {
        let options = Options { consistency, ..Options::default() };
        let body = Body::Query(AnyQuery::Kv(Query::Get(key.to_owned())));
        let answer = agent.endpoint.serve(Request { options, body }).await;
        let answer = answer.map_err(|error| format!("failed to get the job: {error}"))?;
        if let AnyReply::Kv(Reply::Entry(Some(entry))) = answer.reply {
            return serde_json::from_slice(&entry.value)
                .map_err(|error| format!("failed to decode the job: {error}"));
        }
    }
    Err("aborted, the job is missing".to_owned())
}

/// Makes the command line; a script lies in a file that goes away with the second value.
fn arguments(job: &Job) -> io::Result<(Vec<String>, Option<ScriptFile>)> {
    if !job.args.is_empty() {
        return Ok((job.args.clone(), None));
    }
    let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| "/bin/sh".to_owned());
    let script = match job.script.as_str() {
        "" => None,
        text => Some(ScriptFile::write(&BASE64.decode(text).map_err(io::Error::other)?)?),
    };
    let line = match &script {
        Some(file) => file.0.display().to_string(),
        None => job.command.clone(),
    };
    Ok((vec![shell, "-c".to_owned(), line], script))
}

/// A script in a file of its own, removed when dropped.
struct ScriptFile(PathBuf);

impl ScriptFile {
    fn write(script: &[u8]) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("rexec-{}", uuid::Uuid::new_v4()));
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o700).open(&path)?;
        let script_file = Self(path);
        file.write_all(script)?;
        Ok(script_file)
    }
}

impl Drop for ScriptFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Tells how long a command may be silent.
fn quiet(job: &Job) -> Duration {
    let wait = Duration::from_nanos(u64::try_from(job.wait).unwrap_or(0));
    wait.clamp(QUIET_MIN, QUIET_MAX)
}

/// Hands a command's output on until it ends; answers its exit code. If nobody takes the output any
/// more, the command is killed.
async fn relay(
    teller: &Teller<'_>,
    mut process: Process,
    mut output: tokio::net::unix::pipe::Receiver,
    quiet: Duration,
) -> Result<i32, Fault> {
    let mut buffer = [0; PIECE_BYTES];
    let (mut piece, mut number) = (Vec::new(), 0_u32);
    loop {
        let patience = if piece.is_empty() { quiet } else { PIECE_TIME };
        let ended = match timeout(patience, output.read(&mut buffer)).await {
            Ok(Ok(count @ 1..)) => {
                piece.extend_from_slice(&buffer[..count]);
                if piece.len() < PIECE_BYTES {
                    continue;
                }
                false
            }
            Ok(Ok(_) | Err(_)) => true,
            Err(_) => false,
        };
        let told = std::mem::take(&mut piece);
        if !(ended && told.is_empty()) && number < PIECES_MAX {
            if let Err(fault) = teller.tell(&format!("out/{number:05x}"), told).await {
                process.kill().await;
                return Err(fault);
            }
            number += 1;
        }
        if ended {
            let exit = process.wait().await.map_err(|error| error.to_string())?;
            return Ok(exit.code().unwrap_or(NOT_STARTED));
        }
    }
}

/// Puts results where whoever asked looks for them.
struct Teller<'a> {
    agent: &'a Agent,
    place: String,
    session: String,
}

impl Teller<'_> {
    async fn tell(&self, what: &str, value: Vec<u8>) -> Result<(), Fault> {
        let put = Put { key: format!("{}/{what}", self.place), value, flags: 0 };
        let command = Command::Kv(Op::Acquire(put, self.session.clone()));
        let body = Body::Command(command);
        let outcome = self.agent.endpoint.serve(Request { options: Options::default(), body });
        match outcome.await.map(|answer| answer.reply) {
            Ok(AnyReply::Applied(true)) => Ok(()),
            Ok(_) => Err(format!("failed to write {what}: it is locked")),
            Err(error) => Err(format!("failed to write {what}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_consul_writes_it() {
        let job: Job =
            serde_json::from_str(r#"{"Command":"uptime","Wait":2000000000}"#).expect("a job");
        assert_eq!(quiet(&job), Duration::from_secs(2));
        let (args, script) = arguments(&job).expect("a command");
        assert_eq!((&args[1..], script.is_none()), (&["-c".into(), "uptime".into()][..], true));
        let job: Job = serde_json::from_str(r#"{"Args":["a","b"],"Wait":-1}"#).expect("a job");
        assert_eq!((arguments(&job).expect("words").0, quiet(&job)), (job.args.clone(), QUIET_MIN));
    }

    #[test]
    fn a_script_lies_in_a_file_that_goes_away() {
        let job = Job { script: BASE64.encode("exit 3"), ..Job::default() };
        let (args, script) = arguments(&job).expect("a script");
        let path = script.as_ref().expect("a file").0.clone();
        assert_eq!(args[2], path.display().to_string());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "exit 3");
        drop(script);
        assert!(!path.exists());
        assert!(arguments(&Job { script: "*".into(), ..Job::default() }).is_err());
    }
}
