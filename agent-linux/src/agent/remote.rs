//! Alias checks of other nodes: blocking queries to the catalog, one a node that is aliased.

use super::local::Local;
use super::sync::Ask;
use crate::check::alias::{Alias, Target};
use agent_core::model::check::Check;
use agent_core::model::request::{Body, Options, Query, Reply, Request};
use agent_core::model::{Index, catalog, health};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Time before a failed question is asked again.
const RETRY: Duration = Duration::from_secs(15);

/// Nodes whose health is watched at once: each holds a blocking query open.
const NODES_MAX: usize = 256;

/// A node that is watched; dropping it ends the watch.
struct Watched {
    /// For whom: with another set the watch starts anew, so that newcomers hear at once.
    aliases: Vec<(String, Alias)>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the alias checks of other nodes up to date until the agent stops.
pub(super) async fn run<A: Ask>(
    local: Arc<Local>,
    ask: Arc<A>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut changed = local.watch_changed();
    let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted = by_node(local.with(|state, _| state.remote_aliases()));
        watched.retain(|node, watched| wanted.get(node) == Some(&watched.aliases));
        for (node, aliases) in wanted {
            if watched.len() >= NODES_MAX || watched.contains_key(&node) {
                continue;
            }
            let task = watch_node(Arc::clone(&local), Arc::clone(&ask), node.clone());
            watched.insert(node, Watched { aliases, task: tasks.spawn(task) });
        }
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            Ok(()) = changed.changed() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Groups alias checks by the node that they copy from.
fn by_node(aliases: Vec<(String, Alias)>) -> BTreeMap<String, Vec<(String, Alias)>> {
    let mut nodes: BTreeMap<String, Vec<(String, Alias)>> = BTreeMap::new();
    for (id, alias) in aliases {
        nodes.entry(alias.node.clone()).or_default().push((id, alias));
    }
    nodes
}

/// Follows one node's checks, and hands them to every alias check of that node.
async fn watch_node<A: Ask>(local: Arc<Local>, ask: Arc<A>, node: String) {
    let mut index: Index = 0;
    loop {
        let query = Query::Health(health::Query::Node(node.clone()));
        let options = Options { min_index: index, ..Options::default() };
        let answer = ask.ask(Request { options, body: Body::Query(query) }).await;
        match answer {
            Ok(answer) => {
                let Reply::Health(health::Reply::Checks(checks)) = answer.reply else { return };
                // An index that went backwards means another history: start over.
                index = if answer.meta.index < index { 0 } else { answer.meta.index };
                let services = services_of(&*ask, &node).await;
                judge(&local, &node, &checks, &services);
            }
            Err(error) => {
                tracing::debug!(node, %error, "cannot watch an aliased node");
                index = 0;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Lists the ids of a node's services, to tell one without checks from one that is not there.
async fn services_of<A: Ask>(ask: &A, node: &str) -> Vec<String> {
    let query = Query::Catalog(catalog::Query::Node(node.to_owned()));
    let request = Request { options: Options::default(), body: Body::Query(query) };
    match ask.ask(request).await.map(|answer| answer.reply) {
        Ok(Reply::Catalog(catalog::Reply::Node(Some(found)))) => {
            found.services.iter().map(|service| service.id.clone()).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Gives every alias check of a node its new status.
fn judge(local: &Local, node: &str, checks: &[Arc<Check>], services: &[String]) {
    let aliases = local.with(|state, _| state.remote_aliases());
    for (id, alias) in aliases.into_iter().filter(|(_, alias)| alias.node == node) {
        let target =
            if services.contains(&alias.service_id) { Target::Known } else { Target::Unknown };
        let outcome = alias.judge(checks.iter().map(|check| &**check), target);
        local.with(|state, now| state.handle_alias(now, &id, &outcome));
    }
}
