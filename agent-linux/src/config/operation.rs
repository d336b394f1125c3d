//! From what was written to how the agent is operated: metrics, logs, the web interface.

use std::path::PathBuf;

use super::layer::Error;
use super::reader::Reader;
use super::resolve::host_name;
use super::runtime::{Facility, Log, LogLevel, Telemetry, Ui};

/// Facilities of syslog by Consul's names; the numbers between belong to none.
const FACILITIES: [(&str, u8); 20] = [
    ("KERN", 0),
    ("USER", 1),
    ("MAIL", 2),
    ("DAEMON", 3),
    ("AUTH", 4),
    ("SYSLOG", 5),
    ("LPR", 6),
    ("NEWS", 7),
    ("UUCP", 8),
    ("CRON", 9),
    ("AUTHPRIV", 10),
    ("FTP", 11),
    ("LOCAL0", 16),
    ("LOCAL1", 17),
    ("LOCAL2", 18),
    ("LOCAL3", 19),
    ("LOCAL4", 20),
    ("LOCAL5", 21),
    ("LOCAL6", 22),
    ("LOCAL7", 23),
];

impl Default for Facility {
    fn default() -> Self {
        Self(16)
    }
}

impl Facility {
    /// Finds a facility by its name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let mut known = FACILITIES.iter();
        known.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| Self(*number))
    }

    /// Tells the facility's name.
    pub fn name(self) -> &'static str {
        FACILITIES.iter().find(|(_, number)| *number == self.0).map_or("", |(name, _)| name)
    }
}

/// Reads metrics.
pub(super) fn telemetry(r: &Reader<'_>) -> Result<Telemetry, Error> {
    let t = Telemetry::default();
    let some = |key| r.some_text(key).map(str::to_owned);
    let host = match r.bool("telemetry.disable_hostname", false) {
        true => String::new(),
        false => host_name(),
    };
    Ok(Telemetry {
        host,
        prefix: some("telemetry.metrics_prefix").unwrap_or(t.prefix),
        filter: filter(r)?,
        filter_default: r.bool("telemetry.filter_default", t.filter_default),
        prometheus_retention_time: r
            .span("telemetry.prometheus_retention_time", t.prometheus_retention_time)?,
        statsd_address: some("telemetry.statsd_address"),
        statsite_address: some("telemetry.statsite_address"),
        dogstatsd_addr: some("telemetry.dogstatsd_addr"),
        dogstatsd_tags: r.texts("telemetry.dogstatsd_tags"),
    })
}

/// Reads rules like `+consul.raft` and `-consul.http`.
fn filter(r: &Reader<'_>) -> Result<Vec<(String, bool)>, Error> {
    let key = "telemetry.prefix_filter";
    let rule = |text: String| match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(start), _) => Ok((start.to_owned(), true)),
        (_, Some(start)) => Ok((start.to_owned(), false)),
        (None, None) => {
            let what = format!("Filter rule must begin with either '+' or '-': {text:?}");
            Err(r.fault(key, what))
        }
    };
    r.texts(key).into_iter().map(rule).collect()
}

/// Reads how to log.
pub(super) fn log(r: &Reader<'_>) -> Result<Log, Error> {
    let text = r.some_text("log_level").unwrap_or("INFO");
    let level = LogLevel::parse(text).ok_or_else(|| {
        Error::Invalid(format!(
            "Invalid log level: {text}. Valid log levels are: [TRACE DEBUG INFO WARN ERR ERROR]"
        ))
    })?;
    let l = Log::default();
    Ok(Log {
        level,
        json: r.bool("log_json", l.json),
        syslog: syslog(r)?,
        file: r.some_text("log_file").map(PathBuf::from),
        rotate_bytes: r.count("log_rotate_bytes", l.rotate_bytes)?,
        rotate_duration: r.span("log_rotate_duration", l.rotate_duration)?,
        rotate_max_files: r.int("log_rotate_max_files", l.rotate_max_files),
    })
}

/// Reads under which facility lines go to the system's log.
fn syslog(r: &Reader<'_>) -> Result<Option<Facility>, Error> {
    let key = "syslog_facility";
    let facility = match r.some_text(key) {
        Some(name) => Facility::parse(name)
            .ok_or_else(|| r.fault(key, format!("invalid syslog facility: {name}")))?,
        None => Facility::default(),
    };
    Ok(r.bool("enable_syslog", false).then_some(facility))
}

/// Reads whether there is a web interface, and where. What `-dev` switches on gives way to a
/// folder.
pub(super) fn ui(r: &Reader<'_>, dev: bool) -> Result<Option<Ui>, Error> {
    let dir = r.some_text("ui_config.dir");
    let dir = r.some_text("ui_dir").or(dir).map(PathBuf::from);
    let own = r.bool("ui", r.bool("ui_config.enabled", false)) && !(dev && dir.is_some());
    let path = r.some_text("ui_config.content_path");
    let path = r.some_text("ui_content_path").or(path).unwrap_or("ui");
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let content_path = format!("/{}/", segments.join("/"));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    if !content_path.chars().all(fits) || segments.is_empty() {
        return Err(Error::Invalid(format!(
            "ui-content-path can only contain alphanumeric, -, _, or /. received: {content_path}"
        )));
    }
    if own && dir.is_some() {
        let text = "Both the ui and ui-dir flags were specified, please provide only one.\n\
                    If trying to use your own web UI resources, use the ui-dir flag.\n\
                    The web UI is included in the binary so use ui to enable it";
        return Err(Error::Invalid(text.to_owned()));
    }
    Ok((own || dir.is_some()).then_some(Ui { content_path, dir }))
}
