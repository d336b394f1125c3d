//! Where nodes are: what is noted until it is written, and what any server knows.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/architecture/coordinates>.

use super::Server;
use agent_core::model::coordinate::{Coordinate, Datacenter, Query, Reply, Row};
use agent_core::model::request::{self, Error, Kind};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Most nodes whose places wait to be written: the leader writes every 5 s, and agents send 64 in a
/// second at most.
const WAITING_MAX: usize = 640;

/// Tells where the servers of the pool that spans datacentres are, under their bare names.
pub type Chart = Box<dyn Fn() -> Vec<Row> + Send + Sync>;

/// What a server knows of places beside the tables.
#[derive(Default)]
pub struct Places {
    /// By node and segment: in the leader's memory, lost with it. Agents tell again.
    waiting: Mutex<BTreeMap<(String, String), Coordinate>>,
    chart: OnceLock<Chart>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("waiting", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Coordinate>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where a node is; a node that is not noted yet has to tell again if too many wait.
    fn note(&self, row: &Row) {
        let mut waiting = self.lock();
        let key = (row.node.clone(), row.segment.clone());
        if waiting.len() < WAITING_MAX || waiting.contains_key(&key) {
            waiting.insert(key, row.place);
        }
    }

    /// Takes out what waits.
    pub fn take(&self) -> Vec<Row> {
        let waiting = std::mem::take(&mut *self.lock());
        let row = |((node, segment), place)| Row { node, segment, place };
        waiting.into_iter().map(row).collect()
    }

    /// Sets who tells where the servers of all datacentres are; the first one stays.
    pub fn set_chart(&self, chart: Chart) {
        let _ = self.chart.set(chart);
    }
}

impl super::Endpoint {
    /// What a server knows of places beside the tables; `None` on a client.
    pub fn places(&self) -> Option<&Places> {
        self.0.server.as_ref().map(|server| &server.places)
    }
}

/// Answers without the tables: where the servers are, and that a place is noted.
pub(super) fn answer(
    server: &Server,
    datacenter: &str,
    query: &Query,
) -> Result<request::Reply, Error> {
    let reply = match query {
        Query::Update(row) if !row.place.is_valid() => {
            return Err(Error::with(Kind::Invalid, "invalid coordinate"));
        }
        Query::Update(row) => {
            server.places.note(row);
            Reply::Noted
        }
        Query::Datacenters => {
            let rows = server.places.chart.get().map_or_else(Vec::new, |chart| chart());
            Reply::Datacenters(vec![Datacenter { name: datacenter.into(), rows }])
        }
        Query::Nodes | Query::Node(_) => {
            return Err(Error::with(Kind::Failed, "answered by the tables"));
        }
    };
    Ok(request::Reply::Coordinate(reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_the_latest() {
        let places = Places::default();
        let row = |n: usize, error: f64| Row {
            node: format!("{n:04}"),
            segment: String::new(),
            place: Coordinate { error, ..Coordinate::default() },
        };
        (0..WAITING_MAX + 10).for_each(|n| places.note(&row(n, 1.0)));
        places.note(&row(3, 0.5));
        let taken = places.take();
        assert_eq!(taken.len(), WAITING_MAX);
        assert_eq!(taken[3], row(3, 0.5));
        assert!(places.take().is_empty());
    }
}
