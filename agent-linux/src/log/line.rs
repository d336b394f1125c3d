//! One line of the log.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use agent_core::time::Civil;
use serde_json::{Map, Value};
use tracing::Event;
use tracing::field::{Field, Visit};

use super::Form;
use crate::config::LogLevel;

/// Writes an event as a line, without the line feed.
pub(super) fn format(now: SystemTime, level: LogLevel, event: &Event<'_>, form: Form) -> String {
    let mut parts = Parts::default();
    event.record(&mut parts);
    let module = module(event.metadata().target());
    let stamp = Stamp::of(now);
    if form == Form::Json {
        return as_json(&stamp, level, &module, parts);
    }
    format!("    {stamp:.3} {:<7} {}", tag(level), as_text(&module, &parts))
}

/// Writes an event without its time and level.
pub(super) fn bare(event: &Event<'_>) -> String {
    let mut parts = Parts::default();
    event.record(&mut parts);
    as_text(&module(event.metadata().target()), &parts)
}

/// Writes where an event comes from, its message and its fields.
fn as_text(module: &str, parts: &Parts) -> String {
    let mut line = format!("{module}: {}", parts.message);
    for (at, (name, value)) in parts.fields.iter().enumerate() {
        line.push_str(if at == 0 { ": " } else { " " });
        // Writing to a string does not fail.
        let _ = match value.contains([' ', '"', '\n']) || value.is_empty() {
            true => write!(line, "{name}={value:?}"),
            false => write!(line, "{name}={value}"),
        };
    }
    line
}

/// Writes an event as a JSON object.
fn as_json(stamp: &Stamp, level: LogLevel, module: &str, parts: Parts) -> String {
    let name = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let mut map = Map::new();
    for (key, value) in [
        ("@level", name.to_owned()),
        ("@message", parts.message),
        ("@module", module.to_owned()),
        ("@timestamp", format!("{stamp:.6}")),
    ] {
        map.insert(key.to_owned(), Value::String(value));
    }
    map.extend(parts.fields.into_iter().map(|(name, value)| (name, Value::String(value))));
    Value::Object(map).to_string()
}

/// Shows a level.
fn tag(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "[ERROR]",
        LogLevel::Warn => "[WARN]",
        LogLevel::Info => "[INFO]",
        LogLevel::Debug => "[DEBUG]",
        LogLevel::Trace => "[TRACE]",
    }
}

/// Names the part of the agent that an event comes from: `agent_linux::raft::log` is `agent.raft`.
fn module(target: &str) -> String {
    let Some(path) = target.strip_prefix("agent_linux") else {
        return target.replace("::", ".");
    };
    match path.trim_start_matches(':').split("::").next().unwrap_or_default() {
        "" | "agent" => "agent".to_owned(),
        part => format!("agent.{part}"),
    }
}

/// An event's message and fields.
#[derive(Default)]
struct Parts {
    message: String,
    fields: Vec<(String, String)>,
}

impl Parts {
    /// Keeps one field.
    fn keep(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.keep(field, value.to_string());
    }
}

/// A point in time as UTC date and time; the precision of the format is that of the seconds.
struct Stamp {
    secs: u64,
    nanos: u32,
}

impl Stamp {
    /// Reads a time; times before 1970 count as 1970.
    fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { secs: since.as_secs(), nanos: since.subsec_nanos() }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = Civil::of(self.secs);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        let digits = format!("{:09}", self.nanos);
        match f.precision() {
            Some(precision) => write!(f, ".{}Z", &digits[..precision.min(9)]),
            None => f.write_str("Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stamps_are_utc() {
        for (secs, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_337_314, "2026-11-22T08:48:34.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(secs);
            assert_eq!(format!("{:.3}", Stamp::of(time)), want);
        }
        let time = UNIX_EPOCH + Duration::from_micros(1_234_567);
        assert_eq!(format!("{:.6}", Stamp::of(time)), "1970-01-01T00:00:01.234567Z");
    }

    #[test]
    fn targets_name_the_part_of_the_agent() {
        for (target, want) in [
            ("agent_linux", "agent"),
            ("agent_linux::agent::sync", "agent"),
            ("agent_linux::raft::log", "agent.raft"),
            ("agent.server.serf.lan", "agent.server.serf.lan"),
            ("openraft::core", "openraft.core"),
        ] {
            assert_eq!(module(target), want);
        }
    }
}
