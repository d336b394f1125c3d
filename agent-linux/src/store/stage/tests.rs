use super::*;
use crate::store::{Scope, Store};
use agent_core::model::catalog::{Deregister, Register};
use agent_core::model::command::Command;
use agent_core::model::kv::{self, Put};
use agent_core::model::node::Node;

/// All parts of a state.
fn parts_of(tables: &Tables) -> Vec<Vec<u8>> {
    let mut parts = tables.parts();
    let mut all = Vec::new();
    loop {
        let part = parts.next_part().unwrap();
        if part.is_empty() {
            return all;
        }
        all.push(part);
    }
}

fn op(op: Op) -> Command {
    Command::Snapshot(op)
}

fn part(id: &str, number: usize, frames: &[u8]) -> Command {
    op(Op::Stage(Part { id: id.into(), number: number as u64, frames: frames.into() }))
}

/// Restores a state into a store whose log is at `index`; answers the log's index after it.
fn restore(store: &Store, mut index: Index, parts: &[Vec<u8>]) -> Result<Index, Error> {
    let mut commit = |command: Command| {
        index += 1;
        store.commit(index, &command)
    };
    commit(op(Op::Begin("r".into())))?;
    for (number, frames) in parts.iter().enumerate() {
        commit(part("r", number, frames))?;
    }
    commit(op(Op::Commit("r".into())))?;
    Ok(index)
}

fn rows(tables: &Tables) -> String {
    let rows = Tables { index: 0, epoch: 0, restored: 0, ahead: 0, stage: None, ..tables.clone() };
    format!("{rows:?}")
}

/// Any state that commands lead to can be kept and restored.
pub(in crate::store) fn assert_restorable(tables: &Tables) {
    let store = Store::new();
    restore(&store, 5, &parts_of(tables)).unwrap();
    assert_eq!(rows(&store.tables()), rows(tables));
    assert!(store.tables().index() > tables.index());
}

fn set(key: &str, value: &str) -> Command {
    Command::Kv(kv::Op::Set(Put { key: key.into(), value: value.into(), flags: 0 }))
}

/// A store with some keys, its log at `index`.
fn store(index: Index, keys: usize) -> Store {
    let store = Store::new();
    for number in 0..keys {
        let at = index - (keys - 1 - number) as Index;
        store.commit(at, &set(&format!("k/{number:05}"), &"v".repeat(1000))).unwrap();
    }
    store
}

#[test]
fn a_restored_state_is_seen_by_nobody_before_it_is_complete() {
    let parts = parts_of(&store(900, 600).tables());
    assert!(parts.len() > 2, "{} parts", parts.len());
    let store = store(10, 1);
    let before = rows(&store.tables());
    let mut index = 10;
    let mut commit = |command| {
        index += 1;
        store.commit(index, &command)
    };
    commit(op(Op::Begin("r".into()))).unwrap();
    for (number, frames) in parts.iter().enumerate() {
        commit(op(Op::Commit("r".into()))).unwrap_err();
        commit(part("r", number + 1, frames)).unwrap_err();
        commit(part("other", number, frames)).unwrap_err();
        commit(part("r", number, frames)).unwrap();
        assert_eq!(rows(&store.tables()), before);
        assert_eq!(store.tables().staged(), Some(("r", number as u64 + 1)));
    }
    // A snapshot of raft's in between carries what is staged.
    let mut bytes = Vec::new();
    store.freeze()(&mut bytes).unwrap();
    let other = Store::new();
    other.restore(&mut &bytes[..]).unwrap();
    for store in [&store, &other] {
        let watch = store.watch(&[Scope::Nodes]);
        let (epoch, last) = (store.tables().epoch(), store.tables().index());
        store.commit(100, &op(Op::Commit("r".into()))).unwrap();
        let tables = store.tables();
        assert_eq!(tables.kv.len(), 600);
        assert!(tables.epoch() > epoch && tables.index() > 900 && tables.index() > last);
        assert_eq!((tables.restored(), tables.staged()), (tables.index(), None));
        drop(watch);
    }
    assert_eq!(rows(&other.tables()), rows(&store.tables()));
}

#[test]
fn indexes_go_on_above_both_the_old_state_and_the_restored_one() {
    for (kept_at, log_at) in [(900, 10), (10, 900)] {
        let parts = parts_of(&store(kept_at, 3).tables());
        let store = store(log_at, 1);
        let old = store.tables().index();
        let at = restore(&store, log_at, &parts).unwrap();
        let restored = store.tables().index();
        assert!(restored > old && restored > kept_at);
        store.commit(at + 1, &set("k/00000", "new")).unwrap();
        assert_eq!(store.tables().index(), restored + 1);
        assert_eq!(store.tables().kv["k/00000"].stamp.modify, restored + 1);
        // So does a server that comes back from a snapshot of raft's.
        let (mut bytes, copy) = (Vec::new(), Store::new());
        store.freeze()(&mut bytes).unwrap();
        copy.restore(&mut &bytes[..]).unwrap();
        copy.commit(at + 2, &set("b", "1")).unwrap();
        assert_eq!(copy.tables().kv["b"].stamp.modify, restored + 2);
        assert_eq!(copy.tables().restored(), restored);
    }
}

