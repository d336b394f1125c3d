//! `monitor`: the agent's log as it is written.

use super::client::get;
use super::flag::{Flag, switch, text};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Follows the log.
pub(super) struct Monitor;

/// What is said when the log ends.
const ENDED: &str = "Remote side ended the monitor! This usually means that the\n\
                     remote side has exited or crashed.";

const FLAGS: &[Flag] = &[
    switch("log-json", "Output logs in JSON format."),
    text("log-level", "Lowest level of the lines shown. Default: INFO."),
];

const SPEC: Spec = Spec {
    path: "monitor",
    summary: "Stream logs from a Consul agent",
    help: " [options]

  Shows the log of an agent as it is written. Levels that the agent itself does
  not log can be followed too.

      $ reeve monitor -log-level=debug
",
    api: Api::Agent,
    flags: FLAGS,
};

impl Verb for Monitor {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let level = call.given.text("log-level").unwrap_or("INFO");
        let mut request = get("/v1/agent/monitor").with("loglevel", level);
        if call.given.on("log-json") {
            request = request.with("logjson", "true");
        }
        let client = call.client()?;
        let output = &mut call.process.output;
        let mut show = |lines: &[u8]| output.write_all(lines).and_then(|()| output.flush()).is_ok();
        client
            .follow(request, &mut show)
            .map_err(|error| failure(format!("Error starting monitor: {error}")))?;
        Err(failure(ENDED))
    }
}
