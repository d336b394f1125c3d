//! Transactions against the same operations one by one.

use super::*;
use agent_core::model::Stamp;
use agent_core::model::txn::{Fault, Look, Op as TxnOp, Outcome, Row, Verb};
use proptest::prelude::*;

/// Where the transaction under test is applied.
const INDEX: Index = 20;

/// A node, an instance, a check, two keys (one of them locked) and two sessions, at the indexes
/// from 11 on.
fn furnished() -> Server {
    let mut server = Server::new();
    server.done(node("n", "1.1.1.1"));
    server.done(Register { service: Some(service("web", "web", 80)), ..node("n", "1.1.1.1") });
    let checks = vec![check("n", "c", "web", Status::Passing)];
    server.done(Register { checks, ..node("n", "1.1.1.1") });
    server.done(Op::Set(put("a", "1")));
    server.done(session(1, "n", &["c"], Behavior::Release));
    server.done(session(2, "n", &[], Behavior::Delete));
    server.done(Op::Acquire(put("b", "1"), id(1)));
    server
}

fn run(store: &Store, index: Index, ops: &[TxnOp]) -> Outcome {
    match store.commit(index, &Command::Txn(ops.to_vec())) {
        Ok(Reply::Txn(reply)) => reply.outcome,
        other => panic!("unexpected {other:?}"),
    }
}

fn faults(found: &[(u32, &str)]) -> Outcome {
    Err(found.iter().map(|(op, what)| Fault { op: *op, what: (*what).into() }).collect())
}

