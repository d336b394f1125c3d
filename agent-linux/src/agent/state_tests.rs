//! The state and the plan that follows from it.

use super::super::plan::Role;
use super::*;
use agent_core::model::check::SERF_HEALTH;
use agent_core::model::command::Command;

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

fn state() -> State {
    let node = Node {
        id: "uuid".to_owned(),
        name: "n1".to_owned(),
        address: "10.0.0.1".to_owned(),
        ..Node::default()
    };
    let update_interval = Duration::from_secs(100);
    State::new(node, OutputRules { update_interval, bytes: 64, discard: false }, Rng::new(1))
}

fn service(id: &str) -> Service {
    let tags = vec!["t".to_owned()];
    Service { id: id.to_owned(), name: id.to_owned(), tags, ..Service::default() }
}

fn check(id: &str, service_id: &str) -> CheckDefinition {
    CheckDefinition {
        id: id.to_owned(),
        name: id.to_owned(),
        service_id: service_id.to_owned(),
        ..CheckDefinition::default()
    }
}

fn put(state: &mut State, service_id: &str, checks: &[&str]) {
    state.put_service(service(service_id), String::new(), Origin::Api);
    for id in checks {
        let ttl = Work::Ttl(Duration::from_secs(10));
        let definition = CheckDefinition { ttl: Duration::from_secs(10), ..check(id, service_id) };
        state.put_check(at(0), &definition, "ttl", ttl, Origin::Api);
    }
}

/// Writes the commands of a plan in short.
fn shown(state: &State) -> Vec<String> {
    let show = |command: &Command| match command {
        Command::Register(register) => {
            let service = register.service.as_ref().map_or("-", |service| &service.id);
            let checks: Vec<&str> = register.checks.iter().map(|c| c.id.as_str()).collect();
            let node = if register.skip_node_update { "" } else { "node+" };
            format!("{node}{service}{checks:?}")
        }
        Command::Deregister(gone) => format!("-{}/{}", gone.service_id, gone.check_id),
        Command::Kv(_)
        | Command::Session(_)
        | Command::Autopilot(_)
        | Command::Prepared(_)
        | Command::Coordinate(_)
        | Command::Snapshot(_)
        | Command::Txn(_) => "?".to_owned(),
    };
    state.changes().iter().map(|step| show(&step.command)).collect()
}

fn settle_all(state: &mut State) {
    for step in state.changes() {
        state.settle(&step);
    }
    assert_eq!(shown(state), [""; 0]);
}

/// What the catalog holds once it agrees.
fn catalog(state: &State) -> (Node, Vec<Arc<Service>>, Vec<Arc<Check>>) {
    let services = state.services.values().map(|entry| Arc::clone(&entry.row)).collect();
    let checks = state.checks.values().map(|entry| Arc::clone(&entry.row)).collect();
    (state.node.clone(), services, checks)
}

#[test]
fn a_service_travels_with_its_checks_and_the_node() {
    let mut state = state();
    put(&mut state, "web", &["c1", "c2"]);
    state.put_check(at(0), &check("mem", ""), "", Work::Nothing, Origin::Api);
    assert_eq!(shown(&state), ["node+web[\"c1\", \"c2\"]", "node+-[\"mem\"]"]);
    settle_all(&mut state);
    state.handle_report(at(1), "c1", Status::Passing, "ok");
    assert_eq!(shown(&state), ["-[\"c1\"]"], "a status alone does not resend the service");
}

#[test]
fn a_change_in_flight_is_not_taken_for_sent() {
    let mut state = state();
    put(&mut state, "web", &["c"]);
    let in_flight = state.changes();
    state.handle_report(at(1), "c", Status::Passing, "ok");
    for step in &in_flight {
        state.settle(step);
    }
    assert_eq!(shown(&state), ["-[\"c\"]"]);
}

