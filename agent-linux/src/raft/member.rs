//! Servers come and go: bootstrap, add (learner first), remove.

use super::entry::{Answers, Types};
use super::leadership::Metrics;
use super::network::{Answer, Call};
use super::{Error, Raft, Server};
use openraft::error::{ClientWriteError, InitializeError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, LogIdOptionExt};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use tokio::time::timeout;

/// Entries that a server may lag behind and still become a voter, as Consul's `max_trailing_logs`.
const TRAILING_MAX: u64 = 250;

type Written = Result<ClientWriteResponse<Types>, RaftError<u64, ClientWriteError<u64, Server>>>;

impl Raft {
    /// Starts a cluster of these servers. Every one of them may be told, with the same list.
    ///
    /// # Errors
    ///
    /// [`Error::Initialized`] if the log is not empty: the cluster already runs, or did.
    pub async fn bootstrap(&self, servers: Vec<Server>) -> Result<(), Error> {
        let servers: BTreeMap<u64, Server> =
            servers.into_iter().map(|server| (server.id, server)).collect();
        self.node.raft.initialize(servers).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => Error::Initialized,
            RaftError::APIError(InitializeError::NotInMembers(_)) => {
                Error::Change("this server is not among them".into())
            }
            RaftError::Fatal(fatal) => Error::Stopped(fatal.to_string()),
        })
    }

    /// Makes a server learn the log, or corrects what is known of it; a voter stays one. For the
    /// leader only.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`]; [`Error::Timeout`] if no quorum confirms it in time.
    pub async fn add_learner(&self, server: &Server) -> Result<(), Error> {
        self.make_member(server).await.map(|_| ())
    }

    /// Adds a server: as a learner, then, once it has caught up, as a voter in place of any server
    /// with the same node UUID or address (its former self, before its data directory was wiped). A
    /// server that is a member already gets the new name and address. Leader only.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`]; [`Error::Timeout`] if it does not catch up: it stays a learner, and
    /// calling again goes on from there.
    pub async fn add_server(&self, server: Server) -> Result<(), Error> {
        let id = server.id;
        let is_voter = self.make_member(&server).await?;
        if !is_voter {
            // Not in turn: a server that never catches up must not keep others from leaving.
            self.caught_up(id).await?;
        }
        let _turn = self.node.changing.lock().await;
        let metrics = self.metrics();
        let members = metrics.membership_config.membership();
        let replaced: BTreeSet<u64> = members
            .nodes()
            .filter(|(other, _)| **other != id)
            .filter(|(_, known)| known.node_id == server.node_id || known.address == server.address)
            .map(|(other, _)| *other)
            .collect();
        if is_voter && replaced.is_empty() {
            return Ok(());
        }
        let voters: BTreeSet<u64> = self.voters().difference(&replaced).copied().collect();
        let voters = voters.into_iter().chain([id]).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await?;
        self.drop_learners(&replaced).await
    }

    /// Makes a server a learner, or corrects what is known of it; tells whether it votes already.
    async fn make_member(&self, server: &Server) -> Result<bool, Error> {
        let _turn = self.node.changing.lock().await;
        self.require_leader()?;
        let metrics = self.metrics();
        let members = metrics.membership_config.membership();
        match members.get_node(&server.id) {
            Some(known) if known == server => {}
            Some(_) => {
                let nodes = BTreeMap::from([(server.id, server.clone())]);
                self.change(ChangeMembers::SetNodes(nodes), true).await?;
            }
            None => {
                let added = self.node.raft.add_learner(server.id, server.clone(), false);
                self.confirmed(added).await?;
            }
        }
        Ok(members.voter_ids().any(|voter| voter == server.id))
    }

    /// Removes a server. The leader may remove itself: it hands over, then steps down. Leader only.
    ///
    /// # Errors
    ///
    /// [`Error::Quorum`] if the servers that remain and answer would be no quorum; nothing is
    /// changed.
    pub async fn remove_server(&self, id: u64) -> Result<(), Error> {
        let _turn = self.node.changing.lock().await;
        self.require_leader()?;
        let metrics = self.metrics();
        let members = metrics.membership_config.membership();
        if members.get_node(&id).is_none() {
            return Ok(());
        }
        let mut voters = self.voters();
        if !voters.remove(&id) {
            return self.drop_learners(&BTreeSet::from([id])).await;
        }
        let alive = voters.iter().filter(|voter| self.answers(**voter, &metrics)).count();
        if alive <= voters.len() / 2 {
            return Err(Error::Quorum);
        }
        let successor = if id == self.node.id { best_follower(&metrics, &voters) } else { None };
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await?;
        if let Some(successor) = successor {
            self.hand_over(successor, members.get_node(&successor)).await;
        }
        Ok(())
    }

    /// Asks a follower to stand at once, as soon as the others are free to vote for it.
    async fn hand_over(&self, successor: u64, node: Option<&Server>) {
        let Some(node) = node else { return };
        tokio::time::sleep(self.node.timing.promise).await;
        let peer = self.node.network.peer(successor, node);
        match peer.call(&Call::Elect, self.node.timing.heartbeat).await {
            Ok(Answer::Elect) => {}
            // It stands by itself, only later.
            other => tracing::debug!("leadership not handed over: {other:?}"),
        }
    }

    fn require_leader(&self) -> Result<(), Error> {
        if self.is_leader() { Ok(()) } else { Err(Error::NotLeader) }
    }

    /// The voters of the latest configuration; of the later one, while two overlap.
    fn voters(&self) -> BTreeSet<u64> {
        let metrics = self.metrics();
        let configs = metrics.membership_config.membership().get_joint_config();
        configs.last().cloned().unwrap_or_default()
    }

    /// Tells whether a server has answered lately.
    fn answers(&self, id: u64, metrics: &Metrics) -> bool {
        let taken = self.node.network.taken_at(id, metrics.vote);
        id == self.node.id || taken.is_some_and(|at| at.elapsed() < self.node.timing.lost * 2)
    }

    async fn drop_learners(&self, ids: &BTreeSet<u64>) -> Result<(), Error> {
        let metrics = self.metrics();
        let members = metrics.membership_config.membership();
        let ids: BTreeSet<u64> =
            ids.iter().filter(|id| members.get_node(id).is_some()).copied().collect();
        match ids.is_empty() {
            true => Ok(()),
            false => self.change(ChangeMembers::RemoveNodes(ids), false).await,
        }
    }

    /// Waits until a learner lags no more than [`TRAILING_MAX`] entries behind.
    async fn caught_up(&self, id: u64) -> Result<(), Error> {
        let mut metrics = self.node.raft.metrics();
        let caught_up = metrics.wait_for(|metrics| {
            let Some(replication) = &metrics.replication else { return true };
            let matched = replication.get(&id).and_then(|matched| *matched);
            let last = metrics.last_log_index.unwrap_or(0);
            matched.is_some_and(|matched| matched.index + TRAILING_MAX >= last)
        });
        match timeout(self.node.timing.catch_up, caught_up).await {
            Err(_) => Err(Error::Timeout),
            Ok(Err(_)) => Err(Error::Stopped("raft has stopped".into())),
            Ok(Ok(metrics)) if metrics.replication.is_none() => Err(Error::NotLeader),
            Ok(Ok(_)) => Ok(()),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, Server>, retain: bool) -> Result<(), Error> {
        self.confirmed(self.node.raft.change_membership(change, retain)).await
    }

    /// Waits for a quorum to confirm a change of servers.
    async fn confirmed(&self, written: impl Future<Output = Written>) -> Result<(), Error> {
        match timeout(self.node.timing.commit, written).await {
            Err(_) => Err(Error::Timeout),
            Ok(Ok(ClientWriteResponse { data: Answers(_), .. })) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(Error::NotLeader)
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(Error::Change(error.to_string()))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(Error::Stopped(fatal.to_string())),
        }
    }
}

/// The voter whose log goes furthest.
fn best_follower(metrics: &Metrics, voters: &BTreeSet<u64>) -> Option<u64> {
    let replication = metrics.replication.as_ref()?;
    let known = replication.iter().filter(|(id, _)| voters.contains(id));
    known.max_by_key(|(_, matched)| matched.index()).map(|(id, _)| *id)
}
