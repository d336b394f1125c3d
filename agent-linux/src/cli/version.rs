//! `version`: the Consul whose interfaces this build speaks, and this build.

use super::flag::{Flag, text};
use super::{Api, Call, Failure, Spec, Verb, failure};
use crate::version::{CONSUL, REEVE};

/// Shows versions.
pub(super) struct Version;

const FLAGS: &[Flag] = &[text("format", "Output format: pretty or json. Default: pretty.")];

const SPEC: Spec = Spec {
    path: "version",
    summary: "Prints the version",
    help: " [options]

  Prints the Consul version whose interfaces are spoken, and Reeve's own.

      $ reeve version
",
    api: Api::None,
    flags: FLAGS,
};

impl Verb for Version {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        match call.given.text("format").unwrap_or("pretty") {
            "pretty" => call.say(format!(
                "Consul v{CONSUL}\nProtocol 2 spoken by default, understands 2 to 3 (agent will \
                 automatically use protocol >2 when speaking to compatible agents)\n\nReeve \
                 v{REEVE}"
            )),
            "json" => call.say(format!(
                "{{\n   \"Version\": \"{CONSUL}\",\n   \"Revision\": \"\",\n   \"Prerelease\": \
                 \"\",\n   \"RPC\": {{\n      \"Default\": 2,\n      \"Min\": 2,\n      \"Max\": \
                 3\n   }}\n}}"
            )),
            other => Err(failure(format!("Unknown format: {other}"))),
        }
    }
}
