//! How queries are read from the tables, subject by subject.

use super::{catalog, health, session, txn};
use crate::store::Seen;
use agent_core::model::request::{Error, Kind, Query, Reply};
use agent_core::model::{coordinate as places, query as queries};

/// How a query is read from one state of the tables.
pub(super) type Read<'a> = Box<dyn Fn(&crate::store::Tables) -> Seen<Reply> + Send + Sync + 'a>;

/// Finds how a query is read.
///
/// # Errors
///
/// For a filter that does not fit the rows.
pub(super) fn reader<'a>(query: &'a Query, filter: Option<&str>) -> Result<Read<'a>, Error> {
    match query {
        Query::Kv(query) => Ok(Box::new(|tables| tables.kv(query).map(Reply::Kv))),
        Query::Session(query) => session::reader(query),
        Query::Catalog(query) => catalog::reader(query, filter),
        Query::Health(query) => health::reader(query, filter),
        Query::Txn(looks) => txn::reader(looks),
        Query::Prepared(queries::Query::List) => {
            Ok(Box::new(|tables| tables.queries().map(Reply::Prepared)))
        }
        Query::Prepared(queries::Query::Get(id)) => {
            Ok(Box::new(|tables| tables.query(id).map(Reply::Prepared)))
        }
        Query::Coordinate(places::Query::Nodes) => {
            Ok(Box::new(|tables| tables.coordinates().map(Reply::Coordinate)))
        }
        Query::Coordinate(places::Query::Node(node)) => {
            Ok(Box::new(|tables| tables.coordinates_of(node).map(Reply::Coordinate)))
        }
        Query::Status(_)
        | Query::Operator(_)
        | Query::Prepared(_)
        | Query::Snapshot(_)
        | Query::Coordinate(_) => Err(Error::with(Kind::Failed, "answered without the tables")),
    }
}
