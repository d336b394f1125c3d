//! `exec`: runs a command on many nodes.
//!
//! The command is put into the key/value store under a session, an event tells all nodes of it, and
//! they put beside it what it says. The session's end deletes it all, also if this process is
//! killed.

use super::client::{Client, Error, Keep, Request, delete, escape, get, put};
use super::flag::{FILTERS, Flag, span, switch, text};
use super::{Api, Call, Failure, Spec, Verb, failure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Runs commands.
pub(super) struct Exec;

const FLAGS: &[Flag] = &[
    FILTERS[0],
    text("prefix", "Where in the key-value store requests lie. Default: _rexec."),
    FILTERS[1],
    switch("shell", "Gives the command to a shell on the node. Default: true."),
    FILTERS[2],
    switch("verbose", "Tells of each step."),
    span("wait", "Silence after which no more is waited for. Default: 2s."),
    span(
        "wait-repl",
        "Time for the request to reach all servers before nodes hear of it. Default: 200ms.",
    ),
];

const SPEC: Spec = Spec {
    path: "exec",
    summary: "Executes a command on Consul nodes",
    help: " [options] [-|command...]

  Runs a command on all nodes of the datacenter that allow it, that is on those
  with disable_remote_exec=false, or on those that the filters name, and shows
  what it says. With -, a script is read from standard input.

      $ reeve exec uptime

      $ reeve exec -service=web -tag=blue 'systemctl reload nginx'

  Exits with 2 if a node reported a failure or did not end.
",
    api: Api::Servers,
    flags: FLAGS,
};

/// Time that a session lives without being renewed, and between two renewals.
const SESSION_TTL: &str = "15s";
const RENEW_PERIOD: Duration = Duration::from_secs(5);

/// Exit code if a node reported a failure or did not end.
const EXIT_BAD: u8 = 2;

/// An answer with an id.
#[derive(Deserialize)]
struct Made {
    #[serde(rename = "ID")]
    id: String,
}

impl Verb for Exec {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let wait = call.given.span("wait").unwrap_or(Duration::from_secs(2));
        let replication = call.given.span("wait-repl").unwrap_or(Duration::from_millis(200));
        let job = job(call, wait)?;
        let filters = call.filters()?;
        let client = call.client()?;
        let own: Value = client
            .json(get("/v1/agent/self"))
            .map_err(|error| failure(format!("Error querying Consul agent: {error}")))?;
        let datacenter = call.given.text("datacenter").unwrap_or_default();
        if !datacenter.is_empty() && own["Config"]["Datacenter"] != datacenter {
            return Err(elsewhere(&client));
        }
        let body = json!({"Name": "Remote Exec", "Behavior": "delete", "TTL": SESSION_TTL});
        let session: Made = client
            .json(put("/v1/session/create", body.to_string().as_bytes()))
            .map_err(|error| failure(format!("Failed to create session: {error}")))?;
        let prefix = call.given.text("prefix").unwrap_or("_rexec").to_owned();
        let run = Run { client, prefix, session: session.id, filters };
        let result = run.follow(call, &job, wait, replication);
        run.clean();
        result
    }
}

/// Makes the job of the words given.
fn job(call: &mut Call<'_>, wait: Duration) -> Result<Value, Failure> {
    let in_shell = call.given.text("shell").is_none_or(|given| given == "true");
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    match call.args.as_slice() {
        [] => Err(call.misused("Must specify a command to execute")),
        [word] if word == "-" && !in_shell => {
            Err(failure("Cannot configure -shell=false when reading from stdin"))
        }
        [word] if word == "-" => {
            let mut script = Vec::new();
            let read = call.process.input.read_to_end(&mut script);
            read.map_err(|error| failure(format!("Failed to read stdin: {error}")))?;
            Ok(json!({"Script": BASE64.encode(script), "Wait": nanos}))
        }
        words if in_shell => Ok(json!({"Command": words.join(" "), "Wait": nanos})),
        words => Ok(json!({"Args": words, "Wait": nanos})),
    }
}

/// Says why nothing can be run in another datacenter.
fn elsewhere(client: &Client) -> Failure {
    let why = match client.ok(get("/v1/health/service/consul").with("passing", "1")) {
        Ok(_) => "it can only be run from there".to_owned(),
        Err(error) => error.to_string(),
    };
    let text = "Failed to create session: Failed to find Consul server in remote datacenter";
    failure(format!("{text}: {why}"))
}

/// One execution.
struct Run {
    client: Client,
    prefix: String,
    session: String,
    filters: Vec<(&'static str, String)>,
}

/// What the nodes said so far.
#[derive(Default)]
struct Tally {
    seen: BTreeSet<String>,
    acknowledged: usize,
    completed: usize,
    bad: bool,
}

impl Run {
    /// Tells the path of a key below the session.
    fn path(&self, rest: &str) -> String {
        escape(&format!("/v1/kv/{}/{}/{rest}", self.prefix, self.session), Keep::Path)
    }

