//! The store against a naive model, and the law of indexes, over random commands.

use super::*;
use agent_core::model::Stamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NODES: [&str; 2] = ["n", "M"];
const SERVICES: [&str; 3] = ["web", "db", "Web"];
const CHECKS: [&str; 2] = ["c", "d"];
const KEYS: [&str; 5] = ["a", "a/1", "a/2", "ab", "b/1"];

/// Reads whose index moves only with what they find.
const EXACT: [&str; 2] = ["Get", "List("];

/// What the store should hold, in plain maps and without stamps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    nodes: BTreeMap<String, Node>,
    services: BTreeMap<(String, String), Service>,
    checks: BTreeMap<(String, String), Check>,
    kv: BTreeMap<String, Entry>,
    sessions: BTreeMap<String, Session>,
}

impl Model {
    fn apply(&mut self, command: &Command) {
        let mut next = self.clone();
        let holds = match command {
            Command::Register(registration) => next.register(registration),
            Command::Deregister(unwanted) => {
                next.deregister(unwanted);
                true
            }
            Command::Kv(op) => {
                next.kv(op);
                true
            }
            Command::Txn(_) => unreachable!("held against single commands beside this file"),
            // It touches no row that the model has.
            Command::Autopilot(_)
            | Command::Prepared(_)
            | Command::Coordinate(_)
            | Command::Snapshot(_) => true,
            Command::Session(session::Op::Create(session)) => next.create(session),
            Command::Session(session::Op::Destroy(id)) => {
                next.end(|session| session.id == *id);
                true
            }
        };
        if holds {
            *self = next;
        }
    }

    fn register(&mut self, wanted: &Register) -> bool {
        let node = wanted.node.name.to_lowercase();
        self.nodes.insert(node.clone(), wanted.node.clone());
        if let Some(service) = &wanted.service {
            let id = service.id.to_lowercase();
            self.services.insert((node.clone(), id.clone()), service.clone());
            for check in self.checks.values_mut() {
                let of = (check.node.to_lowercase(), check.service_id.to_lowercase());
                if of == (node.clone(), id.clone()) {
                    check.service_name.clone_from(&service.name);
                    check.service_tags.clone_from(&service.tags);
                }
            }
        }
        for check in &wanted.checks {
            let mut check = check.clone();
            if !check.service_id.is_empty() {
                let key = (node.clone(), check.service_id.to_lowercase());
                let Some(service) = self.services.get(&key) else { return false };
                check.service_name.clone_from(&service.name);
                check.service_tags.clone_from(&service.tags);
            }
            if check.status == Status::Critical {
                self.end_bound(&node, &check.id);
            }
            self.checks.insert((node.clone(), check.id.clone()), check);
        }
        true
    }

    fn deregister(&mut self, unwanted: &Deregister) {
        let node = unwanted.node.to_lowercase();
        let whole = unwanted.service_id.is_empty() && unwanted.check_id.is_empty();
        let service = unwanted.service_id.to_lowercase();
        let goes = |check: &Check| {
            check.node.to_lowercase() == node
                && (whole
                    || (!service.is_empty() && check.service_id.to_lowercase() == service)
                    || (service.is_empty() && check.id == unwanted.check_id))
        };
        let checks: Vec<Check> = self.checks.values().filter(|c| goes(c)).cloned().collect();
        for check in checks {
            self.checks.remove(&(node.clone(), check.id.clone()));
            self.end_bound(&node, &check.id);
        }
        if whole {
            self.nodes.remove(&node);
            self.services.retain(|(on, _), _| *on != node);
            self.end(|session| session.node.to_lowercase() == node);
        } else {
            self.services.remove(&(node, service));
        }
    }

    fn create(&mut self, session: &Session) -> bool {
        let node = session.node.to_lowercase();
        let fit = self.nodes.contains_key(&node)
            && !self.sessions.contains_key(&session.id)
            && session.node_checks.iter().all(|check| {
                let row = self.checks.get(&(node.clone(), check.clone()));
                row.is_some_and(|row| row.status != Status::Critical)
            });
        if fit {
            self.sessions.insert(session.id.clone(), session.clone());
        }
        fit
    }

    fn end_bound(&mut self, node: &str, check: &str) {
        self.end(|session| {
            session.node.to_lowercase() == node && session.node_checks.iter().any(|c| c == check)
        });
    }

    fn end(&mut self, ends: impl Fn(&Session) -> bool) {
        let ended: Vec<Session> =
            self.sessions.values().filter(|session| ends(session)).cloned().collect();
        for session in ended {
            self.sessions.remove(&session.id);
            let held = |entry: &Entry| entry.session == session.id;
            match session.behavior {
                Behavior::Delete => self.kv.retain(|_, entry| !held(entry)),
                Behavior::Release => {
                    for entry in self.kv.values_mut().filter(|entry| held(entry)) {
                        entry.session.clear();
                    }
                }
            }
        }
    }

