//! Every row out and in.
//!
//! ```text
//! "RVSN" · version u8 · frames: length u32 LE · CRC-32 of the body u32 LE · body (postcard Row)
//! the last frame is Row::End, so that a cut file is found out
//! ```

use super::{Gone, Key, Scope, Store, Tables, fold};
use agent_core::model::Index;
use agent_core::model::check::Check;
use agent_core::model::kv::Entry;
use agent_core::model::node::Node;
use agent_core::model::service::Service;
use agent_core::model::session::Session;
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
enum Row {
    Begin { index: Index, gone: Gone },
    Node(Arc<Node>),
    Service { node: String, service: Arc<Service> },
    Check(Arc<Check>),
    Entry(Arc<Entry>),
    Grave { key: String, index: Index },
    Session(Arc<Session>),
    Changed { scope: Scope, index: Index },
    End { rows: u64 },
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
        for row in self.rows() {
            rows += 1;
            write_row(to, &row, &mut buffer)?;
        }
        write_row(to, &Row::End { rows }, &mut buffer)
    }

    /// Every row, in an order in which they can be entered again.
    fn rows(&self) -> impl Iterator<Item = Row> {
        let begin = Row::Begin { index: self.index, gone: self.gone };
        let nodes = self.nodes.values().map(|node| Row::Node(node.clone()));
        let services = self.services.iter().map(|((node, _), service)| Row::Service {
            node: node.to_string(),
            service: service.clone(),
        });
        let checks = self.checks.values().map(|check| Row::Check(check.clone()));
        let sessions = self.sessions.values().map(|session| Row::Session(session.clone()));
        let entries = self.kv.values().map(|entry| Row::Entry(entry.clone()));
        let graves = self
            .graves
            .iter()
            .map(|(key, index)| Row::Grave { key: key.to_string(), index: *index });
        let changed = self
            .changed
            .iter()
            .map(|(scope, index)| Row::Changed { scope: scope.clone(), index: *index });
        std::iter::once(begin)
            .chain(nodes)
            .chain(services)
            .chain(checks)
            .chain(sessions)
            .chain(entries)
            .chain(graves)
            .chain(changed)
    }

    fn read_from(from: &mut dyn Read) -> Result<Self> {
        let mut head = [0; MAGIC.len() + 1];
        from.read_exact(&mut head)?;
        if head[..MAGIC.len()] != MAGIC {
            return Err(damaged("not a snapshot"));
        }
        if head[MAGIC.len()] != VERSION {
            return Err(damaged("a snapshot of another version"));
        }
        let (mut tables, mut rows) = (Self::default(), 0);
        loop {
            match read_row(from)? {
                Row::End { rows: written } if written == rows => return Ok(tables),
                Row::End { .. } => return Err(damaged("rows are missing")),
                row => tables.enter(row),
            }
            rows += 1;
        }
    }

    fn enter(&mut self, row: Row) {
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
            Row::End { .. } => {}
        }
    }
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("snapshot: {why}"))
}

fn write_row(to: &mut dyn Write, row: &Row, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    let body = postcard::to_extend(row, std::mem::take(buffer)).map_err(Error::other)?;
    let len = u32::try_from(body.len()).map_err(Error::other)?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(&crc32fast::hash(&body).to_le_bytes())?;
    to.write_all(&body)?;
    *buffer = body;
    Ok(())
}

fn read_row(from: &mut dyn Read) -> Result<Row> {
    let (mut len, mut crc) = ([0; 4], [0; 4]);
    from.read_exact(&mut len)?;
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
    match postcard::take_from_bytes(&body) {
        Ok((row, [])) => Ok(row),
        Ok(_) | Err(_) => Err(damaged("a row cannot be read")),
    }
}
