//! Fields of a JSON object read as Go's `encoding/json` reads them into a struct: names in any
//! case, types strict, `null` ignored, faults in Go's words.

use base64::DecodeError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::collections::BTreeMap;
use std::fmt;

use agent_core::time::{Duration, GoDuration, parse_go};
use serde::Serialize;
use serde_json::{Map, Value};

/// Why a definition was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// A field that no definition has, as it was spelled.
    Unknown(String),
    /// A value of the wrong type.
    Type {
        /// What was found: Go's name of the JSON type, with the number if it does not fit.
        found: String,
        /// The field, as it was spelled; empty for the whole body.
        field: String,
        /// Go's name of the type wanted.
        want: &'static str,
    },
    /// A text that is no Go duration; carries Go's words.
    Duration(String),
    /// A text that is no base64; carries Go's words.
    Base64(String),
    /// Fields that are well-formed but do not fit together; carries Consul's words.
    Invalid(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(field) => write!(f, "json: unknown field \"{field}\""),
            Self::Type { found, field, want } if field.is_empty() => {
                write!(f, "json: cannot unmarshal {found} into Go value of type {want}")
            }
            Self::Type { found, field, want } => {
                // Go names the struct only where it has a name.
                let dot = if field.contains('.') { "" } else { "." };
                write!(
                    f,
                    "json: cannot unmarshal {found} into Go struct field {dot}{field} of type \
                     {want}"
                )
            }
            Self::Duration(text) | Self::Base64(text) => f.write_str(text),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// The same fault, its field preceded by the struct and the fields that it is in.
    #[must_use]
    pub(crate) fn within(mut self, place: &str) -> Self {
        if let Self::Type { field, .. } = &mut self {
            field.insert_str(0, place);
        }
        self
    }
}

/// The fields of one object, each handed out once.
pub(crate) struct Fields(serde_json::map::IntoIter);

impl Fields {
    /// Opens an object; `null` is an empty one.
    pub(crate) fn of(value: Value, want: &'static str) -> Result<Self, Error> {
        match value {
            Value::Null => Ok(Self(Map::new().into_iter())),
            other => Ok(Self(other.object("", want)?.into_iter())),
        }
    }

    /// Hands out a field: its folded name, its name as spelled, its value; `null`s are left out.
    pub(crate) fn next(&mut self) -> Option<(String, String, Value)> {
        let (key, value) = self.0.find(|(_, value)| !value.is_null())?;
        Some((folded(&key), key, value))
    }
}

