//! `reload`: has the agent read its configuration again.

use super::client::put;
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Reloads the agent.
pub(super) struct Reload;

const SPEC: Spec = Spec {
    path: "reload",
    summary: "Triggers the agent to reload configuration files",
    help: "

  Has the agent read its configuration files again, as SIGHUP does.

      $ reeve reload
",
    api: Api::Agent,
    flags: &[],
};

impl Verb for Reload {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        call.client()?
            .ok(put("/v1/agent/reload", &[]))
            .map_err(|error| failure(format!("Error reloading: {error}")))?;
        call.say("Configuration reload triggered")
    }
}
