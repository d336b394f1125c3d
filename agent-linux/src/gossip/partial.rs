//! The partial view: a leaf behind the driver of a full member.
//!
//! It is a member as any other, but knows a few contacts instead of everybody: its memory and its
//! traffic are the same in pools of any size. It takes no streams, and hears no user events.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_core::gossip::identity::Identity;
use agent_core::gossip::leaf::{Error, Event};
use agent_core::gossip::{Card, Config, Leaf, Meta, Reason, Status, Transmit};
use agent_core::time::Instant;
use agent_core::wire::packet::Packet;
use tokio::time::timeout;

use super::driver::Inner;

/// Members that are known at a time.
const CONTACTS: usize = 16;

/// Addresses that are remembered to find back to the pool.
const KNOWN_MAX: usize = 64;

/// How often a member is asked to take us in, and how long it has to answer.
const ASKS: usize = 4;
const ASK_TIME: Duration = Duration::from_millis(500);

/// Time between two rounds of attempts to come back to the pool.
const REJOIN_PERIOD: Duration = Duration::from_secs(10);

/// What came of asking a member to take us in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Open,
    Taken,
    Foreign,
}

/// A leaf, and what its driver keeps beside it.
pub(super) struct Partial {
    leaf: Leaf<CONTACTS>,
    config: Config,
    meta: Meta,
    /// Members that were asked to take us in, and have not answered or whose answer nobody took.
    asked: BTreeMap<SocketAddr, Answer>,
    /// Who took us in before.
    known: Vec<SocketAddr>,
    contacts: Vec<SocketAddr>,
    /// Somebody who was asked has answered since the last look.
    answered: bool,
    phase: Status,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) malformed: u64,
}

impl Partial {
    /// Starts alone.
    ///
    /// # Errors
    ///
    /// [`Error::CardTooBig`] for too long a name.
    pub(super) fn new(
        config: Config,
        meta: Meta,
        address: SocketAddr,
        generation: u32,
        seed: u64,
    ) -> Result<Self, Error> {
        let card = Card::client(&meta.name, &meta.dc, meta.node_id, &meta.build);
        let leaf = Leaf::new(config, &card, address, generation, seed, Instant::default())?;
        Ok(Self {
            leaf,
            config,
            meta: Meta { leaf: true, ..meta },
            asked: BTreeMap::new(),
            known: Vec::new(),
            contacts: Vec::new(),
            answered: false,
            phase: Status::Alive,
            received: 0,
            sent: 0,
            malformed: 0,
        })
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) const fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(super) const fn identity(&self) -> &Identity {
        self.leaf.identity()
    }

    pub(super) const fn status(&self) -> Status {
        self.phase
    }

    /// Walks the RPC addresses of servers, as last told.
    pub(super) fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.leaf.servers()
    }

    /// Tells who is known, as of the last look for a change.
    pub(super) fn contacts(&self) -> &[SocketAddr] {
        &self.contacts
    }

    /// Looks whether others are known than before, or who was asked has answered.
    pub(super) fn contacts_changed(&mut self) -> bool {
        let now: Vec<SocketAddr> =
            self.leaf.contacts().map(|contact| contact.address.socket()).collect();
        let changed = core::mem::take(&mut self.answered) | (now != self.contacts);
        self.contacts = now;
        changed
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.received += 1;
        self.malformed += u64::from(Packet::parse(bytes).is_err());
        let foreign = self.leaf.foreign();
        self.leaf.handle_datagram(now, from, bytes);
        if let Some(answer) = self.asked.get_mut(&from) {
            let other = self.leaf.foreign() > foreign;
            self.answered = true;
            *answer = if other { Answer::Foreign } else { Answer::Taken };
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        // Unlike a full member it does not look itself.
        if self.leaf.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.leaf.handle_timeout(now);
        }
    }

    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        let transmit = self.leaf.poll_transmit(now, out)?;
        self.sent += 1;
        Some(transmit)
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.leaf.poll_timeout()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.leaf.poll_event()
    }

    /// Says goodbye to every contact.
    pub(super) fn leave(&mut self) {
        self.leaf.leave();
        self.phase = Status::Leaving;
    }

    /// Tells once that the goodbye is sent.
    pub(super) fn left(&mut self) -> bool {
        let leaving = self.phase == Status::Leaving;
        if leaving {
            self.phase = Status::Left;
        }
        leaving
    }

    fn ask(&mut self, address: SocketAddr) {
        self.asked.insert(address, Answer::Open);
        self.leaf.join(address);
    }

    /// Remembers who took us in; the one longest ago makes room.
    fn remember(&mut self, address: SocketAddr) {
        self.known.retain(|known| *known != address);
        if self.known.len() >= KNOWN_MAX {
            self.known.remove(0);
        }
        self.known.push(address);
    }

    /// Tells whom to ask when nobody is left.
    pub(super) fn known(&self) -> &[SocketAddr] {
        &self.known
    }
}

/// Asks each address in turn to take us in.
pub(super) async fn join(
    inner: &Inner,
    addresses: &[SocketAddr],
) -> (usize, Vec<(SocketAddr, String)>) {
    let mut contacted = 0;
    let mut errors = Vec::new();
    for address in addresses {
        match ask(inner, *address).await {
            Ok(()) => contacted += 1,
            Err(error) => errors.push((*address, error.to_string())),
        }
    }
    (contacted, errors)
}

/// Asks one member to take us in, several times.
async fn ask(inner: &Inner, address: SocketAddr) -> io::Result<()> {
    let mut version = inner.version.subscribe();
    for _ in 0..ASKS {
        inner.drive_leaf(|leaf| leaf.ask(address));
        let answer = async {
            loop {
                version.mark_unchanged();
                let answer = inner.drive_leaf(|leaf| leaf.asked.get(&address).copied());
                match answer.flatten() {
                    Some(Answer::Open) => {}
                    answer => return answer,
                }
                if version.changed().await.is_err() {
                    return None;
                }
            }
        };
        let Ok(answer) = timeout(ASK_TIME, answer).await else { continue };
        inner.drive_leaf(|leaf| leaf.asked.remove(&address));
        if answer == Some(Answer::Taken) {
            inner.drive_leaf(|leaf| leaf.remember(address));
            return Ok(());
        }
        return Err(io::Error::other("member of another datacenter or pool"));
    }
    inner.drive_leaf(|leaf| leaf.asked.remove(&address));
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer (is the pool's 'encrypt' key set?)"))
}

/// Goes back to the pool: asks those that were known until one answers.
pub(super) async fn rejoin(inner: Arc<Inner>, members: Vec<SocketAddr>) {
    while !members.is_empty() {
        for member in &members {
            match ask(&inner, *member).await {
                Ok(()) => {
                    tracing::info!("re-joined to previously known node {member}");
                    return;
                }
                Err(error) => tracing::debug!(%member, %error, "rejoin failed"),
            }
            let contacts = inner.drive_leaf(|leaf| leaf.leaf.contacts().count());
            if contacts.is_none_or(|contacts| contacts > 0) {
                return;
            }
        }
        tracing::warn!("no previously known node answers; trying again");
        tokio::time::sleep(REJOIN_PERIOD).await;
    }
}
