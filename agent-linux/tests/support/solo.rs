//! A server of one in this process, without files.

use agent_linux::raft::{Compaction, Options, Raft, Server};
use agent_linux::store::Store;
use std::sync::Arc;
use tokio::time::timeout;

/// Starts raft over the store, alone and in memory; it leads once this returns.
///
/// # Panics
///
/// If it does not lead within [`PATIENCE`](super::PATIENCE).
pub async fn raft(store: &Arc<Store>) -> Raft {
    let compaction = Compaction::default();
    let options = Options { compaction, ..Options::default() };
    let raft = Raft::open(options, store.clone()).await.expect("raft opens without files");
    let this = Server {
        id: raft.id(),
        node_id: "33333333-0000-4000-8000-000000000001".into(),
        name: "one".into(),
        address: "127.0.0.1:8300".parse().expect("an address"),
    };
    raft.bootstrap(vec![this]).await.expect("the log is empty");
    let mut leadership = raft.leadership();
    let leads = leadership.wait_for(|leadership| leadership.established);
    timeout(super::PATIENCE, leads).await.expect("it leads in time").expect("raft runs");
    raft
}
