//! What an agent is told by signals.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A wish that came by signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// SIGINT: stop, for a person at a terminal.
    Interrupt,
    /// SIGTERM: stop, for a supervisor.
    Terminate,
    /// SIGHUP: read the configuration anew.
    Reload,
}

impl Wish {
    /// Tells the word that Consul logs for the signal.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminated",
            Self::Reload => "hangup",
        }
    }
}

/// The signals that an agent listens to.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// What the system says if a handler cannot be set.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Nothing is lost if the wait is given up.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Interrupt,
            _ = self.terminate.recv() => Wish::Terminate,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}
