//! Typed access to a [`Layer`], one call per setting; a fault names the setting and its origin.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use agent_core::time::{Duration, parse_go};
use serde_json::Value;

use super::field::from_nanos;
use super::layer::{Entry, Error, Layer};
use super::setting;

/// Reads settings and remembers which were asked for.
pub(super) struct Reader<'a> {
    layer: &'a Layer,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Reader<'a> {
    /// Opens a layer.
    pub(super) fn new(layer: &'a Layer) -> Self {
        Self { layer, asked: RefCell::default() }
    }

    /// Tells whether a setting was asked for.
    #[cfg(test)]
    pub(super) fn was_asked(&self, key: &str) -> bool {
        self.asked.borrow().contains(key)
    }

    /// Finds what was written for a key.
    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        debug_assert!(setting::find(key).is_some(), "{key} is not in the table");
        self.asked.borrow_mut().insert(key);
        self.layer.entries.get(key)
    }

    /// Makes a fault about a key.
    pub(super) fn fault(&self, key: &'static str, what: impl Into<String>) -> Error {
        let origin = self.entry(key).map_or("default", |entry| &entry.origin);
        Error::Value { origin: origin.to_owned(), key: key.to_owned(), what: what.into() }
    }

    /// Tells whether a key was written.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// Reads a boolean.
    pub(super) fn bool(&self, key: &'static str, default: bool) -> bool {
        self.entry(key).and_then(|entry| entry.value.as_bool()).unwrap_or(default)
    }

    /// Reads a string, if it was written.
    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        self.entry(key)?.value.as_str()
    }

    /// Reads a string that is not empty.
    pub(super) fn some_text(&self, key: &'static str) -> Option<&'a str> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// Reads a signed number.
    pub(super) fn int(&self, key: &'static str, default: i64) -> i64 {
        self.entry(key).and_then(|entry| entry.value.as_i64()).unwrap_or(default)
    }

    /// Reads any number.
    pub(super) fn float(&self, key: &'static str, default: f64) -> f64 {
        self.entry(key).and_then(|entry| entry.value.as_f64()).unwrap_or(default)
    }

    /// Reads a number that is not negative and fits `T`.
    pub(super) fn count<T: TryFrom<i64>>(&self, key: &'static str, default: T) -> Result<T, Error> {
        let Some(value) = self.entry(key).and_then(|entry| entry.value.as_i64()) else {
            return Ok(default);
        };
        if value < 0 {
            let what = format!("cannot be {value}. Must be greater than or equal to zero");
            return Err(self.fault(key, what));
        }
        T::try_from(value).map_err(|_| self.fault(key, format!("{value} is too large")))
    }

    /// Reads a duration; negative ones are a fault.
    pub(super) fn span(&self, key: &'static str, default: Duration) -> Result<Duration, Error> {
        let Some(text) = self.some_text(key) else { return Ok(default) };
        match parse_go(text) {
            Ok(nanos) if nanos >= 0 => Ok(from_nanos(nanos)),
            Ok(_) => Err(self.fault(key, format!("cannot be negative: {text}"))),
            Err(error) => Err(self.fault(key, error.to_string())),
        }
    }

    /// Reads a port; zero and less mean none.
    pub(super) fn port(
        &self,
        key: &'static str,
        default: Option<u16>,
    ) -> Result<Option<u16>, Error> {
        match self.int(key, default.map_or(-1, i64::from)) {
            off if off <= 0 => Ok(None),
            port => match u16::try_from(port) {
                Ok(port) => Ok(Some(port)),
                Err(_) => Err(self.fault(key, format!("invalid port: {port}"))),
            },
        }
    }

    /// Reads a list of strings.
    pub(super) fn texts(&self, key: &'static str) -> Vec<String> {
        self.list(key).iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// Reads a list.
    pub(super) fn list(&self, key: &'static str) -> &'a [Value] {
        self.entry(key).and_then(|entry| entry.value.as_array()).map_or(&[], Vec::as_slice)
    }

    /// Reads strings by name.
    pub(super) fn text_map(&self, key: &'static str) -> BTreeMap<String, String> {
        let Some(map) = self.entry(key).and_then(|entry| entry.value.as_object()) else {
            return BTreeMap::new();
        };
        let pair = |(name, value): (&String, &Value)| {
            (name.clone(), value.as_str().unwrap_or_default().to_owned())
        };
        map.iter().map(pair).collect()
    }
}
