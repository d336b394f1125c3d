//! Sorts what was found by distance from a node: `?near=`.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/architecture/coordinates>.

use super::Read;
use crate::store::Tables;
use agent_core::model::request::Reply;
use agent_core::model::{catalog, health};

/// Sorts what a read finds by distance from a node, unless that is empty.
pub(super) fn sorted<'a>(read: Read<'a>, near: &'a str) -> Read<'a> {
    if near.is_empty() {
        return read;
    }
    Box::new(move |tables| read(tables).map(|reply| sort(tables, near, reply)))
}

fn sort(tables: &Tables, near: &str, mut reply: Reply) -> Reply {
    match &mut reply {
        Reply::Catalog(catalog::Reply::Nodes(nodes)) => {
            by_distance(tables, near, nodes, |node| &node.name);
        }
        Reply::Catalog(catalog::Reply::Instances(instances)) => {
            by_distance(tables, near, instances, |instance| &instance.node.name);
        }
        Reply::Health(health::Reply::Instances(instances)) => {
            by_distance(tables, near, instances, |instance| &instance.node.name);
        }
        Reply::Health(health::Reply::Checks(checks)) => {
            by_distance(tables, near, checks, |check| &check.node);
        }
        _ => {}
    }
    reply
}

/// Sorts items by their node's distance from a node, equals in the order they had. Nothing moves
/// if nobody knows where that node is; items whose place is unknown come last.
pub(super) fn by_distance<T>(
    tables: &Tables,
    near: &str,
    items: &mut [T],
    node: impl Fn(&T) -> &str,
) {
    let Some(origin) = tables.place(near) else { return };
    // Distances that are not negative compare as their bits do.
    items.sort_by_cached_key(|item| {
        let place = tables.place(node(item));
        place.map_or(u64::MAX, |place| origin.distance(place).max(0.0).to_bits())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use agent_core::model::catalog::Register;
    use agent_core::model::command::Command;
    use agent_core::model::coordinate::{Coordinate, Op, Row};
    use agent_core::model::node::Node;

    #[test]
    fn nearest_comes_first_and_the_unknown_last() {
        let store = Store::new();
        for (index, name) in (1..).zip(["lost", "far", "near", "own"]) {
            let node = Node { name: name.into(), address: "10.0.0.1".into(), ..Node::default() };
            let register = Register { node, ..Register::default() };
            store.commit(index, &Command::Register(Box::new(register))).unwrap();
        }
        let row = |node: &str, at: f64| {
            let mut place = Coordinate::default();
            place.vec[0] = at;
            Row { node: node.into(), segment: String::new(), place }
        };
        let rows = vec![row("far", 0.3), row("near", -0.1), row("own", 0.0)];
        store.commit(9, &Command::Coordinate(Op::Set(rows))).unwrap();
        let tables = store.tables();
        let sorted = |near: &str| {
            let mut names = ["lost", "far", "near", "own"];
            by_distance(&tables, near, &mut names, |name| name);
            names.join(" ")
        };
        assert_eq!(sorted("OWN"), "own near far lost");
        assert_eq!(sorted("far"), "far own near lost");
        assert_eq!(sorted("lost"), "lost far near own");
        assert_eq!(sorted("nobody"), "lost far near own");
    }
}
