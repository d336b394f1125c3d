//! Where nodes are.

use super::scope::Change;
use super::{Name, Scope, Seen, Tables, fold};
use agent_core::model::coordinate::{Coordinate, Op, Reply, Row};
use agent_core::model::request;
use std::sync::Arc;

impl Change<'_> {
    pub(super) fn coordinate(&mut self, op: &Op) -> request::Reply {
        let Op::Set(rows) = op;
        for row in rows {
            let node = fold(&row.node);
            if !self.tables.nodes.contains_key(&node) {
                continue;
            }
            let key = (node, fold(&row.segment));
            if self.tables.coordinates.get(&key).is_none_or(|known| **known != *row) {
                self.tables.coordinates.insert(key, Arc::new(row.clone()));
                self.touch(Scope::Coordinates);
            }
        }
        request::Reply::Done
    }

    /// Forgets where a node is that goes.
    pub(super) fn forget_coordinates(&mut self, node: &Name) {
        let keys: Vec<_> = self.tables.places_of(node).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.tables.coordinates.remove(&key);
            self.touch(Scope::Coordinates);
        }
    }
}

impl Tables {
    /// Reads where all nodes are.
    pub fn coordinates(&self) -> Seen<Reply> {
        let rows = self.coordinates.values().cloned().collect();
        self.seen(Reply::Rows(rows), vec![Scope::Coordinates])
    }

    /// Reads where one node is.
    pub fn coordinates_of(&self, node: &str) -> Seen<Reply> {
        let rows = self.places_of(&fold(node)).map(|(_, row)| row.clone()).collect();
        self.seen(Reply::Rows(rows), vec![Scope::Coordinates])
    }

    /// Finds where a node is in the whole pool, if it said so.
    pub fn place(&self, node: &str) -> Option<&Coordinate> {
        self.coordinates.get(&(fold(node), fold(""))).map(|row| &row.place)
    }

    fn places_of(&self, node: &Name) -> impl Iterator<Item = (&(Name, Name), &Arc<Row>)> {
        let from = (node.clone(), fold(""));
        self.coordinates.range(from..).take_while(move |((of, _), _)| of == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use agent_core::model::catalog::{Deregister, Register};
    use agent_core::model::command::Command;
    use agent_core::model::node::Node;

    fn row(node: &str, error: f64) -> Row {
        let place = Coordinate { error, ..Coordinate::default() };
        Row { node: node.into(), segment: String::new(), place }
    }

    #[test]
    fn places_are_those_of_registered_nodes_and_go_with_them() {
        let store = Store::new();
        let set = |index, rows| store.commit(index, &Command::Coordinate(Op::Set(rows))).unwrap();
        let rows = || match store.tables().coordinates() {
            Seen { value: Reply::Rows(rows), index, .. } => (index, rows.len()),
            other => panic!("unexpected {other:?}"),
        };
        let node = Node { name: "N".into(), address: "10.0.0.1".into(), ..Node::default() };
        let register = Register { node, ..Register::default() };
        store.commit(5, &Command::Register(Box::new(register))).unwrap();
        set(6, vec![row("n", 0.5), row("ghost", 0.5)]);
        assert_eq!(rows(), (6, 1));
        assert_eq!(store.tables().place("n").map(|place| place.error), Some(0.5));
        set(7, vec![row("n", 0.5)]);
        assert_eq!(rows(), (6, 1), "the same place wakes nobody");
        set(8, vec![row("n", 0.4)]);
        assert_eq!(rows(), (8, 1));
        let (mut bytes, copy) = (Vec::new(), Store::new());
        store.freeze()(&mut bytes).unwrap();
        copy.restore(&mut &bytes[..]).unwrap();
        assert_eq!(copy.tables().coordinates_of("n").value, store.tables().coordinates().value);
        let gone = Deregister { node: "n".into(), ..Deregister::default() };
        store.commit(9, &Command::Deregister(gone)).unwrap();
        assert_eq!(rows(), (9, 0));
    }
}