#[test]
fn a_later_restore_takes_the_place_of_one_left_unfinished() {
    let parts = parts_of(&store(20, 3).tables());
    let store = Store::new();
    store.commit(1, &op(Op::Begin("left".into()))).unwrap();
    store.commit(2, &part("left", 0, &parts[0])).unwrap();
    restore(&store, 2, &parts).unwrap();
    store.commit(30, &op(Op::Commit("left".into()))).unwrap_err();
    store.commit(31, &op(Op::Begin("r".into()))).unwrap();
    store.commit(32, &op(Op::Abandon("left".into()))).unwrap_err();
    store.commit(33, &op(Op::Abandon("r".into()))).unwrap();
    assert_eq!(store.tables().staged(), None);
    assert_eq!(store.tables().kv.len(), 3);
}

/// A state with a node, an instance, a check, a locked key.
fn whole() -> Tables {
    let store = Store::new();
    let node = Node { name: "n".into(), id: "i".into(), ..Node::default() };
    let service = Some(agent_core::model::service::Service {
        id: "s".into(),
        name: "s".into(),
        ..Default::default()
    });
    let checks = vec![agent_core::model::check::Check {
        node: "n".into(),
        id: "c".into(),
        service_id: "s".into(),
        ..Default::default()
    }];
    let registration = Register { node, service, checks, ..Register::default() };
    let id = "00000000-0000-0000-0000-000000000001";
    let session = agent_core::model::session::Session {
        id: id.into(),
        node: "n".into(),
        ..Default::default()
    };
    let put = Put { key: "k".into(), value: b"v".to_vec(), flags: 0 };
    for (index, command) in (7..).zip([
        Command::Register(Box::new(registration)),
        Command::Session(agent_core::model::session::Op::Create(session)),
        Command::Kv(kv::Op::Acquire(put, id.into())),
        Command::Deregister(Deregister { node: "nobody".into(), ..Default::default() }),
    ]) {
        store.commit(index, &command).unwrap();
    }
    Tables::clone(&store.tables())
}

#[test]
fn rows_that_do_not_fit_are_refused_and_nothing_changes() {
    let sound = whole();
    let rows_of = |tables: &Tables| {
        let parts = parts_of(tables);
        assert_eq!(parts.len(), 1);
        snapshot::read_part(&parts[0], 0).unwrap()
    };
    let count = rows_of(&sound).len();
    assert!(count >= 7, "{count} rows");
    let admitted = |rows: Vec<Row>| {
        let (id, tables) = (String::new(), Tables::default());
        let mut stage = Stage { id, parts: 0, rows: 0, complete: false, tables };
        for row in rows {
            if !stage.admits(&row) {
                return false;
            }
            stage.complete |= matches!(row, Row::End { .. });
            stage.tables.enter(row);
            stage.rows += 1;
        }
        true
    };
    assert!(admitted(rows_of(&sound)));
    for at in 0..count {
        let mut twice = rows_of(&sound);
        let again = rows_of(&sound).swap_remove(at);
        let harmless = matches!(again, Row::Changed { .. } | Row::Autopilot(_));
        twice.insert(at + 1, again);
        twice.truncate(at + 2);
        assert!(harmless || !admitted(twice), "row {at} twice");
        let mut missing = rows_of(&sound);
        missing.remove(at);
        assert!(!admitted(missing) || at + 1 == count, "row {at} missing");
    }
    let begin = |index| Row::Begin { index, gone: super::super::Gone::default() };
    assert!(!admitted(vec![begin(u64::MAX)]));
    for mut row in rows_of(&sound).into_iter().skip(1) {
        if let Row::Changed { index, .. } = &mut row {
            *index = 12;
            assert!(!admitted(vec![begin(11), row]));
            break;
        }
    }
    let whole = parts_of(&sound).remove(0);
    let store = store(50, 2);
    let before = rows(&store.tables());
    store.commit(51, &op(Op::Begin("r".into()))).unwrap();
    for (at, frames) in [b"".to_vec(), b"RVSN\x02".to_vec(), b"consul snapshot".to_vec()]
        .into_iter()
        .chain((0..whole.len()).map(|cut| whole[..cut].to_vec()))
        .enumerate()
    {
        let refused = store.commit(52 + at as u64, &part("r", 0, &frames)).is_err();
        let done = store.commit(52 + at as u64, &op(Op::Commit("r".into())));
        assert!(done.is_err(), "{at}");
        if !refused {
            // Cut between two rows: it may go on from there.
            store.commit(52 + at as u64, &op(Op::Begin("r".into()))).unwrap();
        }
    }
    assert_eq!(rows(&store.tables()), before);
}
