//! `watch`: shows a view of the cluster, or runs a command whenever it changes.

use super::client::{Client, Keep, escape, get};
use super::flag::{Flag, switch, text, texts};
use super::{Api, Call, EXIT_FAULT, Failure, Spec, Verb, failure, not_started};
use crate::config::go_bool;
use crate::config::watch::{Place, Query};
use crate::watch::{Plan, Shape, Step, shaped};
use serde_json::{Map, Value};
use std::io::Write;
use std::process::{Command, Stdio};

/// Watches.
pub(super) struct Watch;

const FLAGS: &[Flag] = &[
    text("key", "Key to watch; for the type key."),
    text("name", "Name of the events to watch; for the type event. Default: all."),
    text("passingonly", "Whether only healthy instances count, true or false; for service."),
    text("prefix", "Prefix of the keys to watch; for the type keyprefix."),
    text("service", "Service to watch; for the types service and checks."),
    switch("shell", "Gives the command to a shell, $SHELL or /bin/sh. Default: true."),
    text("state", "State of the checks to watch; for the type checks. Default: any."),
    texts("tag", "Tag that instances must have; for the type service. May be repeated."),
    text("type", "What to watch: key, keyprefix, services, nodes, service, checks or event."),
];

const SPEC: Spec = Spec {
    path: "watch",
    summary: "Watch for changes in Consul",
    help: " [options] [child...]

  Watches a view of the cluster. With a command, runs it for the present result
  and for each new one: JSON on its standard input, the index in CONSUL_INDEX;
  ends with 1 when the command fails. Without, shows the present result. A
  configuration can watch a service of the agent, too: agent_service.

      $ reeve watch -type=service -service=web

      $ reeve watch -type=key -key=config './reload.sh'

      $ reeve watch -type=event -name=deploy -shell=false ./deploy
",
    api: Api::Servers,
    flags: FLAGS,
};

impl Verb for Watch {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        if call.given.text("type").unwrap_or_default().is_empty() {
            return Err(call.misused("Watch type must be specified"));
        }
        let query = query(call).map_err(failure)?;
        if query.subject.place() != Place::Everywhere {
            let kind = query.subject.kind();
            return Err(failure(format!("Type {kind} is not supported in the CLI tool")));
        }
        let mut plan = Plan::new(query);
        let client = call.client()?;
        client
            .ok(get("/v1/agent/self"))
            .map_err(|error| failure(format!("Error querying Consul agent: {error}")))?;
        loop {
            match ask(&client, &mut plan) {
                Step::Show { result, .. } if call.args.is_empty() => {
                    return call.say(shaped(&result, Shape::Indented));
                }
                Step::Show { index, result } => run_child(call, index, &result)?,
                Step::Again => {}
                Step::Retry { after, why } => {
                    let (kind, retry) = (plan.kind(), after.as_secs());
                    let text = "[ERROR] watch.watch: Watch errored";
                    call.complain(&format!("{text}: type={kind} error={why:?} retry={retry}s"));
                    std::thread::sleep(after);
                }
            }
        }
    }
}

/// Reads what to watch from the flags.
fn query(call: &Call<'_>) -> Result<Query, String> {
    let mut fields = Map::new();
    for name in ["type", "key", "prefix", "service", "state", "name"] {
        if let Some(given) = call.given.text(name).filter(|given| !given.is_empty()) {
            fields.insert(name.to_owned(), Value::from(given));
        }
    }
    let tags: Vec<&str> = call.given.texts("tag").collect();
    if !tags.is_empty() {
        fields.insert("tag".to_owned(), Value::from(tags));
    }
    if let Some(given) = call.given.text("passingonly").filter(|given| !given.is_empty()) {
        let on = go_bool(given).ok_or_else(|| {
            let why = format!("strconv.ParseBool: parsing {given:?}: invalid syntax");
            format!("Failed to parse passingonly flag: {why}")
        })?;
        fields.insert("passingonly".to_owned(), Value::from(on));
    }
    Query::take(&mut fields)
}

/// Asks once.
fn ask(client: &Client, plan: &mut Plan) -> Step {
    let mut request = get(escape(&plan.path(), Keep::Path));
    for (name, value) in plan.params() {
        request = request.with(name, value);
    }
    match client.send(request) {
        Ok(answer) => plan.handle_answer(answer.code, answer.index, &answer.body),
        Err(error) => plan.handle_failure(error.to_string()),
    }
}

/// Runs the command for one result.
fn run_child(call: &mut Call<'_>, index: u64, result: &str) -> Result<(), Failure> {
    let in_shell = call.given.text("shell").is_none_or(|given| given == "true");
    let mut command = if in_shell {
        let shell = (call.process.env)("SHELL").filter(|shell| !shell.is_empty());
        let mut command = Command::new(shell.unwrap_or_else(|| "/bin/sh".to_owned()));
        command.arg("-c").arg(call.args.join(" "));
        command
    } else {
        let mut command = Command::new(&call.args[0]);
        command.args(&call.args[1..]);
        command
    };
    command.env("CONSUL_INDEX", index.to_string()).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        failure(format!("Error starting handler: {}", not_started(&command, &error)))
    })?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read its input is none the worse.
        let _ = input.write_all(result.as_bytes()).and_then(|()| input.write_all(b"\n"));
    }
    let ended =
        child.wait().map_err(|error| failure(format!("Error executing handler: {error}")))?;
    if ended.success() {
        return Ok(());
    }
    let how = match ended.code() {
        Some(code) => format!("exit status {code}"),
        None => ended.to_string(),
    };
    Err(Failure { text: format!("Error executing handler: {how}"), code: EXIT_FAULT })
}
