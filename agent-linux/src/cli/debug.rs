//! `debug`: what can be known of an agent over a while, as one file.

use super::client::{Request, get};
use super::flag::{Flag, span, switch, text, texts};
use super::{Api, Call, Failure, Spec, Verb, failure};
use crate::archive::bundle;
use crate::config::os_text;
use agent_core::time::{GoDuration, GoTime};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};

/// Captures.
pub(super) struct Debug;

/// Shortest time to capture for, and between two captures.
const DURATION_MIN: Duration = Duration::from_secs(10);
const INTERVAL_MIN: Duration = Duration::from_secs(5);

/// Pieces of the log that wait to be written.
const LOG_PIECES_MAX: usize = 1024;

/// What can be captured, in the order in which it is told.
const TARGETS: [&str; 5] = ["metrics", "logs", "host", "agent", "cluster"];

/// What Consul captures and this agent has not.
const PROFILES: &str = "pprof";

const FLAGS: &[Flag] = &[
    switch("archive", "Packs what was captured into one file; `=false` leaves the directory."),
    texts("capture", "What to capture: metrics, logs, host, agent, cluster. Default: all of it."),
    span("duration", "How long to capture. Default: 2m0s."),
    span("interval", "Time between two captures of what changes. Default: 30s."),
    text("output", "Path of the archive, without its `.tar.gz`."),
];

const SPEC: Spec = Spec {
    path: "debug",
    summary: "Records a debugging archive for operators",
    help: " [options]

  Captures what an agent tells of itself, its machine, the members that it sees,
  its metrics and its log, for a while, into an archive. If it is interrupted,
  the archive holds what was captured so far.

      $ reeve debug -interval=20s -duration=1m
      $ reeve debug -capture metrics -capture agent

  Review the archive before it is handed on: a log may hold what is secret.
",
    api: Api::Agent,
    flags: FLAGS,
};

/// What is heard while capturing.
enum Heard {
    /// A piece of the log.
    Lines(Vec<u8>),
    /// That it is enough.
    Signal,
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The moment came.
    Due,
    /// A signal came.
    Interrupted,
}

/// How to capture.
struct Plan {
    duration: Duration,
    interval: Duration,
    /// The directory.
    output: PathBuf,
    targets: Vec<&'static str>,
    archive: bool,
}

/// Tells the seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Writes a duration as Go does.
fn go(span: Duration) -> GoDuration {
    GoDuration(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

impl Plan {
    /// Reads the flags.
    fn read(call: &mut Call<'_>) -> Result<Self, Failure> {
        let invalid = |what: String| failure(format!("==> Capture validation failed: {what}"));
        if !call.args.is_empty() {
            return Err(failure("==> debug: Too many arguments provided, expected 0"));
        }
        let duration = call.given.span("duration").unwrap_or(Duration::from_secs(120));
        let interval = call.given.span("interval").unwrap_or(Duration::from_secs(30));
        if duration < DURATION_MIN {
            return Err(invalid(format!("duration must be longer than {}", go(DURATION_MIN))));
        }
        if interval < INTERVAL_MIN {
            return Err(invalid(format!("interval must be longer than {}", go(INTERVAL_MIN))));
        }
        if duration < interval {
            let (duration, interval) = (go(duration), go(interval));
            let what = format!("duration ({duration}) must be longer than interval ({interval})");
            return Err(invalid(what));
        }
        let output = match call.given.text("output") {
            Some(path) => path.trim_end_matches(".tar.gz").to_owned(),
            None => format!("reeve-debug-{}", now()),
        };
        let mut targets = Vec::new();
        let wanted: Vec<String> = call.given.texts("capture").map(str::to_owned).collect();
        for wanted in &wanted {
            match TARGETS.iter().find(|target| *target == wanted) {
                Some(target) => targets.push(*target),
                None if wanted == PROFILES => {
                    call.complain("[WARN] Unable to capture pprof: this agent keeps no profiles.");
                }
                None => return Err(invalid(format!("target not found: {wanted}"))),
            }
        }
        if wanted.is_empty() {
            targets = TARGETS.to_vec();
        }
        let archive = call.given.text("archive") != Some("false");
        Ok(Self { duration, interval, output: output.into(), targets, archive })
    }

    fn has(&self, target: &str) -> bool {
        self.targets.contains(&target)
    }
}

impl Verb for Debug {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn misparsed(&self) -> Option<&'static str> {
        Some("==> Error parsing flags: ")
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let plan = Plan::read(call)?;
        let about: Value = call.client()?.json(get("/v1/agent/self")).map_err(|error| {
            failure(format!(
                "==> Capture validation failed: error querying target agent: {error}. verify \
                 connectivity and agent address"
            ))
        })?;
        let version = about["Config"]["Version"].as_str().unwrap_or_default();
        if let Err(error) = fs::create_dir(&plan.output) {
            let (path, why) = (plan.output.display(), os_text(&error));
            return Err(failure(format!("==> Capture validation failed: mkdir {path}: {why}")));
        }
        let shown = match plan.archive {
            true => archive_of(&plan.output),
            false => plan.output.clone(),
        };
        call.say("==> Starting debugger and capturing static information...")?;
        call.say(format!("     Agent Version: '{version}'"))?;
        call.say(format!("          Interval: '{}'", go(plan.interval)))?;
        call.say(format!("          Duration: '{}'", go(plan.duration)))?;
        call.say(format!("            Output: '{}'", shown.display()))?;
        call.say(format!("           Capture: '{}'", plan.targets.join(", ")))?;
        capture_static(call, &plan, version)?;
        if plan.has("metrics") || plan.has("logs") {
            capture_dynamic(call, &plan)?;
        }
        if plan.archive {
            pack(&plan.output, &shown)
                .map_err(|why| failure(format!("==> Archive creation failed: {why}")))?;
        }
        call.say(format!("    Saved debug archive: {}", shown.display()))
    }
}

/// Names the archive of a directory.
fn archive_of(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".tar.gz");
    name.into()
}

