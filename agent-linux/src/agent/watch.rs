//! Watches of the configuration: each asks in process and hands what is new to its handler.
//!
//! A reload ends the watches that are gone and starts new ones; those that stay as they were go on.

use crate::check::http::Http as Post;
use crate::check::script::Script;
use crate::check::{Outcome, Verify};
use crate::config::Config;
use crate::config::watch::{Handler, HttpHandler, Watch};
use crate::http::{Http, inquire};
use crate::watch::{Plan, Step};
use agent_core::health::Status;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Bytes of a handler's output that are logged, as Consul's.
const OUTPUT_BYTES: usize = 4096;

/// Time that a script may take: without a bound, as in Consul, for it may well wait for something.
const SCRIPT_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// A watch that runs; dropping it ends it, its handler too.
struct Running {
    watch: Watch,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the watches that the configuration wants, until the agent stops.
pub(super) async fn run(edge: Arc<Http>, mut config: watch::Receiver<Arc<Config>>) {
    let mut tasks = JoinSet::new();
    let mut running: Vec<Running> = Vec::new();
    loop {
        let wanted = config.borrow_and_update().watches.clone();
        let mut kept = Vec::new();
        for watch in wanted {
            let known = running.iter().position(|running| running.watch == watch);
            kept.push(known.map(|at| running.swap_remove(at)).unwrap_or_else(|| {
                let task = tasks.spawn(follow(Arc::clone(&edge), watch.clone()));
                Running { watch, task }
            }));
        }
        running = kept;
        while tasks.try_join_next().is_some() {}
        if config.changed().await.is_err() {
            return;
        }
    }
}

/// Follows one watch until it is ended.
async fn follow(edge: Arc<Http>, watch: Watch) {
    let mut plan = Plan::new(watch.query.clone());
    loop {
        let answer = inquire(&edge, &plan.path(), &plan.params()).await;
        let step = match answer {
            Ok(answer) => plan.handle_answer(answer.code, answer.index, &answer.body),
            Err(why) => plan.handle_failure(why),
        };
        match step {
            Step::Show { index, result } => handle(&watch.handler, index, result).await,
            Step::Again => {}
            Step::Retry { after, why } => {
                let (kind, retry) = (plan.kind(), after.as_secs());
                tracing::error!("agent.watch: Watch errored: type={kind} error={why:?} {retry}s");
                tokio::time::sleep(after).await;
            }
        }
    }
}

/// Hands a result to a handler and waits until it is done.
async fn handle(handler: &Handler, index: u64, result: String) {
    let outcome = match handler {
        Handler::Args(args) => script(args.clone(), index, result).await,
        Handler::Shell(line) => {
            let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| "/bin/sh".to_owned());
            script(vec![shell, "-c".to_owned(), line.clone()], index, result).await
        }
        Handler::Http(http) => post(http, index, result).run().await,
    };
    let output = outcome.output.trim_end();
    match outcome.status {
        Status::Passing => tracing::debug!("agent: watch handler output: {output}"),
        Status::Warning | Status::Critical => {
            tracing::error!("agent: Failed to run watch handler: {output}");
        }
    }
}

/// Runs a command with the result as its standard input.
async fn script(args: Vec<String>, index: u64, result: String) -> Outcome {
    let script = Script { args, timeout: SCRIPT_TIME, output_bytes: OUTPUT_BYTES };
    let input = result + "\n";
    script.run_fed(input.as_bytes(), &[("CONSUL_INDEX", index.to_string())]).await
}

/// Makes the request of an HTTP handler.
fn post(http: &HttpHandler, index: u64, result: String) -> Post {
    let mut header = http.header.clone();
    header.insert("Content-Type".to_owned(), vec!["application/json".to_owned()]);
    header.insert("X-Consul-Index".to_owned(), vec![index.to_string()]);
    Post {
        url: http.path.clone(),
        method: http.method.clone(),
        header,
        body: result + "\n",
        own: None,
        verify: if http.tls_skip_verify { Verify::Nothing } else { Verify::System },
        timeout: http.timeout.to_core(),
        output_bytes: OUTPUT_BYTES,
    }
}
