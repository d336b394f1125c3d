//! Behaviour of the whole store.

use super::*;
use agent_core::model::catalog::{self, Deregister, Register};
use agent_core::model::check::Status;
use agent_core::model::health::{self, ServiceQuery};
use agent_core::model::kv::{self, Op, Put};
use agent_core::model::session::{self, Behavior};

fn put(key: &str, value: &str) -> Put {
    Put { key: key.into(), value: value.into(), flags: 0 }
}

/// A store with a log of its own.
struct Server {
    store: Store,
    index: Index,
}

impl Server {
    fn new() -> Self {
        Self { store: Store::new(), index: 10 }
    }

    fn commit(&mut self, command: impl Into<Wrapped>) -> Result<Reply, Error> {
        self.index += 1;
        self.store.commit(self.index, &command.into().0)
    }

    fn done(&mut self, command: impl Into<Wrapped>) -> Index {
        self.commit(command).expect("the change is allowed");
        self.index
    }

    fn refused(&mut self, command: impl Into<Wrapped>) -> String {
        self.commit(command).expect_err("the change is refused").text
    }

    fn applied(&mut self, op: Op) -> bool {
        match self.commit(op).expect("the change is allowed") {
            Reply::Applied(applied) => applied,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        match self.store.tables().kv(&kv::Query::Get(key.into())).value {
            kv::Reply::Entry(entry) => entry.map(|entry| Entry::clone(&entry)),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn kv_index(&self, query: kv::Query) -> Index {
        self.store.tables().kv(&query).index
    }

    fn list_index(&self, prefix: &str) -> Index {
        self.kv_index(kv::Query::List(prefix.into()))
    }

    fn get_index(&self, key: &str) -> Index {
        self.kv_index(kv::Query::Get(key.into()))
    }

    fn health(&self, name: &str) -> (Index, Vec<health::Instance>) {
        let query = ServiceQuery { name: name.into(), ..ServiceQuery::default() };
        let seen = self.store.tables().health(&health::Query::Service(query));
        match seen.value {
            health::Reply::Instances(instances) => (seen.index, instances),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn session_count(&self) -> usize {
        self.store.tables().sessions().count()
    }
}

struct Wrapped(Command);

impl From<Op> for Wrapped {
    fn from(op: Op) -> Self {
        Self(Command::Kv(op))
    }
}

impl From<session::Op> for Wrapped {
    fn from(op: session::Op) -> Self {
        Self(Command::Session(op))
    }
}

impl From<Register> for Wrapped {
    fn from(registration: Register) -> Self {
        Self(Command::Register(Box::new(registration)))
    }
}

impl From<Deregister> for Wrapped {
    fn from(deregistration: Deregister) -> Self {
        Self(Command::Deregister(deregistration))
    }
}

fn node(name: &str, address: &str) -> Register {
    let node = Node { name: name.into(), address: address.into(), ..Node::default() };
    Register { node, ..Register::default() }
}

fn service(id: &str, name: &str, port: u16) -> Service {
    Service { id: id.into(), name: name.into(), port, ..Service::default() }
}

fn check(node: &str, id: &str, service_id: &str, status: Status) -> Check {
    Check {
        node: node.into(),
        id: id.into(),
        service_id: service_id.into(),
        status,
        ..Check::default()
    }
}

fn gone(node: &str, service_id: &str, check_id: &str) -> Deregister {
    Deregister { node: node.into(), service_id: service_id.into(), check_id: check_id.into() }
}

fn id(n: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{n:02x}")
}

fn session(n: u8, node: &str, checks: &[&str], behavior: Behavior) -> session::Op {
    session::Op::Create(Session {
        id: id(n),
        node: node.into(),
        behavior,
        lock_delay_ns: 60_000_000_000,
        node_checks: checks.iter().map(|&check| check.into()).collect(),
        ..Session::default()
    })
}

#[test]
fn a_write_of_the_same_value_changes_nothing() {
    let mut server = Server::new();
    let first = server.done(Op::Set(put("a", "1")));
    server.done(Op::Set(put("a", "1")));
    assert_eq!(server.get_index("a"), first);
    let second = server.done(Op::Set(put("a", "2")));
    let entry = server.entry("a").unwrap();
    assert_eq!((entry.stamp.create, entry.stamp.modify), (first, second));
}

#[test]
fn check_and_set_keeps_to_the_index() {
    let mut server = Server::new();
    assert!(!server.applied(Op::Cas(put("a", "1"), 5)));
    assert!(server.applied(Op::Cas(put("a", "1"), 0)));
    assert!(!server.applied(Op::Cas(put("a", "2"), 0)));
    let index = server.get_index("a");
    assert!(server.applied(Op::Cas(put("a", "2"), index)));
    assert!(server.applied(Op::DeleteCas("never".into(), 5)));
    assert!(!server.applied(Op::DeleteCas("a".into(), 0)));
    assert!(!server.applied(Op::DeleteCas("a".into(), index)));
    let index = server.get_index("a");
    assert!(server.applied(Op::DeleteCas("a".into(), index)));
    assert_eq!(server.entry("a"), None);
}

#[test]
fn indexes_are_exact_never_zero_and_outlive_deletion() {
    let mut server = Server::new();
    assert_eq!((server.get_index("a/1"), server.list_index("a/")), (1, 1));
    let one = server.done(Op::Set(put("a/1", "x")));
    server.done(Op::Set(put("b/1", "x")));
    assert_eq!((server.get_index("a/1"), server.list_index("a/")), (one, one));
    let deleted = server.done(Op::Delete("a/1".into()));
    assert_eq!((server.get_index("a/1"), server.list_index("a/")), (deleted, deleted));
    let two = server.done(Op::Set(put("a/2", "x")));
    let tree = server.done(Op::DeleteTree("a/".into()));
    assert!(tree > two);
    assert_eq!((server.list_index("a/"), server.list_index("a/2")), (tree, tree));
    server.done(Op::Reap(tree));
    assert_eq!(server.store.tables().youngest_grave(), None);
    assert_eq!(server.get_index("a/1"), tree);
    assert_eq!(server.list_index("a/"), tree);
}

#[test]
fn keys_are_cut_at_the_separator_once() {
    let mut server = Server::new();
    for key in ["a/b/c", "a/b/d", "a/e", "a/f/g", "b"] {
        server.done(Op::Set(put(key, "")));
    }
    let keys = |prefix: &str, separator: &str| {
        let query = kv::Query::Keys { prefix: prefix.into(), separator: separator.into() };
        match server.store.tables().kv(&query).value {
            kv::Reply::Keys(keys) => keys,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(keys("a/", "/"), ["a/b/", "a/e", "a/f/"]);
    assert_eq!(keys("", "/"), ["a/", "b"]);
    assert_eq!(keys("a/b", ""), ["a/b/c", "a/b/d"]);
}

#[test]
fn a_lock_is_taken_kept_and_given_up() {
    let mut server = Server::new();
    server.done(node("n", "1.1.1.1"));
    server.done(session(1, "n", &[], Behavior::Release));
    server.done(session(2, "n", &[], Behavior::Release));
    let text = server.refused(Op::Acquire(put("k", "1"), "nosuch".into()));
    assert_eq!(text, "failed session lookup: index error: UUID must be 36 characters");
    let text = server.refused(Op::Acquire(put("k", "1"), id(9)));
    assert_eq!(text, format!("invalid session \"{}\"", id(9)));
    assert!(server.applied(Op::Acquire(put("k", "1"), id(1))));
    assert!(!server.applied(Op::Acquire(put("k", "2"), id(2))));
    assert!(server.applied(Op::Acquire(put("k", "3"), id(1))));
    let entry = server.entry("k").unwrap();
    assert_eq!((entry.lock_index, entry.session, entry.value), (1, id(1), b"3".to_vec()));
    assert!(!server.applied(Op::Release(put("k", "4"), id(2))));
    assert!(server.applied(Op::Release(put("k", "4"), id(1))));
    let entry = server.entry("k").unwrap();
    assert_eq!((entry.lock_index, entry.session, entry.value), (1, String::new(), b"4".to_vec()));
    assert!(server.applied(Op::Acquire(put("k", "5"), id(2))));
    assert_eq!(server.entry("k").unwrap().lock_index, 2);
    server.done(Op::Set(put("k", "6")));
    let entry = server.entry("k").unwrap();
    assert_eq!((entry.lock_index, entry.session), (0, id(2)));
    assert_eq!(server.store.lock_delay("k"), None);
}

#[test]
fn a_session_that_ends_lets_go_of_its_keys() {
    for behavior in [Behavior::Release, Behavior::Delete] {
        let mut server = Server::new();
        server.done(node("n", "1.1.1.1"));
        server.done(session(1, "n", &[], behavior));
        assert!(server.applied(Op::Acquire(put("k", "1"), id(1))));
        let ended = server.done(session::Op::Destroy(id(1)));
        assert_eq!(server.get_index("k"), ended);
        match behavior {
            Behavior::Release => assert_eq!(server.entry("k").unwrap().session, ""),
            Behavior::Delete => assert_eq!(server.entry("k"), None),
        }
        assert!(server.store.lock_delay("k").is_some());
    }
}

#[test]
fn sessions_need_a_node_and_checks_that_pass() {
    let mut server = Server::new();
    let refused = server.refused(session(1, "n", &[], Behavior::Release));
    assert_eq!(refused, "Missing node registration");
    let mut registration = node("n", "1.1.1.1");
    registration.checks = vec![check("n", "bad", "", Status::Critical)];
    server.done(registration);
    let refused = server.refused(session(1, "n", &["c"], Behavior::Release));
    assert_eq!(refused, "Missing check 'c' registration");
    let refused = server.refused(session(1, "n", &["bad"], Behavior::Release));
    assert_eq!(refused, "Check 'bad' is in critical state");
}

#[test]
fn sessions_end_with_their_check_and_their_node() {
    let with_check = |status| {
        let mut registration = node("n", "1.1.1.1");
        registration.checks = vec![check("n", "c", "", status)];
        registration
    };
    let ends: [(&str, Wrapped); 3] = [
        ("the check turns critical", with_check(Status::Critical).into()),
        ("the check goes", gone("n", "", "c").into()),
        ("the node goes", gone("n", "", "").into()),
    ];
    for (what, end) in ends {
        let mut server = Server::new();
        server.done(with_check(Status::Passing));
        server.done(session(1, "n", &["c"], Behavior::Release));
        server.done(with_check(Status::Warning));
        assert_eq!(server.session_count(), 1, "{what}");
        server.done(end);
        assert_eq!(server.session_count(), 0, "{what}");
    }
}

#[test]
fn a_registration_that_is_already_so_changes_nothing() {
    let mut server = Server::new();
    let registration = || {
        let mut registration = node("n", "1.1.1.1");
        registration.service = Some(service("web", "web", 80));
        registration.checks = vec![check("n", "c", "web", Status::Passing)];
        registration
    };
    let first = server.done(registration());
    server.done(registration());
    let (index, instances) = server.health("web");
    assert_eq!(index, first);
    assert_eq!(instances[0].checks[0].service_name, "web");
    assert_eq!(instances[0].node.stamp.modify, first);
}

#[test]
fn a_service_index_follows_all_that_counts_for_it_and_nothing_else() {
    let mut server = Server::new();
    for (on, name) in [("n", "web"), ("m", "db")] {
        let mut registration = node(on, "1.1.1.1");
        registration.service = Some(service(name, name, 80));
        server.done(registration);
    }
    let db = server.health("db").0;
    let mut last = server.health("web").0;
    let mut own = node("n", "1.1.1.1");
    own.checks = vec![check("n", "c", "web", Status::Critical)];
    let mut nodes = node("n", "1.1.1.1");
    nodes.checks = vec![check("n", "serfHealth", "", Status::Passing)];
    let changes: [Wrapped; 5] = [
        own.into(),
        nodes.into(),
        node("n", "2.2.2.2").into(),
        gone("n", "", "c").into(),
        gone("n", "web", "").into(),
    ];
    for change in changes {
        let index = server.done(change);
        assert!(index > last);
        assert_eq!(server.health("web").0, index);
        assert_eq!(server.health("db").0, db);
        last = index;
    }
    assert_eq!(server.health("never").0, last);
}

#[test]
fn checks_of_an_instance_follow_its_name_and_tags() {
    let mut server = Server::new();
    let mut registration = node("n", "1.1.1.1");
    registration.service = Some(service("web", "web", 80));
    registration.checks = vec![check("n", "c", "web", Status::Passing)];
    server.done(registration.clone());
    let mut renamed = service("web", "shop", 80);
    renamed.tags = vec!["v2".into()];
    registration.service = Some(renamed);
    registration.checks.clear();
    server.done(registration);
    assert!(server.health("web").1.is_empty());
    let (_, instances) = server.health("shop");
    assert_eq!(instances[0].checks[0].service_name, "shop");
    assert_eq!(instances[0].checks[0].service_tags, ["v2"]);
}

#[test]
fn registrations_are_refused_in_consuls_words_and_change_nothing() {
    let mut server = Server::new();
    let mut registration = node("x", "1.1.1.1");
    registration.checks = vec![check("other", "c", "", Status::Passing)];
    let text = "check node \"other\" does not match node \"x\"";
    assert_eq!(server.refused(registration.clone()), text);
    registration.checks = vec![check("x", "c", "nope", Status::Passing)];
    let text = "failed inserting check: Missing service registration on node \"x\"";
    assert_eq!(server.refused(registration), text);
    let seen = server.store.tables().catalog(&catalog::Query::Node("x".into()));
    assert_eq!(seen.value, catalog::Reply::Node(None));
    assert_eq!(seen.index, 1);
}

#[test]
fn a_live_nodes_name_is_reserved_and_a_node_may_be_renamed() {
    let with_id = |name: &str, n: u8| {
        let mut registration = node(name, "1.1.1.3");
        registration.node.id = id(n);
        registration
    };
    let mut server = Server::new();
    let mut live = with_id("n1", 1);
    live.checks = vec![check("n1", "serfHealth", "", Status::Passing)];
    server.done(live.clone());
    let reserved = format!("Node name n1 is reserved by node {} with name n1 (1.1.1.3)", id(1));
    let text = server.refused(with_id("n1", 2));
    let heading = format!("failed inserting node: Error while renaming Node ID: {:?}", id(2));
    assert_eq!(text, format!("{heading}: {reserved}"));
    let created = server.done(with_id("z", 2));
    assert_eq!(server.refused(with_id("n1", 2)), format!("{heading} (1.1.1.3): {reserved}"));
    server.done(with_id("zz", 2));
    let find = |wanted: &str| match server
        .store
        .tables()
        .catalog(&catalog::Query::Node(wanted.into()))
        .value
    {
        catalog::Reply::Node(found) => found.map(|found| (*found.node).clone()),
        other => panic!("unexpected {other:?}"),
    };
    assert_eq!(find("z"), None);
    assert_eq!(find(&id(2)).unwrap().stamp.create, created);
    live.checks[0].status = Status::Critical;
    server.done(live);
    server.done(with_id("n1", 3));
}

#[tokio::test]
async fn a_write_wakes_exactly_those_whom_it_concerns() {
    let mut server = Server::new();
    server.done(Op::Set(put("a/1", "x")));
    let watch = |scope: Scope| server.store.watch(&[scope]);
    let woken = [
        watch(Scope::Key("a/1".into())),
        watch(Scope::Prefix("a/".into())),
        watch(Scope::Prefix("".into())),
    ];
    let asleep = [
        watch(Scope::Key("a/2".into())),
        watch(Scope::Prefix("b/".into())),
        watch(Scope::Prefix("a/1/".into())),
        watch(Scope::Nodes),
    ];
    server.done(Op::Set(put("a/1", "y")));
    assert_eq!(woken.iter().filter(|watch| rung(watch)).count(), woken.len());
    assert_eq!(asleep.iter().filter(|watch| rung(watch)).count(), 0);
    server.done(Op::Set(put("a/1", "y")));
    assert_eq!(woken.iter().filter(|watch| rung(watch)).count(), 0);
    server.done(Op::DeleteTree("a/".into()));
    assert_eq!(woken.iter().filter(|watch| rung(watch)).count(), woken.len());
    drop((woken, asleep));
    assert_eq!(server.store.watched(), 0);
}

#[test]
fn of_ten_thousand_who_watch_a_key_each_one_write_wakes_one() {
    let mut server = Server::new();
    let watches: Vec<Watch> =
        (0..10_000).map(|n| server.store.watch(&[Scope::Key(format!("w/{n}").into())])).collect();
    let woken = |watches: &[Watch]| -> Vec<usize> {
        (0..watches.len()).filter(|at| rung(&watches[*at])).collect()
    };
    for n in [7, 9_999, 0] {
        server.done(Op::Set(put(&format!("w/{n}"), "x")));
        assert_eq!(woken(&watches), [n]);
    }
    server.done(Op::Set(put("w", "above them")));
    server.done(Op::Set(put("w/7/below", "one")));
    assert_eq!(woken(&watches), [0_usize; 0]);
}

#[test]
fn all_who_watch_a_service_are_woken_by_its_changes_and_no_others() {
    let mut server = Server::new();
    let of = |name: &str| Scope::Service(fold(name));
    let watch =
        |server: &Server, name| (0..5_000).map(|_| server.store.watch(&[of(name)])).collect();
    let (web, db): (Vec<Watch>, Vec<Watch>) = (watch(&server, "web"), watch(&server, "db"));
    let mut registration = node("n1", "10.0.0.1");
    registration.service = Some(service("web-1", "web", 80));
    server.done(registration);
    let count = |watches: &[Watch]| watches.iter().filter(|watch| rung(watch)).count();
    assert_eq!((count(&web), count(&db)), (5_000, 0));
    server.done(gone("n1", "web-1", ""));
    assert_eq!((count(&web), count(&db)), (5_000, 0));
}

/// Whether a watch has rung since it was last asked.
fn rung(watch: &Watch) -> bool {
    use std::future::Future;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::pin!(watch.rung()).poll(&mut context).is_ready()
}

#[test]
fn a_snapshot_brings_every_row_back_and_wakes_everybody() {
    let mut server = Server::new();
    let mut registration = node("n", "1.1.1.1");
    registration.node.id = id(7);
    registration.service = Some(service("web", "web", 80));
    registration.checks = vec![check("n", "c", "web", Status::Passing)];
    server.done(registration);
    server.done(session(1, "n", &["c"], Behavior::Release));
    server.applied(Op::Acquire(put("k", "1"), id(1)));
    server.done(Op::Set(put("gone", "x")));
    server.done(Op::Delete("gone".into()));
    let mut bytes = Vec::new();
    server.store.freeze()(&mut bytes).unwrap();
    let other = Store::new();
    let watch = other.watch(&[Scope::Key("k".into())]);
    other.restore(&mut bytes.as_slice()).unwrap();
    assert!(rung(&watch));
    assert_ne!(other.tables().epoch(), Store::new().tables().epoch());
    assert_same(&other.tables(), &server.store.tables());

    for cut in 0..bytes.len() {
        assert!(Store::new().restore(&mut &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Store::new().restore(&mut damaged.as_slice()).is_err(), "damaged at {at}");
    }
}

/// Compares two states in everything but the epoch.
fn assert_same(a: &Tables, b: &Tables) {
    let whole = |tables: &Tables| Tables { epoch: 0, ..tables.clone() };
    assert_eq!(format!("{:?}", whole(a)), format!("{:?}", whole(b)));
}

mod model;
mod txn;