/// Makes the archive, and removes the directory.
fn pack(dir: &Path, to: &Path) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    // It may hold what is secret.
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(to);
    file.and_then(|file| bundle(dir, now(), file))
        .and_then(|()| fs::remove_dir_all(dir))
        .map_err(|error| os_text(&error))
}

/// Writes a file of the capture.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| {
        failure(format!("==> Capture failed: {}: {}", path.display(), os_text(&error)))
    })
}

/// Asks the agent and keeps the answer.
fn keep(call: &Call<'_>, request: Request<'_>, path: &Path) -> Result<(), Failure> {
    let answer = call.client()?.ok(request.with("pretty", ""));
    let answer = answer.map_err(|error| failure(format!("==> Static capture failed: {error}")))?;
    write(path, &answer)
}

/// Captures what does not change.
fn capture_static(call: &Call<'_>, plan: &Plan, version: &str) -> Result<(), Failure> {
    let index = json!({
        "Version": 1,
        "AgentVersion": version,
        "Interval": go(plan.interval).to_string(),
        "Duration": go(plan.duration).to_string(),
        "Targets": plan.targets,
    });
    write(&plan.output.join("index.json"), format!("{index:#}\n").as_bytes())?;
    for (target, request) in [
        ("host", get("/v1/agent/host")),
        ("agent", get("/v1/agent/self")),
        ("cluster", get("/v1/agent/members").with("wan", "1")),
    ] {
        if plan.has(target) {
            keep(call, request, &plan.output.join(format!("{target}.json")))?;
        }
    }
    Ok(())
}

/// Captures what changes, once an interval and at the end; the log runs through.
fn capture_dynamic(call: &mut Call<'_>, plan: &Plan) -> Result<(), Failure> {
    let (sender, heard) = sync_channel(LOG_PIECES_MAX);
    listen(sender.clone())
        .map_err(|error| failure(format!("==> Error listening to signals: {error}")))?;
    if plan.has("logs") {
        follow(call, sender)?;
    }
    let start = Instant::now();
    call.say(format!("==> Beginning capture interval {} (0)", GoTime(now())))?;
    for round in 1.. {
        let (at, dir) = capture_metrics(call, plan)?;
        let until = (plan.interval * round).min(plan.duration);
        let log = plan.has("logs").then(|| dir.join("consul.log"));
        let ended = write_log(&heard, start + until, log.as_deref())?;
        call.say(format!("==> Capture successful {} ({round})", GoTime(at)))?;
        if ended == Ended::Interrupted {
            call.complain(
                "==> Error encountered during collection: stopping collection due to shutdown \
                 signal",
            );
            break;
        }
        if until == plan.duration {
            break;
        }
    }
    if plan.has("metrics") {
        capture_metrics(call, plan)?;
    }
    Ok(())
}

/// Captures the metrics of this moment, if they are wanted; tells the moment and its directory.
fn capture_metrics(call: &Call<'_>, plan: &Plan) -> Result<(u64, PathBuf), Failure> {
    let at = now();
    let dir = plan.output.join(at.to_string());
    fs::create_dir_all(&dir).map_err(|error| {
        failure(format!("==> Capture failed: mkdir {}: {}", dir.display(), os_text(&error)))
    })?;
    if plan.has("metrics") {
        keep(call, get("/v1/agent/metrics"), &dir.join("metrics.json"))?;
    }
    Ok((at, dir))
}

/// Follows the agent's log in a thread of its own, which ends with the process or the agent.
fn follow(call: &Call<'_>, sender: SyncSender<Heard>) -> Result<(), Failure> {
    let client = call.client()?;
    std::thread::spawn(move || {
        let request = get("/v1/agent/monitor").with("loglevel", "DEBUG");
        // A log that ends early shows in the archive as one that is short.
        let _ =
            client.follow(request, &mut |piece| sender.send(Heard::Lines(piece.to_vec())).is_ok());
    });
    Ok(())
}

/// Tells the first signal that asks for the end, in a thread of its own.
fn listen(sender: SyncSender<Heard>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        // Whoever has ended by itself needs no signal.
        let _ = sender.send(Heard::Signal);
    });
    Ok(())
}

/// Waits for a moment, or a signal; until then writes the log, if there is a file for it.
fn write_log(
    heard: &Receiver<Heard>,
    until: Instant,
    path: Option<&Path>,
) -> Result<Ended, Failure> {
    let fault = |error: std::io::Error| {
        let path = path.unwrap_or(Path::new("")).display();
        failure(format!("==> Capture failed: {path}: {}", os_text(&error)))
    };
    let mut file = path.map(File::create).transpose().map_err(fault)?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match (heard.recv_timeout(left), &mut file) {
            (Ok(Heard::Lines(piece)), Some(file)) => file.write_all(&piece).map_err(fault)?,
            (Ok(Heard::Lines(_)), None) => {}
            (Ok(Heard::Signal), _) => return Ok(Ended::Interrupted),
            (Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected), _) => {
                return Ok(Ended::Due);
            }
        }
    }
}