/// Folds `EnableTagOverride`, `enable_tag_override` and the like into one spelling.
pub(crate) fn folded(key: &str) -> String {
    key.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

/// Reads a JSON value as a Go type.
pub(crate) trait GoType: Sized {
    /// Reads a string.
    fn string(self, key: &str) -> Result<String, Error>;
    /// Reads a whole number that fits Go's `int`.
    fn int(self, key: &str) -> Result<i64, Error>;
    /// Reads a whole number that fits Go's `uint64`.
    fn uint(self, key: &str) -> Result<u64, Error>;
    /// Reads bytes in base64.
    fn bytes(self, key: &str) -> Result<Vec<u8>, Error>;
    /// Reads a number.
    fn float(self, key: &str) -> Result<f64, Error>;
    /// Reads a boolean.
    fn bool(self, key: &str) -> Result<bool, Error>;
    /// Reads a list of `want`.
    fn array(self, key: &str, want: &'static str) -> Result<Vec<Value>, Error>;
    /// Reads an object of type `want`.
    fn object(self, key: &str, want: &'static str) -> Result<Map<String, Value>, Error>;
    /// Refuses anything but an object of type `want`.
    fn require_object(&self, key: &str, want: &'static str) -> Result<(), Error>;
    /// Reads a list of strings.
    fn strings(self, key: &str) -> Result<Vec<String>, Error>;
    /// Reads an object of strings.
    fn string_map(self, key: &str) -> Result<BTreeMap<String, String>, Error>;
    /// Reads an object of lists of strings.
    fn header_map(self, key: &str) -> Result<BTreeMap<String, Vec<String>>, Error>;
    /// Reads a Go duration or a number of nanoseconds; negative means zero, as does any other type.
    fn duration(self) -> Result<Duration, Error>;
}

impl GoType for Value {
    fn string(self, key: &str) -> Result<String, Error> {
        match self {
            Self::String(text) => Ok(text),
            other => Err(mismatch(&other, key, "string")),
        }
    }

    fn int(self, key: &str) -> Result<i64, Error> {
        match &self {
            Self::Number(number) => number.as_i64().ok_or_else(|| Error::Type {
                found: format!("number {number}"),
                field: key.to_owned(),
                want: "int",
            }),
            other => Err(mismatch(other, key, "int")),
        }
    }

    fn uint(self, key: &str) -> Result<u64, Error> {
        match &self {
            Self::Number(number) => number.as_u64().ok_or_else(|| Error::Type {
                found: format!("number {number}"),
                field: key.to_owned(),
                want: "uint64",
            }),
            other => Err(mismatch(other, key, "uint64")),
        }
    }

    fn bytes(self, key: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::String(text) => go_base64(&text).map_err(Error::Base64),
            other => Err(mismatch(&other, key, "[]uint8")),
        }
    }

    fn float(self, key: &str) -> Result<f64, Error> {
        self.as_f64().ok_or_else(|| mismatch(&self, key, "float64"))
    }

    fn bool(self, key: &str) -> Result<bool, Error> {
        self.as_bool().ok_or_else(|| mismatch(&self, key, "bool"))
    }

    fn array(self, key: &str, want: &'static str) -> Result<Vec<Value>, Error> {
        match self {
            Self::Array(items) => Ok(items),
            other => Err(mismatch(&other, key, want)),
        }
    }

    fn object(self, key: &str, want: &'static str) -> Result<Map<String, Value>, Error> {
        match self {
            Self::Object(map) => Ok(map),
            other => Err(mismatch(&other, key, want)),
        }
    }

    fn require_object(&self, key: &str, want: &'static str) -> Result<(), Error> {
        if self.is_object() { Ok(()) } else { Err(mismatch(self, key, want)) }
    }

    fn strings(self, key: &str) -> Result<Vec<String>, Error> {
        self.array(key, "[]string")?.into_iter().map(|item| item.string(key)).collect()
    }

    fn string_map(self, key: &str) -> Result<BTreeMap<String, String>, Error> {
        let map = self.object(key, "map[string]string")?;
        map.into_iter().map(|(name, value)| Ok((name, value.string(key)?))).collect()
    }

    fn header_map(self, key: &str) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let map = self.object(key, "map[string][]string")?;
        map.into_iter().map(|(name, value)| Ok((name, value.strings(key)?))).collect()
    }

    fn duration(self) -> Result<Duration, Error> {
        let nanos = match &self {
            Self::String(text) if text.is_empty() => 0,
            Self::String(text) => parse_go(text).map_err(|_| Error::Duration(go_fault(text)))?,
            Self::Number(number) => number.as_f64().map_or(0, |nanos| nanos as i64),
            Self::Null | Self::Bool(_) | Self::Array(_) | Self::Object(_) => 0,
        };
        Ok(from_nanos(nanos))
    }
}

/// Turns signed nanoseconds to a span; negative ones to zero, below a microsecond to one.
pub(crate) fn from_nanos(nanos: i64) -> Duration {
    let nanos = u64::try_from(nanos).unwrap_or(0);
    Duration::from_micros(nanos.div_ceil(1_000))
}

/// Says what Go's `time.ParseDuration` says about a text that it refuses.
pub fn go_fault(text: &str) -> String {
    let digits = text.trim_start_matches(['-', '+']);
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let unit: String = rest.chars().take_while(|c| *c != '.' && !c.is_ascii_digit()).collect();
    let numbered = digits.starts_with(|c: char| c.is_ascii_digit());
    let known = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"].contains(&unit.as_str());
    if numbered && rest.is_empty() {
        format!("time: missing unit in duration \"{text}\"")
    } else if numbered && !known {
        format!("time: unknown unit \"{unit}\" in duration \"{text}\"")
    } else {
        format!("time: invalid duration \"{text}\"")
    }
}

/// Makes the error for a value of the wrong type.
fn mismatch(value: &Value, key: &str, want: &'static str) -> Error {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Error::Type { found: found.to_owned(), field: key.to_owned(), want }
}

/// Puts a field into an object unless it is empty, zero or false.
pub(crate) fn put(map: &mut Map<String, Value>, key: &str, value: &impl Serialize) {
    let value = serde_json::to_value(value).expect("texts, numbers, lists and maps serialize");
    let empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    };
    if !empty {
        map.insert(key.to_owned(), value);
    }
}

/// Puts a span into an object as Go writes it, unless it is zero.
pub(crate) fn put_duration(map: &mut Map<String, Value>, key: &str, span: Duration) {
    if span > Duration::ZERO {
        map.insert(key.to_owned(), Value::String(go_text(span)));
    }
}

/// Writes a span as Go does.
pub fn go_text(span: Duration) -> String {
    let nanos = i64::try_from(span.micros()).unwrap_or(i64::MAX).saturating_mul(1_000);
    GoDuration(nanos).to_string()
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Writes a system error as Go does: `no such file or directory`.
pub fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
/// Reads base64, with Go's words for what is none.
///
/// # Errors
///
/// The words.
pub(crate) fn go_base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            // Go points to the group of four that is not whole.
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
                text.trim_end_matches('=').len() / 4 * 4
            }
        };
        format!("illegal base64 data at input byte {at}")
    })
}
