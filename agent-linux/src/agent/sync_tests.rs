//! Anti-entropy against a catalog of the test's own.

use super::super::local::{Configured, Scripts, Settings};
use super::super::plan::Role;
use super::*;
use crate::config::definition::ServiceDefinition;
use crate::endpoint::agent::Op;
use agent_core::model::command::Command;
use agent_core::model::request::Meta;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::task::JoinHandle;

/// A catalog of one node.
#[derive(Default)]
struct Tables {
    node: Option<Node>,
    services: BTreeMap<String, Service>,
    checks: BTreeMap<String, Check>,
    refuses: Option<Kind>,
    reads: usize,
    writes: usize,
}

#[derive(Default)]
struct Catalogue(Mutex<Tables>);

impl Ask for Catalogue {
    async fn ask(&self, request: Request) -> Outcome {
        let mut tables = self.0.lock().unwrap();
        if let Some(kind) = tables.refuses {
            return Err(Error::new(kind));
        }
        let reply = match request.body {
            Body::Command(command) => {
                tables.writes += 1;
                tables.apply(command)
            }
            Body::Query(query) => {
                tables.reads += 1;
                tables.read(&query)
            }
        };
        Ok(Answer { meta: Meta::default(), reply })
    }
}

impl Tables {
    fn apply(&mut self, command: Command) -> Reply {
        match command {
            Command::Register(register) => {
                if !register.skip_node_update {
                    self.node = Some(register.node);
                }
                let services = register.service.into_iter().map(|s| (s.id.clone(), s));
                self.services.extend(services);
                self.checks.extend(register.checks.into_iter().map(|c| (c.id.clone(), c)));
            }
            Command::Deregister(gone) => {
                self.services.remove(&gone.service_id);
                self.checks.remove(&gone.check_id);
            }
            Command::Kv(_)
            | Command::Session(_)
            | Command::Autopilot(_)
            | Command::Prepared(_)
            | Command::Coordinate(_)
            | Command::Snapshot(_)
            | Command::Txn(_) => {
                panic!("not the agent's business")
            }
        }
        Reply::Done
    }

    fn read(&self, query: &Query) -> Reply {
        match query {
            Query::Catalog(_) => {
                let services = self.services.values().cloned().map(Arc::new).collect();
                let node = self.node.clone().map(Arc::new);
                let found = node.map(|node| catalog::NodeServices { node, services });
                Reply::Catalog(catalog::Reply::Node(found))
            }
            Query::Health(_) => {
                let checks = self.checks.values().cloned().map(Arc::new).collect();
                Reply::Health(health::Reply::Checks(checks))
            }
            other => panic!("not the agent's business: {other:?}"),
        }
    }
}

/// An agent that syncs with a catalog.
struct Rig {
    local: Arc<Local>,
    catalog: Arc<Catalogue>,
    servers: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(servers: u64) -> Self {
        let settings = Settings {
            role: Role::Client,
            scripts: Scripts::Off,
            check_update_interval: agent_core::time::Duration::from_secs(300),
            check_output_bytes: 4096,
            discard_check_output: false,
        };
        let node = Node { name: "n1".to_owned(), ..Node::default() };
        let local = Local::open(None, node, settings, Configured::default()).unwrap();
        let catalog = Arc::new(Catalogue::default());
        let servers = watch::Sender::new(servers);
        let stop = watch::Sender::new(false);
        let pool = Pool { members: Box::new(|| 3), servers: servers.subscribe() };
        let (home, ask) = (Arc::clone(&local), Arc::clone(&catalog));
        let task = tokio::spawn(run(home, ask, pool, stop.subscribe()));
        Self { local, catalog, servers, stop, task }
    }

    async fn register(&self, value: serde_json::Value) {
        let definition = Box::new(ServiceDefinition::from_json(value).unwrap());
        let op = Op::RegisterService { definition, replace_existing_checks: false };
        self.local.serve("", op).await.unwrap();
    }

