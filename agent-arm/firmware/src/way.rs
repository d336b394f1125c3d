//! The way back into the pool: members in turn, with growing waits, and what may stand in it.

use agent_core::time::{Duration, Instant};
use core::fmt;
use core::net::SocketAddrV4;

/// Wait before the second attempt to join, doubled for each further one.
pub(crate) const JOIN_WAIT: Duration = Duration::from_secs(1);
const JOIN_WAIT_MAX: Duration = Duration::from_secs(30);

/// What may be wrong while nobody takes us in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// Nothing came back: nobody is there, or it does not open what we seal.
    Silence {
        /// Whether we seal.
        sealed: bool,
    },
    /// Answers came from another datacentre.
    Datacentre,
    /// Answers came that are not sealed with our key.
    Key,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence { sealed: false } => "",
            Self::Silence { sealed: true } => ", under our key",
            Self::Datacentre => ", answers are of another datacentre",
            Self::Key => ", answers are not sealed with our key",
        })
    }
}

/// Whom to ask, and when.
pub(crate) struct Way {
    next: usize,
    pub(crate) at: Instant,
    pub(crate) wait: Duration,
    /// Datagrams of other pools and badly sealed ones, before the last attempt.
    refused: (u64, u64),
}

impl Way {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { next: 0, at: now, wait: JOIN_WAIT, refused: (0, 0) }
    }

    /// Tells what stands in the way, from what was refused so far.
    pub(crate) const fn doubt(&self, refused: (u64, u64), sealed: bool) -> Doubt {
        if refused.0 > self.refused.0 {
            Doubt::Datacentre
        } else if refused.1 > self.refused.1 {
            Doubt::Key
        } else {
            Doubt::Silence { sealed }
        }
    }

    /// Takes the next of the peers, of whom there is one at least; answers the wait behind it, too.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        peers: &[SocketAddrV4],
        refused: (u64, u64),
    ) -> (SocketAddrV4, Duration) {
        let (peer, wait) = (peers[self.next % peers.len()], self.wait);
        let longer = wait.times(2).min(JOIN_WAIT_MAX);
        *self = Self { next: self.next.wrapping_add(1), at: now + wait, wait: longer, refused };
        (peer, wait)
    }
}
