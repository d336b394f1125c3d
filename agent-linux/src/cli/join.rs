//! `join`: has the agent join others.

use super::client::{Keep, escape, put};
use super::flag::{Flag, switch};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Joins members.
pub(super) struct Join;

const FLAGS: &[Flag] = &[switch("wan", "Joins a server to another server in the WAN pool.")];

const SPEC: Spec = Spec {
    path: "join",
    summary: "Tell the agent to join a cluster",
    help: " [options] address ...

  Tells a running agent (with \"reeve agent\") to join the cluster by naming at
  least one existing member.

      $ reeve join 10.0.0.11
",
    api: Api::Agent,
    flags: FLAGS,
};

impl Verb for Join {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        if call.args.is_empty() {
            return Err(call.misused("At least one address to join must be specified."));
        }
        let client = call.client()?;
        let mut joined = 0;
        for address in call.args.clone() {
            let path = format!("/v1/agent/join/{}", escape(&address, Keep::Path));
            let mut request = put(path, &[]);
            if call.given.on("wan") {
                request = request.with("wan", "1");
            }
            match client.ok(request) {
                Ok(_) => joined += 1,
                Err(error) => {
                    call.complain(&format!("Error joining address '{address}': {error}"));
                }
            }
        }
        match joined {
            0 => Err(failure("Failed to join any nodes.")),
            _ => call.say(format!("Successfully joined cluster by contacting {joined} nodes.")),
        }
    }
}
