//! The whole state: saved to an archive, restored from one.
//!
//! ```text
//! save      Take -> a ticket on one server; Next, part by part -> archive, compressed, in pieces
//! restore   pieces -> archive -> parts -> Begin, Stage .. Stage, Commit through the log
//! ```
//!
//! Both run on the agent that was asked, client or server, and hold a few parts at a time. A state
//! that was taken stays with the server that took it, whoever leads meanwhile. A restore is
//! committed only once the whole archive was read and its sums hold; until then no read sees it.

use super::{Endpoint, Server, Tables};
use crate::archive::{self, Configuration, Meta, Writer};
use crate::metrics;
use crate::store::{Parts, next_part};
use agent_core::model::Index;
use agent_core::model::command::Command;
use agent_core::model::request::{self, Answer, Body, Error, Kind, Options, Outcome, Request};
use agent_core::model::snapshot::PART_BYTES;
use agent_core::model::snapshot::{Op, Part, Query, Reply, Taken, Ticket};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// States that a server holds at once: each keeps rows alive that may have changed since.
const TAKEN_MAX: usize = 8;

/// How long a state is held that nobody asks for.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A snapshot on its way out.
#[derive(Debug)]
pub struct Saving {
    /// How fresh it is; its index is that of the last change in it.
    pub meta: request::Meta,
    /// The archive. An error is the last piece: then it is not whole.
    pub pieces: mpsc::Receiver<io::Result<Bytes>>,
}