    fn kv(&mut self, op: &Op) {
        let entry = |put: &Put, session: &str, lock_index: u64| Entry {
            key: put.key.clone(),
            value: put.value.clone(),
            session: session.into(),
            lock_index,
            ..Entry::default()
        };
        let new = match op {
            Op::Set(put) => {
                let holder = self.kv.get(&put.key).map(|e| e.session.clone()).unwrap_or_default();
                Some(entry(put, &holder, 0))
            }
            Op::Acquire(put, session) if self.sessions.contains_key(session) => {
                match self.kv.get(&put.key) {
                    None => Some(entry(put, session, 1)),
                    Some(old) if old.session == *session => {
                        Some(entry(put, session, old.lock_index))
                    }
                    Some(old) if old.session.is_empty() => {
                        Some(entry(put, session, old.lock_index + 1))
                    }
                    Some(_) => None,
                }
            }
            Op::Release(put, session) => self
                .kv
                .get(&put.key)
                .filter(|old| old.session == *session)
                .map(|old| entry(put, "", old.lock_index)),
            Op::Delete(key) => {
                self.kv.remove(key);
                None
            }
            Op::DeleteTree(prefix) => {
                self.kv.retain(|key, _| !key.starts_with(prefix));
                None
            }
            Op::Acquire(..) | Op::Reap(_) | Op::Cas(..) | Op::DeleteCas(..) => None,
        };
        if let Some(new) = new {
            self.kv.insert(new.key.clone(), new);
        }
    }

    /// Reads a store back into a model.
    fn of(tables: &Tables) -> Self {
        let mut model = Self::default();
        for node in tables.nodes.values() {
            let row = Node { stamp: Stamp::default(), ..Node::clone(node) };
            model.nodes.insert(row.name.to_lowercase(), row);
        }
        for ((node, id), service) in &tables.services {
            let row = Service { stamp: Stamp::default(), ..Service::clone(service) };
            model.services.insert((node.to_string(), id.to_string()), row);
        }
        for ((node, id), check) in &tables.checks {
            let row = Check { stamp: Stamp::default(), ..Check::clone(check) };
            model.checks.insert((node.to_string(), id.to_string()), row);
        }
        for (key, entry) in &tables.kv {
            let row = Entry { stamp: Stamp::default(), ..Entry::clone(entry) };
            model.kv.insert(key.to_string(), row);
        }
        for session in tables.sessions() {
            let row = Session { stamp: Stamp::default(), ..Session::clone(session) };
            model.sessions.insert(row.id.clone(), row);
        }
        model
    }
}

fn commands() -> impl Strategy<Value = Command> {
    let node = || (0..NODES.len()).prop_map(|n| NODES[n].to_owned());
    let key = || (0..KEYS.len()).prop_map(|n| KEYS[n].to_owned());
    let status = (0..3_usize).prop_map(|n| [Status::Passing, Status::Warning, Status::Critical][n]);
    let some_put = || (key(), 0..2_u8).prop_map(|(key, value)| put(&key, &value.to_string()));
    let some_service = (0..SERVICES.len(), 0..SERVICES.len(), 0..2_u16).prop_map(|(i, n, tag)| {
        let mut row = service(SERVICES[i], SERVICES[n], 80);
        row.tags = vec![format!("v{tag}")];
        row
    });
    let some_check = (0..CHECKS.len(), 0..SERVICES.len() + 1, status)
        .prop_map(|(c, s, status)| check("", CHECKS[c], SERVICES.get(s).unwrap_or(&""), status));
    let register =
        (node(), 0..2_u8, proptest::option::of(some_service), proptest::option::of(some_check))
            .prop_map(|(name, address, service, check)| {
                let mut registration = node_at(&name, address);
                registration.service = service;
                registration.checks =
                    check.into_iter().map(|check| Check { node: name.clone(), ..check }).collect();
                Command::Register(Box::new(registration))
            });
    let deregister = (node(), 0..3_u8, 0..3_usize).prop_map(|(name, what, n)| {
        Command::Deregister(match what {
            0 => gone(&name, SERVICES[n], ""),
            1 => gone(&name, "", CHECKS[n % CHECKS.len()]),
            _ => gone(&name, "", ""),
        })
    });
    let create =
        (1..4_u8, node(), any::<bool>(), any::<bool>()).prop_map(|(n, on, bound, free)| {
            let behavior = if free { Behavior::Release } else { Behavior::Delete };
            let checks: &[&str] = if bound { &CHECKS[..1] } else { &[] };
            Command::Session(session(n, &on, checks, behavior))
        });
    let lock = (some_put(), 1..4_u8, any::<bool>()).prop_map(|(put, n, take)| {
        Command::Kv(if take { Op::Acquire(put, id(n)) } else { Op::Release(put, id(n)) })
    });
    prop_oneof![
        4 => register,
        2 => deregister,
        2 => create,
        1 => (1..4_u8).prop_map(|n| Command::Session(session::Op::Destroy(id(n)))),
        3 => some_put().prop_map(|put| Command::Kv(Op::Set(put))),
        4 => lock,
        1 => key().prop_map(|key| Command::Kv(Op::Delete(key))),
        1 => key().prop_map(|key| Command::Kv(Op::DeleteTree(key))),
    ]
}

