//! Behaviour of the endpoint of a lone server and of a client, without sockets.

use super::*;
use crate::raft::{self, Options as RaftOptions};
use crate::rpc::route;
use agent_core::model::catalog::{Deregister, Register};
use agent_core::model::health::ServiceQuery;
use agent_core::model::kv::{self as keys, Op, Put};
use agent_core::model::node::Node;
use agent_core::model::operator::Peer;
use agent_core::model::request::Options;
use agent_core::model::service::Service;
use agent_core::model::session::{self as sessions, Session};
use agent_core::model::{health as healths, operator as operations, status as consensus};

fn settings() -> Settings {
    Settings { hold_time: Duration::from_millis(300), ..Settings::default() }
}

fn router() -> Arc<Router> {
    Router::new("dc1".into(), route::Settings::default())
}

/// A server alone, in memory; leads if told to bootstrap.
pub(super) async fn server(bootstrap: bool) -> (Endpoint, Arc<Store>, Raft) {
    let store = Arc::new(Store::new());
    let raft =
        Raft::open(RaftOptions::default(), store.clone()).await.expect("raft opens in memory");
    if bootstrap {
        let own = raft::Server {
            id: raft.id(),
            node_id: "11111111-1111-1111-1111-111111111111".into(),
            name: "n1".into(),
            address: "127.0.0.1:8300".parse().unwrap(),
        };
        raft.bootstrap(vec![own]).await.expect("the log is empty");
        let mut leadership = raft.leadership();
        leadership.wait_for(|now| now.established).await.expect("raft runs");
    }
    let endpoint =
        Endpoint::server("dc1".into(), store.clone(), raft.clone(), router(), settings());
    (endpoint, store, raft)
}

/// A client that knows no server.
pub(super) fn client() -> Endpoint {
    Endpoint::client("dc1".into(), router(), settings())
}

pub(super) fn command(command: Command) -> Request {
    Request { options: Options::default(), body: Body::Command(command) }
}

pub(super) fn query(query: Query) -> Request {
    Request { options: Options::default(), body: Body::Query(query) }
}

fn set(key: &str, value: &str) -> Request {
    command(Command::Kv(Op::Set(put(key, value))))
}

fn put(key: &str, value: &str) -> Put {
    Put { key: key.into(), value: value.into(), flags: 0 }
}

pub(super) fn get(key: &str, min_index: u64, wait_ms: u64) -> Request {
    let mut request = query(Query::Kv(keys::Query::Get(key.into())));
    request.options.min_index = min_index;
    request.options.wait_ms = wait_ms;
    request
}

fn value(answer: &Answer) -> Option<String> {
    match &answer.reply {
        Reply::Kv(keys::Reply::Entry(entry)) => {
            entry.as_ref().map(|entry| String::from_utf8(entry.value.clone()).unwrap())
        }
        other => panic!("unexpected {other:?}"),
    }
}

pub(super) fn node(name: &str) -> Register {
    let node = Node { name: name.into(), address: "1.1.1.1".into(), ..Node::default() };
    Register { node, ..Register::default() }
}

pub(super) async fn register(endpoint: &Endpoint, registration: Register) -> Outcome {
    endpoint.serve(command(Command::Register(Box::new(registration)))).await
}

#[tokio::test]
async fn what_is_written_is_read_with_the_index_of_the_write() {
    let (endpoint, store, raft) = server(true).await;
    assert_eq!(endpoint.serve(set("a", "1")).await.unwrap().reply, Reply::Done);
    let answer = endpoint.serve(get("a", 0, 0)).await.unwrap();
    assert_eq!(value(&answer).as_deref(), Some("1"));
    assert_eq!(answer.meta.index, store.tables().index());
    assert!(answer.meta.known_leader);
    for consistency in [Consistency::Stale, Consistency::Consistent] {
        let mut request = get("a", 0, 0);
        request.options.consistency = consistency;
        assert_eq!(endpoint.serve(request).await.unwrap(), answer);
    }
    let bytes = endpoint.serve_bytes(&request::emit(&get("a", 0, 0))).await;
    assert_eq!(request::parse::<Outcome>(&bytes).unwrap().unwrap(), answer);
    raft.shutdown().await;
}

