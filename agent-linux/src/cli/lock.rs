//! `lock`: runs a command while a lock, or a place in a semaphore, is held.
//!
//! ```text
//! run        session -> acquire -> child; until the child ends, the lock is lost or a signal comes
//! session    made, renewed, ended          entry      keys as the recipes read and write them
//! mutex      one holder                    semaphore  several holders
//! child      the command and its signals
//! ```
//!
//! Keys, flags and values are those of Consul's own lock and semaphore, so that its clients and
//! this verb exclude each other.
//! Source: <https://developer.hashicorp.com/consul/commands/lock>.

mod child;
mod entry;
mod mutex;
mod semaphore;
mod session;

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::client::{Client, Error, get};
use super::flag::{Flag, span, switch, text, whole};
use super::{Api, Call, EXIT_FAULT, Failure, Spec, Verb, failure};
use child::Child;
use mutex::Mutex;
use semaphore::Semaphore;
use session::Session;

/// Runs a command under a lock.
pub(super) struct Lock;

/// Exit code for a child that failed, if it is to be told.
const EXIT_CHILD: u8 = 2;
/// Time that a child has between being told to end and being killed.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// How often a question about the lock is asked again.
const RETRIES: u64 = 3;
/// Pause before it is.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a change of a key.
const WAIT_MAX: Duration = Duration::from_secs(15);

const FLAGS: &[Flag] = &[
    switch("child-exit-code", "Exits with 2 if the child failed."),
    whole(
        "monitor-retry",
        "How often the agent is asked again, a second later, when it cannot tell whether the lock \
         is still held. Default: 3.",
    ),
    whole("n", "How many may hold it at once; above 1 it is a semaphore. Default: 1."),
    text("name", "Name of the session. Default: made of the command and the prefix."),
    switch("pass-stdin", "Lets the child read standard input."),
    switch("shell", "Runs the command in a shell, $SHELL or /bin/sh. Default: true."),
    span("timeout", "How long to wait for the lock, such as 1s or 3h. Default: for ever."),
    span("try", "The same, as it was once called."),
    switch("verbose", "Tells what is being done."),
];

const SPEC: Spec = Spec {
    path: "lock",
    summary: "Execute a command holding a lock",
    help: " [options] prefix child...

  Runs a command once it holds the lock of a prefix: nobody else runs one under
  the same prefix meanwhile. If the lock is lost, the command is told to end
  with SIGTERM and is killed five seconds later; it runs in a process group of
  its own (unless it reads standard input), all of which is told. Signals are
  passed on.

      $ reeve lock service/backup ./backup.sh

  With -n above 1, that many may run it at once:

      $ reeve lock -n 3 service/resize ./resize.sh
",
    api: Api::Servers,
    flags: FLAGS,
};

/// What happens while the verb runs.
enum Event {
    /// The lock is held, or could not be had in time.
    Acquired(Result<bool, String>),
    /// The lock or its session is gone.
    Lost,
    /// The child ended.
    Exited(io::Result<ExitStatus>),
    /// A signal came.
    Signal(Signal),
}

/// A lock that sessions compete for.
trait Contest: Send + Sync {
    /// Takes it for a session; false when time is up first.
    fn acquire(&self, session: &str, patience: &mut Patience) -> Result<bool, String>;

    /// Waits until something about it changed since `after` (0: asks at once); tells the index if
    /// the session still holds it.
    fn watch(&self, session: &str, after: u64) -> Result<Option<u64>, Error>;

    /// Gives it up.
    fn release(&self, session: &str) -> Result<(), String>;

    /// Removes what nobody uses any more.
    fn clean_up(&self) -> Result<(), String>;
}

/// How long an acquisition may take.
struct Patience {
    until: Option<Instant>,
    started: bool,
}

impl Patience {
    /// How long the next question may wait; nothing once time is up. The first is always asked.
    fn next(&mut self) -> Option<Duration> {
        let left = match self.until {
            Some(until) => until.saturating_duration_since(Instant::now()),
            None => WAIT_MAX,
        };
        let first = !std::mem::replace(&mut self.started, true);
        (first || !left.is_zero()).then_some(left.min(WAIT_MAX))
    }

