//! `/v1/event/`: user events.

use super::options::{min_index, own_wait};
use super::reply::{INDEX, Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Each;
use super::view::event::EventView;
use crate::endpoint::agent::{Op, Reply};
use agent_core::gossip::UserEvent;
use core::time::Duration;

pub(super) const FIRE: Act =
    Act::Tell { intake: Intake::Json, parse: parse_fire, render: render_fire };
pub(super) const LIST: Act =
    Act::Tell { intake: Intake::Nothing, parse: parse_list, render: render_list };

/// How long a list waits for an event if it does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(600);

/// Reads an event: its name from the path, its filters from parameters, its payload as the body.
fn parse_fire(call: &Call<'_>, payload: Vec<u8>) -> Result<Op, Refusal> {
    let text = |name| call.params.get(name).to_owned();
    let event = UserEvent {
        name: call.required("Missing name")?,
        node: text("node"),
        service: text("service"),
        tag: text("tag"),
        payload,
        ..UserEvent::default()
    };
    Ok(Op::FireEvent { event: Box::new(event), datacenter: text("dc") })
}

/// Shows the event that was fired, which has no time yet.
fn render_fire(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Event(event) = reply else { return Page::unexpected() };
    Page::json(call, &EventView::from(&*event))
}

fn parse_list(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    let wait = own_wait(call)?.unwrap_or(WAIT_DEFAULT);
    Ok(Op::ListEvents { name: call.params.get("name").to_owned(), after: min_index(call)?, wait })
}

/// Shows events, with the index that a next list waits on.
fn render_list(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Events { events, index } = reply else { return Page::unexpected() };
    let rows = Each::of(&events, |event| EventView::from(&**event));
    Page::json(call, &rows).header(INDEX, &index.to_string())
}
