//! Prepared queries: kept, found by name, and what they find.
//!
//! ```text
//! here       made, changed, removed; by id, by name, by the longest prefix; what they find
//! template   how a query depends on the name that it was asked by
//! text       `${...}` in a text
//! ```
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/query>.

mod template;
mod text;

pub use template::Template;

use super::scope::Change;
use super::{Name, Scope, Seen, Tables, fold, has_meta};
use agent_core::model::Stamp;
use agent_core::model::check::Status;
use agent_core::model::health::{self, Instance, ServiceQuery};
use agent_core::model::query::{Op, PreparedQuery, Reply, Target};
use agent_core::model::request::{self, Error, Kind};
use std::sync::Arc;

/// Longest name of a query, and longest name that one is asked by: no host name is longer than 255.
pub const NAME_BYTES_MAX: usize = 1024;

/// A kept query.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) query: Arc<PreparedQuery>,
    /// How it depends on the name that it is asked by, for a template.
    template: Option<Arc<Template>>,
}

fn refuse<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::with(Kind::Invalid, text))
}

/// The refusal of a change of what is not there, in Consul's words.
pub fn unknown(id: &str) -> Error {
    Error::with(Kind::Invalid, format!("Cannot modify non-existent prepared query: '{id}'"))
}

/// There is no such query, in Consul's words.
pub fn not_found() -> Error {
    Error::with(Kind::NotFound, "Query not found")
}

impl Change<'_> {
    pub(super) fn prepared(&mut self, op: &Op) -> Result<request::Reply, Error> {
        match op {
            Op::Create(query) => {
                self.set_query(query)?;
                Ok(request::Reply::Prepared(Reply::Created(query.id.clone())))
            }
            Op::Update(query) if !self.tables.queries.contains_key(&fold(&query.id)) => {
                Err(unknown(&query.id))
            }
            Op::Update(query) => {
                self.set_query(query)?;
                Ok(request::Reply::Done)
            }
            Op::Delete(id) => {
                self.remove_query(&fold(id));
                Ok(request::Reply::Done)
            }
        }
    }

    fn set_query(&mut self, wanted: &PreparedQuery) -> Result<(), Error> {
        if wanted.id.is_empty() {
            return refuse("Missing Query ID");
        }
        let id = fold(&wanted.id);
        self.check_name(&id, wanted)?;
        if !wanted.session.is_empty() && !self.tables.has_session(&wanted.session) {
            return refuse(match is_uuid(&wanted.session) {
                true => format!("invalid session {:?}", wanted.session),
                false => "invalid session: index error: UUID must be 36 characters".into(),
            });
        }
        let old = self.tables.forget_query(&id);
        let create = old.map_or(self.index, |old| old.query.stamp.create);
        let stamp = Stamp { create, modify: self.index };
        self.tables.enter_query(PreparedQuery { stamp, ..wanted.clone() });
        self.touch(Scope::Queries);
        Ok(())
    }

    /// Refuses a name that would hide another query, or be hidden by it.
    fn check_name(&self, id: &Name, wanted: &PreparedQuery) -> Result<(), Error> {
        let name = fold(&wanted.name);
        let tables = &self.tables;
        let is_other = |found: &Name| found != id;
        if name.is_empty() {
            if wanted.is_template() && tables.templates.get(&name).is_some_and(is_other) {
                return refuse("a query template with an empty name already exists");
            }
        } else if tables.query_names.get(&name).is_some_and(is_other) {
            return refuse(format!("name '{}' aliases an existing query name", wanted.name));
        } else if is_uuid(&name) && tables.queries.contains_key(&name) {
            return refuse(format!("name '{}' aliases an existing query ID", wanted.name));
        }
        Ok(())
    }

    fn remove_query(&mut self, id: &Name) {
        if self.tables.forget_query(id).is_some() {
            self.touch(Scope::Queries);
        }
    }

    /// Removes what ends with a session.
    pub(super) fn remove_queries_of(&mut self, session: &Name) {
        let bound = self.tables.queries_of_session.range((session.clone(), fold(""))..);
        let bound = bound.take_while(|(of, _)| of == session).map(|(_, id)| id.clone());
        for id in bound.collect::<Vec<_>>() {
            self.remove_query(&id);
        }
    }
}

impl Tables {
    /// Tells how many prepared queries there are.
    pub fn query_count(&self) -> usize {
        self.queries.len()
    }

    /// Tells whether a prepared query is kept under an id.
    pub fn has_query(&self, id: &str) -> bool {
        self.queries.contains_key(&fold(id))
    }

    /// Reads all prepared queries.
    pub fn queries(&self) -> Seen<Reply> {
        let found = self.queries.values().map(|kept| kept.query.clone());
        self.seen(Reply::Queries(found.collect()), vec![Scope::Queries])
    }

