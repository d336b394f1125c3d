//! `operator autopilot`: how the leader looks after the servers.

use serde_json::Value;

use super::client::{get, put};
use super::flag::{Flag, count, span, switch, text};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Help of the family.
pub(super) const HELP: &str = "Usage: reeve operator autopilot <subcommand> [options]

  Shows and changes how the leader looks after the servers: which of them vote,
  and when dead ones are removed.
";

/// Shows the configuration.
pub(super) struct GetConfig;
/// Changes it.
pub(super) struct SetConfig;

const GET: Spec = Spec {
    path: "operator autopilot get-config",
    summary: "Display the current Autopilot configuration",
    help: " [options]

  Displays the current Autopilot configuration.

      $ reeve operator autopilot get-config
",
    api: Api::Servers,
    flags: &[],
};

const SET_FLAGS: &[Flag] = &[
    switch("cleanup-dead-servers", "Whether dead servers are removed when new ones come.")
        .reasoned(),
    switch("disable-upgrade-migration", "Of Consul Enterprise; kept without effect.").reasoned(),
    span("last-contact-threshold", "Silence that a healthy server may have, such as `200ms`.")
        .reasoned(),
    count("max-trailing-logs", "Log entries that a healthy server may lag behind the leader.")
        .reasoned(),
    count("min-quorum", "Servers below which none is removed.").reasoned(),
    text("redundancy-zone-tag", "Of Consul Enterprise; kept without effect."),
    span(
        "server-stabilization-time",
        "Time that a server must be healthy before it votes, such as `10s`.",
    )
    .reasoned(),
    text("upgrade-version-tag", "Of Consul Enterprise; kept without effect."),
];

const SET: Spec = Spec {
    path: "operator autopilot set-config",
    summary: "Modify the current Autopilot configuration",
    help: " [options]

  Modifies the current Autopilot configuration; what is not given stays.

      $ reeve operator autopilot set-config -cleanup-dead-servers=false
",
    api: Api::Servers,
    flags: SET_FLAGS,
};

/// Fields in the order shown, with their flags.
const FIELDS: &[(&str, &str)] = &[
    ("CleanupDeadServers", "cleanup-dead-servers"),
    ("LastContactThreshold", "last-contact-threshold"),
    ("MaxTrailingLogs", "max-trailing-logs"),
    ("MinQuorum", "min-quorum"),
    ("ServerStabilizationTime", "server-stabilization-time"),
    ("RedundancyZoneTag", "redundancy-zone-tag"),
    ("DisableUpgradeMigration", "disable-upgrade-migration"),
    ("UpgradeVersionTag", "upgrade-version-tag"),
];

/// Where it lives.
const PATH: &str = "/v1/operator/autopilot/configuration";

impl Verb for GetConfig {
    fn spec(&self) -> &'static Spec {
        &GET
    }

    fn misparsed(&self) -> Option<&'static str> {
        Some("Failed to parse args: ")
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let found: Value = call
            .client()?
            .json(get(PATH))
            .map_err(|error| failure(format!("Error querying Autopilot configuration: {error}")))?;
        for (field, flag) in FIELDS {
            let quoted = flag.ends_with("-tag");
            let value = match &found[*field] {
                Value::String(text) if quoted => format!("{text:?}"),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            call.say(format!("{field} = {value}"))?;
        }
        Ok(())
    }
}

impl Verb for SetConfig {
    fn spec(&self) -> &'static Spec {
        &SET
    }

    fn misparsed(&self) -> Option<&'static str> {
        Some("Failed to parse args: ")
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let fault =
            |what: String| failure(format!("Error setting Autopilot configuration: {what}"));
        let client = call.client()?;
        let mut wanted: Value = client
            .json(get(PATH))
            .map_err(|error| failure(format!("Error querying Autopilot configuration: {error}")))?;
        for (field, flag) in FIELDS {
            let Some(given) = call.given.text(flag) else { continue };
            wanted[*field] = match &wanted[*field] {
                Value::Bool(_) => Value::Bool(given == "true"),
                Value::Number(_) => Value::from(given.parse::<u64>().unwrap_or_default()),
                _ => Value::String(given.to_owned()),
            };
        }
        let index = wanted["ModifyIndex"].to_string();
        let body = wanted.to_string();
        let request = put(PATH, body.as_bytes()).with("cas", index);
        let answer = client.ok(request).map_err(|error| fault(error.to_string()))?;
        match answer.trim_ascii() {
            b"true" => call.say("Configuration updated!"),
            _ => Err(failure("Configuration could not be atomically updated, please try again")),
        }
    }
}