#[test]
fn removals_reach_the_catalog_and_a_return_recalls_them() {
    let mut state = state();
    put(&mut state, "web", &["c"]);
    put(&mut state, "db", &["d"]);
    settle_all(&mut state);
    assert_eq!(state.remove_service("web"), Some(vec!["c".to_owned()]));
    assert!(state.remove_check("d"));
    assert_eq!(shown(&state), ["-web/", "-/d"], "a service takes its checks along");
    put(&mut state, "web", &[]);
    assert_eq!(shown(&state), ["web[]", "-/d"]);
}

#[test]
fn registering_the_same_again_is_no_news_and_keeps_the_status() {
    let mut state = state();
    put(&mut state, "web", &["c"]);
    state.handle_report(at(1), "c", Status::Passing, "ok");
    settle_all(&mut state);
    put(&mut state, "web", &["c"]);
    assert_eq!(shown(&state), [""; 0]);
    assert_eq!(state.checks["c"].row.status, Status::Passing);
    let mut other = service("web");
    other.tags.clear();
    state.put_service(other, String::new(), Origin::Api);
    assert_eq!(shown(&state), ["web[\"c\"]"], "checks show their service's tags");
}

#[test]
fn output_alone_waits_and_a_status_does_not() {
    let mut state = state();
    put(&mut state, "web", &["c"]);
    state.handle_report(at(1), "c", Status::Passing, "one");
    settle_all(&mut state);
    state.take_signals();
    state.handle_report(at(2), "c", Status::Passing, "two");
    assert!(!state.take_signals().dirty);
    assert_eq!(state.checks["c"].row.output, "two", "the agent itself shows it at once");
    let due = state.checks["c"].deferred.unwrap();
    assert!(due >= at(52) && due < at(152), "half the interval and up to one more");
    let (node, services, mut checks) = catalog(&state);
    Arc::make_mut(&mut checks[0]).output = "one".to_owned();
    state.compare(Role::Client, Some(&node), &services, &checks);
    assert_eq!(shown(&state), [""; 0], "a full sync does not hurry it");
    state.handle_report(due - Duration::from_secs(1), "c", Status::Passing, "three");
    state.handle_timeout(due);
    assert!(state.take_signals().dirty);
    assert_eq!(shown(&state), ["-[\"c\"]"]);
    settle_all(&mut state);
    state.handle_report(due, "c", Status::Warning, "four");
    assert_eq!(shown(&state), ["-[\"c\"]"]);
}

#[test]
fn a_full_sync_mends_every_difference() {
    let mut state = state();
    put(&mut state, "web", &["c1", "c2"]);
    put(&mut state, "db", &[]);
    settle_all(&mut state);
    let (node, mut services, mut checks) = catalog(&state);
    state.compare(Role::Client, Some(&node), &services, &checks);
    assert_eq!(shown(&state), [""; 0]);

    Arc::make_mut(&mut checks[0]).status = Status::Passing;
    let extra = Check { service_id: "web".to_owned(), id: "x".to_owned(), ..Check::default() };
    let foreign = Check { service_id: "old".to_owned(), id: "y".to_owned(), ..Check::default() };
    let serf = Check { id: SERF_HEALTH.to_owned(), ..Check::default() };
    checks.extend([extra, foreign, serf].map(Arc::new));
    services.retain(|service| service.id != "db");
    services.extend([service("old"), service("consul")].map(Arc::new));
    let mut moved = node.clone();
    moved.address = "10.9.9.9".to_owned();
    state.compare(Role::Server, Some(&moved), &services, &checks);
    assert_eq!(shown(&state), ["node+db[]", "-old/", "node+-[\"c1\"]", "-/x"]);
    state.compare(Role::Client, Some(&node), &services, &checks);
    assert_eq!(shown(&state), ["db[]", "-consul/", "-old/", "-[\"c1\"]", "-/x"]);
    state.compare(Role::Client, None, &[], &[]);
    assert_eq!(shown(&state), ["node+db[]", "node+web[\"c1\", \"c2\"]"]);
}