#[tokio::test]
async fn a_blocking_query_waits_for_its_key_alone() {
    let (endpoint, _, raft) = server(true).await;
    endpoint.serve(set("a", "1")).await.unwrap();
    let index = endpoint.serve(get("a", 0, 0)).await.unwrap().meta.index;
    let waiting = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { endpoint.serve(get("a", index, 20_000)).await }
    });
    endpoint.serve(set("b", "1")).await.unwrap();
    let same = endpoint.serve(get("a", index, 1)).await.unwrap();
    assert_eq!((same.meta.index, value(&same).as_deref()), (index, Some("1")));
    assert!(!waiting.is_finished());
    endpoint.serve(set("a", "2")).await.unwrap();
    let woken = waiting.await.unwrap().unwrap();
    assert!(woken.meta.index > index);
    assert_eq!(value(&woken).as_deref(), Some("2"));
    raft.shutdown().await;
}

#[tokio::test]
async fn one_write_answers_one_of_ten_thousand_queries() {
    const QUERIES: usize = 10_000;
    let (endpoint, store, raft) = server(true).await;
    endpoint.serve(set("a", "1")).await.unwrap();
    let index = endpoint.serve(get("a", 0, 0)).await.unwrap().meta.index;
    let mut waiting: Vec<_> = (0..QUERIES)
        .map(|n| {
            let endpoint = endpoint.clone();
            tokio::spawn(
                async move { endpoint.serve(get(&format!("w/{n}"), index, 600_000)).await },
            )
        })
        .collect();
    while store.watched() < QUERIES {
        tokio::task::yield_now().await;
    }
    for n in [4_321, 0] {
        endpoint.serve(set(&format!("w/{n}"), "x")).await.unwrap();
        let woken = waiting.remove(n).await.unwrap().unwrap();
        assert_eq!(value(&woken).as_deref(), Some("x"));
        assert!(woken.meta.index > index);
    }
    assert!(waiting.iter().all(|query| !query.is_finished()));
    assert_eq!(store.watched(), QUERIES - 2);
    for query in waiting {
        query.abort();
    }
    raft.shutdown().await;
}

#[tokio::test]
async fn a_change_of_a_service_answers_all_who_watch_it() {
    const QUERIES: usize = 5_000;
    let (endpoint, store, raft) = server(true).await;
    let node = Node { name: "n2".into(), address: "10.0.0.2".into(), ..Node::default() };
    let register = Command::Register(Box::new(Register { node, ..Register::default() }));
    endpoint.serve(command(register)).await.unwrap();
    let ask = |after: u64| {
        let service = ServiceQuery { name: "web".into(), ..ServiceQuery::default() };
        let mut request = query(Query::Health(healths::Query::Service(service)));
        (request.options.min_index, request.options.wait_ms) = (after, 600_000);
        request
    };
    let index = endpoint.serve(ask(0)).await.unwrap().meta.index;
    let begin = |_| {
        let (endpoint, request) = (endpoint.clone(), ask(index));
        tokio::spawn(async move { endpoint.serve(request).await })
    };
    let mut waiting = vec![begin(0)];
    while store.watched() == 0 {
        tokio::task::yield_now().await;
    }
    let scopes = store.watched();
    waiting.extend((1..QUERIES).map(begin));
    while store.watched() < QUERIES * scopes {
        tokio::task::yield_now().await;
    }
    let node = Node { name: "n2".into(), address: "10.0.0.2".into(), ..Node::default() };
    let service = Some(Service { id: "web".into(), name: "web".into(), ..Service::default() });
    let register = Register { node, service, ..Register::default() };
    endpoint.serve(command(Command::Register(Box::new(register)))).await.unwrap();
    for query in waiting {
        let answer = query.await.unwrap().unwrap();
        assert!(answer.meta.index > index);
    }
    assert_eq!(store.watched(), 0);
    raft.shutdown().await;
}

#[tokio::test]
async fn a_restored_snapshot_ends_every_wait() {
    let (endpoint, store, raft) = server(true).await;
    endpoint.serve(set("a", "1")).await.unwrap();
    let mut bytes = Vec::new();
    store.freeze()(&mut bytes).unwrap();
    let index = endpoint.serve(get("a", 0, 0)).await.unwrap().meta.index;
    let waiting = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { endpoint.serve(get("a", index + 1000, 20_000)).await }
    });
    while store.watched() == 0 {
        tokio::task::yield_now().await;
    }
    store.restore(&mut bytes.as_slice()).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().meta.index, index);
    raft.shutdown().await;
}

