//! `leave`: has the agent leave the cluster and stop.

use super::client::put;
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Leaves the cluster.
pub(super) struct Leave;

const SPEC: Spec = Spec {
    path: "leave",
    summary: "Gracefully leaves the cluster and shuts down",
    help: " [options]

  Causes the agent to leave the cluster and to stop.

      $ reeve leave
",
    api: Api::Agent,
    flags: &[],
};

impl Verb for Leave {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        if !call.args.is_empty() {
            let args = call.args.join(" ");
            let help = call.help.trim_end().to_owned();
            call.say(help)?;
            return Err(failure(format!("Error found unexpected args: [{args}]")));
        }
        call.client()?
            .ok(put("/v1/agent/leave", &[]))
            .map_err(|error| failure(format!("Error leaving: {error}")))?;
        call.say("Graceful leave complete")
    }
}
