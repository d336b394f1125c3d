//! `validate`: reads configuration files as the agent would.

use std::path::PathBuf;

use super::flag::{Flag, switch, text};
use super::{Api, Call, Failure, Spec, Verb, failure};
use crate::config::Config;
use crate::config::source::{Format, Sources};

/// Checks configuration files.
pub(super) struct Validate;

const FLAGS: &[Flag] = &[
    text("config-format", "Format of all files whatever their names: hcl or json."),
    switch("quiet", "Prints nothing if the configuration is valid."),
];

const SPEC: Spec = Spec {
    path: "validate",
    summary: "Validate config files/directories",
    help: " [options] FILE_OR_DIRECTORY...

  Reads the given configuration files and directories as the agent would, and
  checks the whole. Give all of the agent's files: a part alone may not pass.

      $ reeve validate /etc/reeve.d

  Returns 0 if the configuration is valid, or 1 if there are problems.
",
    api: Api::None,
    flags: FLAGS,
};

/// Reads the text of `-config-format`.
pub(super) fn format(text: Option<&str>) -> Result<Option<Format>, Failure> {
    match text {
        None => Ok(None),
        Some("hcl") => Ok(Some(Format::Hcl)),
        Some("json") => Ok(Some(Format::Json)),
        Some(_) => Err(failure("-config-format must be either 'hcl' or 'json'")),
    }
}

impl Verb for Validate {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn misparsed(&self) -> Option<&'static str> {
        Some("")
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        if call.args.is_empty() {
            return Err(failure("Must specify at least one config file or directory"));
        }
        let paths = call.args.iter().map(PathBuf::from).collect();
        let format = format(call.given.text("config-format"))?;
        let sources = Sources { paths, format, ..Sources::default() };
        let (_, warnings) = Config::load(sources)
            .map_err(|error| failure(format!("Config validation failed: {error}")))?;
        if call.given.on("quiet") {
            return Ok(());
        }
        for warning in warnings {
            call.complain(&warning);
        }
        call.say("Configuration is valid!")
    }
}
