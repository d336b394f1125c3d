//! `event`: fires a user event.

use super::client::{Keep, escape, get, put};
use super::flag::{FILTERS, Flag, text};
use super::{Api, Call, Failure, Spec, Verb, failure};
use serde::Deserialize;

/// Fires an event.
pub(super) struct Event;

const NAME: Flag = text("name", "Name of the event; required.");
const FLAGS: &[Flag] = &[NAME, FILTERS[0], FILTERS[1], FILTERS[2]];

const SPEC: Spec = Spec {
    path: "event",
    summary: "Fire a new event",
    help: " [options] [payload]

  Fires a user event to all agents of the datacenter. It needs a name and may
  carry a payload of some 400 bytes. Watches of agents and `reeve watch
  -type=event` act on it; it is delivered once, and not kept for latecomers.

      $ reeve event -name=deploy 1609030
      $ reeve event -name=restart -service=web -tag=blue
",
    api: Api::Agent,
    flags: FLAGS,
};

/// What the agent answers.
#[derive(Deserialize)]
struct Fired {
    #[serde(rename = "ID")]
    id: String,
}

impl Verb for Event {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let name = call.given.text("name").unwrap_or_default();
        if name.is_empty() {
            return Err(call.misused("Event name must be specified"));
        }
        let payload = match call.args.as_slice() {
            [] => "",
            [payload] => payload.as_str(),
            _ => return Err(call.misused("Too many command line arguments.")),
        };
        let filters = call.filters()?;
        let client = call.client()?;
        // An agent that does not answer at all is told of as such.
        client
            .ok(get("/v1/agent/self"))
            .map_err(|error| failure(format!("Error querying Consul agent: {error}")))?;
        let path = format!("/v1/event/fire/{}", escape(name, Keep::Path));
        let mut request = put(path, payload.as_bytes());
        for (filter, text) in filters {
            request = request.with(filter, text);
        }
        let fired: Fired = client
            .json(request)
            .map_err(|error| failure(format!("Error firing event: {error}")))?;
        call.say(format!("Event ID: {}", fired.id))
    }
}
