//! Lifetimes of records.

use agent_core::time::{Duration, parse_go};
use std::collections::BTreeMap;

/// Lifetimes of services' records.
pub(super) struct Ttls {
    exact: BTreeMap<String, Duration>,
    /// By prefix, longest first.
    prefixes: Vec<(String, Duration)>,
}

impl Ttls {
    pub(super) fn new(settings: &BTreeMap<String, Duration>) -> Self {
        let mut ttls = Self { exact: settings.clone(), prefixes: Vec::new() };
        for (name, ttl) in settings {
            if let Some(prefix) = name.strip_suffix('*') {
                ttls.prefixes.push((prefix.to_owned(), *ttl));
            }
        }
        ttls.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        ttls
    }

    /// Finds the lifetime of a service's records: by its name, else by the longest prefix.
    pub(super) fn of(&self, service: &str) -> Duration {
        let by_prefix = || self.prefixes.iter().find(|(prefix, _)| service.starts_with(prefix));
        let exact = self.exact.get(service).copied();
        exact.or_else(|| by_prefix().map(|(_, ttl)| *ttl)).unwrap_or_default()
    }
}

/// Reads the lifetime that a prepared query gives its records; `None` if it gives none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let nanos = u64::try_from(parse_go(text).ok()?).ok()?;
    Some(Duration::from_micros(nanos / 1_000))
}

/// Tells whole seconds, as many as a record can say.
pub(super) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.to_core().as_secs()).unwrap_or(u32::MAX)
}
