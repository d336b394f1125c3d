//! `force-leave`: declares a failed member gone.

use super::client::{Keep, escape, put};
use super::flag::{Flag, switch};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Declares a member gone.
pub(super) struct ForceLeave;

const FLAGS: &[Flag] = &[switch("prune", "Removes the member from the list of members at once.")];

const SPEC: Spec = Spec {
    path: "force-leave",
    summary: "Forces a member of the cluster to enter the \"left\" state",
    help: " [options] name

  Forces a member to enter the \"left\" state. A member that is still alive
  rejoins on its own; this is for failed ones that will never come back, which
  the cluster would otherwise keep trying to reach for a while.

      $ reeve force-leave agent131
",
    api: Api::Agent,
    flags: FLAGS,
};

impl Verb for ForceLeave {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let [name] = call.args.as_slice() else {
            return Err(call.misused("A single node name must be specified to force leave."));
        };
        let mut request =
            put(format!("/v1/agent/force-leave/{}", escape(name, Keep::Nothing)), &[]);
        if call.given.on("prune") {
            request = request.with("prune", "1");
        }
        let sent = call.client()?.ok(request);
        sent.map_err(|error| failure(format!("Error force leaving: {error}")))?;
        Ok(())
    }
}
