//! `agent`: reads the configuration, starts logging and runs the agent until it is told to stop.

use std::path::PathBuf;

use super::flag::{Flag, Given, Takes, switch, text, texts};
use super::{Api, Call, Failure, Spec, Verb, failure, validate};
use crate::agent;
use crate::config::Config;
use crate::config::setting::{self, Kind};
use crate::config::source::Sources;
use crate::lane;

/// Runs an agent.
pub(super) struct Agent;

/// Flags that are no settings.
const FLAGS: &[Flag] = &[
    texts("config-dir", "Directory of configuration files, read by name. May be repeated."),
    texts("config-file", "Configuration file in JSON or HCL. May be repeated."),
    text("config-format", "Format of all files whatever their names: hcl or json."),
    switch("dev", "Runs one server at once that keeps nothing, for development.").reasoned(),
    texts("hcl", "A piece of configuration in HCL. May be repeated."),
];

const SPEC: Spec = Spec {
    path: "agent",
    summary: "Runs an agent",
    help: " [options]

  Starts an agent and runs until an interrupt is received. The agent is one node
  of a cluster.

  The first of three servers, and a client:

      $ reeve agent -server -bootstrap-expect=3 -data-dir=/var/lib/reeve

      $ reeve agent -join=10.0.0.11 -data-dir=/var/lib/reeve
",
    api: Api::None,
    flags: FLAGS,
};

impl Verb for Agent {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn flags(&self) -> Vec<Flag> {
        let setting = |setting: &setting::Setting| {
            let takes = match setting.kind {
                Kind::Bool => Takes::Switch,
                Kind::Int | Kind::Port => Takes::Whole,
                Kind::TextMap => Takes::Text("key:value"),
                _ => Takes::Text("value"),
            };
            setting.flag.map(|name| Flag { name, takes, reasoned: true, doc: setting.doc })
        };
        let mut flags: Vec<Flag> = setting::all().filter_map(setting).collect();
        flags.extend(FLAGS);
        flags.sort_by_key(|flag| flag.name);
        flags
    }

    fn misparsed(&self) -> Option<&'static str> {
        Some("==> error parsing flags: ")
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        if !call.args.is_empty() {
            let args = call.args.join(" ");
            return Err(failure(format!("==> Unexpected extra arguments: [{args}]")));
        }
        let sources = sources(&call.given)?;
        let (config, warnings) =
            Config::load(sources).map_err(|error| failure(format!("==> {error}")))?;
        start(config, &warnings)
    }
}

/// Turns flags to sources.
fn sources(given: &Given) -> Result<Sources, Failure> {
    let mut sources = Sources { dev: given.on("dev"), ..Sources::default() };
    sources.format = validate::format(given.text("config-format"))
        .map_err(|fault| failure(format!("==> config: {}", fault.text)))?;
    for (name, value) in given.all() {
        match *name {
            "config-file" | "config-dir" => sources.paths.push(PathBuf::from(value)),
            "hcl" => sources.fragments.push(value.clone()),
            "config-format" | "dev" => {}
            name => {
                let setting = setting::all().find(|setting| setting.flag == Some(name));
                let setting = setting.expect("flags are made from the table");
                sources.flags.push((setting.key, value.clone()));
            }
        }
    }
    Ok(sources)
}

/// Starts logging and runs the agent.
fn start(config: Config, warnings: &[String]) -> Result<(), Failure> {
    let refuse = |error: String| failure(format!("==> {error}"));
    crate::log::start(&config.log).map_err(|error| refuse(error.to_string()))?;
    for warning in warnings {
        tracing::warn!(target: "agent", "{warning}");
    }
    let runtime = lane::runtime(config.server).map_err(|error| refuse(error.to_string()))?;
    match runtime.block_on(agent::run(config)) {
        Ok(agent::Exit::Left) => Ok(()),
        Ok(agent::Exit::Stopped) => Err(Failure { text: String::new(), code: super::EXIT_FAULT }),
        Err(error) => Err(refuse(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::flag::{Parsed, parse};
    use super::*;

    #[test]
    fn flags_become_settings_in_their_order() {
        let args = [
            "-server",
            "--node=a",
            "-join",
            "1.1.1.1",
            "-join=2.2.2.2",
            "-dev=false",
            "-node-meta=k:v",
            "-config-dir=/x",
            "-hcl",
            "ui = true",
            "-http-port=-1",
        ];
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let Parsed::Run(given, rest) = parse(&Agent.flags(), &args).unwrap() else {
            panic!("no help was asked for")
        };
        assert!(rest.is_empty());
        let sources = sources(&given).unwrap();
        let flags: Vec<_> = sources.flags.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(
            flags,
            [
                ("server", "true"),
                ("node_name", "a"),
                ("start_join", "1.1.1.1"),
                ("start_join", "2.2.2.2"),
                ("node_meta", "k:v"),
                ("ports.http", "-1"),
            ]
        );
        assert_eq!((sources.dev, sources.paths.len()), (false, 1));
        assert_eq!(sources.fragments, ["ui = true"]);
    }
}