fn node_at(name: &str, address: u8) -> Register {
    node(name, &format!("10.0.0.{address}"))
}

/// Every kind of read, as text.
fn reads(tables: &Tables) -> Vec<(String, Seen<String>)> {
    let mut all = Vec::new();
    let mut kv = |query: kv::Query| {
        all.push((format!("{query:?}"), tables.kv(&query).map(|value| format!("{value:?}"))));
    };
    for key in KEYS {
        kv(kv::Query::Get(key.into()));
        kv(kv::Query::List(key.into()));
    }
    kv(kv::Query::List(String::new()));
    kv(kv::Query::Keys { prefix: "a".into(), separator: "/".into() });
    let mut catalog = |query: catalog::Query| {
        all.push((format!("{query:?}"), tables.catalog(&query).map(|value| format!("{value:?}"))));
    };
    catalog(catalog::Query::Nodes { node_meta: Map::new() });
    catalog(catalog::Query::Services { node_meta: Map::new() });
    for name in NODES {
        catalog(catalog::Query::Node(name.into()));
    }
    for name in &SERVICES[..2] {
        catalog(catalog::Query::Service {
            name: (*name).into(),
            tags: Vec::new(),
            node_meta: Map::new(),
            connect: false,
        });
    }
    let mut health = |query: health::Query| {
        all.push((format!("{query:?}"), tables.health(&query).map(|value| format!("{value:?}"))));
    };
    health(health::Query::State { status: None, node_meta: Map::new() });
    health(health::Query::Nodes);
    health(health::Query::Instances);
    for name in NODES {
        health(health::Query::Node(name.into()));
        health(health::Query::Dump(name.into()));
    }
    for name in &SERVICES[..2] {
        let query = ServiceQuery { name: (*name).into(), ..ServiceQuery::default() };
        health(health::Query::Service(query));
        health(health::Query::Checks { service: (*name).into(), node_meta: Map::new() });
    }
    let mut session = |query: session::Query| {
        all.push((format!("{query:?}"), tables.session(&query).map(|value| format!("{value:?}"))));
    };
    session(session::Query::List);
    session(session::Query::Node("n".into()));
    session(session::Query::Info(id(1)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_is_what_a_naive_model_says(
        commands in proptest::collection::vec(commands(), 1..80),
    ) {
        let (mut server, mut model) = (Server::new(), Model::default());
        for command in commands {
            let before = reads(&server.store.tables());
            let watches: Vec<Watch> =
                before.iter().map(|(_, seen)| server.store.watch(&seen.scopes)).collect();
            server.index += 1;
            let done = server.store.commit(server.index, &command);
            model.apply(&command);
            prop_assert_eq!(&Model::of(&server.store.tables()), &model, "after {:?}", command);
            let after = reads(&server.store.tables());
            for (((query, old), (_, new)), watch) in before.iter().zip(&after).zip(&watches) {
                prop_assert!(new.index >= 1 && new.index <= server.index);
                prop_assert!(new.index >= old.index, "{} ran backwards on {:?}", query, command);
                if old.value != new.value {
                    prop_assert!(done.is_ok());
                    prop_assert_eq!(new.index, server.index, "{} on {:?}", query, command);
                    prop_assert!(rung(watch), "{} was not told of {:?}", query, command);
                } else if EXACT.iter().any(|kind| query.starts_with(kind)) {
                    prop_assert_eq!(new.index, old.index, "{} on {:?}", query, command);
                }
            }
        }
        let mut bytes = Vec::new();
        server.store.freeze()(&mut bytes).unwrap();
        let other = Store::new();
        other.restore(&mut bytes.as_slice()).unwrap();
        assert_same(&other.tables(), &server.store.tables());
        stage::tests::assert_restorable(&server.store.tables());
    }
}
