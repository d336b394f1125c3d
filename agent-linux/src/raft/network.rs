//! Calls between raft peers, out and in, over the raft channel of [`rpc`](crate::rpc).
//!
//! Every call names the raft id it is meant for, and a server answers only for its own: after a
//! data directory was wiped, another id may live at the same address.
//!
//! The calls out also keep the leader's lease. A follower that takes an append promises to vote for
//! nobody else for [`Timing::promise`]; the promise is counted here from when the append was
//! *sent*, so it ends here before it ends there.

use super::Server;
use super::entry::{LogId, Snapshot, SnapshotMeta, StoredMembership, Types, Vote};
use super::snapshot::Incoming;
use super::timing::Timing;
use crate::rpc::client::{self, Pool};
use agent_core::wire::frame::Channel;
use bytes::Bytes;
use openraft::error::{
    NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetwork, RaftNetworkFactory};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// First byte of every call and answer; both ends must speak the same.
const VERSION: u8 = 1;

/// Bytes of a snapshot in one call.
const PIECE_BYTES: usize = 512 * 1024;

/// How long one piece of a snapshot may take: it is written to the far disk, and after the last one
/// the state is replaced.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// Times that a piece is sent again before the whole snapshot is given up (and begun anew later).
const PIECE_TRIES: u32 = 5;

type Fatal = openraft::error::Fatal<u64>;
type CallError = RPCError<u64, Server, RaftError<u64>>;

/// What a peer is asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// To take entries, or a heartbeat.
    Append(AppendEntriesRequest<Types>),
    /// For its vote.
    Vote(VoteRequest<u64>),
    /// To take a piece of a snapshot.
    Piece(Piece),
    /// To stand for election now: the leader is about to leave.
    Elect,
}

/// A piece of a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) offset: u64,
    pub(super) data: Bytes,
    /// Whether it is the last one.
    pub(super) is_last: bool,
}

/// What a peer answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    /// The receiver's vote, and from where it wants the next piece.
    Piece(Vote, u64),
    Elect,
    /// It is not the server that was meant, or it failed; with the reason.
    Refused(String),
}

pub(super) fn emit_call(target: u64, call: &Call) -> Vec<u8> {
    postcard::to_extend(&(target, call), vec![VERSION]).expect("a vector takes any call")
}

pub(super) fn parse_call(bytes: &[u8]) -> Option<(u64, Call)> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
        Some(_) | None => None,
    }
}

pub(super) fn emit_answer(answer: &Answer) -> Vec<u8> {
    postcard::to_extend(answer, vec![VERSION]).expect("a vector takes any answer")
}

fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
        Some(_) | None => None,
    }
}

/// Makes peers.
#[derive(Clone)]
pub(super) struct Network(Arc<Shared>);

struct Shared {
    pool: Pool,
    timing: Timing,
    /// When each peer was last sent an append that it took, and under which vote.
    taken: Mutex<HashMap<u64, (Vote, Instant)>>,
    /// Addresses that are newer than the membership.
    addresses: Mutex<HashMap<u64, SocketAddr>>,
}

impl Network {
    pub(super) fn new(timing: Timing, source: Option<IpAddr>) -> Self {
        Self(Arc::new(Shared {
            pool: Pool::new(Channel::Raft, source),
            timing,
            taken: Mutex::default(),
            addresses: Mutex::default(),
        }))
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, (Vote, Instant)>> {
        self.0.taken.lock().expect("no holder panics")
    }

    /// Prefers these addresses over those of the membership.
    pub(super) fn set_addresses(&self, addresses: HashMap<u64, SocketAddr>) {
        *self.0.addresses.lock().expect("no holder panics") = addresses;
    }

    /// Tells where a server is reached.
    pub(super) fn address_of(&self, target: u64, node: &Server) -> SocketAddr {
        let newer = self.0.addresses.lock().expect("no holder panics").get(&target).copied();
        newer.unwrap_or(node.address)
    }

    /// Makes a peer.
    pub(super) fn peer(&self, target: u64, node: &Server) -> Peer {
        Peer { target, node: node.clone(), network: self.clone() }
    }

    /// Tells when a peer last took an append under `vote`.
    pub(super) fn taken_at(&self, peer: u64, vote: Vote) -> Option<Instant> {
        let taken = self.taken().get(&peer).copied();
        taken.filter(|(under, _)| under.leader_id == vote.leader_id).map(|(_, at)| at)
    }

    /// Tells from when on a quorum (of each configuration, while two overlap) has promised not to
    /// vote for another than the leader `this`.
    pub(super) fn promised_at(
        &self,
        this: u64,
        vote: Vote,
        membership: &StoredMembership,
    ) -> Option<Instant> {
        let now = Instant::now();
        let mut oldest = Some(now);
        for voters in membership.membership().get_joint_config() {
            let mut times: Vec<Instant> = voters
                .iter()
                .filter_map(|voter| match *voter == this {
                    true => Some(now),
                    false => self.taken_at(*voter, vote),
                })
                .collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            let quorum = times.get(voters.len() / 2).copied();
            oldest = oldest.min(quorum);
        }
        oldest
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Server) -> Peer {
        self.peer(target, node)
    }
}

/// One peer.
pub(super) struct Peer {
    target: u64,
    node: Server,
    network: Network,
}

impl Peer {
    /// Asks the peer.
    pub(super) async fn call(&self, call: &Call, within: Duration) -> Result<Answer, CallError> {
        let shared = &self.network.0;
        let address = self.network.address_of(self.target, &self.node);
        let bytes = emit_call(self.target, call);
        let answer = shared.pool.call(address, &bytes, Instant::now() + within).await;
        let answer = answer.map_err(|error| match error {
            client::Error::Connect(_) => RPCError::Unreachable(Unreachable::new(&error)),
            client::Error::Busy
            | client::Error::TooLong(_)
            | client::Error::Broken
            | client::Error::Timeout => RPCError::Network(NetworkError::new(&error)),
        })?;
        match parse_answer(&answer) {
            Some(Answer::Refused(reason)) => Err(refused(&reason)),
            Some(answer) => Ok(answer),
            None => Err(refused("damaged answer")),
        }
    }