    /// Reads one prepared query by its id.
    pub fn query(&self, id: &str) -> Seen<Reply> {
        let found = self.queries.get(&fold(id)).map(|kept| kept.query.clone());
        self.seen(Reply::Queries(found.into_iter().collect()), vec![Scope::Queries])
    }

    /// Finds the prepared query that answers to an id or a name, with its texts filled in.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is none; [`Kind::Invalid`] for a template that is asked by its
    /// id or cannot be filled in for this name.
    pub fn resolve(&self, wanted: &str) -> Result<Arc<PreparedQuery>, Error> {
        if wanted.len() > NAME_BYTES_MAX {
            return Err(not_found());
        }
        let name = fold(wanted);
        if is_uuid(&name)
            && let Some(kept) = self.queries.get(&name)
        {
            return match kept.query.is_template() {
                true => {
                    refuse("prepared query templates can only be resolved up by name, not by ID")
                }
                false => Ok(kept.query.clone()),
            };
        }
        let by_name = Some(&name).filter(|name| !name.is_empty());
        let id = by_name.and_then(|name| self.query_names.get(name));
        let id = id.or_else(|| self.longest_prefix(&name)).ok_or_else(not_found)?;
        let kept = self.queries.get(id).ok_or_else(not_found)?;
        match &kept.template {
            Some(template) => template.render(&kept.query, wanted).map(Arc::new),
            None if kept.query.is_template() => refuse("Cannot render an uncompiled template"),
            None => Ok(kept.query.clone()),
        }
    }

    /// Finds the template with the longest name that a name starts with. Each round looks before
    /// what the name has in common with a template that it does not start with.
    fn longest_prefix(&self, name: &str) -> Option<&Name> {
        let mut start = name;
        loop {
            let (prefix, id) = self.templates.get_prev(start)?;
            if start.starts_with(&**prefix) {
                return Some(id);
            }
            let same = start.chars().zip(prefix.chars()).take_while(|(a, b)| a == b);
            start = &start[..same.map(|(a, _)| a.len_utf8()).sum()];
        }
    }

    /// Finds the instances that a prepared query, with its texts filled in, is about; `connect`
    /// finds those that speak for the service even if the query does not say so.
    pub fn instances_for(&self, target: &Target, connect: bool) -> Vec<Instance> {
        let query = ServiceQuery {
            name: target.service.clone(),
            node_meta: target.node_meta.clone(),
            connect: connect || target.connect,
            ..ServiceQuery::default()
        };
        let health::Reply::Instances(mut instances) =
            self.health(&health::Query::Service(query)).value
        else {
            return Vec::new();
        };
        let tags: Vec<String> = target.tags.iter().map(|tag| tag.to_lowercase()).collect();
        let worst = if target.only_passing { Status::Passing } else { Status::Warning };
        instances.retain(|instance| {
            let counts = |id: &String| !target.ignore_check_ids.contains(id);
            let mut counting = instance.checks.iter().filter(|check| counts(&check.id));
            counting.all(|check| check.status <= worst)
                && has_meta(&instance.service.meta, &target.service_meta)
                && tags.iter().all(|tag| fits(tag, &instance.service.tags))
        });
        instances
    }

    /// Enters a query's row and the ways to find it.
    pub(super) fn enter_query(&mut self, query: PreparedQuery) {
        let (id, name) = (fold(&query.id), fold(&query.name));
        if !name.is_empty() {
            self.query_names.insert(name.clone(), id.clone());
        }
        if query.is_template() {
            self.templates.insert(name, id.clone());
        }
        if !query.session.is_empty() {
            self.queries_of_session.insert((fold(&query.session), id.clone()));
        }
        // It was compiled before it was proposed: a server that cannot says so when it is asked.
        let template = query.is_template().then(|| Template::compile(&query).ok()).flatten();
        let kept = Kept { query: Arc::new(query), template: template.map(Arc::new) };
        self.queries.insert(id, kept);
    }

    /// Takes out a query's row and the ways to find it.
    fn forget_query(&mut self, id: &Name) -> Option<Kept> {
        let kept = self.queries.remove(id)?;
        let name = fold(&kept.query.name);
        self.query_names.remove(&name);
        if kept.query.is_template() {
            self.templates.remove(&name);
        }
        self.queries_of_session.remove(&(fold(&kept.query.session), id.clone()));
        Some(kept)
    }
}

/// Tells whether tags have one in lower case, or do not have it if `!` stands before it.
fn fits(wanted: &str, tags: &[String]) -> bool {
    let has = |tag: &str| tags.iter().any(|have| have.to_lowercase() == tag);
    wanted.strip_prefix('!').map_or_else(|| has(wanted), |unwanted| !has(unwanted))
}

/// Tells whether a text is a UUID in its usual form.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests;
