//! Behaviour of prepared queries in the store.

use super::*;
use crate::store::Store;
use agent_core::model::catalog::Register;
use agent_core::model::check::Check;
use agent_core::model::command::Command;
use agent_core::model::node::Node;
use agent_core::model::query::Template as Settings;
use agent_core::model::service::Service;
use agent_core::model::session::{self, Session};

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn named(n: u32, name: &str) -> PreparedQuery {
    let service = Target { service: "web".into(), ..Target::default() };
    PreparedQuery { id: id(n), name: name.into(), service, ..PreparedQuery::default() }
}

fn template(n: u32, name: &str, text: &str) -> PreparedQuery {
    let mut query = named(n, name);
    query.template.kind = "name_prefix_match".into();
    query.service.service = text.into();
    query
}

struct Server {
    store: Store,
    index: u64,
}

impl Server {
    fn new() -> Self {
        Self { store: Store::new(), index: 10 }
    }

    fn commit(&mut self, command: Command) -> Result<request::Reply, Error> {
        self.index += 1;
        self.store.commit(self.index, &command)
    }

    fn set(&mut self, query: PreparedQuery) -> Result<request::Reply, Error> {
        self.commit(Command::Prepared(Op::Create(Box::new(query))))
    }

    fn refused(&mut self, query: PreparedQuery) -> String {
        self.set(query).expect_err("refused").text
    }

    fn service_for(&self, name: &str) -> Result<String, String> {
        let found = self.store.tables().resolve(name);
        found.map(|query| query.service.service.clone()).map_err(|error| error.text)
    }
}

/// What a template makes of a name, or why it cannot be read.
fn filled(text: &str, regexp: &str, name: &str) -> Result<String, String> {
    let mut query = template(1, "h", text);
    query.template.regexp = regexp.into();
    let compiled = Template::compile(&query).map_err(|error| error.text)?;
    let query = compiled.render(&query, name).map_err(|error| error.text)?;
    Ok(query.service.service)
}