    async fn send(
        &self,
        vote: Vote,
        snapshot: &Snapshot,
        cancel: impl Future<Output = ReplicationClosed>,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal>> {
        let failed = |error: std::io::Error| -> StreamingError<Types, Fatal> {
            NetworkError::new(&error).into()
        };
        let data = &snapshot.snapshot;
        let end = data.len().map_err(failed)?;
        tokio::pin!(cancel);
        let (mut offset, mut failures) = (0, 0);
        loop {
            // Reading a piece of a file takes less than it would cost to hand it to another thread.
            let bytes = data.piece(offset, PIECE_BYTES).map_err(failed)?;
            let next = offset + bytes.len() as u64;
            let is_last = next >= end;
            let piece = Piece { vote, meta: snapshot.meta.clone(), offset, data: bytes, is_last };
            let call = Call::Piece(piece);
            let answer = tokio::select! {
                closed = &mut cancel => return Err(closed.into()),
                answer = self.call(&call, PIECE_TIMEOUT) => answer,
            };
            match answer {
                Ok(Answer::Piece(higher, _)) if higher > vote => {
                    return Ok(SnapshotResponse::new(higher));
                }
                Ok(Answer::Piece(same, wanted)) if is_last && wanted == next => {
                    return Ok(SnapshotResponse::new(same));
                }
                Ok(Answer::Piece(_, wanted)) if wanted <= next => {
                    failures = if wanted == next { 0 } else { failures + 1 };
                    offset = wanted;
                }
                Ok(_) => return Err(failed(std::io::Error::other("unexpected answer"))),
                Err(_) => failures += 1,
            }
            if failures >= PIECE_TRIES {
                let error = std::io::Error::other("the peer does not take the snapshot");
                return Err(failed(error));
            }
            if failures > 0 {
                tokio::time::sleep(self.network.0.timing.heartbeat).await;
            }
        }
    }
}

fn refused(reason: &str) -> CallError {
    RPCError::Network(NetworkError::new(&AnyError::error(reason)))
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        let (vote, sent) = (rpc.vote, Instant::now());
        match self.call(&Call::Append(rpc), option.hard_ttl()).await? {
            Answer::Append(answer) => {
                let took = match &answer {
                    AppendEntriesResponse::Success
                    | AppendEntriesResponse::PartialSuccess(_)
                    | AppendEntriesResponse::Conflict => true,
                    AppendEntriesResponse::HigherVote(_) => false,
                };
                if took {
                    let mut taken = self.network.taken();
                    let known = taken.entry(self.target).or_insert((vote, sent));
                    if known.0 != vote || known.1 < sent {
                        *known = (vote, sent);
                    }
                }
                Ok(answer)
            }
            _ => Err(refused("an append was answered with something else")),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        match self.call(&Call::Vote(rpc), option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(refused("a vote was answered with something else")),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal>> {
        self.send(vote, &snapshot, cancel).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.0.timing.heartbeat))
    }
}

/// A snapshot that is arriving; at most one at a time, a newer one replaces it.
#[derive(Default)]
pub(super) struct Receiving(Option<(String, u64, Incoming)>);

impl Receiving {
    /// Takes a piece; answers from where the next one is wanted, and the whole once it is there.
    ///
    /// # Errors
    ///
    /// Those of the disk; what had arrived is dropped.
    pub(super) fn take(
        &mut self,
        piece: &Piece,
        begin: impl FnOnce() -> std::io::Result<Incoming>,
    ) -> std::io::Result<(u64, Option<Incoming>)> {
        let id = &piece.meta.snapshot_id;
        if self.0.as_ref().is_none_or(|(known, ..)| known != id) {
            self.0 = Some((id.clone(), 0, begin()?));
        }
        let Some((_, have, incoming)) = &mut self.0 else { return Ok((0, None)) };
        if piece.offset != *have {
            // A piece that was sent twice, or one of a transfer that began before a restart.
            return Ok((*have, None));
        }
        if let Err(error) = incoming.add(&piece.data) {
            self.0 = None;
            return Err(error);
        }
        *have += piece.data.len() as u64;
        let have = *have;
        let whole = if piece.is_last { self.0.take().map(|(.., incoming)| incoming) } else { None };
        Ok((have, whole))
    }
}

/// Tells the term of a log id, 0 for none.
pub(super) fn term_of(id: Option<&LogId>) -> u64 {
    id.map_or(0, |id| id.leader_id.term)
}
