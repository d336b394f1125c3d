//! Health: filtered reads.

use super::Read;
use super::filter::Filter;
use agent_core::model::check::Check;
use agent_core::model::health::{Instance, NodeDump, Query, Reply};
use agent_core::model::request::{self, Error};

/// Finds how a query is read.
pub(super) fn reader<'a>(query: &'a Query, filter: Option<&str>) -> Result<Read<'a>, Error> {
    let plain = move |tables: &crate::store::Tables| tables.health(query);
    let Some(text) = filter else {
        return Ok(Box::new(move |tables| plain(tables).map(request::Reply::Health)));
    };
    match query {
        Query::Node(_) | Query::Checks { .. } | Query::State { .. } => {
            let filter = Filter::<Check>::parse(text)?;
            Ok(Box::new(move |tables| {
                plain(tables).map(|mut reply| {
                    if let Reply::Checks(checks) = &mut reply {
                        checks.retain(|check| filter.fits(check));
                    }
                    request::Reply::Health(reply)
                })
            }))
        }
        Query::Service(_) | Query::Ingress(_) | Query::Instances => {
            let filter = Filter::<Instance>::parse(text)?;
            Ok(Box::new(move |tables| {
                plain(tables).map(|mut reply| {
                    if let Reply::Instances(instances) = &mut reply {
                        instances.retain(|instance| filter.fits(instance));
                    }
                    request::Reply::Health(reply)
                })
            }))
        }
        Query::Nodes => {
            let filter = Filter::<NodeDump>::parse(text)?;
            Ok(Box::new(move |tables| {
                plain(tables).map(|mut reply| {
                    if let Reply::Nodes(nodes) = &mut reply {
                        nodes.retain(|node| filter.fits(node));
                    }
                    request::Reply::Health(reply)
                })
            }))
        }
        // Consul ignores the filter here.
        Query::Dump(_) => Ok(Box::new(move |tables| plain(tables).map(request::Reply::Health))),
    }
}