#[test]
fn texts_are_filled_in_as_consul_does() {
    for (text, want) in [
        ("$${x}", "${x}"),
        ("$x", "$x"),
        ("a}b", "a}b"),
        ("${ name.full }", "hello"),
        ("${name.prefix}|${name.suffix}|${agent.segment}", "h|ello|"),
        ("${match( 1 )}", "h"),
        ("${match(\"2\")}", "e"),
        ("${match(-1)}${match(9)}${match(99999999999)}", ""),
        ("${\"a\"}", "a"),
        ("${\"a${name.full}\"}", "ahello"),
        ("${\"a\\n\\\"\\q\"}", "a\n\"\\q"),
        ("${(name.full)}", "hello"),
        ("${007}", "7"),
        ("${-1}", "-1"),
        ("\\\\x", "\\\\x"),
        ("$$", "$"),
        ("$${", "${"),
        ("$$${name.full}", "$hello"),
        ("$$$${a}", "$${a}"),
        ("${\nname.full}}", "hello}"),
    ] {
        assert_eq!(filled(text, "^(h)(e)", "hello").as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn texts_that_cannot_be_filled_in_are_refused_in_consuls_words() {
    let syntax = "Bad format '{}' in Service.Service: parse error: syntax error";
    let bad = |why: &str| format!("Bad evaluation for '{{}}' in Service.Service: {why}");
    for (text, why) in [
        ("${}", syntax.to_owned()),
        ("a${", syntax.to_owned()),
        ("${name.full", syntax.to_owned()),
        ("${match(1}", syntax.to_owned()),
        ("${a b}", syntax.to_owned()),
        ("${match(99999999999999999999)}", syntax.to_owned()),
        ("${\"a}", syntax.to_owned()),
        ("${name}", bad("1:3: unknown variable accessed: name")),
        ("${foo-bar}", bad("1:3: unknown variable accessed: foo-bar")),
        ("${upper(name.full)}", bad("1:3: unknown function called: upper")),
        ("${match(1,2)}", bad("1:3: match: expected 1 arguments, got 2")),
        ("${match()}", bad("1:3: match: expected 1 arguments, got 0")),
        (
            "${match(name.full)}",
            bad("__builtin_StringToInt: strconv.ParseInt: parsing \"h\": invalid syntax"),
        ),
    ] {
        let why = format!("failed compiling template: {}", why.replace("{}", text));
        assert_eq!(filled(text, "", "hello"), Err(why), "{text}");
    }
    let deep = format!("${{{}1{}}}", "(".repeat(10_000), ")".repeat(10_000 - 1));
    assert!(filled(&deep, "", "hello").is_err(), "nesting is bounded");
    assert!(filled(&"x".repeat(20_000), "", "hello").is_err(), "length is bounded");
    assert!(filled("x", "(a{1000}){1000}", "hello").is_err(), "the pattern is bounded");
}

#[test]
fn a_name_finds_the_longest_prefix_unless_somebody_has_it() {
    let mut server = Server::new();
    assert_eq!(server.service_for("geo-db"), Err("Query not found".into()));
    for (n, name) in [(1, ""), (2, "geo-"), (3, "Geo-db"), (4, "geo-da"), (5, "h"), (6, "geo-db-x")]
    {
        server.set(template(n, name, &format!("{n}:${{name.full}}"))).unwrap();
    }
    server.set(named(7, "geo-static")).unwrap();
    for (name, want) in [
        ("x", "1:x"),
        ("g", "1:g"),
        ("geo-", "2:geo-"),
        ("geo-d", "2:geo-d"),
        ("geo-dz", "2:geo-dz"),
        ("GEO-DB-Y", "3:GEO-DB-Y"),
        ("geo-db-xyz", "6:geo-db-xyz"),
        ("geo-static", "web"),
        ("geo-static2", "2:geo-static2"),
        ("z", "1:z"),
    ] {
        assert_eq!(server.service_for(name).as_deref(), Ok(want), "{name}");
    }
    assert_eq!(server.service_for(&id(7)).as_deref(), Ok("web"));
    let by_id = "prepared query templates can only be resolved up by name, not by ID";
    assert_eq!(server.service_for(&id(2)), Err(by_id.into()));
    assert_eq!(server.service_for(&"x".repeat(2000)), Err("Query not found".into()));
}

#[test]
fn names_are_unique_without_case() {
    let mut server = Server::new();
    server.set(named(1, "q")).unwrap();
    server.set(template(2, "", "a")).unwrap();
    assert_eq!(server.refused(named(3, "Q")), "name 'Q' aliases an existing query name");
    let text = format!("name '{}' aliases an existing query ID", id(1));
    assert_eq!(server.refused(named(3, &id(1))), text);
    let text = "a query template with an empty name already exists";
    assert_eq!(server.refused(template(3, "", "b")), text);
    let update = |query| Command::Prepared(Op::Update(Box::new(query)));
    server.commit(update(named(1, "r"))).unwrap();
    assert_eq!(server.service_for("r").as_deref(), Ok("web"));
    server.set(named(3, "Q")).unwrap();
    let error = server.commit(update(named(9, "x"))).unwrap_err();
    assert_eq!(error, unknown(&id(9)));
}

#[test]
fn a_query_ends_with_its_session() {
    let mut server = Server::new();
    let bound = PreparedQuery { session: id(90), ..named(1, "q") };
    assert_eq!(server.refused(bound.clone()), format!("invalid session \"{}\"", id(90)));
    let node = Node { name: "n".into(), address: "10.0.0.1".into(), ..Node::default() };
    server.commit(Command::Register(Box::new(Register { node, ..Register::default() }))).unwrap();
    for n in [90, 91] {
        let session = Session { id: id(n), node: "n".into(), ..Session::default() };
        server.commit(Command::Session(session::Op::Create(session))).unwrap();
    }
    server.set(bound).unwrap();
    server.set(PreparedQuery { session: id(91), ..named(2, "") }).unwrap();
    let list = server.store.tables().queries();
    let watch = server.store.watch(&list.scopes);
    server.commit(Command::Session(session::Op::Destroy(id(90)))).unwrap();
    assert!(futures_now(watch.rung()), "those who wait are told");
    let after = server.store.tables().queries();
    assert_eq!(after.index, server.index);
    assert_eq!(server.store.tables().query_count(), 1);
    assert!(server.store.tables().has_query(&id(2)));
}

/// Tells whether a future is ready at once.
fn futures_now(future: impl Future<Output = ()>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::pin!(future).poll(&mut context).is_ready()
}

#[test]
fn a_query_finds_what_its_tags_checks_and_metadata_allow() {
    let mut server = Server::new();
    let statuses = [Status::Passing, Status::Warning, Status::Critical];
    for (name, status) in ["a", "b", "c"].into_iter().zip(statuses) {
        let node = Node { name: name.into(), address: "10.0.0.1".into(), ..Node::default() };
        let service = Service {
            id: "web".into(),
            name: "web".into(),
            tags: vec!["V1".into(), name.into()],
            meta: [("on".to_owned(), name.to_owned())].into(),
            ..Service::default()
        };
        let check = Check { node: name.into(), id: "c".into(), status, ..Check::default() };
        let registration =
            Register { node, service: Some(service), checks: vec![check], ..Register::default() };
        server.commit(Command::Register(Box::new(registration))).unwrap();
    }
    let found = |change: &dyn Fn(&mut Target)| {
        let mut target = Target { service: "web".into(), ..Target::default() };
        change(&mut target);
        let instances = server.store.tables().instances_for(&target, false);
        instances.iter().map(|instance| instance.node.name.clone()).collect::<String>()
    };
    assert_eq!(found(&|_| {}), "ab");
    assert_eq!(found(&|target| target.only_passing = true), "a");
    assert_eq!(found(&|target| target.ignore_check_ids = vec!["c".into()]), "abc");
    assert_eq!(found(&|target| target.tags = vec!["v1".into(), "!A".into()]), "b");
    assert_eq!(found(&|target| target.tags = vec!["v2".into()]), "");
    assert_eq!(found(&|target| drop(target.service_meta.insert("on".into(), "a".into()))), "a");
    assert_eq!(found(&|target| drop(target.node_meta.insert("on".into(), "a".into()))), "");
    assert_eq!(found(&|target| target.connect = true), "");
}

#[test]
fn queries_outlive_a_snapshot() {
    let mut server = Server::new();
    server.set(template(1, "geo-", "${name.suffix}")).unwrap();
    let settings = Settings { remove_empty_tags: true, ..Settings::default() };
    server.set(PreparedQuery { template: settings, ..named(2, "q") }).unwrap();
    let (mut bytes, copy) = (Vec::new(), Store::new());
    server.store.freeze()(&mut bytes).unwrap();
    copy.restore(&mut &bytes[..]).unwrap();
    assert_eq!(copy.tables().queries().value, { server.store.tables().queries().value });
    assert_eq!(copy.tables().resolve("geo-db").unwrap().service.service, "db");
}
