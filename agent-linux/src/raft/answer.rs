//! Calls of raft peers, answered.

use super::network::{self, Answer, Call, Piece};
use super::{Raft, entry};
use crate::metrics::{self, Stopwatch};
use openraft::raft::AppendEntriesResponse;

impl Raft {
    /// Answers a call of a raft peer.
    pub async fn handle(&self, call: &[u8]) -> Vec<u8> {
        let answer = match network::parse_call(call) {
            None => Err("damaged or foreign raft call".into()),
            Some((target, _)) if target != self.node.id => {
                Err(format!("raft id {target} does not live here, {} does", self.node.id))
            }
            Some((_, call)) => self.answer(call).await,
        };
        network::emit_answer(&answer.unwrap_or_else(Answer::Refused))
    }

    async fn answer(&self, call: Call) -> Result<Answer, String> {
        let raft = &self.node.raft;
        match call {
            Call::Append(rpc) => {
                if let (Some(space), false) = (&self.node.space, rpc.entries.is_empty()) {
                    space.check()?;
                }
                let watch = Stopwatch::start();
                let answer = raft.append_entries(rpc).await.map_err(|error| error.to_string())?;
                watch.stop(&metrics::RAFT_APPEND_ENTRIES);
                match &answer {
                    AppendEntriesResponse::HigherVote(_) => {}
                    AppendEntriesResponse::Success
                    | AppendEntriesResponse::PartialSuccess(_)
                    | AppendEntriesResponse::Conflict => self.node.contact.now(),
                }
                Ok(Answer::Append(answer))
            }
            Call::Vote(rpc) => {
                raft.vote(rpc).await.map(Answer::Vote).map_err(|error| error.to_string())
            }
            Call::Piece(piece) => self.take_piece(piece).await,
            Call::Elect => {
                raft.trigger().elect().await.map_err(|fatal| fatal.to_string())?;
                Ok(Answer::Elect)
            }
        }
    }

    /// Takes a piece of a snapshot, and installs it after the last one.
    async fn take_piece(&self, piece: Piece) -> Result<Answer, String> {
        if let Some(space) = &self.node.space {
            space.check()?;
        }
        let raft = &self.node.raft;
        let known = raft.metrics().borrow().vote;
        if piece.vote < known {
            return Ok(Answer::Piece(known, 0));
        }
        self.node.contact.now();
        let mut receiving = self.node.receiving.lock().await;
        let shelf = &self.node.machine.shelf;
        let taken = receiving.take(&piece, || shelf.receive());
        let (wanted, whole) = taken.map_err(|error| error.to_string())?;
        let Some(whole) = whole else { return Ok(Answer::Piece(piece.vote, wanted)) };
        let data = whole.finish().map_err(|error| error.to_string())?;
        let snapshot = entry::Snapshot { meta: piece.meta, snapshot: Box::new(data) };
        let installed = raft.install_full_snapshot(piece.vote, snapshot).await;
        let answer = installed.map_err(|fatal| fatal.to_string())?;
        Ok(Answer::Piece(answer.vote, wanted))
    }
}
