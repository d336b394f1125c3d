//! Requests as the edges make them, and what a restart brings back.

use super::*;
use crate::endpoint::agent::AggregatedStatus;
use agent_core::health::Status;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration as StdDuration;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("reeve-local-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings() -> Settings {
    Settings {
        role: Role::Client,
        scripts: Scripts::Config,
        check_update_interval: Duration::from_secs(300),
        check_output_bytes: 16,
        discard_check_output: false,
    }
}

fn open(data_dir: Option<&Path>, configured: Configured) -> Arc<Local> {
    let node = Node { name: "n1".to_owned(), ..Node::default() };
    Local::open(data_dir, node, settings(), configured).unwrap()
}

fn service(value: serde_json::Value) -> ServiceDefinition {
    ServiceDefinition::from_json(value).unwrap()
}

async fn register(local: &Arc<Local>, value: serde_json::Value) -> Result<(), String> {
    let op = Op::RegisterService {
        definition: Box::new(service(value)),
        replace_existing_checks: false,
    };
    serve(local, op).await.map(drop)
}

async fn serve(local: &Arc<Local>, op: Op) -> Result<Reply, String> {
    local.serve("", op).await.map_err(|error| error.to_string())
}

async fn pass(local: &Arc<Local>, id: &str, output: &str) -> Result<(), String> {
    let (id, output) = (id.to_owned(), output.to_owned());
    serve(local, Op::UpdateCheck { id, status: Status::Passing, output }).await.map(drop)
}

async fn checks(local: &Arc<Local>) -> BTreeMap<String, Arc<Check>> {
    match serve(local, Op::Checks { filter: String::new() }).await {
        Ok(Reply::Checks(checks)) => checks,
        other => panic!("{other:?}"),
    }
}

async fn services(local: &Arc<Local>, filter: &str) -> Vec<String> {
    match serve(local, Op::Services { filter: filter.to_owned() }).await {
        Ok(Reply::Services(services)) => services.into_keys().collect(),
        other => panic!("{other:?}"),
    }
}