#[tokio::test]
async fn without_a_leader_requests_are_held_and_stale_reads_are_not() {
    let (endpoint, _, raft) = server(false).await;
    let started = Instant::now();
    let error = endpoint.serve(get("a", 0, 0)).await.unwrap_err();
    assert_eq!((error.kind, error.to_string().as_str()), (Kind::NoLeader, "No cluster leader"));
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(endpoint.serve(set("a", "1")).await.unwrap_err().kind, Kind::NoLeader);
    let mut stale = get("a", 0, 0);
    stale.options.consistency = Consistency::Stale;
    let answer = endpoint.serve(stale).await.unwrap();
    assert_eq!((answer.meta.index, answer.meta.known_leader), (1, false));
    let leader = query(Query::Status(consensus::Query::Leader));
    let reply = Reply::Status(consensus::Reply::Leader(String::new()));
    assert_eq!(endpoint.serve(leader).await.unwrap().reply, reply);
    // One that a follower passed on is not held: the follower holds it.
    let mut bytes = vec![PASSED_ON];
    bytes.extend(request::emit(&set("a", "1")));
    let started = Instant::now();
    let outcome = request::parse::<Outcome>(&endpoint.serve_bytes(&bytes).await).unwrap();
    assert_eq!(outcome.unwrap_err().kind, Kind::NoLeader);
    assert!(started.elapsed() < Duration::from_millis(300));
    raft.shutdown().await;
}

#[tokio::test]
async fn a_client_without_servers_and_an_unknown_datacentre_fail_in_consuls_words() {
    let client = client();
    let error = client.serve(get("a", 0, 0)).await.unwrap_err();
    assert_eq!(error.to_string(), "No known Consul servers");
    let (endpoint, _, raft) = server(true).await;
    let mut elsewhere = get("a", 0, 0);
    elsewhere.options.datacenter = "dc9".into();
    let error = endpoint.serve(elsewhere).await.unwrap_err();
    assert_eq!(error.to_string(), "No path to datacenter");
    let mut here = get("a", 0, 0);
    here.options.datacenter = "dc1".into();
    assert!(endpoint.serve(here).await.is_ok());
    let bytes = endpoint.serve_bytes(b"nonsense").await;
    assert_eq!(request::parse::<Outcome>(&bytes).unwrap().unwrap_err().kind, Kind::Invalid);
    raft.shutdown().await;
}

#[tokio::test]
async fn a_lost_lock_cannot_be_taken_during_its_delay() {
    let (endpoint, _, raft) = server(true).await;
    register(&endpoint, node("n")).await.unwrap();
    let create = |delay_ns| {
        let session = Session { node: "n".into(), lock_delay_ns: delay_ns, ..Session::default() };
        command(Command::Session(sessions::Op::Create(session)))
    };
    let created = |answer: Answer| match answer.reply {
        Reply::Session(sessions::Reply::Created(id)) => id,
        other => panic!("unexpected {other:?}"),
    };
    let acquire = |key: &str, id: &str| command(Command::Kv(Op::Acquire(put(key, "1"), id.into())));
    for (key, delay_ns, free) in [("a", 60_000_000_000, false), ("b", 0, true)] {
        let first = created(endpoint.serve(create(delay_ns)).await.unwrap());
        let second = created(endpoint.serve(create(delay_ns)).await.unwrap());
        let taken = endpoint.serve(acquire(key, &first)).await.unwrap();
        assert_eq!(taken.reply, Reply::Applied(true));
        let destroy = command(Command::Session(sessions::Op::Destroy(first)));
        endpoint.serve(destroy).await.unwrap();
        let taken = endpoint.serve(acquire(key, &second)).await.unwrap();
        assert_eq!(taken.reply, Reply::Applied(free), "{key}");
    }
    raft.shutdown().await;
}

#[tokio::test]
async fn sessions_are_renewed_by_the_leader() {
    let (endpoint, _, raft) = server(true).await;
    register(&endpoint, node("n")).await.unwrap();
    let ttl_ns = 10_000_000_000;
    let session = Session { node: "n".into(), ttl_ns, ttl: "10s".into(), ..Session::default() };
    let create = command(Command::Session(sessions::Op::Create(session)));
    let Reply::Session(sessions::Reply::Created(id)) = endpoint.serve(create).await.unwrap().reply
    else {
        panic!("a session is created")
    };
    let timers = endpoint.timers().unwrap();
    let due = timers.next().expect("its time runs");
    let renew = |id: &str| query(Query::Session(sessions::Query::Renew(id.into())));
    let answer = endpoint.serve(renew(&id)).await.unwrap();
    match answer.reply {
        Reply::Session(sessions::Reply::Sessions(found)) => assert_eq!(found[0].id, id),
        other => panic!("unexpected {other:?}"),
    }
    assert!(timers.next().unwrap() > due);
    let unknown = renew("00000000-0000-0000-0000-000000000000");
    let reply = Reply::Session(sessions::Reply::Sessions(Vec::new()));
    assert_eq!(endpoint.serve(unknown).await.unwrap().reply, reply);
    let text = "failed session lookup: index error: UUID must be 36 characters";
    assert_eq!(endpoint.serve(renew("zz")).await.unwrap_err().text, text);
    raft.shutdown().await;
}