    /// Uploads, fires, and shows what comes back until it is quiet.
    fn follow(
        &self,
        call: &mut Call<'_>,
        job: &Value,
        wait: Duration,
        replication: Duration,
    ) -> Result<(), Failure> {
        let verbose = call.given.on("verbose");
        let tell = |call: &mut Call<'_>, text: String| match verbose {
            true => call.say(text),
            false => Ok(()),
        };
        tell(call, format!("Created remote execution session: {}", self.session))?;
        let body = job.to_string();
        let upload = put(self.path("job"), body.as_bytes()).with("acquire", &self.session);
        match self.client.ok(upload) {
            Ok(taken) if taken.trim_ascii() == b"true" => {}
            Ok(_) => return Err(failure("Failed to create job file: failed to acquire the key")),
            Err(error) => return Err(failure(format!("Failed to create job file: {error}"))),
        }
        tell(call, "Uploaded remote execution spec".to_owned())?;
        std::thread::sleep(replication);
        let event = self.fire().map_err(|e| failure(format!("Failed to fire event: {e}")))?;
        tell(call, format!("Fired remote execution event: {event}"))?;
        let began = Instant::now();
        let tally = self.listen(call, wait)?;
        let (completed, acknowledged) = (tally.completed, tally.acknowledged);
        call.say(format!("{completed} / {acknowledged} node(s) completed / acknowledged"))?;
        let seconds = began.elapsed().as_secs_f64();
        tell(call, format!("Completed in {seconds:.2} seconds"))?;
        match tally.bad || completed < acknowledged {
            true => Err(Failure { text: String::new(), code: EXIT_BAD }),
            false => Ok(()),
        }
    }

    /// Fires the event; answers its id.
    fn fire(&self) -> Result<String, Error> {
        let payload = json!({"Prefix": self.prefix, "Session": self.session}).to_string();
        let mut request = put("/v1/event/fire/_rexec", payload.as_bytes());
        for (filter, text) in &self.filters {
            request = request.with(filter, text);
        }
        Ok(self.client.json::<Made>(request)?.id)
    }

    /// Shows what nodes say until they were quiet for `wait`, twice that while one still works.
    fn listen(&self, call: &mut Call<'_>, wait: Duration) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let (mut index, mut last_word, mut renewed) = (0, Instant::now(), Instant::now());
        loop {
            if renewed.elapsed() >= RENEW_PERIOD {
                renewed = Instant::now();
                // A session that is gone shows when nothing comes any more.
                let _ = self.client.send(put(format!("/v1/session/renew/{}", self.session), &[]));
            }
            let working = tally.acknowledged > tally.completed;
            let quiet = if working { wait * 2 } else { wait };
            let left = quiet.saturating_sub(last_word.elapsed());
            if left.is_zero() {
                return Ok(tally);
            }
            let span = left.min(RENEW_PERIOD).as_millis().max(1);
            let request = get(self.path("")).with("keys", "").with("index", index.to_string());
            let answer = self.client.send(request.with("wait", format!("{span}ms")));
            let answer =
                answer.map_err(|error| failure(format!("Failed to list keys: {error}")))?;
            index = answer.index;
            let keys: Vec<String> = serde_json::from_slice(&answer.body).unwrap_or_default();
            if self.take(call, &mut tally, keys)? {
                last_word = Instant::now();
            }
        }
    }

    /// Shows what is new among the keys, exits last; true if there was anything.
    fn take(
        &self,
        call: &mut Call<'_>,
        tally: &mut Tally,
        keys: Vec<String>,
    ) -> Result<bool, Failure> {
        let start = format!("{}/{}/", self.prefix, self.session);
        let mut new: Vec<String> = keys
            .iter()
            .filter_map(|key| key.strip_prefix(&start))
            .filter(|key| *key != "job" && !tally.seen.contains(*key))
            .map(str::to_owned)
            .collect();
        new.sort_by_key(|key| key.ends_with("/exit"));
        for key in &new {
            tally.seen.insert(key.clone());
            if let Some(node) = key.strip_suffix("/ack") {
                tally.acknowledged += 1;
                if call.given.on("verbose") {
                    call.say(format!("==> {node}: acknowledged"))?;
                }
            } else if let Some(node) = key.strip_suffix("/exit") {
                let code = self.value(key)?;
                tally.completed += 1;
                tally.bad |= code != "0";
                call.say(format!("==> {node}: finished with exit code {code}"))?;
            } else if let Some((node, _)) = key.rsplit_once("/out/") {
                self.show(call, node, &self.value(key)?)?;
            }
        }
        Ok(!new.is_empty())
    }

    /// Shows a piece of output, each line under the node's name; an empty one is a sign of life.
    fn show(&self, call: &mut Call<'_>, node: &str, output: &str) -> Result<(), Failure> {
        if output.is_empty() {
            return match call.given.on("verbose") {
                true => call.say(format!("==> {node}: heartbeat received")),
                false => Ok(()),
            };
        }
        for line in output.split('\n') {
            call.say(format!("    {node}: {line}").trim_end())?;
        }
        Ok(())
    }

    /// Reads a key.
    fn value(&self, key: &str) -> Result<String, Failure> {
        let request: Request<'_> = get(self.path(key)).with("raw", "");
        let value = self.client.ok(request);
        let value = value.map_err(|error| failure(format!("Failed to read {key}: {error}")))?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    }

    /// Deletes what is left. If that fails, the session's end does it.
    fn clean(&self) {
        let _ = self.client.send(delete(self.path("")).with("recurse", ""));
        let _ = self.client.send(put(format!("/v1/session/destroy/{}", self.session), &[]));
    }
}
