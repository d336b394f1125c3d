//! What one source, or all of them merged, wrote: only the settings that were given, each checked
//! for its type and carrying the name of the file or flag that gave it last.

use std::collections::BTreeMap;
use std::fmt;

use agent_core::time::parse_go;
use serde_json::{Map, Value};

use super::definition::{CheckDefinition, Error as DefinitionError, ServiceDefinition};
use super::field::go_fault;
use super::setting::{self, Kind, Setting};
use super::watch::Watch;

/// Why a configuration was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// A file or directory could not be read.
    Open {
        /// Its path.
        path: String,
        /// The system's words.
        why: String,
    },
    /// A file is not of its language, or a value is not of its type.
    Parse {
        /// The file.
        origin: String,
        /// What is wrong, and where.
        what: String,
    },
    /// Keys that no setting has.
    Unknown {
        /// The file.
        origin: String,
        /// The keys, with their sections.
        keys: Vec<String>,
    },
    /// A value that does not do.
    Value {
        /// The file or flag.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// Settings that do not fit together, or to this host.
    Invalid(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, why } => {
                write!(f, "config: Open failed on {path}. open {path}: {why}")
            }
            Self::Parse { origin, what } => write!(f, "failed to parse {origin}: {what}"),
            Self::Unknown { origin, keys } => {
                let errors = if keys.len() == 1 { "error" } else { "errors" };
                write!(f, "failed to parse {origin}: {} {errors} occurred:", keys.len())?;
                for key in keys {
                    write!(f, "\n\t* invalid config key {key}")?;
                }
                f.write_str("\n\n")
            }
            Self::Value { origin, key, what } => write!(f, "{origin}: {key}: {what}"),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// A value and who gave it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: String,
}

/// The settings that were written, by key.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Layer {
    pub(super) entries: BTreeMap<&'static str, Entry>,
}

impl Layer {
    /// Reads one file's object.
    ///
    /// # Errors
    ///
    /// [`Error`] naming the file and each unknown key, or the first value that does not do.
    pub(super) fn read(value: Value, origin: &str) -> Result<Self, Error> {
        let mut layer = Self::default();
        let mut unknown = Vec::new();
        layer.section("", value, origin, &mut unknown)?;
        if unknown.is_empty() {
            Ok(layer)
        } else {
            Err(Error::Unknown { origin: origin.to_owned(), keys: unknown })
        }
    }

    /// Reads the keys of one section; a repeated block is read as one.
    fn section(
        &mut self,
        path: &str,
        value: Value,
        origin: &str,
        unknown: &mut Vec<String>,
    ) -> Result<(), Error> {
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Array(blocks) if blocks.iter().all(Value::is_object) => {
                for block in blocks {
                    self.section(path, block, origin, unknown)?;
                }
                return Ok(());
            }
            other => return Err(mismatch(origin, path, "map", &other)),
        };
        for (name, value) in fields {
            let shown = if path.is_empty() { name } else { format!("{path}.{name}") };
            let key = shown.to_lowercase();
            match setting::find(&key) {
                _ if value.is_null() => {}
                Some(setting) => self.put(setting, value, origin)?,
                None if setting::is_section(&key) => self.section(&key, value, origin, unknown)?,
                None => unknown.push(shown),
            }
        }
        Ok(())
    }

    /// Checks a value and adds it as [`Layer::merge`] does.
    pub(super) fn put(
        &mut self,
        setting: &'static Setting,
        value: Value,
        origin: &str,
    ) -> Result<(), Error> {
        let key = match setting.kind {
            Kind::Service => "services",
            Kind::Check => "checks",
            _ => setting.key,
        };
        let value = checked(setting, value, origin)?;
        let mut one = Self::default();
        one.entries.insert(key, Entry { value, origin: origin.to_owned() });
        self.merge(one);
        Ok(())
    }

    /// Lets a later source speak: scalars are replaced, lists joined, maps merged.
    pub(super) fn merge(&mut self, later: Self) {
        for (key, entry) in later.entries {
            match self.entries.get_mut(key) {
                Some(old) => {
                    match (&mut old.value, entry.value) {
                        (Value::Array(items), Value::Array(more)) => items.extend(more),
                        (Value::Object(map), Value::Object(more)) => map.extend(more),
                        (old, new) => *old = new,
                    }
                    old.origin = entry.origin;
                }
                None => {
                    self.entries.insert(key, entry);
                }
            }
        }
    }

    /// Makes a key what it was in an older layer.
    pub(super) fn keep(&mut self, older: &Self, key: &'static str) {
        match older.entries.get(key) {
            Some(entry) => self.entries.insert(key, entry.clone()),
            None => self.entries.remove(key),
        };
    }

    /// Takes the lists out, leaving the rest.
    pub(super) fn split_lists(&mut self) -> Self {
        let is_list = |_: &&'static str, entry: &mut Entry| entry.value.is_array();
        Self { entries: self.entries.extract_if(.., is_list).collect() }
    }
}

