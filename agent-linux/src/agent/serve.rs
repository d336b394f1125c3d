//! Serves requests to this very agent: what is about services and checks goes to
//! [`Local`](super::local::Local), what is about the pool to gossip, the rest is answered here.

use super::describe::describe;
use super::measure::measure;
use super::{Agent, event, host, keyring, member, pool};
use crate::endpoint::agent::{Answering, Op, Pool, Reply};
use crate::gossip::Gossip;
use agent_core::model::request::{self, Body, Error, Kind, Options, Query, Request};
use agent_core::model::status;

impl crate::endpoint::agent::Agent for Agent {
    fn serve_local<'a>(&'a self, token: &'a str, op: Op) -> Answering<'a> {
        Box::pin(async move {
            match op {
                Op::Describe => Ok(Reply::Description(Box::new(describe(self)))),
                Op::Host => Ok(Reply::Host(host::describe())),
                Op::Measure => Ok(Reply::Gauges(measure(self))),
                Op::Members { pool: Pool::Lan } if self.gossip.servers().is_some() => {
                    self.ask_for_members(token).await
                }
                Op::Members { pool: Pool::Lan } => {
                    Ok(Reply::Members(self.gossip.members().iter().map(member::view).collect()))
                }
                Op::Members { pool: Pool::Wan } => {
                    let members = self.wan.as_ref().map(Gossip::members).unwrap_or_default();
                    Ok(Reply::Members(members.iter().map(member::view_across).collect()))
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
                Op::FireEvent { event, datacenter } => event::fire(self, *event, &datacenter).await,
                Op::ListEvents { name, after, wait } => {
                    Ok(self.events.wait(&name, after, wait).await)
                }
                Op::Keyring { op, local_only } => keyring::serve(self, op, local_only).await,
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
    /// Asks a server for the members: this agent sees a part of them.
    async fn ask_for_members(&self, token: &str) -> Result<Reply, Error> {
        let options = Options { token: token.to_owned(), ..Options::default() };
        let body = Body::Query(Query::Status(status::Query::Members));
        match self.endpoint.serve(Request { options, body }).await?.reply {
            request::Reply::Status(status::Reply::Members(members)) => {
                Ok(Reply::Members(members.into_iter().filter_map(member::told).collect()))
            }
            _ => Err(Error::with(Kind::Unknown, "the server answered something else")),
        }
    }

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
