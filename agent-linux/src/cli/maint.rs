//! `maint`: takes the node, or one of its services, out of the answers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Error, Keep, escape, get, put};
use super::flag::{Flag, switch, text};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Sets and shows maintenance.
pub(super) struct Maint;

const FLAGS: &[Flag] = &[
    switch("disable", "Ends maintenance."),
    switch("enable", "Begins maintenance."),
    text("reason", "Why; shown in the notes of the critical check."),
    text("service", "ID of one service, in place of the whole node."),
];

const SPEC: Spec = Spec {
    path: "maint",
    summary: "Controls node or service maintenance mode",
    help: " [options]

  Places a node or service into maintenance: a critical check takes it out of
  all answers by DNS and API. Maintenance outlives a restart of the agent and
  has to be ended with -disable.

      $ reeve maint -enable -reason=\"new disk\"

  Without flags, shows what is under maintenance; prints nothing if nothing is.
",
    api: Api::Agent,
    flags: FLAGS,
};

/// Check ID of a node under maintenance.
const NODE_CHECK: &str = "_node_maintenance";
/// What comes before the service's ID in its check ID.
const SERVICE_CHECK: &str = "_service_maintenance:";

/// The part of a check that is shown.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    node: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    notes: String,
}

impl Verb for Maint {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let (enable, disable) = (call.given.on("enable"), call.given.on("disable"));
        let text = |name| call.given.text(name).unwrap_or_default().to_owned();
        let (reason, service) = (text("reason"), text("service"));
        if enable && disable {
            return Err(failure("Only one of -enable or -disable may be provided"));
        }
        if !enable && !reason.is_empty() {
            return Err(failure("Reason may only be provided with -enable"));
        }
        if !enable && !disable && !service.is_empty() {
            return Err(failure("Service requires either -enable or -disable"));
        }
        let client = call.client()?;
        if !enable && !disable {
            let shown = show(&client)
                .map_err(|error| failure(format!("Error querying Consul agent: {error}")))?;
            return call.write(shown.as_bytes());
        }
        let path = match service.as_str() {
            "" => "/v1/agent/maintenance".to_owned(),
            id => format!("/v1/agent/service/maintenance/{}", escape(id, Keep::Nothing)),
        };
        let mut request = put(path, &[]).with("enable", enable.to_string());
        if enable {
            request = request.with("reason", reason);
        }
        let (doing, done) =
            if enable { ("enabling", "enabled") } else { ("disabling", "disabled") };
        let what = if service.is_empty() { "node" } else { "service" };
        let sent = client.ok(request);
        sent.map_err(|error| failure(format!("Error {doing} {what} maintenance: {error}")))?;
        match service.as_str() {
            "" => call.say(format!("Node maintenance is now {done}")),
            id => call.say(format!("Service maintenance is now {done} for {id:?}")),
        }
    }
}

/// Writes what is under maintenance.
fn show(client: &Client) -> Result<String, Error> {
    client.json::<Value>(get("/v1/agent/self"))?;
    let checks: BTreeMap<String, Check> = client.json(get("/v1/agent/checks"))?;
    let mut out = String::new();
    for check in checks.values() {
        let Check { id, node, service_id, notes } = check;
        if id == NODE_CHECK {
            out += &format!("Node:\n  Name:   {node}\n  Reason: {notes}\n\n");
        } else if id.starts_with(SERVICE_CHECK) {
            out += &format!("Service:\n  ID:     {service_id}\n  Reason: {notes}\n\n");
        }
    }
    Ok(out)
}
