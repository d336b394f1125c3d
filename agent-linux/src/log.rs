//! Logs: Consul's lines on standard output, in files and in the system's log, and the last of them
//! in memory.
//!
//! `2026-11-22T10:00:00.000Z [INFO]  agent.server: text: key=value`
//!
//! One subscriber for the process, without spans: libraries open them for every step, and nobody
//! reads them. The level can change at any time; libraries speak from warnings on only, unless the
//! level is trace.

mod file;
mod line;
mod syslog;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::{Log, LogLevel};
use file::LogFile;
use syslog::Syslog;

/// Lines kept in memory for those who ask later.
const LINES_KEPT_MAX: usize = 512;
/// Bytes of one line kept; longer ones are cut.
const LINE_KEPT_BYTES_MAX: usize = 4096;

/// Lines that wait for a follower; one that does not keep up misses what does not fit.
const FOLLOWED_LINES_MAX: usize = 512;

/// The process' one logger.
static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Why logging could not start.
#[derive(Debug)]
pub enum Error {
    /// The log file could not be opened.
    File(std::io::Error),
    /// The process logs already.
    Twice,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => write!(f, "Failed to setup logging: {error}"),
            Self::Twice => f.write_str("Failed to setup logging: it was set up before"),
        }
    }
}

impl std::error::Error for Error {}

/// Where lines go.
struct Sinks {
    file: Option<LogFile>,
    syslog: Option<Syslog>,
    kept: VecDeque<(LogLevel, String)>,
    followers: Vec<Follower>,
}

/// How a line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As Consul's.
    Text,
    /// As a JSON object.
    Json,
}

/// Somebody who reads the log as it is written.
struct Follower {
    level: LogLevel,
    form: Form,
    lines: mpsc::Sender<Bytes>,
}

/// What logs.
struct Logger {
    level: AtomicU8,
    /// The most talkative level that a follower wants.
    followed: AtomicU8,
    form: Form,
    sinks: Mutex<Sinks>,
}

/// Hands events to the process' logger.
struct Front;

/// Starts logging; once per process.
///
/// # Errors
///
/// [`Error::File`] if the file cannot be opened, [`Error::Twice`] if logging has started before.
pub fn start(config: &Log) -> Result<(), Error> {
    let file = LogFile::open(config).map_err(Error::File)?;
    let mut syslog = config.syslog.map(Syslog::new);
    let found = syslog.as_mut().map_or(Ok(()), Syslog::find);
    let sinks = Sinks { file, syslog, kept: VecDeque::new(), followers: Vec::new() };
    let level = AtomicU8::new(config.level as u8);
    let followed = AtomicU8::new(LogLevel::Error as u8);
    let form = if config.json { Form::Json } else { Form::Text };
    let logger = Logger { level, followed, form, sinks: Mutex::new(sinks) };
    LOGGER.set(logger).map_err(|_| Error::Twice)?;
    tracing::subscriber::set_global_default(Front).map_err(|_| Error::Twice)?;
    if let Err(error) = found {
        tracing::warn!(target: "agent", %error, "no system log is there; it is looked for again");
    }
    Ok(())
}

/// Changes the level.
pub fn set_level(level: LogLevel) {
    if let Some(logger) = LOGGER.get() {
        logger.level.store(level as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Lists the last lines of a level or above, the oldest first.
pub fn recent(level: LogLevel) -> Vec<String> {
    let Some(logger) = LOGGER.get() else { return Vec::new() };
    let kept = &logger.sinks().kept;
    kept.iter().filter(|(of, _)| *of <= level).map(|(_, line)| line.clone()).collect()
}

/// Hands out lines of a level or above as they are written, each with its newline, until the
/// receiver is dropped. The level may be more talkative than that of the other sinks.
pub fn follow(level: Level, form: Form) -> mpsc::Receiver<Bytes> {
    let (lines, followed) = mpsc::channel(FOLLOWED_LINES_MAX);
    if let Some(logger) = LOGGER.get() {
        let mut sinks = logger.sinks();
        sinks.followers.push(Follower { level: level_of(&level), form, lines });
        logger.followed.store(sinks.followed(), Ordering::Relaxed);
        drop(sinks);
        tracing::callsite::rebuild_interest_cache();
    }
    followed
}

impl Sinks {
    /// Finds the most talkative level that a follower wants.
    fn followed(&self) -> u8 {
        self.followers.iter().map(|follower| follower.level as u8).max().unwrap_or(0)
    }
}

impl Follower {
    /// Hands a line over if it is wanted; tells whether the follower is still there.
    fn offer(&self, level: LogLevel, line: impl FnOnce(Form) -> Bytes) -> bool {
        if level > self.level {
            return !self.lines.is_closed();
        }
        let sent = self.lines.try_send(line(self.form));
        !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)))
    }
}

