//! Sessions: made, ended by hand or with what they are bound to, and read.
//!
//! Source: <https://developer.hashicorp.com/consul/docs/dynamic-app-config/sessions>.

use super::scope::Change;
use super::{Name, Scope, Seen, Tables, fold};
use agent_core::model::Stamp;
use agent_core::model::check::Status;
use agent_core::model::request::{self, Error, Kind};
use agent_core::model::session::{Behavior, Op, Query, Reply, Session};
use imbl::OrdSet;
use std::sync::Arc;

impl Change<'_> {
    pub(super) fn session(&mut self, op: &Op) -> Result<request::Reply, Error> {
        match op {
            Op::Create(session) => {
                self.create_session(session)?;
                Ok(request::Reply::Session(Reply::Created(session.id.clone())))
            }
            Op::Destroy(id) => {
                self.end_session(&fold(id));
                Ok(request::Reply::Done)
            }
        }
    }

    fn create_session(&mut self, wanted: &Session) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::with(Kind::Invalid, text));
        if wanted.id.is_empty() {
            return refuse("Missing session ID".into());
        }
        let id = fold(&wanted.id);
        if self.tables.sessions.contains_key(&id) {
            return refuse(format!("Session {:?} exists already", wanted.id));
        }
        let node = fold(&wanted.node);
        if !self.tables.nodes.contains_key(&node) {
            return refuse("Missing node registration".into());
        }
        for check in wanted.all_checks() {
            match self.tables.checks.get(&(node.clone(), fold(check))) {
                None => return refuse(format!("Missing check '{check}' registration")),
                Some(row) if row.status == Status::Critical => {
                    return refuse(format!("Check '{check}' is in critical state"));
                }
                Some(_) => {}
            }
        }
        let mut session = wanted.clone();
        session.stamp = Stamp { create: self.index, modify: self.index };
        self.tables.enter_session(session);
        self.touch(Scope::Session(id));
        self.touch(Scope::Sessions);
        Ok(())
    }

    /// Ends a session and lets go of the keys that it holds.
    fn end_session(&mut self, id: &Name) {
        let Some(session) = self.tables.sessions.remove(id) else { return };
        let node = fold(&session.node);
        self.tables.sessions_of_node.remove(&(node.clone(), id.clone()));
        for check in session.all_checks() {
            self.tables.sessions_of_check.remove(&(node.clone(), fold(check), id.clone()));
        }
        match session.behavior {
            Behavior::Release => self.kv_release_all(id, session.lock_delay_ns),
            Behavior::Delete => self.kv_delete_all(id, session.lock_delay_ns),
        }
        self.remove_queries_of(id);
        self.tables.gone.session = self.index;
        self.touch(Scope::Sessions);
        self.touch(Scope::Session(id.clone()));
    }

    pub(super) fn end_sessions_of_node(&mut self, node: &Name) {
        let bound: Vec<Name> = self
            .tables
            .sessions_of_node
            .range((node.clone(), fold(""))..)
            .take_while(|(on, _)| on == node)
            .map(|(_, id)| id.clone())
            .collect();
        for id in bound {
            self.end_session(&id);
        }
    }

    pub(super) fn end_sessions_of_check(&mut self, node: &Name, check: &Name) {
        let bound: Vec<Name> = bound_to(&self.tables.sessions_of_check, node, check);
        for id in bound {
            self.end_session(&id);
        }
    }
}

fn bound_to(set: &OrdSet<(Name, Name, Name)>, node: &Name, check: &Name) -> Vec<Name> {
    set.range((node.clone(), check.clone(), fold(""))..)
        .take_while(|(on, by, _)| on == node && by == check)
        .map(|(_, _, id)| id.clone())
        .collect()
}

impl Tables {
    /// Reads sessions. A renewal reads the same as its session; the timers are the leader's.
    pub fn session(&self, query: &Query) -> Seen<Reply> {
        match query {
            Query::Info(id) | Query::Renew(id) => {
                let id = fold(id);
                let found = self.sessions.get(&id).cloned();
                let index = found.as_ref().map_or(self.gone.session, |s| s.stamp.modify);
                let sessions = found.into_iter().collect();
                Seen::new(Reply::Sessions(sessions), index, vec![Scope::Session(id)])
            }
            Query::Node(name) => {
                let node = fold(name);
                let sessions = self
                    .sessions_of_node
                    .range((node.clone(), fold(""))..)
                    .take_while(|(on, _)| *on == node)
                    .filter_map(|(_, id)| self.sessions.get(id).cloned())
                    .collect();
                self.seen(Reply::Sessions(sessions), vec![Scope::Sessions])
            }
            Query::List => {
                let sessions = self.sessions.values().cloned().collect();
                self.seen(Reply::Sessions(sessions), vec![Scope::Sessions])
            }
        }
    }

    /// All sessions, in id order.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    /// Tells whether a session lives.
    pub fn has_session(&self, id: &str) -> bool {
        self.sessions.contains_key(&fold(id))
    }

    /// Enters a session's row and its bindings.
    pub(super) fn enter_session(&mut self, session: Session) {
        let (id, node) = (fold(&session.id), fold(&session.node));
        self.sessions_of_node.insert((node.clone(), id.clone()));
        for check in session.all_checks() {
            self.sessions_of_check.insert((node.clone(), fold(check), id.clone()));
        }
        self.sessions.insert(id, Arc::new(session));
    }
}