#[test]
fn tags_changed_in_the_catalog_stay_if_the_service_says_so() {
    let mut state = state();
    let ours = Service { enable_tag_override: true, ..service("web") };
    state.put_service(ours, String::new(), Origin::Api);
    settle_all(&mut state);
    let (node, mut services, checks) = catalog(&state);
    Arc::make_mut(&mut services[0]).tags = vec!["theirs".to_owned()];
    state.compare(Role::Client, Some(&node), &services, &checks);
    assert_eq!(shown(&state), [""; 0]);
    assert_eq!(state.services["web"].row.tags, ["theirs"]);
}

#[test]
fn a_missed_ttl_turns_critical_with_the_last_words() {
    let mut state = state();
    put(&mut state, "web", &["c"]);
    assert_eq!(state.poll_timeout(), Some(at(10)));
    state.handle_report(at(5), "c", Status::Passing, "hello");
    assert!(state.handle_timeout(at(10)).is_empty());
    assert_eq!(state.checks["c"].row.status, Status::Passing);
    state.handle_timeout(at(15));
    let row = &state.checks["c"].row;
    assert_eq!(row.status, Status::Critical);
    assert_eq!(row.output, "TTL expired (last output before timeout follows): hello");
}

#[test]
fn a_run_is_started_judged_and_repeated() {
    let mut state = state();
    let definition = CheckDefinition {
        tcp: "127.0.0.1:1".to_owned(),
        interval: Duration::from_secs(10),
        failures_before_critical: 2,
        status: "passing".to_owned(),
        ..check("c", "")
    };
    let work = Work::of(&definition, 64);
    state.put_check(at(0), &definition, "tcp", work, Origin::Api);
    let due = state.handle_timeout(at(10));
    let [Due::Run(key, _)] = due[..] else { panic!("{due:?}") };
    let bad = Outcome { status: Status::Critical, output: "bad".to_owned() };
    state.handle_outcome(at(11), key, &bad);
    assert_eq!(state.checks["c"].row.status, Status::Passing);
    assert_eq!(state.poll_timeout(), Some(at(21)));
    state.handle_outcome(at(21), key, &bad);
    assert_eq!(state.checks["c"].row.status, Status::Critical);
    state.remove_check("c");
    state.handle_outcome(at(22), key, &bad);
    assert_eq!(state.poll_timeout(), None);
}

#[test]
fn a_service_critical_for_too_long_is_to_be_removed() {
    let mut state = state();
    state.put_service(service("web"), String::new(), Origin::Api);
    let definition = CheckDefinition {
        deregister_critical_service_after: Duration::from_secs(1),
        ..check("c", "web")
    };
    state.put_check(at(0), &definition, "", Work::Nothing, Origin::Api);
    assert!(state.handle_timeout(at(59)).is_empty(), "never before a minute");
    let due = state.handle_timeout(at(60));
    let [Due::Reap { service_id, .. }] = &due[..] else { panic!("{due:?}") };
    assert_eq!(service_id, "web");
}

#[test]
fn an_alias_of_an_own_service_follows_it() {
    let mut state = state();
    put(&mut state, "web", &["c"]);
    state.put_service(service("proxy"), String::new(), Origin::Api);
    let definition = CheckDefinition { alias_service: "web".to_owned(), ..check("a", "proxy") };
    let work = Work::of(&definition, 64);
    state.put_check(at(0), &definition, "alias", work, Origin::Api);
    state.handle_aliases(at(0));
    assert_eq!(state.checks["a"].row.output, "Aliased check \"c\" failing: ");
    state.handle_report(at(1), "c", Status::Passing, "");
    state.handle_aliases(at(1));
    assert_eq!(state.checks["a"].row.output, "All checks passing.");
    assert_eq!(state.checks["a"].row.status, Status::Passing);
    state.remove_service("web");
    state.handle_aliases(at(2));
    assert_eq!(state.checks["a"].row.status, Status::Critical);
}

#[test]
fn texts_are_cut_at_characters() {
    assert_eq!(cut("aöb", 2), "a");
    assert_eq!(cut("aöb", 3), "aö");
    assert_eq!(cut("ab", 9), "ab");
}
