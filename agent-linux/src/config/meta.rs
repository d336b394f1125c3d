//! Metadata of nodes and services: pairs of texts, bounded.

use agent_core::model::Map;

/// Most pairs.
pub const META_PAIRS_MAX: usize = 64;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// Longest value, in bytes.
const VALUE_BYTES_MAX: usize = 512;

/// Whether keys may start with `consul-`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserved {
    /// They may: the pairs are looked for, not set.
    Allowed,
    /// They are the agent's own.
    Refused,
}

/// Checks all pairs.
///
/// # Errors
///
/// What is wrong with the first that does not fit, or that there are too many, in Consul's words.
pub fn check_meta(meta: &Map, reserved: Reserved) -> Result<(), String> {
    if meta.len() > META_PAIRS_MAX {
        return Err(format!(
            "Node metadata cannot contain more than {META_PAIRS_MAX} key/value pairs"
        ));
    }
    match meta.iter().find_map(|(key, value)| Some((key, value, fault(key, value, reserved)?))) {
        Some((key, value, fault)) => {
            Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {fault}"))
        }
        None => Ok(()),
    }
}

/// Says what is wrong with a pair.
fn fault(key: &str, value: &str, reserved: Reserved) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.is_empty() {
        Some("Key cannot be blank".to_owned())
    } else if !key.chars().all(plain) {
        Some("Key contains invalid characters".to_owned())
    } else if key.len() > KEY_BYTES_MAX {
        Some(format!("Key is too long (limit: {KEY_BYTES_MAX} characters)"))
    } else if reserved == Reserved::Refused && key.starts_with("consul-") {
        Some("Key prefix 'consul-' is reserved for internal use".to_owned())
    } else if value.len() > VALUE_BYTES_MAX {
        Some(format!("Value is too long (limit: {VALUE_BYTES_MAX} characters)"))
    } else {
        None
    }
}
