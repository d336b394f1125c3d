//! Every row out and in.
//!
//! ```text
//! "RVSN" · version u8 · frames: length u32 LE · CRC-32 of the body u32 LE · body (postcard Row)
//! the last frame is Row::End, so that a cut file is found out
//! ```
//!
//! Raft's own snapshots also hold a state that is being restored; what operators save does not.

use super::stage::Stage;
use super::{Gone, Key, Scope, Store, Tables, fold};
use agent_core::model::Index;
use agent_core::model::autopilot::Configuration;
use agent_core::model::check::Check;
use agent_core::model::coordinate::Row as Place;
use agent_core::model::kv::Entry;
use agent_core::model::node::Node;
use agent_core::model::query::PreparedQuery;
use agent_core::model::service::Service;
use agent_core::model::session::Session;
use agent_core::model::snapshot::PART_BYTES;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::sync::Arc;

/// What a snapshot starts with.
const MAGIC: [u8; 4] = *b"RVSN";

/// Raised when a row is appended to [`Row`] or a field to a row.
const VERSION: u8 = 1;

/// Most bytes of one row: a value of the largest size that a server may be set to, and its key.
const ROW_BYTES_MAX: usize = 64 << 20;

/// One thing in a snapshot. Appended to, never changed.
#[derive(Serialize, Deserialize)]
pub(super) enum Row {
    Begin {
        index: Index,
        gone: Gone,
    },
    Node(Arc<Node>),
    Service {
        node: String,
        service: Arc<Service>,
    },
    Check(Arc<Check>),
    Entry(Arc<Entry>),
    Grave {
        key: String,
        index: Index,
    },
    Session(Arc<Session>),
    Changed {
        scope: Scope,
        index: Index,
    },
    End {
        rows: u64,
    },
    Autopilot(Arc<Configuration>),
    Query(Arc<PreparedQuery>),
    Restored {
        at: Index,
        ahead: Index,
    },
    /// What follows is of the state that is being restored.
    Stage {
        id: String,
        parts: u64,
        rows: u64,
        complete: bool,
    },
    Coordinate(Arc<Place>),
}

impl Store {
    /// Takes a snapshot now, to be written later: constant time, and writers go on.
    pub fn freeze(&self) -> impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static {
        let tables = self.tables();
        move |to| tables.write_to(to)
    }

    /// Replaces everything by a snapshot and rings every watch.
    ///
    /// # Errors
    ///
    /// For bytes that are not a whole, undamaged snapshot; then nothing was replaced.
    pub fn restore(&self, from: &mut dyn Read) -> Result<()> {
        let tables = Tables::read_from(from)?;
        self.replace(tables);
        Ok(())
    }
}

impl Tables {
    fn write_to(&self, to: &mut dyn Write) -> Result<()> {
        to.write_all(&MAGIC)?;
        to.write_all(&[VERSION])?;
        let mut rows = 0;
        let mut buffer = Vec::new();
        for row in self.clone().into_rows().chain(self.further_rows()) {
            rows += 1;
            write_row(to, &row, &mut buffer)?;
        }
        write_row(to, &Row::End { rows }, &mut buffer)
    }

    /// The state in parts, for an operator to keep.
    pub fn parts(&self) -> Parts {
        Parts { rows: Box::new(self.clone().into_rows()), written: None }
    }

