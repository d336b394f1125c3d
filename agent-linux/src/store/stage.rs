//! A state on its way through the log: staged part by part where no read sees it, then put in
//! place of the present one by a single command.
//!
//! The parts come from a file that an operator kept, so nothing is believed: a row must be new,
//! must not be younger than the state claims to be, and what it names must be there already. The
//! code that works on tables relies on that.

use super::scope::Change;
use super::snapshot::{self, Row};
use super::{Index, Tables, fold};
use agent_core::model::Stamp;
use agent_core::model::request::{Error, Kind, Reply};
use agent_core::model::snapshot::{Op, Part};
use std::sync::Arc;

/// Largest index that a state may claim: room for as many changes after it.
const INDEX_MAX: Index = 1 << 62;

/// A state that is being restored.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// Which restore it belongs to.
    pub(super) id: String,
    /// Parts entered.
    pub(super) parts: u64,
    /// Rows entered.
    pub(super) rows: u64,
    /// Whether the last row has come.
    pub(super) complete: bool,
    /// The rows.
    pub(super) tables: Tables,
}

fn refuse(text: impl Into<String>) -> Error {
    Error::with(Kind::Invalid, text)
}

impl Change<'_> {
    /// Takes a step of a restore.
    pub(super) fn snapshot(&mut self, op: &Op) -> Result<Reply, Error> {
        match op {
            Op::Begin(id) => {
                let (id, tables) = (id.clone(), Tables::default());
                let stage = Stage { id, parts: 0, rows: 0, complete: false, tables };
                self.tables.stage = Some(Arc::new(stage));
            }
            Op::Stage(part) => self.stage(&part.id)?.enter(part)?,
            Op::Commit(id) => {
                let stage = self.stage(id)?;
                if !stage.complete {
                    return Err(refuse("snapshot: rows are missing"));
                }
                let tables = std::mem::take(&mut stage.tables);
                let at = self.index.max(tables.index + 1);
                *self.tables = Tables {
                    index: at,
                    ahead: self.tables.ahead + (at - self.index),
                    restored: at,
                    epoch: self.tables.epoch + 1,
                    ..tables
                };
            }
            Op::Abandon(id) => {
                self.stage(id)?;
                self.tables.stage = None;
            }
        }
        Ok(Reply::Done)
    }

    fn stage(&mut self, id: &str) -> Result<&mut Stage, Error> {
        match &mut self.tables.stage {
            Some(stage) if stage.id == id => Ok(Arc::make_mut(stage)),
            Some(_) | None => Err(refuse("snapshot: this restore was given up")),
        }
    }
}

impl Stage {
    fn enter(&mut self, part: &Part) -> Result<(), Error> {
        if part.number != self.parts {
            return Err(refuse("snapshot: a part is missing"));
        }
        let rows = snapshot::read_part(&part.frames, part.number);
        for row in rows.map_err(|error| refuse(error.to_string()))? {
            if !self.admits(&row) {
                return Err(refuse("snapshot: a row does not fit those before it"));
            }
            if let Row::End { .. } = row {
                self.complete = true;
                break;
            }
            self.tables.enter(row);
            self.rows += 1;
        }
        self.parts += 1;
        Ok(())
    }

    /// Tells whether a row may come next.
    fn admits(&self, row: &Row) -> bool {
        let tables = &self.tables;
        let in_order = matches!(row, Row::Begin { .. }) == (self.rows == 0) && !self.complete;
        let age = |stamp: &Stamp| stamp.create.max(stamp.modify) <= tables.index;
        let fits = match row {
            Row::Begin { index, gone } => {
                let last = gone.node.max(gone.service).max(gone.session).max(gone.grave);
                *index < INDEX_MAX && last <= *index
            }
            Row::Node(node) => {
                let id = fold(&node.id);
                age(&node.stamp)
                    && !tables.nodes.contains_key(&fold(&node.name))
                    && (id.is_empty() || !tables.node_ids.contains_key(&id))
            }
            Row::Service { node, service } => {
                let node = fold(node);
                age(&service.stamp)
                    && tables.nodes.contains_key(&node)
                    && !tables.services.contains_key(&(node, fold(&service.id)))
            }
            Row::Check(check) => {
                let (node, service) = (fold(&check.node), fold(&check.service_id));
                age(&check.stamp)
                    && tables.nodes.contains_key(&node)
                    && !tables.checks.contains_key(&(node.clone(), fold(&check.id)))
                    && (service.is_empty() || tables.services.contains_key(&(node, service)))
            }
            Row::Session(session) => {
                age(&session.stamp)
                    && tables.nodes.contains_key(&fold(&session.node))
                    && !tables.sessions.contains_key(&fold(&session.id))
            }
            Row::Entry(entry) => {
                let session = fold(&entry.session);
                age(&entry.stamp)
                    && !tables.kv.contains_key(entry.key.as_str())
                    && (session.is_empty() || tables.sessions.contains_key(&session))
            }
            Row::Grave { key, index } => {
                *index <= tables.index
                    && !tables.graves.contains_key(key.as_str())
                    && !tables.kv.contains_key(key.as_str())
            }
            Row::Changed { index, .. } => *index <= tables.index,
            Row::Query(query) => {
                let (id, name, session) =
                    (fold(&query.id), fold(&query.name), fold(&query.session));
                let named = tables.query_names.contains_key(&name)
                    || (query.is_template() && tables.templates.contains_key(&name));
                age(&query.stamp)
                    && !named
                    && !tables.queries.contains_key(&id)
                    && (session.is_empty() || tables.sessions.contains_key(&session))
            }
            Row::Coordinate(row) => {
                let node = fold(&row.node);
                row.place.is_valid()
                    && tables.nodes.contains_key(&node)
                    && !tables.coordinates.contains_key(&(node, fold(&row.segment)))
            }
            Row::Autopilot(configuration) => age(&configuration.stamp),
            Row::End { rows } => *rows == self.rows,
            Row::Restored { .. } | Row::Stage { .. } => false,
        };
        in_order && fits
    }

    /// What tells that the rows after it are staged.
    pub(super) fn row(&self) -> Row {
        let Self { id, parts, rows, complete, .. } = self;
        Row::Stage { id: id.clone(), parts: *parts, rows: *rows, complete: *complete }
    }
}

impl Tables {
    /// Tells which restore is under way and how many parts it has.
    pub fn staged(&self) -> Option<(&str, u64)> {
        self.stage.as_ref().map(|stage| (stage.id.as_str(), stage.parts))
    }
}

#[cfg(test)]
pub(super) mod tests;