    /// Waits before the next attempt, no longer than there is time.
    fn pause(&self, time: Duration) {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        std::thread::sleep(left.map_or(time, |left| left.min(time)));
    }
}

/// What the flags and words ask for.
struct Wish {
    prefix: String,
    words: Vec<String>,
    name: String,
    limit: u64,
    timeout: Option<Duration>,
    retries: u64,
    shell: bool,
    pass_stdin: bool,
    verbose: bool,
    tell_child: bool,
}

impl Wish {
    fn read(call: &Call<'_>) -> Result<Self, Failure> {
        let given = &call.given;
        let limit = u64::try_from(given.whole("n").unwrap_or(1)).unwrap_or(0);
        if limit == 0 {
            return Err(failure("Lock holder limit must be positive"));
        }
        let Ok(retries) = given.whole("monitor-retry").map_or(Ok(RETRIES), u64::try_from) else {
            return Err(failure("Number for 'monitor-retry' must be >= 0"));
        };
        let timeout = match given.nanos("timeout").or_else(|| given.nanos("try")) {
            None | Some(0) => None,
            Some(nanos) => Some(
                u64::try_from(nanos)
                    .map(Duration::from_nanos)
                    .map_err(|_| failure("Timeout must be positive"))?,
            ),
        };
        let [prefix, words @ ..] = call.args.as_slice() else {
            return Err(failure("Key prefix and child command must be specified"));
        };
        if words.is_empty() {
            return Err(failure("Key prefix and child command must be specified"));
        }
        let prefix = prefix.trim_matches('/').to_owned();
        let name = || format!("Consul lock for '{}' at '{prefix}'", words.join(" "));
        Ok(Self {
            name: given.text("name").filter(|n| !n.is_empty()).map_or_else(name, str::to_owned),
            words: words.to_vec(),
            limit,
            timeout,
            retries,
            shell: given.text("shell") != Some("false"),
            pass_stdin: given.on("pass-stdin"),
            verbose: given.on("verbose"),
            tell_child: given.on("child-exit-code"),
            prefix,
        })
    }

    /// The lock that they name, and what to say of it.
    fn contest(&self, client: &Arc<Client>) -> (Arc<dyn Contest>, String) {
        let prefix = &self.prefix;
        if self.limit == 1 {
            let mutex = Mutex::new(Arc::clone(client), prefix);
            let text = format!("Setting up lock at path: {}", mutex.key());
            return (Arc::new(mutex), text);
        }
        let limit = self.limit;
        let semaphore = Semaphore::new(Arc::clone(client), prefix, limit);
        let text = format!("Setting up semaphore (limit {limit}) at prefix: {prefix}");
        (Arc::new(semaphore), text)
    }
}

impl Verb for Lock {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let wish = Wish::read(call)?;
        let client = Arc::new(call.client()?);
        client
            .json::<Value>(get("/v1/agent/self"))
            .map_err(|error| failure(format!("Error querying Consul agent: {error}")))?;
        let (sender, events) = channel();
        child::listen(&sender).map_err(|e| failure(format!("Error listening to signals: {e}")))?;
        let (contest, text) = wish.contest(&client);
        told(call, &wish, &text)?;
        told(call, &wish, "Attempting lock acquisition")?;
        let behavior = if wish.limit == 1 { "release" } else { "delete" };
        let session = Session::create(&client, &wish.name, behavior)
            .map_err(|why| failure(format!("Lock acquisition failed: {why}")))?;
        session.keep(sender.clone());
        let held = acquire(&contest, &session, &wish, &sender, &events);
        if let Err(failed) = held {
            session.destroy();
            return Err(failed);
        }
        watch(&contest, &session, wish.retries, &sender);
        told(call, &wish, "Starting handler")?;
        let code = supervise(call, &wish, sender, &events)?;
        let released = contest.release(session.id());
        session.destroy();
        released.map_err(|why| failure(format!("Lock release failed: {why}")))?;
        contest.clean_up().map_err(|why| failure(format!("Lock cleanup failed: {why}")))?;
        told(call, &wish, "Cleanup succeeded")?;
        match code {
            0 => Ok(()),
            code => Err(Failure { text: String::new(), code }),
        }
    }
}

