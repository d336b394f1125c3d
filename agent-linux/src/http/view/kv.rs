//! A key's entry.

use agent_core::model::kv::Entry;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

/// An entry as `/v1/kv/` shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EntryView<'a> {
    lock_index: u64,
    key: &'a str,
    flags: u64,
    value: Base64<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    session: &'a str,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Entry> for EntryView<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            lock_index: entry.lock_index,
            key: &entry.key,
            flags: entry.flags,
            value: Base64(&entry.value),
            session: &entry.session,
            create_index: entry.stamp.create,
            modify_index: entry.stamp.modify,
        }
    }
}

/// Bytes in base64; `null` if there are none.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            serializer.serialize_none()
        } else {
            serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
        }
    }
}