/// Makes the error for a value of the wrong type, in Consul's words.
fn mismatch(origin: &str, key: &str, want: &str, found: &Value) -> Error {
    let what = match (want, go_type(found)) {
        ("slice", found) => {
            format!("'{key}': source data must be an array or slice, got {found}")
        }
        ("map", found) => format!("'{key}' expected a map, got '{found}'"),
        (want, found) => {
            format!("'{key}' expected type '{want}', got unconvertible type '{found}'")
        }
    };
    let what = format!("1 error(s) decoding:\n\n* {what}");
    Error::Parse { origin: origin.to_owned(), what }
}

/// Names a value's type as Go does.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// Checks that a value is of its setting's kind and brings it into one shape.
fn checked(setting: &Setting, value: Value, origin: &str) -> Result<Value, Error> {
    let key = setting.key;
    let want = match setting.kind {
        Kind::Bool if value.is_boolean() => return Ok(value),
        Kind::Int | Kind::Port if value.as_i64().is_some() => return Ok(value),
        Kind::Int | Kind::Port if value.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            return Ok(Value::from(value.as_f64().unwrap_or_default() as i64));
        }
        Kind::Float if value.is_number() => return Ok(value),
        Kind::Text if value.is_string() => return Ok(value),
        Kind::Span => return span(key, value, origin),
        Kind::Texts => return texts(key, value, origin),
        Kind::TextMap | Kind::SpanMap => return text_map(setting, value, origin),
        Kind::Service => return services(key, Value::Array(vec![value]), origin),
        Kind::Services => return services(key, value, origin),
        Kind::Check => return checks(key, Value::Array(vec![value]), origin),
        Kind::Checks => return checks(key, value, origin),
        Kind::Watches => return watches(key, value, origin),
        Kind::Any => return Ok(value),
        Kind::Bool => "bool",
        Kind::Int | Kind::Port => "int",
        Kind::Float => "float64",
        Kind::Text => "string",
    };
    Err(mismatch(origin, key, want, &value))
}

/// Checks a duration.
fn span(key: &str, value: Value, origin: &str) -> Result<Value, Error> {
    let Value::String(text) = &value else {
        return Err(mismatch(origin, key, "string", &value));
    };
    if text.is_empty() || parse_go(text).is_ok() {
        return Ok(value);
    }
    let what = format!("invalid duration: \"{text}\": {}", go_fault(text));
    Err(Error::Value { origin: origin.to_owned(), key: key.to_owned(), what })
}

/// Checks a list of strings.
fn texts(key: &str, value: Value, origin: &str) -> Result<Value, Error> {
    let Value::Array(items) = &value else {
        return Err(mismatch(origin, key, "slice", &value));
    };
    match items.iter().enumerate().find(|(_, item)| !item.is_string()) {
        Some((at, item)) => Err(mismatch(origin, &format!("{key}[{at}]"), "string", item)),
        None => Ok(value),
    }
}

