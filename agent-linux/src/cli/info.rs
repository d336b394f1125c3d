//! `info`: the agent's figures.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::get;
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Shows figures.
pub(super) struct Info;

const SPEC: Spec = Spec {
    path: "info",
    summary: "Provides debugging information for operators.",
    help: " [options]

  Provides debugging information for operators: the agent's figures, by part.

      $ reeve info
",
    api: Api::Agent,
    flags: &[],
};

/// The part of `agent/self` that is shown.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    stats: BTreeMap<String, BTreeMap<String, String>>,
}

impl Verb for Info {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let answer: Answer = call
            .client()?
            .json(get("/v1/agent/self"))
            .map_err(|error| failure(format!("Error querying agent: {error}")))?;
        for (section, figures) in answer.stats {
            call.say(format!("{section}:"))?;
            for (name, value) in figures {
                call.say(format!("\t{name} = {value}"))?;
            }
        }
        Ok(())
    }
}
