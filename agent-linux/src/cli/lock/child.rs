//! The command that runs under the lock, and the signals that reach it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::super::not_started;
use super::{Event, Wish};

/// Signals that are passed on.
const PASSED_ON: [Signal; 7] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// Whom a signal reaches.
#[derive(Clone, Copy)]
enum Reach {
    /// The child alone: it shares the terminal, which tells its group itself.
    One,
    /// The child and all that it started.
    Group,
}

/// A running child.
pub(super) struct Child {
    pid: Pid,
    reach: Reach,
}

impl Child {
    /// Starts the command; its end is told as an event.
    ///
    /// # Errors
    ///
    /// What the system says, in Consul's form.
    pub(super) fn start(
        wish: &Wish,
        env: &dyn Fn(&str) -> Option<String>,
        sender: Sender<Event>,
    ) -> Result<Self, String> {
        let mut command = if wish.shell {
            let shell = env("SHELL").filter(|shell| !shell.is_empty());
            let mut command = Command::new(shell.unwrap_or_else(|| "/bin/sh".to_owned()));
            command.arg("-c").arg(wish.words.join(" "));
            command
        } else {
            let mut command = Command::new(&wish.words[0]);
            command.args(&wish.words[1..]);
            command
        };
        command.env("CONSUL_LOCK_HELD", "true");
        let reach = if wish.pass_stdin {
            Reach::One
        } else {
            command.stdin(Stdio::null()).process_group(0);
            Reach::Group
        };
        let mut running = command.spawn().map_err(|error| not_started(&command, &error))?;
        let pid = Pid::from_child(&running);
        std::thread::spawn(move || {
            // The receiver is gone only when the process ends.
            let _ = sender.send(Event::Exited(running.wait()));
        });
        Ok(Self { pid, reach })
    }

    /// Sends a signal; one that comes too late is of no matter.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = match self.reach {
            Reach::One => kill_process(self.pid, signal),
            Reach::Group => kill_process_group(self.pid, signal),
        };
    }
}

/// Tells whether a signal is meant to end the verb.
pub(super) fn ends(signal: Signal) -> bool {
    [Signal::INT, Signal::TERM, Signal::QUIT].contains(&signal)
}

/// Says how a child ended, as Go does.
pub(super) fn reason(ended: &io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match ended {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal: {signal}"),
            (None, None) => status.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

/// Starts to tell signals as events, for as long as the process lives.
///
/// # Errors
///
/// What the system says if a handler cannot be set.
pub(super) fn listen(sender: &Sender<Event>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    for passed_on in PASSED_ON {
        let mut stream = signal(SignalKind::from_raw(passed_on.as_raw()))?;
        let sender = sender.clone();
        runtime.spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(Event::Signal(passed_on)).is_err() {
                    break;
                }
            }
        });
    }
    drop(entered);
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(())
}
