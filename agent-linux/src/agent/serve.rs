//! Serves requests to this very agent: what is about services and checks goes to [`Local`], what is
//! about the pool to gossip, the rest is answered here.

use super::describe::describe;
use super::{Agent, member, pool};
use crate::endpoint::agent::{Answering, Op, Pool, Reply};
use crate::gossip::Gossip;
use agent_core::model::request::{Error, Kind};

impl crate::endpoint::agent::Agent for Agent {
    fn serve_local<'a>(&'a self, token: &'a str, op: Op) -> Answering<'a> {
        Box::pin(async move {
            match op {
                Op::Describe => Ok(Reply::Description(Box::new(describe(self)))),
                Op::Members { pool: Pool::Lan } => {
                    Ok(Reply::Members(self.gossip.members().iter().map(member::view).collect()))
                }
                Op::Members { pool: Pool::Wan } => {
                    let members = self.wan.as_ref().map(Gossip::members).unwrap_or_default();
                    Ok(Reply::Members(members.iter().map(member::view).collect()))
                }
                Op::Join { address, pool } => self.join_one(address, pool).await,
                Op::Leave => {
                    self.leave().await;
                    self.stop();
                    Ok(Reply::Done)
                }
                Op::ForceLeave { node, prune } => self
                    .gossip
                    .force_leave(&node, prune)
                    .map(|()| Reply::Done)
                    .map_err(|text| Error::with(Kind::Failed, text)),
                Op::Reload => self
                    .reload()
                    .await
                    .map(|()| Reply::Done)
                    .map_err(|error| Error::with(Kind::Failed, error.to_string())),
                Op::Services { .. }
                | Op::Checks { .. }
                | Op::Service { .. }
                | Op::RegisterService { .. }
                | Op::DeregisterService { .. }
                | Op::MaintainService { .. }
                | Op::RegisterCheck { .. }
                | Op::DeregisterCheck { .. }
                | Op::UpdateCheck { .. }
                | Op::HealthByName { .. }
                | Op::HealthById { .. }
                | Op::Maintain { .. } => self.local.serve(token, op).await,
            }
        })
    }
}

impl Agent {
    /// Joins a pool through one member.
    async fn join_one(&self, address: String, pool: Pool) -> Result<Reply, Error> {
        let config = self.config();
        let (gossip, port) = match pool {
            Pool::Lan => (&self.gossip, config.ports.serf_lan),
            Pool::Wan => {
                let text = "Must be a server to join WAN cluster";
                let wan = self.wan.as_ref().ok_or_else(|| Error::with(Kind::Failed, text))?;
                (wan, config.ports.serf_wan.unwrap_or_default())
            }
        };
        pool::join(gossip, &[address], port)
            .await
            .map(|_| Reply::Done)
            .map_err(|text| Error::with(Kind::Failed, text))
    }
}
