//! `event`: fires a user event.

use super::client::{Keep, escape, put};
use super::flag::{Flag, text};
use super::{Api, Call, Failure, Spec, Verb, failure};
use serde::Deserialize;

/// Fires an event.
pub(super) struct Event;

const FLAGS: &[Flag] = &[
    text("name", "Name of the event; required."),
    text("node", "Regular expression for names of nodes; others do not see the event."),
    text("service", "Regular expression for ids of services; nodes without one do not see it."),
    text("tag", "Regular expression for a tag of such a service; needs -service."),
];

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
        let given = |name| call.given.text(name).unwrap_or_default();
        let name = given("name");
        if name.is_empty() {
            return Err(call.misused("Event name must be specified"));
        }
        let payload = match call.args.as_slice() {
            [] => "",
            [payload] => payload.as_str(),
            _ => return Err(call.misused("Too many command line arguments.")),
        };
        for filter in ["node", "service", "tag"] {
            regex_lite::Regex::new(given(filter)).map_err(|error| {
                failure(format!("Failed to compile {filter} filter regexp: {error}"))
            })?;
        }
        if !given("tag").is_empty() && given("service").is_empty() {
            return Err(failure("Cannot provide tag filter without service filter."));
        }
        let path = format!("/v1/event/fire/{}", escape(name, Keep::Path));
        let mut request = put(path, payload.as_bytes());
        for filter in ["node", "service", "tag"] {
            if !given(filter).is_empty() {
                request = request.with(filter, given(filter));
            }
        }
        let fired: Fired = call
            .client()?
            .json(request)
            .map_err(|error| failure(format!("Error firing event: {error}")))?;
        call.say(format!("Event ID: {}", fired.id))
    }
}