async fn health(local: &Arc<Local>, id: &str) -> Vec<InstanceHealth> {
    match serve(local, Op::HealthById { id: id.to_owned() }).await {
        Ok(Reply::Health(instances)) => instances,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_registered_is_shown() {
    let local = open(None, Configured::default());
    register(&local, json!({"Name": "web", "Tags": ["v1"], "Check": {"TTL": "30s"}}))
        .await
        .unwrap();
    register(&local, json!({"Name": "db"})).await.unwrap();
    assert_eq!(services(&local, "").await, ["db", "web"]);
    assert_eq!(services(&local, "v1 in Tags").await, ["web"]);
    let rows = checks(&local).await;
    let row = &rows["service:web"];
    assert_eq!((row.status, row.kind.as_str()), (Status::Critical, "ttl"));
    assert_eq!((row.service_name.as_str(), &row.service_tags[..]), ("web", &["v1".to_owned()][..]));
    pass(&local, "service:web", "0123456789abcdefXYZ").await.unwrap();
    let output = checks(&local).await["service:web"].output.clone();
    assert_eq!(output, "0123456789abcdef ... (captured 16 of 19 bytes)");
    assert_eq!(health(&local, "web").await[0].status, AggregatedStatus::Passing);
    assert!(health(&local, "nosuch").await.is_empty());
}

#[tokio::test]
async fn refusals_have_consuls_texts() {
    let local = open(None, Configured::default());
    let missing = pass(&local, "zzz", "").await.unwrap_err();
    assert_eq!(missing, "CheckID \"zzz\" does not have associated TTL");
    let id = String::new();
    let nameless = serve(&local, Op::DeregisterService { id }).await.unwrap_err();
    assert_eq!(nameless, "ServiceID missing");
    for id in ["zzz", "web"] {
        serve(&local, Op::DeregisterService { id: id.to_owned() }).await.unwrap();
        serve(&local, Op::DeregisterCheck { id: id.to_owned() }).await.unwrap();
    }
    let script = json!({"Name": "x", "Check": {"Args": ["true"], "Interval": "1s"}});
    assert!(register(&local, script).await.unwrap_err().contains("from remote calls"));
    assert!(services(&local, "").await.is_empty(), "a refusal changes nothing");
    let check = json!({"Name": "c", "TTL": "1s", "ServiceID": "zz"});
    let definition = Box::new(CheckDefinition::from_json(check).unwrap());
    let orphan = serve(&local, Op::RegisterCheck { definition }).await.unwrap_err();
    assert_eq!(orphan, "ServiceID \"zz\" does not exist");
    let unknown = Op::Service { id: "zz".to_owned(), hash: String::new(), wait: StdDuration::ZERO };
    assert_eq!(serve(&local, unknown).await.unwrap_err(), "unknown service ID: zz");
}

#[tokio::test]
async fn maintenance_is_a_check_that_comes_and_goes() {
    let local = open(None, Configured::default());
    register(&local, json!({"Name": "web"})).await.unwrap();
    let maintain = |id: &str, change| Op::MaintainService { id: id.to_owned(), change };
    let on = |reason: &str| Maintenance::On { reason: reason.to_owned() };
    let missing = serve(&local, maintain("zz", on(""))).await.unwrap_err();
    assert_eq!(missing, "No service registered with ID \"zz\"");
    serve(&local, maintain("web", on("r"))).await.unwrap();
    serve(&local, maintain("web", on("other"))).await.unwrap();
    let row = checks(&local).await["_service_maintenance:web"].clone();
    assert_eq!((row.name.as_str(), row.kind.as_str()), ("Service Maintenance Mode", "maintenance"));
    assert_eq!((row.notes.as_str(), row.status), ("r", Status::Critical));
    assert_eq!(health(&local, "web").await[0].status, AggregatedStatus::Maintenance);
    serve(&local, maintain("web", Maintenance::Off)).await.unwrap();
    serve(&local, maintain("web", Maintenance::Off)).await.unwrap();
    assert_eq!(health(&local, "web").await[0].status, AggregatedStatus::Passing);
    serve(&local, Op::Maintain { change: on("") }).await.unwrap();
    let notes = checks(&local).await["_node_maintenance"].notes.clone();
    assert!(notes.starts_with("Maintenance mode is enabled for this node, but no reason"));
}

#[tokio::test]
async fn a_restart_brings_back_what_was_acknowledged() {
    let scratch = Scratch::new();
    let local = open(Some(&scratch.0), Configured::default());
    register(
        &local,
        json!({"Name": "web", "ID": "a/b:1", "Port": 80, "Meta": {"k": "v"}, "Checks": [
            {"TTL": "30s", "CheckID": "ttl"}, {"TCP": "127.0.0.1:1", "Interval": "10s"}]}),
    )
    .await
    .unwrap();
    register(&local, json!({"Name": "gone", "Check": {"TTL": "1s"}})).await.unwrap();
    pass(&local, "ttl", "fine").await.unwrap();
    serve(&local, Op::Maintain { change: Maintenance::On { reason: "r".to_owned() } })
        .await
        .unwrap();
    serve(&local, Op::DeregisterService { id: "gone".to_owned() }).await.unwrap();
    let before = (services(&local, "").await, checks(&local).await);
    drop(local);

    std::fs::write(scratch.0.join("services/bad.json"), b"{\"Service\": 1}").unwrap();
    std::fs::write(scratch.0.join("checks/bad.json"), b"not json").unwrap();
    let local = open(Some(&scratch.0), Configured::default());
    let after = (services(&local, "").await, checks(&local).await);
    assert_eq!(before, after);
    assert_eq!(after.1["ttl"].status, Status::Passing, "the TTL has not run out");
    assert_eq!(after.1["ttl"].output, "fine");
    assert_eq!(after.1["_node_maintenance"].notes, "r");
}

#[tokio::test]
async fn the_configuration_wins_and_a_reload_follows_it() {
    let scratch = Scratch::new();
    let local = open(Some(&scratch.0), Configured::default());
    register(&local, json!({"Name": "web", "Port": 1})).await.unwrap();
    register(&local, json!({"Name": "api"})).await.unwrap();
    drop(local);
    let configured = |port: i64| Configured {
        services: vec![service(json!({"Name": "web", "Port": port, "Check":
            {"Args": ["true"], "Interval": "1h"}}))],
        ..Configured::default()
    };
    let local = open(Some(&scratch.0), configured(2));
    let port = |local: &Arc<Local>| local.with(|state, _| state.services["web"].row.port);
    assert_eq!(port(&local), 2);
    local.reload(configured(3)).await.unwrap();
    assert_eq!(port(&local), 3);
    local.reload(Configured::default()).await.unwrap();
    assert_eq!(services(&local, "").await, ["api"]);
    assert!(checks(&local).await.is_empty());
    drop(local);
    let local = open(Some(&scratch.0), Configured::default());
    assert_eq!(services(&local, "").await, ["api"], "what was configured is not kept");
}

#[tokio::test]
async fn replacing_existing_checks_removes_those_that_are_not_named() {
    let local = open(None, Configured::default());
    let checks_of = |ids: &[&str]| -> Vec<serde_json::Value> {
        ids.iter().map(|id| json!({"CheckID": id, "TTL": "1m"})).collect()
    };
    register(&local, json!({"Name": "web", "Checks": checks_of(&["a", "b"])})).await.unwrap();
    register(&local, json!({"Name": "web", "Checks": checks_of(&["c"])})).await.unwrap();
    assert_eq!(checks(&local).await.len(), 3);
    let definition = Box::new(service(json!({"Name": "web", "Checks": checks_of(&["b", "d"])})));
    let op = Op::RegisterService { definition, replace_existing_checks: true };
    serve(&local, op).await.unwrap();
    assert_eq!(checks(&local).await.into_keys().collect::<Vec<_>>(), ["b", "d"]);
}

#[tokio::test]
async fn who_waits_for_a_service_hears_of_its_change() {
    let local = open(None, Configured::default());
    register(&local, json!({"Name": "web"})).await.unwrap();
    let ask = |hash: String, wait| Op::Service { id: "web".to_owned(), hash, wait };
    let first = serve(&local, ask(String::new(), StdDuration::from_secs(60))).await;
    let Ok(Reply::Service { hash, .. }) = first else { panic!("{first:?}") };
    let same = serve(&local, ask(hash.clone(), StdDuration::from_millis(20))).await;
    let Ok(Reply::Service { hash: again, .. }) = same else { panic!("{same:?}") };
    assert_eq!(hash, again);
    let waiting = {
        let (local, op) = (Arc::clone(&local), ask(hash.clone(), StdDuration::from_secs(60)));
        tokio::spawn(async move { serve(&local, op).await })
    };
    register(&local, json!({"Name": "web", "Port": 81})).await.unwrap();
    let changed = waiting.await.unwrap();
    let Ok(Reply::Service { hash: other, service }) = changed else { panic!("{changed:?}") };
    assert_ne!(hash, other);
    assert_eq!(service.port, 81);
}