    /// Every row, in an order in which they can be entered again.
    fn into_rows(self) -> impl Iterator<Item = Row> + Send + use<> {
        let begin = Row::Begin { index: self.index, gone: self.gone };
        let nodes = self.nodes.into_iter().map(|(_, node)| Row::Node(node));
        let services = self
            .services
            .into_iter()
            .map(|((node, _), service)| Row::Service { node: node.to_string(), service });
        let checks = self.checks.into_iter().map(|(_, check)| Row::Check(check));
        let sessions = self.sessions.into_iter().map(|(_, session)| Row::Session(session));
        let entries = self.kv.into_iter().map(|(_, entry)| Row::Entry(entry));
        let graves =
            self.graves.into_iter().map(|(key, index)| Row::Grave { key: key.to_string(), index });
        let changed = self.changed.into_iter().map(|(scope, index)| Row::Changed { scope, index });
        std::iter::once(begin)
            .chain(nodes)
            .chain(services)
            .chain(checks)
            .chain(sessions)
            .chain(entries)
            .chain(graves)
            .chain(changed)
            .chain(self.autopilot.map(Row::Autopilot))
            .chain(self.queries.into_iter().map(|(_, kept)| Row::Query(kept.query)))
            .chain(self.coordinates.into_iter().map(|(_, row)| Row::Coordinate(row)))
    }

    /// What only the servers of this log need: how indexes run, and the state being restored.
    fn further_rows(&self) -> impl Iterator<Item = Row> + use<> {
        let restored = Row::Restored { at: self.restored, ahead: self.ahead };
        let stage = self.stage.as_ref().map(|stage| {
            let tables = stage.tables.clone();
            std::iter::once(stage.row()).chain(tables.into_rows())
        });
        (self.restored > 0).then_some(restored).into_iter().chain(stage.into_iter().flatten())
    }

    fn read_from(from: &mut dyn Read) -> Result<Self> {
        read_head(from)?;
        let (mut tables, mut rows) = (Self::default(), 0);
        loop {
            let body = read_frame(from)?.ok_or(ErrorKind::UnexpectedEof)?;
            match (read_row(&body)?, &mut tables.stage) {
                (Row::End { rows: written }, _) if written == rows => return Ok(tables),
                (Row::End { .. }, _) => return Err(damaged("rows are missing")),
                (Row::Stage { .. }, Some(_)) => return Err(damaged("two stages")),
                (row, Some(stage)) => Arc::make_mut(stage).tables.enter(row),
                (row, None) => tables.enter(row),
            }
            rows += 1;
        }
    }

    pub(super) fn enter(&mut self, row: Row) {
        match row {
            Row::Begin { index, gone } => (self.index, self.gone) = (index, gone),
            Row::Node(node) => {
                let name = fold(&node.name);
                if !node.id.is_empty() {
                    self.node_ids.insert(fold(&node.id), name.clone());
                }
                self.nodes.insert(name, node);
            }
            Row::Service { node, service } => {
                let (node, id) = (fold(&node), fold(&service.id));
                let entry = (fold(&service.name), node.clone(), id.clone());
                self.instances.insert(entry);
                if let Some(name) = super::scope::spoken_for(&service) {
                    self.speakers.insert((name, node.clone(), id.clone()));
                }
                self.services.insert((node, id), service);
            }
            Row::Check(check) => {
                let (node, id) = (fold(&check.node), fold(&check.id));
                self.checks_of.insert((node.clone(), fold(&check.service_id), id.clone()));
                self.checks.insert((node, id), check);
            }
            Row::Entry(entry) => {
                let key: Key = entry.key.as_str().into();
                if !entry.session.is_empty() {
                    self.locks.insert((fold(&entry.session), key.clone()));
                }
                self.kv.insert(key, entry);
            }
            Row::Grave { key, index } => {
                let key: Key = key.into();
                self.graves_by_age.insert((index, key.clone()));
                self.graves.insert(key, index);
            }
            Row::Session(session) => self.enter_session(Session::clone(&session)),
            Row::Changed { scope, index } => {
                self.changed.insert(scope, index);
            }
            Row::Coordinate(row) => {
                self.coordinates.insert((fold(&row.node), fold(&row.segment)), row);
            }
            Row::Query(query) => self.enter_query(PreparedQuery::clone(&query)),
            Row::Autopilot(configuration) => self.autopilot = Some(configuration),
            Row::Restored { at, ahead } => (self.restored, self.ahead) = (at, ahead),
            Row::Stage { id, parts, rows, complete } => {
                let stage = Stage { id, parts, rows, complete, tables: Self::default() };
                self.stage = Some(Arc::new(stage));
            }
            Row::End { .. } => {}
        }
    }
}