    fn look<R>(&self, look: impl FnOnce(&mut Tables) -> R) -> R {
        look(&mut self.catalog.0.lock().unwrap())
    }

    /// Waits, on the paused clock, until the catalog looks right; tells the seconds that took.
    async fn until(&self, holds: impl Fn(&Tables) -> bool) -> u64 {
        let start = Instant::now();
        while !self.look(|tables| holds(tables)) {
            assert!(start.elapsed() < Duration::from_secs(600), "did not happen");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        start.elapsed().as_secs()
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_a_server_is_known() {
    let rig = Rig::start(0);
    rig.register(json!({"Name": "web", "Check": {"TTL": "30s"}})).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.look(|tables| tables.reads + tables.writes), 0);
    rig.servers.send_replace(1);
    rig.until(|tables| tables.services.contains_key("web")).await;
    rig.look(|tables| {
        assert!(tables.node.is_some() && tables.checks.contains_key("service:web"));
        assert_eq!(tables.writes, 1, "node, service and check travel together");
    });
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_in_the_catalog_when_it_is_acknowledged() {
    let rig = Rig::start(1);
    rig.until(|tables| tables.node.is_some()).await;
    rig.register(json!({"Name": "web"})).await;
    rig.look(|tables| assert!(tables.services.contains_key("web")));
    rig.local.serve("", Op::DeregisterService { id: "web".to_owned() }).await.unwrap();
    rig.look(|tables| assert!(tables.services.is_empty()));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn between_full_syncs_nothing_is_sent() {
    let rig = Rig::start(1);
    rig.register(json!({"Name": "web"})).await;
    rig.until(|tables| tables.services.contains_key("web")).await;
    let (reads, writes) = rig.look(|tables| (tables.reads, tables.writes));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(rig.look(|tables| (tables.reads, tables.writes)), (reads, writes));
    rig.until(|tables| tables.reads > reads).await;
    assert_eq!(rig.look(|tables| tables.writes), writes, "nothing differs: nothing is written");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_sync_undoes_what_others_did_to_the_node() {
    let rig = Rig::start(1);
    rig.register(json!({"Name": "web"})).await;
    rig.until(|tables| tables.services.contains_key("web")).await;
    rig.look(|tables| {
        tables.services.clear();
        let extra = Service { id: "extra".to_owned(), ..Service::default() };
        tables.services.insert(extra.id.clone(), extra);
    });
    let waited = rig
        .until(|tables| {
            tables.services.contains_key("web") && !tables.services.contains_key("extra")
        })
        .await;
    assert!(waited <= 120, "{waited}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_retried_and_a_new_server_is_turned_to() {
    let rig = Rig::start(1);
    rig.until(|tables| tables.node.is_some()).await;
    rig.look(|tables| tables.refuses = Some(Kind::NoLeader));
    rig.register(json!({"Name": "web"})).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    rig.look(|tables| tables.refuses = None);
    let waited = rig.until(|tables| tables.services.contains_key("web")).await;
    assert!((9..=30).contains(&waited), "{waited}");
    rig.look(|tables| tables.services.clear());
    rig.servers.send_replace(2);
    let waited = rig.until(|tables| tables.services.contains_key("web")).await;
    assert!(waited <= 3, "{waited}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_not_repeated_at_once() {
    let rig = Rig::start(1);
    rig.until(|tables| tables.node.is_some()).await;
    rig.look(|tables| tables.refuses = Some(Kind::Denied));
    rig.register(json!({"Name": "web"})).await;
    rig.look(|tables| tables.refuses = None);
    let waited = rig.until(|tables| tables.services.contains_key("web")).await;
    assert!(waited > 15, "only the next full sync tries again: {waited}");
    rig.end().await;
}

#[test]
fn intervals_grow_with_the_pool_as_consuls_do() {
    for (members, want) in [(1, 1), (128, 1), (129, 2), (256, 2), (1_000, 4), (5_000, 7)] {
        assert_eq!(scale(members), want, "{members}");
    }
}
