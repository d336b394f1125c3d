//! The leader's loops on a lone server in memory, with a pool of the test's own.

use super::*;
use crate::endpoint::Settings as EndpointSettings;
use crate::gossip::{MemberStatus, Meta, Role};
use crate::raft::{self, Options as RaftOptions};
use crate::rpc::route::{self, Router};
use agent_core::model::check::Status;
use agent_core::model::health;
use agent_core::model::request::{Query, Reply};
use std::net::SocketAddr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(10);

fn member(n: u8, raft_id: u64, status: MemberStatus) -> Member {
    let meta = Meta {
        role: if raft_id == 0 { Role::Client } else { Role::Server },
        rpc_port: 8300,
        wan_port: 8302,
        raft_id,
        ..Meta::client(&format!("a{n}"), "dc1", [n; 16], "1.8.7:")
    };
    let addr = SocketAddr::from(([127, 0, 0, n], 8301));
    Member { name: meta.name.clone(), addr, status, meta }
}

/// Asks for the checks of a node until its `serfHealth` is as wanted, with blocking queries.
async fn until_health(endpoint: &Endpoint, node: &str, wanted: Option<Status>) {
    let mut options = Options::default();
    loop {
        let query = Query::Health(health::Query::Node(node.into()));
        let request = Request { options: options.clone(), body: Body::Query(query) };
        let answer = endpoint.serve(request).await.expect("the leader answers");
        options.min_index = answer.meta.index;
        let Reply::Health(health::Reply::Checks(checks)) = answer.reply else {
            panic!("checks are answered")
        };
        if checks.first().map(|check| check.status) == wanted {
            return;
        }
    }
}

#[tokio::test]
async fn the_leader_shows_the_pool_in_the_catalog() {
    let store = Arc::new(crate::store::Store::new());
    let raft =
        Raft::open(RaftOptions::default(), store.clone()).await.expect("raft opens in memory");
    let own = raft::Server {
        id: raft.id(),
        node_id: uuid::Uuid::from_bytes([1; 16]).to_string(),
        name: "a1".into(),
        address: "127.0.0.1:8300".parse().unwrap(),
    };
    raft.bootstrap(vec![own]).await.expect("the log is empty");
    let router = Router::new("dc1".into(), route::Settings::default());
    let endpoint =
        Endpoint::server("dc1".into(), store, raft.clone(), router, EndpointSettings::default());
    let (version, changed) = watch::channel(0_u64);
    let (pool, members) = watch::channel(Arc::new(vec![
        member(1, raft.id(), MemberStatus::Alive),
        member(2, 0, MemberStatus::Alive),
    ]));
    let settings = Settings {
        datacenter: "dc1".into(),
        autopilot: Configuration {
            cleanup_dead_servers: true,
            min_quorum: 0,
            ..Configuration::default()
        },
        coordinate_period: coordinate::PERIOD,
    };
    let seen = move || members.borrow().clone();
    let pool_seen = Pool::new(seen, changed);
    let (endpoint_led, raft_led) = (endpoint.clone(), raft.clone());
    let leading = tokio::spawn(run(endpoint_led, raft_led, pool_seen.clone(), pool_seen, settings));
    let script = async {
        until_health(&endpoint, "a1", Some(Status::Passing)).await;
        until_health(&endpoint, "a2", Some(Status::Passing)).await;
        for (status, health) in [
            (MemberStatus::Failed, Some(Status::Critical)),
            (MemberStatus::Alive, Some(Status::Passing)),
            (MemberStatus::Left, None),
        ] {
            let own = member(1, raft.id(), MemberStatus::Alive);
            pool.send_replace(Arc::new(vec![own, member(2, 0, status)]));
            version.send_modify(|version| *version += 1);
            until_health(&endpoint, "a2", health).await;
        }
    };
    tokio::time::timeout(DEADLINE, script).await.expect("the catalog follows");
    leading.abort();
    raft.shutdown().await;
}