impl Endpoint {
    /// Saves the state as an archive.
    ///
    /// # Errors
    ///
    /// As of any read.
    pub async fn save(&self, options: Options) -> Result<Saving, Error> {
        self.admit()?;
        let Answer { meta, reply } = self.ask(&options, Query::Take).await?;
        let request::Reply::Snapshot(Reply::Taken(taken)) = reply else { return Err(foreign()) };
        let (sender, pieces) = mpsc::channel(1);
        let endpoint = self.clone();
        tokio::spawn(async move {
            if let Err(error) = endpoint.write(&options, taken, &sender).await {
                tracing::warn!(%error, "snapshot: not saved");
                // Whoever is gone needs no error.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Saving { meta, pieces })
    }

    /// Writes a taken state piece by piece.
    async fn write(
        &self,
        options: &Options,
        taken: Taken,
        to: &mpsc::Sender<io::Result<Bytes>>,
    ) -> io::Result<()> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let now = metrics::unix_millis();
        let mut writer = Writer::begin(&meta_of(&taken, now), now / 1000)?;
        for number in 0.. {
            let next = Query::Next { ticket: taken.ticket, number };
            let answer = self.ask(options, next).await.map_err(io::Error::other)?;
            let request::Reply::Snapshot(Reply::Part(frames)) = answer.reply else {
                return Err(io::Error::other(foreign()));
            };
            if frames.is_empty() {
                break;
            }
            to.send(Ok(writer.add(&frames)?.into())).await.map_err(gone)?;
        }
        to.send(Ok(writer.end()?.into())).await.map_err(gone)
    }

    /// Restores the state from an archive that comes in pieces; the archive ends with the sender.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] for a damaged or foreign archive, or as of any command. Nothing was
    /// changed, except for [`Kind::Unknown`].
    pub async fn restore(
        &self,
        options: Options,
        pieces: mpsc::Receiver<Bytes>,
    ) -> Result<(), Error> {
        self.admit()?;
        let id = uuid::Uuid::new_v4().to_string();
        let (sender, mut parts) = mpsc::channel(1);
        let reading = spawn_blocking(move || {
            let from = BufReader::with_capacity(PART_BYTES, Pieces { pieces, rest: Bytes::new() });
            archive::read(from, &mut |state| cut(state, &sender))
        });
        let mut number = 0;
        while let Some(frames) = parts.recv().await {
            if number == 0 {
                self.tell(&options, Op::Begin(id.clone())).await?;
            }
            let part = Part { id: id.clone(), number, frames };
            if let Err(error) = self.tell(&options, Op::Stage(part)).await {
                self.abandon(&options, id).await;
                return Err(error);
            }
            number += 1;
        }
        match reading.await {
            Ok(Ok(meta)) => {
                self.tell(&options, Op::Commit(id)).await?;
                tracing::info!(index = meta.index, "snapshot: restored");
                Ok(())
            }
            Ok(Err(error)) => {
                if number > 0 {
                    self.abandon(&options, id).await;
                }
                Err(Error::with(Kind::Invalid, error.to_string()))
            }
            Err(stopped) => Err(Error::with(Kind::Failed, stopped.to_string())),
        }
    }

    /// Lets go of what was staged; the leader does so sooner or later if this fails.
    async fn abandon(&self, options: &Options, id: String) {
        if let Err(error) = self.tell(options, Op::Abandon(id)).await {
            tracing::debug!(%error, "snapshot: restore not given up");
        }
    }

    async fn ask(&self, options: &Options, query: Query) -> Outcome {
        let body = Body::Query(request::Query::Snapshot(query));
        self.serve_admitted(&Request { options: options.clone(), body }).await
    }

    async fn tell(&self, options: &Options, op: Op) -> Result<(), Error> {
        let body = Body::Command(Command::Snapshot(op));
        self.serve_admitted(&Request { options: options.clone(), body }).await.map(|_| ())
    }

    /// Tells apart states before and after a replacement; 0 on a client.
    pub fn epoch(&self) -> u64 {
        self.tables().map_or(0, |tables| tables.epoch())
    }

    /// Waits until the state is no longer of this epoch; for ever on a client.
    pub async fn replaced(&self, epoch: u64) {
        let Some(server) = &self.0.server else { return std::future::pending().await };
        // Every watch rings then; this one rings seldom otherwise.
        let watch = server.store.watch(&[crate::store::Scope::Nodes]);
        while server.store.tables().epoch() == epoch {
            watch.rung().await;
        }
    }
}

fn foreign() -> Error {
    Error::with(Kind::Unknown, "unexpected reply")
}

/// Says what a taken state is of.
fn meta_of(taken: &Taken, unix_millis: u64) -> Meta {
    let server = |(id, address, voter): &(String, String, bool)| archive::Server {
        suffrage: u8::from(!voter),
        id: id.clone(),
        address: address.clone(),
    };
    Meta {
        version: 1,
        id: format!("{}-{}-{unix_millis}", taken.term, taken.index),
        index: taken.index,
        term: taken.term,
        configuration: Configuration { servers: taken.servers.iter().map(server).collect() },
        size: taken.bytes,
    }
}

/// Cuts a state into parts and hands them over.
fn cut(state: &mut dyn Read, to: &mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    for number in 0.. {
        let part = next_part(state, number)?;
        if part.is_empty() {
            break;
        }
        to.blocking_send(part).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    }
    Ok(())
}

/// Pieces of a file as a stream, for a thread of its own.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// The states that a server holds for those who save them.
#[derive(Default)]
pub(super) struct Shelf {
    taken: Arc<Mutex<BTreeMap<u64, Held>>>,
}

/// A state that is being read out.
struct Held {
    parts: Parts,
    /// The part to ask for next.
    next: u64,
}

fn lock(taken: &Mutex<BTreeMap<u64, Held>>) -> MutexGuard<'_, BTreeMap<u64, Held>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// Holds a state, until it was read out or nobody has asked for a while.
    fn hold(&self, parts: Parts) -> Result<u64, Error> {
        let mut taken = lock(&self.taken);
        if taken.len() >= TAKEN_MAX {
            return Err(Error::with(Kind::Failed, "too many snapshots are being saved"));
        }
        let number = taken.last_key_value().map_or(0, |(last, _)| last + 1);
        taken.insert(number, Held { parts, next: 0 });
        tokio::spawn(forget_idle(Arc::downgrade(&self.taken), number));
        Ok(number)
    }

    /// Reads the next part.
    fn next(&self, ticket: u64, number: u64) -> Result<Vec<u8>, Error> {
        let mut taken = lock(&self.taken);
        let held = taken.get_mut(&ticket).filter(|held| held.next == number);
        let given_up = "the snapshot was given up, its parts were not asked for in time";
        let held = held.ok_or_else(|| Error::with(Kind::Invalid, given_up))?;
        held.next += 1;
        let part = held.parts.next_part();
        let part = part.map_err(|error| Error::with(Kind::Failed, error.to_string()))?;
        if part.is_empty() {
            taken.remove(&ticket);
        }
        Ok(part)
    }
}

/// Lets a state go once nobody has asked for it for a while.
async fn forget_idle(taken: Weak<Mutex<BTreeMap<u64, Held>>>, number: u64) {
    let mut seen = 0;
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let Some(taken) = taken.upgrade() else { return };
        let mut taken = lock(&taken);
        match taken.get(&number) {
            Some(held) if held.next > seen => seen = held.next,
            Some(_) => drop(taken.remove(&number)),
            None => return,
        }
    }
}

/// Takes a state or reads on in one.
pub(super) async fn answer(server: &Server, query: &Query) -> Result<(Index, Reply), Error> {
    match query {
        Query::Take => take(server).await,
        Query::Next { ticket, number } => {
            Ok((0, Reply::Part(server.shelf.next(ticket.number, *number)?)))
        }
    }
}

async fn take(server: &Server) -> Result<(Index, Reply), Error> {
    let tables = server.store.tables();
    let bytes = spawn_blocking({
        let tables = Tables::clone(&tables);
        move || measure(tables.parts())
    });
    let bytes = bytes.await.map_err(io::Error::other).and_then(|bytes| bytes);
    let bytes = bytes.map_err(|error| Error::with(Kind::Failed, error.to_string()))?;
    let number = server.shelf.hold(tables.parts())?;
    let (_, servers) = server.raft.configuration();
    let servers = servers
        .into_iter()
        .map(|(server, voter)| (server.node_id, server.address.to_string(), voter))
        .collect();
    let ticket = Ticket { holder: server.raft.id(), number };
    let (index, term) = (tables.index(), server.raft.term());
    Ok((index, Reply::Taken(Taken { ticket, index, term, bytes, servers })))
}

/// Counts the bytes of a state; nothing is kept.
fn measure(mut parts: Parts) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        match parts.next_part()?.len() {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}