#[tokio::test]
async fn bad_registrations_are_refused_in_consuls_words() {
    use agent_core::model::service::{Kind as ServiceKind, Service};
    let (endpoint, store, raft) = server(true).await;
    let with = |change: fn(&mut Register)| {
        let mut registration = node("x");
        change(&mut registration);
        registration
    };
    let service = |service: Service| Register { service: Some(service), ..node("x") };
    let proxy = Service { name: "p".into(), kind: ServiceKind::ConnectProxy, ..Service::default() };
    for (registration, text) in [
        (with(|r| r.node.name.clear()), "Must provide node"),
        (with(|r| r.node.address.clear()), "Must provide address if SkipNodeUpdate is not set"),
        (with(|r| r.node.id = "zz".into()), "Bad node ID: uuid string is wrong length"),
        (
            service(Service { id: "a".into(), ..Service::default() }),
            "Must provide service name with ID",
        ),
        (
            service(Service { name: "a".into(), address: "0.0.0.0".into(), ..Service::default() }),
            "Invalid service address",
        ),
        (
            service(proxy),
            "2 errors occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect \
             proxy services\n\t* Port must be set for a Connect proxy\n\n",
        ),
        (
            service(Service::default()),
            "failed inserting service: failed inserting service: object missing primary index",
        ),
    ] {
        assert_eq!(register(&endpoint, registration).await.unwrap_err().text, text);
    }
    let nothing = command(Command::Deregister(Deregister::default()));
    assert_eq!(endpoint.serve(nothing).await.unwrap_err().text, "Must provide node");
    let nodes = rows::Query::Nodes { node_meta: [].into() };
    assert_eq!(store.tables().catalog(&nodes).value, rows::Reply::Nodes(Vec::new()));
    raft.shutdown().await;
}

#[tokio::test]
async fn filters_apply_where_consul_applies_them() {
    let (endpoint, _, raft) = server(true).await;
    register(&endpoint, node("x")).await.unwrap();
    let filtered = |body: Query, filter: &str| {
        let mut request = query(body);
        request.options.filter = filter.into();
        request
    };
    let nodes = Query::Catalog(rows::Query::Nodes { node_meta: [].into() });
    let count = |answer: Answer| match answer.reply {
        Reply::Catalog(rows::Reply::Nodes(nodes)) => nodes.len(),
        other => panic!("unexpected {other:?}"),
    };
    let serve = |request| endpoint.serve(request);
    assert_eq!(count(serve(filtered(nodes.clone(), "Node == x")).await.unwrap()), 1);
    assert_eq!(count(serve(filtered(nodes.clone(), "Node == y")).await.unwrap()), 0);
    let error = serve(filtered(nodes, "Nope==1")).await.unwrap_err();
    let text = "Failed to create boolean expression evaluator: Selector \"Nope\" is not valid";
    assert_eq!(error.text, text);
    let services = Query::Catalog(rows::Query::Services { node_meta: [].into() });
    assert!(serve(filtered(services, "bad(((")).await.is_ok());
    let checks = Query::Health(healths::Query::Node("x".into()));
    assert!(serve(filtered(checks, "Nope==1")).await.is_err());
    raft.shutdown().await;
}

#[tokio::test]
async fn operators_see_and_change_the_raft_configuration() {
    let (endpoint, _, raft) = server(true).await;
    let ask = |body| endpoint.serve(query(Query::Operator(body)));
    match ask(operations::Query::RaftConfiguration).await.unwrap().reply {
        Reply::Operator(operations::Reply::RaftConfiguration { servers, .. }) => {
            assert_eq!(servers.len(), 1);
            assert_eq!((servers[0].node.as_str(), servers[0].leader), ("n1", true));
        }
        other => panic!("unexpected {other:?}"),
    }
    for (peer, text) in [
        (Peer::Id("zz".into()), "id \"zz\" was not found in the Raft configuration"),
        (
            Peer::Address("1.1.1.1:8300".into()),
            "address \"1.1.1.1:8300\" was not found in the Raft configuration",
        ),
    ] {
        let error = ask(operations::Query::RemovePeer(peer)).await.unwrap_err();
        assert_eq!(error.text, text);
    }
    let peers = query(Query::Status(consensus::Query::Peers));
    let reply = Reply::Status(consensus::Reply::Peers(vec!["127.0.0.1:8300".into()]));
    assert_eq!(endpoint.serve(peers).await.unwrap().reply, reply);
    raft.shutdown().await;
}