/// Checks strings, or durations, by name; repeated blocks are merged.
fn text_map(setting: &Setting, value: Value, origin: &str) -> Result<Value, Error> {
    let key = setting.key;
    let mut map = Map::new();
    let blocks = match value {
        Value::Array(blocks) => blocks,
        other => vec![other],
    };
    for block in blocks {
        let Value::Object(fields) = block else {
            return Err(mismatch(origin, key, "map", &block));
        };
        for (name, value) in fields {
            if setting.kind == Kind::SpanMap {
                span(&format!("{key}[\"{name}\"]"), value.clone(), origin)?;
            } else if !value.is_string() {
                return Err(mismatch(origin, &format!("{key}[{name}]"), "string", &value));
            }
            map.insert(name, value);
        }
    }
    Ok(Value::Object(map))
}

/// Checks a list of services; one object is a list of one.
fn services(key: &str, value: Value, origin: &str) -> Result<Value, Error> {
    let mut items = blocks(key, value, origin)?;
    for (at, item) in items.iter_mut().enumerate() {
        straighten(item);
        let read = ServiceDefinition::from_json(item.clone());
        read.map_err(|error| in_definition(&format!("{key}[{at}]"), origin, &error))?;
    }
    Ok(Value::Array(items))
}

/// Checks a list of checks; one object is a list of one.
fn checks(key: &str, value: Value, origin: &str) -> Result<Value, Error> {
    let mut items = blocks(key, value, origin)?;
    for (at, item) in items.iter_mut().enumerate() {
        straighten(item);
        let read = CheckDefinition::from_json(item.clone());
        read.map_err(|error| in_definition(&format!("{key}[{at}]"), origin, &error))?;
    }
    Ok(Value::Array(items))
}

/// Checks a list of watches; one object is a list of one.
fn watches(key: &str, value: Value, origin: &str) -> Result<Value, Error> {
    let mut items = blocks(key, value, origin)?;
    for (at, item) in items.iter_mut().enumerate() {
        straighten(item);
        Watch::from_json(item.clone()).map_err(|what| Error::Value {
            origin: origin.to_owned(),
            key: format!("{key}[{at}]"),
            what,
        })?;
    }
    Ok(Value::Array(items))
}

/// Opens a list of blocks, lists of lists too: HCL repeats blocks, JSON may give either.
fn blocks(key: &str, value: Value, origin: &str) -> Result<Vec<Value>, Error> {
    match value {
        Value::Object(_) => Ok(vec![value]),
        Value::Array(items) => {
            let mut out = Vec::new();
            for item in items {
                out.extend(blocks(key, item, origin)?);
            }
            Ok(out)
        }
        other => Err(mismatch(origin, key, "map", &other)),
    }
}

/// Brings HCL's blocks within a definition into the shape of JSON: `checks` a list, a block that is
/// one thing an object.
fn straighten(definition: &mut Value) {
    let Value::Object(fields) = definition else { return };
    for (key, value) in fields {
        match (key.to_lowercase().as_str(), &mut *value) {
            ("checks", Value::Object(_)) => *value = Value::Array(vec![value.take()]),
            ("tags" | "args" | "scriptargs" | "script_args" | "checks", _) => {}
            (_, Value::Array(items)) if items.len() == 1 && items[0].is_object() => {
                *value = items.remove(0);
            }
            _ => {}
        }
    }
}

/// Tells a fault in a definition with the place of the definition.
fn in_definition(at: &str, origin: &str, error: &DefinitionError) -> Error {
    let origin = origin.to_owned();
    match error {
        DefinitionError::Unknown(field) => {
            Error::Unknown { origin, keys: vec![format!("{at}.{field}")] }
        }
        DefinitionError::Type { .. }
        | DefinitionError::Duration(_)
        | DefinitionError::Base64(_)
        | DefinitionError::Invalid(_) => {
            Error::Value { origin, key: at.to_owned(), what: error.to_string() }
        }
    }
}