/// A state that is written out in parts of about [`PART_BYTES`].
pub struct Parts {
    rows: Box<dyn Iterator<Item = Row> + Send>,
    /// Rows written, nothing before the first.
    written: Option<u64>,
}

impl Parts {
    /// Writes the next part; it is empty after the last.
    ///
    /// # Errors
    ///
    /// None that a vector gives.
    pub fn next_part(&mut self) -> Result<Vec<u8>> {
        let (mut part, mut buffer) = (Vec::new(), Vec::new());
        let mut written = match self.written {
            Some(u64::MAX) => return Ok(part),
            Some(written) => written,
            None => {
                part.extend_from_slice(&MAGIC);
                part.push(VERSION);
                0
            }
        };
        while part.len() < PART_BYTES {
            let Some(row) = self.rows.next() else {
                write_row(&mut part, &Row::End { rows: written }, &mut buffer)?;
                written = u64::MAX;
                break;
            };
            write_row(&mut part, &row, &mut buffer)?;
            written += 1;
        }
        self.written = Some(written);
        Ok(part)
    }
}

/// Cuts the next part off a state that was kept: whole frames, about [`PART_BYTES`] of them; none
/// at the end. What the rows mean is not looked at.
///
/// # Errors
///
/// Those of `from`, or `InvalidData` for what is no such state.
pub fn next_part(from: &mut dyn Read, number: u64) -> Result<Vec<u8>> {
    let mut part = Vec::new();
    if number == 0 {
        read_head(from)?;
        part.extend_from_slice(&MAGIC);
        part.push(VERSION);
    }
    while part.len() < PART_BYTES
        && let Some(body) = read_frame(from)?
    {
        write_frame(&mut part, &body)?;
    }
    Ok(part)
}

/// Reads the rows of a part.
pub(super) fn read_part(mut part: &[u8], number: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if number == 0 {
        read_head(&mut part)?;
    }
    while let Some(body) = read_frame(&mut part)? {
        rows.push(read_row(&body)?);
    }
    Ok(rows)
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("snapshot: {why}"))
}

fn read_head(from: &mut dyn Read) -> Result<()> {
    let mut head = [0; MAGIC.len() + 1];
    from.read_exact(&mut head)?;
    if head[..MAGIC.len()] != MAGIC {
        return Err(damaged("not the state of such servers"));
    }
    if head[MAGIC.len()] != VERSION {
        return Err(damaged("a state of another version"));
    }
    Ok(())
}

fn write_row(to: &mut dyn Write, row: &Row, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    let body = postcard::to_extend(row, std::mem::take(buffer)).map_err(Error::other)?;
    write_frame(to, &body)?;
    *buffer = body;
    Ok(())
}

fn write_frame(to: &mut dyn Write, body: &[u8]) -> Result<()> {
    let len = u32::try_from(body.len()).map_err(Error::other)?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(&crc32fast::hash(body).to_le_bytes())?;
    to.write_all(body)
}

/// Reads a frame's body, nothing at the end.
fn read_frame(from: &mut dyn Read) -> Result<Option<Vec<u8>>> {
    let (mut len, mut crc) = ([0; 4], [0; 4]);
    if from.read(&mut len[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut len[1..])?;
    from.read_exact(&mut crc)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > ROW_BYTES_MAX {
        return Err(damaged("a row is too large"));
    }
    let mut body = Vec::new();
    from.take(len as u64).read_to_end(&mut body)?;
    if body.len() < len {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if crc32fast::hash(&body) != u32::from_le_bytes(crc) {
        return Err(damaged("a row does not match its checksum"));
    }
    Ok(Some(body))
}

fn read_row(body: &[u8]) -> Result<Row> {
    match postcard::take_from_bytes(body) {
        Ok((row, [])) => Ok(row),
        Ok(_) | Err(_) => Err(damaged("a row cannot be read")),
    }
}