#[test]
fn operations_see_what_those_before_them_did_and_share_an_index() {
    let server = furnished();
    let ops = [
        TxnOp::Kv(Op::Set(put("new", "1"))),
        TxnOp::Look(Look::Key("new".into())),
        TxnOp::Kv(Op::Cas(put("new", "2"), INDEX)),
        TxnOp::Kv(Op::Delete("a".into())),
        TxnOp::Look(Look::Absent("a".into())),
        TxnOp::Look(Look::Tree(String::new())),
    ];
    let rows = run(&server.store, INDEX, &ops).expect("every condition holds");
    let shown: Vec<String> = rows
        .iter()
        .map(|row| match row {
            Row::Kv(entry) => {
                let value = String::from_utf8_lossy(&entry.value);
                format!("{}={value}@{}", entry.key, entry.stamp.modify)
            }
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(shown, ["new=@20", "new=1@20", "new=@20", "b=1@17", "new=2@20"]);
    assert_eq!(server.store.tables().index(), INDEX);
}

#[test]
fn a_fault_leaves_everything_as_it_was_and_wakes_nobody() {
    let server = furnished();
    let before = server.store.tables();
    let watch = server.store.watch(&[Scope::Key("a".into()), Scope::Nodes, Scope::Sessions]);
    let unnamed = Node { name: "m".into(), address: "1.1.1.2".into(), ..Node::default() };
    let ops = [
        TxnOp::Kv(Op::Set(put("a", "2"))),
        TxnOp::Node(Verb::Set, Box::new(unnamed)),
        TxnOp::Look(Look::Key("nope".into())),
        TxnOp::Node(Verb::Delete, Box::new(Node { name: "n".into(), ..Node::default() })),
        TxnOp::Service(Verb::Set, "n".into(), Box::new(service("web", "web", 81))),
    ];
    let wanted = faults(&[(2, "key \"nope\" doesn't exist"), (4, "Missing node registration")]);
    assert_eq!(run(&server.store, INDEX, &ops), wanted);
    assert_same(&server.store.tables(), &Tables { index: INDEX, ..Tables::clone(&before) });
    assert!(!rung(&watch));
    assert!(run(&server.store, INDEX + 1, &ops[..2]).is_ok());
    assert!(rung(&watch));
}

#[test]
fn a_lock_lost_within_a_failed_transaction_is_not_delayed() {
    let server = furnished();
    let gone = TxnOp::Node(Verb::Delete, Box::new(Node { name: "n".into(), ..Node::default() }));
    let nope = TxnOp::Look(Look::Key("nope".into()));
    assert!(run(&server.store, INDEX, &[gone.clone(), nope]).is_err());
    assert_eq!(server.store.lock_delay("b"), None);
    assert!(run(&server.store, INDEX + 1, &[gone]).is_ok());
    assert!(server.store.lock_delay("b").is_some());
}

fn ops() -> impl Strategy<Value = TxnOp> {
    let key = || prop_oneof![Just("a"), Just("b"), Just("b/1"), Just("c")].prop_map(String::from);
    let index = || prop_oneof![3 => Just(0), 4 => 11..18_u64, 2 => Just(INDEX)];
    let verb = || {
        prop_oneof![
            4 => Just(Verb::Set),
            1 => Just(Verb::Cas),
            1 => Just(Verb::Delete),
            1 => Just(Verb::DeleteCas)
        ]
    };
    let stamp = move || index().prop_map(|modify| Stamp { create: 0, modify });
    let some_put = move || (key(), 0..2_u8).prop_map(|(key, value)| put(&key, &value.to_string()));
    let on = || prop_oneof![4 => Just("n"), 1 => Just("m")];
    let kv = prop_oneof![
        4 => some_put().prop_map(Op::Set),
        1 => (some_put(), index()).prop_map(|(put, index)| Op::Cas(put, index)),
        1 => (some_put(), 1..4_u8).prop_map(|(put, n)| Op::Acquire(put, id(n))),
        1 => (some_put(), 1..4_u8).prop_map(|(put, n)| Op::Release(put, id(n))),
        1 => key().prop_map(Op::Delete),
        1 => (key(), index()).prop_map(|(key, index)| Op::DeleteCas(key, index)),
        1 => key().prop_map(Op::DeleteTree),
    ];
    let look = prop_oneof![
        key().prop_map(Look::Key),
        key().prop_map(Look::Tree),
        key().prop_map(Look::Absent),
        (key(), index()).prop_map(|(key, index)| Look::Index(key, index)),
        (key(), 1..3_u8).prop_map(|(key, n)| Look::Session(key, id(n))),
        on().prop_map(|name| Look::Node { name: name.into(), id: String::new() }),
    ];
    let some_node = (verb(), on(), 1..3_u8, stamp()).prop_map(|(verb, name, last, stamp)| {
        let row = node(name, &format!("1.1.1.{last}")).node;
        TxnOp::Node(verb, Box::new(Node { stamp, ..row }))
    });
    let some_service = (verb(), on(), 80..82_u16, stamp()).prop_map(|(verb, on, port, stamp)| {
        let row = Service { stamp, ..service("web", "web", port) };
        TxnOp::Service(verb, on.into(), Box::new(row))
    });
    let status = prop_oneof![Just(Status::Passing), Just(Status::Critical)];
    let some_check = (verb(), on(), status, stamp()).prop_map(|(verb, on, status, stamp)| {
        TxnOp::Check(verb, Box::new(Check { stamp, ..check(on, "c", "", status) }))
    });
    prop_oneof![
        6 => kv.prop_map(TxnOp::Kv),
        2 => look.prop_map(TxnOp::Look),
        1 => some_node,
        1 => some_service,
        1 => some_check,
    ]
}

/// Does an operation as a command of its own; tells whether it could be done.
fn alone(store: &Store, op: &TxnOp) -> bool {
    let tables = store.tables();
    let on_node = |name: &str| Register { skip_node_update: true, ..node(name, "") };
    let (verb, has, index, known, set, delete) = match op {
        TxnOp::Kv(op) => {
            let done = store.commit(INDEX, &Command::Kv(op.clone()));
            return matches!(done, Ok(Reply::Done | Reply::Applied(true)));
        }
        TxnOp::Look(look) => return holds(&tables, look),
        TxnOp::Node(verb, row) => {
            let has = tables.nodes.get(&fold(&row.name)).map(|row| row.stamp.modify);
            let set = Register { node: Node::clone(row), ..Register::default() };
            (verb, has, row.stamp.modify, true, set, gone(&row.name, "", ""))
        }
        TxnOp::Service(verb, on, row) => {
            let has = tables.services.get(&(fold(on), fold(&row.id))).map(|row| row.stamp.modify);
            let known = tables.nodes.contains_key(&fold(on));
            let set = Register { service: Some(Service::clone(row)), ..on_node(on) };
            (verb, has, row.stamp.modify, known, set, gone(on, &row.id, ""))
        }
        TxnOp::Check(verb, row) => {
            let on = &row.node;
            let has = tables.checks.get(&(fold(on), fold(&row.id))).map(|row| row.stamp.modify);
            let known = tables.nodes.contains_key(&fold(on));
            let set = Register { checks: vec![Check::clone(row)], ..on_node(on) };
            (verb, has, row.stamp.modify, known, set, gone(on, "", &row.id))
        }
    };
    let command = match verb {
        Verb::Set if known => Command::Register(Box::new(set)),
        Verb::Cas if known && has.unwrap_or(0) == index => Command::Register(Box::new(set)),
        Verb::Delete => Command::Deregister(delete),
        Verb::DeleteCas if has == Some(index) => Command::Deregister(delete),
        Verb::Set | Verb::Cas | Verb::DeleteCas => return false,
    };
    store.commit(INDEX, &command).is_ok()
}

fn holds(tables: &Tables, look: &Look) -> bool {
    let entry = |key: &str| tables.kv.get(key);
    match look {
        Look::Key(key) => entry(key).is_some(),
        Look::Tree(_) => true,
        Look::Absent(key) => entry(key).is_none(),
        Look::Index(key, index) => entry(key).is_some_and(|entry| entry.stamp.modify == *index),
        Look::Session(key, session) => entry(key).is_some_and(|entry| entry.session == *session),
        Look::Node { name, .. } => tables.nodes.contains_key(&fold(name)),
        Look::Service { .. } | Look::Check { .. } | Look::Unknown(..) => {
            unreachable!("not among the strategy's")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_transaction_is_its_operations_one_by_one_or_nothing(
        ops in proptest::collection::vec(ops(), 1..7),
    ) {
        let (together, single) = (furnished().store, furnished().store);
        let before = together.tables();
        let outcome = run(&together, INDEX, &ops);
        let after = together.tables();
        let failed = ops.iter().position(|op| !alone(&single, op));
        match (&outcome, failed) {
            (Ok(_), None) => {
                let one_by_one = Tables { index: INDEX, ..Tables::clone(&single.tables()) };
                assert_same(&after, &one_by_one);
            }
            (Err(faults), Some(first)) => {
                prop_assert_eq!(faults[0].op as usize, first);
                assert_same(&after, &Tables { index: INDEX, ..Tables::clone(&before) });
            }
            (outcome, failed) => {
                prop_assert!(false, "{outcome:?} although {failed:?} failed");
            }
        }
    }
}
