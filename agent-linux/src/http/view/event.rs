//! A user event.

use agent_core::gossip::UserEvent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use uuid::Uuid;

/// Version of the events that are understood here.
const VERSION: u8 = 1;

/// An event as `/v1/event/` shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EventView<'a> {
    #[serde(rename = "ID")]
    id: String,
    name: &'a str,
    payload: Option<String>,
    node_filter: &'a str,
    service_filter: &'a str,
    tag_filter: &'a str,
    version: u8,
    #[serde(rename = "LTime")]
    time: u64,
}

impl<'a> From<&'a UserEvent> for EventView<'a> {
    fn from(event: &'a UserEvent) -> Self {
        Self {
            id: Uuid::from_bytes(event.id).to_string(),
            name: &event.name,
            payload: (!event.payload.is_empty()).then(|| BASE64.encode(&event.payload)),
            node_filter: &event.node,
            service_filter: &event.service,
            tag_filter: &event.tag,
            version: VERSION,
            time: event.time,
        }
    }
}
