//! What the user gave: files, directories, fragments and flags, read and merged as Consul does.
//!
//! Lists given as flags come first, then files in the order given (those of a directory by name),
//! then flags, then fragments; later scalars win, lists are joined, maps merged.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::definition::ServiceDefinition;
use super::layer::{Error, Layer};
use super::setting::{self, Kind, Setting};
use super::{field, hcl};

/// Bytes of one configuration file: far above any real one, so that a wrong path is told early.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a configuration comes from; reading it again is a reload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// Whether `-dev` was given.
    pub dev: bool,
    /// Files and directories, in the order given.
    pub paths: Vec<PathBuf>,
    /// Format of all files whatever their names.
    pub format: Option<Format>,
    /// Settings given as flags: key and text, in the order given.
    pub flags: Vec<(&'static str, String)>,
    /// Fragments of HCL, in the order given.
    pub fragments: Vec<String>,
}

/// Language of a configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// HCL 1.
    Hcl,
    /// JSON.
    Json,
}

impl Sources {
    /// Reads and merges everything; adds to `warnings` which files were left out.
    ///
    /// # Errors
    ///
    /// [`Error`] naming the file or flag, and the key.
    pub fn read(&self, warnings: &mut Vec<String>) -> Result<Layer, Error> {
        let mut flags = self.read_flags()?;
        let mut merged = if self.dev { dev_defaults()? } else { Layer::default() };
        merged.merge(flags.split_lists());
        for path in &self.paths {
            self.read_path(path, &mut merged, warnings)?;
        }
        merged.merge(flags);
        for (at, fragment) in self.fragments.iter().enumerate() {
            let origin = format!("flags-{at}.hcl");
            merged.merge(Layer::read(parse(fragment, Format::Hcl, &origin)?, &origin)?);
        }
        Ok(merged)
    }

    /// Reads the flags.
    fn read_flags(&self) -> Result<Layer, Error> {
        let mut layer = Layer::default();
        for (key, text) in &self.flags {
            let setting = setting::find(key).expect("flags are made from the table");
            let origin = format!("flag -{}", setting.flag.unwrap_or(key));
            let value = from_flag(setting, text).map_err(|what| Error::Value {
                origin: origin.clone(),
                key: (*key).to_owned(),
                what,
            })?;
            layer.put(setting, value, &origin)?;
        }
        Ok(layer)
    }

    /// Reads a file, or a directory's files by name.
    fn read_path(
        &self,
        path: &Path,
        merged: &mut Layer,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Open {
            path: path.display().to_string(),
            why: crate::config::os_text(&error),
        };
        if !std::fs::metadata(path).map_err(failed)?.is_dir() {
            return self.read_file(path, merged, warnings);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.is_file() && self.format_of(&file).is_some() {
                files.push(file);
            }
        }
        files.sort();
        files.iter().try_for_each(|file| self.read_file(file, merged, warnings))
    }

    /// Reads one file; leaves one out whose name does not tell its format.
    fn read_file(
        &self,
        path: &Path,
        merged: &mut Layer,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let origin = path.display().to_string();
        let Some(format) = self.format_of(path) else {
            warnings.push(format!(
                "skipping file {origin}, extension must be .hcl or .json, or config format must \
                 be set"
            ));
            return Ok(());
        };
        let text = read_text(path)?;
        if text.trim().is_empty() {
            return Ok(());
        }
        merged.merge(Layer::read(parse(&text, format, &origin)?, &origin)?);
        Ok(())
    }

    /// Tells a file's format, by option or by name.
    fn format_of(&self, path: &Path) -> Option<Format> {
        let by_name = match path.extension()?.to_str()? {
            "json" => Some(Format::Json),
            "hcl" => Some(Format::Hcl),
            _ => None,
        };
        self.format.or(by_name)
    }
}

/// Reads the services that one file or directory defines.
///
/// # Errors
///
/// [`Error`] naming the file and key.
pub fn services(path: &Path, warnings: &mut Vec<String>) -> Result<Vec<ServiceDefinition>, Error> {
    let sources = Sources { paths: vec![path.to_owned()], ..Sources::default() };
    let layer = sources.read(warnings)?;
    let found = layer.entries.get("services").and_then(|entry| entry.value.as_array().cloned());
    let read = |value| ServiceDefinition::from_json(value).expect("the layer was checked");
    Ok(found.unwrap_or_default().into_iter().map(read).collect())
}

/// Reads a file whole.
fn read_text(path: &Path) -> Result<String, Error> {
    let failed = |why: String| Error::Open { path: path.display().to_string(), why };
    let meta = std::fs::metadata(path).map_err(|error| failed(super::os_text(&error)))?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(failed(format!("file is larger than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(super::os_text(&error)))?;
    String::from_utf8(bytes).map_err(|_| failed("file is not UTF-8".to_owned()))
}

/// Parses a text of a known format.
fn parse(text: &str, format: Format, origin: &str) -> Result<Value, Error> {
    let failed = |what: String| Error::Parse { origin: origin.to_owned(), what };
    match format {
        Format::Json => serde_json::from_str(text).map_err(|error| failed(error.to_string())),
        Format::Hcl => hcl::parse(text).map_err(|error| failed(error.to_string())),
    }
}

/// Turns a flag's text to a value of its setting's kind.
fn from_flag(setting: &Setting, text: &str) -> Result<Value, String> {
    match setting.kind {
        Kind::Bool => field::go_bool(text)
            .map(Value::Bool)
            .ok_or_else(|| format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
        Kind::Int | Kind::Port => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")),
        Kind::Texts => Ok(json!([text])),
        Kind::TextMap => match text.split_once(':') {
            Some((name, value)) => Ok(json!({ name: value })),
            None => Ok(json!({ text: "" })),
        },
        Kind::Text
        | Kind::Span
        | Kind::Float
        | Kind::SpanMap
        | Kind::Service
        | Kind::Services
        | Kind::Check
        | Kind::Checks
        | Kind::Watches
        | Kind::Any => Ok(Value::String(text.to_owned())),
    }
}

/// Gives the defaults of `-dev`: one server on loopback, quick gossip, everything shown.
fn dev_defaults() -> Result<Layer, Error> {
    let value = json!({
        "bind_addr": "127.0.0.1",
        "server": true,
        "ui": true,
        "log_level": "DEBUG",
        "performance": {"raft_multiplier": 1},
        "gossip_lan": {
            "gossip_interval": "100ms",
            "probe_interval": "100ms",
            "probe_timeout": "100ms",
            "suspicion_mult": 3,
        },
    });
    Layer::read(value, "flag -dev")
}