impl Logger {
    /// Tells the most talkative level that any sink wants.
    fn wanted(&self) -> u8 {
        self.level.load(Ordering::Relaxed).max(self.followed.load(Ordering::Relaxed))
    }

    /// Opens the sinks; a panic while they were open left them usable.
    fn sinks(&self) -> MutexGuard<'_, Sinks> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one line everywhere. Sinks that fail are not worth the agent's life.
    fn log(&self, level: LogLevel, event: &Event<'_>) {
        let now = SystemTime::now();
        let write = |form| line::format(now, level, event, form) + "\n";
        let mut sinks = self.sinks();
        let count = sinks.followers.len();
        sinks.followers.retain(|follower| follower.offer(level, |form| write(form).into()));
        if sinks.followers.len() != count {
            self.followed.store(sinks.followed(), Ordering::Relaxed);
        }
        let shown = self.level.load(Ordering::Relaxed);
        if !is_shown(shown, level, event.metadata().target()) {
            return;
        }
        let mut text = write(self.form);
        let _ = std::io::stdout().write_all(text.as_bytes());
        if let Some(file) = &mut sinks.file {
            let _ = file.write(text.as_bytes());
        }
        if let Some(syslog) = &mut sinks.syslog {
            let _ = syslog.write(now, level, &line::bare(event));
        }
        text.pop();
        if text.len() > LINE_KEPT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(LINE_KEPT_BYTES_MAX));
        }
        if sinks.kept.len() == LINES_KEPT_MAX {
            sinks.kept.pop_front();
        }
        sinks.kept.push_back((level, text));
    }
}

/// Translates a level.
fn level_of(level: &Level) -> LogLevel {
    match *level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Tells whether an event is worth a line at the level `shown`. Libraries say the same again for
/// every try (of a dead peer, ten times a second), so they are heard from `debug` on; what matters
/// of it the agent says itself.
fn is_shown(shown: u8, level: LogLevel, target: &str) -> bool {
    let own = target.starts_with("agent");
    let warned = level <= LogLevel::Warn && shown >= LogLevel::Debug as u8;
    level as u8 <= shown && (own || warned || shown == LogLevel::Trace as u8)
}

impl Subscriber for Front {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(logger) = LOGGER.get() else { return false };
        metadata.is_event()
            && is_shown(logger.wanted(), level_of(metadata.level()), metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let shown = LOGGER.get()?.wanted();
        let filters = [
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ];
        filters.get(usize::from(shown)).copied()
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(logger) = LOGGER.get() {
            logger.log(level_of(event.metadata().level()), event);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_get_the_lines_of_their_level() {
        let (lines, mut followed) = mpsc::channel(1);
        let follower = Follower { level: LogLevel::Warn, form: Form::Text, lines };
        let line = |text: &'static str| move |_| Bytes::from_static(text.as_bytes());
        assert!(follower.offer(LogLevel::Info, line("not wanted")));
        assert!(follower.offer(LogLevel::Error, line("first")));
        assert!(follower.offer(LogLevel::Warn, line("does not fit")));
        assert_eq!(followed.try_recv().unwrap(), "first");
        drop(followed);
        assert!(!follower.offer(LogLevel::Info, line("nobody hears")));
    }

    #[test]
    fn libraries_are_heard_only_by_who_looks_for_a_fault() {
        let info = LogLevel::Info as u8;
        assert!(is_shown(info, LogLevel::Info, "agent_linux::raft"));
        assert!(is_shown(info, LogLevel::Info, "agent.server"));
        assert!(!is_shown(info, LogLevel::Info, "openraft::core"));
        assert!(!is_shown(info, LogLevel::Warn, "openraft::core"));
        assert!(is_shown(LogLevel::Debug as u8, LogLevel::Warn, "openraft::core"));
        assert!(!is_shown(info, LogLevel::Debug, "agent"));
        assert!(is_shown(LogLevel::Trace as u8, LogLevel::Debug, "openraft::core"));
    }
}