/// Says what is being done, if that is wanted.
fn told(call: &mut Call<'_>, wish: &Wish, text: &str) -> Result<(), Failure> {
    if wish.verbose { call.say(text) } else { Ok(()) }
}

/// Takes the lock, or gives up in time, at a signal or without the session.
fn acquire(
    contest: &Arc<dyn Contest>,
    session: &Session,
    wish: &Wish,
    sender: &Sender<Event>,
    events: &Receiver<Event>,
) -> Result<(), Failure> {
    let (contest, id, sender) = (Arc::clone(contest), session.id().to_owned(), sender.clone());
    let until = wish.timeout.map(|time| Instant::now() + time);
    std::thread::spawn(move || {
        let acquired = contest.acquire(&id, &mut Patience { until, started: false });
        // The receiver is gone only when the process ends.
        let _ = sender.send(Event::Acquired(acquired));
    });
    loop {
        return match next(events)? {
            Event::Acquired(Ok(true)) => Ok(()),
            Event::Acquired(Err(why)) => Err(failure(format!("Lock acquisition failed: {why}"))),
            Event::Lost => Err(failure("Lock acquisition failed: the session has ended")),
            Event::Signal(signal) if !child::ends(signal) => continue,
            Event::Acquired(Ok(false)) | Event::Signal(_) | Event::Exited(_) => {
                Err(failure("Shutdown triggered or timeout during lock acquisition"))
            }
        };
    }
}

/// Waits for the next event.
fn next(events: &Receiver<Event>) -> Result<Event, Failure> {
    events.recv().map_err(|_| failure("the threads of this process have ended"))
}

/// Watches the lock in a thread of its own, and tells when it is lost.
fn watch(contest: &Arc<dyn Contest>, session: &Session, retries: u64, sender: &Sender<Event>) {
    let (contest, id, sender) = (Arc::clone(contest), session.id().to_owned(), sender.clone());
    std::thread::spawn(move || {
        let (mut after, mut left) = (0, retries);
        loop {
            match contest.watch(&id, after) {
                // An index that fell is one of a restored state.
                Ok(Some(index)) => (after, left) = (if index < after { 0 } else { index }, retries),
                Ok(None) => break,
                Err(error) if left > 0 && error.may_pass() => {
                    (after, left) = (0, left - 1);
                    std::thread::sleep(RETRY_PAUSE);
                }
                Err(_) => break,
            }
        }
        let _ = sender.send(Event::Lost);
    });
}

/// Runs the child until it ends, or ends it; tells the exit code.
fn supervise(
    call: &mut Call<'_>,
    wish: &Wish,
    sender: Sender<Event>,
    events: &Receiver<Event>,
) -> Result<u8, Failure> {
    let failed = if wish.tell_child { EXIT_CHILD } else { 0 };
    let child = match Child::start(wish, call.process.env, sender) {
        Ok(child) => child,
        Err(error) => {
            call.complain(&format!("Error starting handler: {error}"));
            return Ok(failed);
        }
    };
    let mut killed_at: Option<Instant> = None;
    loop {
        let event = match killed_at {
            None => next(events)?,
            Some(at) => match events.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    child.signal(Signal::KILL);
                    killed_at = None;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(EXIT_FAULT),
            },
        };
        match event {
            Event::Exited(Ok(status)) if status.success() => {
                told(call, wish, "Child terminated, releasing lock")?;
                return Ok(0);
            }
            Event::Exited(ended) => {
                call.complain(&format!("Error running handler: {}", child::reason(&ended)));
                told(call, wish, "Child terminated, releasing lock")?;
                return Ok(failed);
            }
            Event::Lost => {
                told(call, wish, "Lock lost, killing child")?;
                child.signal(Signal::TERM);
                killed_at.get_or_insert(Instant::now() + KILL_GRACE);
            }
            Event::Signal(signal) => {
                child.signal(signal);
                if child::ends(signal) {
                    told(call, wish, "Shutdown triggered, killing child")?;
                    killed_at.get_or_insert(Instant::now() + KILL_GRACE);
                }
            }
            Event::Acquired(_) => {}
        }
    }
}
