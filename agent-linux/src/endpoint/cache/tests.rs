//! What the cache tells, and what it asks the servers for.

use super::keep::Kept;
use super::shelf::{ENTRIES_MAX, Entry};
use super::*;
use crate::endpoint::tests::{command, get, node, query, register, server};
use agent_core::model::catalog::Deregister;
use agent_core::model::command::Command;
use agent_core::model::health::ServiceQuery;
use agent_core::model::request::{Kind, Reply};
use agent_core::model::service::Service;
use agent_core::model::{health, kv};
use std::time::Instant;

const ANY: Control =
    Control { max_age: None, must_revalidate: false, stale_if_error: Duration::ZERO };

/// A read of a service's instances that blocks on an index.
fn instances(name: &str, min_index: u64) -> Request {
    let asked = ServiceQuery { name: name.into(), ..ServiceQuery::default() };
    let mut request = query(Query::Health(health::Query::Service(asked)));
    request.options.min_index = min_index;
    request
}

fn count(cached: &Cached) -> usize {
    match &cached.answer.reply {
        Reply::Health(health::Reply::Instances(instances)) => instances.len(),
        other => panic!("unexpected {other:?}"),
    }
}

async fn add(endpoint: &Endpoint, id: &str) {
    let service = Service { id: id.into(), name: "web".into(), ..Service::default() };
    let mut registration = node("n");
    registration.service = Some(service);
    register(endpoint, registration).await.unwrap();
}

#[tokio::test]
async fn one_query_follows_an_answer_for_all_who_watch() {
    let (endpoint, _, raft) = server(true).await;
    add(&endpoint, "web-1").await;
    let cache = Cache::new(endpoint.clone());
    let first = cache.serve(instances("web", 0), ANY).await.unwrap();
    assert_eq!((count(&first), first.age), (1, None));
    let mut stale = instances("web", 0);
    stale.options.consistency = Consistency::Stale;
    let second = cache.serve(stale, ANY).await.unwrap();
    assert_eq!((count(&second), second.age), (1, Some(Duration::ZERO)));
    let index = first.answer.meta.index;
    let watchers: Vec<_> = (0..100)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.serve(instances("web", index), ANY).await })
        })
        .collect();
    add(&endpoint, "web-2").await;
    for watcher in watchers {
        let woken = watcher.await.unwrap().unwrap();
        assert_eq!(count(&woken), 2);
        assert!(woken.answer.meta.index > index);
    }
    assert_eq!(cache.shelf.len(), 1);
    raft.shutdown().await;
}

#[tokio::test]
async fn a_watcher_without_news_is_answered_when_its_time_is_up() {
    let (endpoint, _, raft) = server(true).await;
    add(&endpoint, "web-1").await;
    let cache = Cache::new(endpoint);
    let index = cache.serve(instances("web", 0), ANY).await.unwrap().answer.meta.index;
    let mut request = instances("web", index);
    request.options.wait_ms = 20;
    let started = Instant::now();
    let same = cache.serve(request, ANY).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(20));
    assert_eq!((same.answer.meta.index, same.age), (index, None));
    raft.shutdown().await;
}

#[tokio::test]
async fn a_followed_answer_outlives_the_leader_and_says_so() {
    let (endpoint, store, raft) = server(true).await;
    add(&endpoint, "web-1").await;
    let cache = Cache::new(endpoint.clone());
    let index = cache.serve(instances("web", 0), ANY).await.unwrap().answer.meta.index;
    drop(store);
    raft.shutdown().await;
    assert!(endpoint.serve(command(Command::Deregister(Deregister::default()))).await.is_err());
    let kept = cache.serve(instances("web", 0), ANY).await.unwrap();
    assert_eq!((count(&kept), kept.answer.meta.index), (1, index));
    assert!(kept.age.is_some());
}

#[tokio::test]
async fn a_first_answer_that_fails_is_told_and_asked_for_again() {
    let (endpoint, _, raft) = server(true).await;
    let cache = Cache::new(endpoint.clone());
    let mut bad = instances("web", 0);
    bad.options.filter = "Nope == 1".into();
    for _ in 0..2 {
        let error = cache.serve(bad.clone(), ANY).await.unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{error}");
    }
    raft.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_followed_is_kept_as_long_as_the_asker_likes() {
    let (endpoint, _, raft) = server(true).await;
    let cache = Cache::new(endpoint);
    let ask = |control| cache.serve(query(Query::Catalog(catalog::Query::Datacenters)), control);
    assert_eq!(ask(ANY).await.unwrap().age, None);
    assert!(ask(ANY).await.unwrap().age.is_some());
    let fresh = Control { must_revalidate: true, ..ANY };
    assert_eq!(ask(fresh).await.unwrap().age, None);
    let young = Control { max_age: Some(Duration::ZERO), ..ANY };
    assert_eq!(ask(young).await.unwrap().age, None);
    let older = Control { max_age: Some(Duration::from_secs(60)), ..ANY };
    assert!(ask(older).await.unwrap().age.is_some());
    raft.shutdown().await;
}

#[tokio::test]
async fn an_old_answer_serves_for_a_failure_if_the_asker_likes() {
    let lonely = Cache::new(crate::endpoint::tests::client());
    let request = query(Query::Status(agent_core::model::status::Query::Leader));
    let forgiving =
        Control { must_revalidate: true, stale_if_error: Duration::from_secs(60), max_age: None };
    assert!(lonely.serve(request.clone(), forgiving).await.is_err(), "nothing is kept yet");
    let (endpoint, _, raft) = server(true).await;
    let answer = endpoint.serve(request.clone()).await.unwrap();
    raft.shutdown().await;
    let kept = Kept { answer: answer.clone(), asked: Instant::now() };
    let entry = lonely.shelf.entry(&key(&request), || Entry::Kept(Arc::default()));
    let Entry::Kept(slot) = entry else { panic!("it was made as kept") };
    *slot.lock().await = Some(kept);
    let told = lonely.serve(request.clone(), forgiving).await.unwrap();
    assert_eq!(told.answer, answer);
    assert!(told.age.is_some());
    let strict = Control { must_revalidate: true, ..ANY };
    assert_eq!(lonely.serve(request, strict).await.unwrap_err().kind, Kind::NoServers);
}

#[tokio::test]
async fn the_shelf_is_bounded_and_long_requests_are_not_kept() {
    let (endpoint, _, raft) = server(true).await;
    let cache = Cache::new(endpoint);
    let watched = cache.shelf.entry(&b"0".to_vec(), || Entry::Kept(Arc::default()));
    for n in 1..=ENTRIES_MAX {
        cache.shelf.entry(&n.to_string().into_bytes(), || Entry::Kept(Arc::default()));
    }
    assert_eq!(cache.shelf.len(), ENTRIES_MAX);
    let Entry::Kept(old) = watched else { panic!("it was made as kept") };
    let again = cache.shelf.entry(&b"0".to_vec(), || Entry::Kept(Arc::default()));
    let Entry::Kept(new) = again else { panic!("it was made as kept") };
    assert!(!Arc::ptr_eq(&old, &new), "the oldest made room");
    let long = get(&"k".repeat(KEY_BYTES_MAX), 0, 0);
    let answer = cache.serve(long, ANY).await.unwrap().answer;
    assert_eq!(answer.reply, Reply::Kv(kv::Reply::Entry(None)));
    assert_eq!(cache.shelf.len(), ENTRIES_MAX);
    raft.shutdown().await;
}
