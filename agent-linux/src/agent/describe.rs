//! Who the agent is and how it does: `/v1/agent/self` and `reeve info`.

use super::{Agent, member, setting};
use crate::endpoint::agent::Description;
use crate::gossip::Gossip;
use crate::version;
use std::collections::BTreeMap;

/// Names and values of one section.
type Section = BTreeMap<String, String>;

/// Describes the agent as it stands now.
pub(super) fn describe(agent: &Agent) -> Description {
    let config = agent.config();
    let members = agent.gossip.members();
    let own = members.iter().find(|member| member.meta.node_id == agent.node_id.into_bytes());
    let own = own.or_else(|| members.first()).expect("the pool lists its own member");
    Description {
        datacenter: config.datacenter.clone(),
        node_name: config.node_name.clone(),
        node_id: agent.node_id.to_string(),
        server: config.server,
        debug_config: config.debug_config(&agent.node_id.to_string()).into(),
        place: agent.gossip.place().filter(|_| !config.disable_coordinates),
        member: member::view(own),
        stats: stats(agent),
        meta: setting::node(&config, agent.node_id).meta,
    }
}

/// Collects what `reeve info` prints.
fn stats(agent: &Agent) -> BTreeMap<String, Section> {
    let mut sections = BTreeMap::new();
    sections.insert(
        "agent".to_owned(),
        section(agent.local.counts().map(|(name, count)| (name, count.to_string()))),
    );
    sections.insert("build".to_owned(), build());
    sections.insert("consul".to_owned(), consul(agent));
    if let Some(raft) = &agent.raft {
        sections.insert("raft".to_owned(), raft.stats());
    }
    sections.insert("runtime".to_owned(), runtime());
    sections.insert("serf_lan".to_owned(), serf(&agent.gossip));
    if let Some(wan) = &agent.wan {
        sections.insert("serf_wan".to_owned(), serf(wan));
    }
    sections
}

/// Makes a section of pairs.
fn section<const N: usize>(pairs: [(&str, String); N]) -> Section {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn build() -> Section {
    section([
        ("prerelease", String::new()),
        ("revision", String::new()),
        ("version", version::CONSUL.to_owned()),
        ("reeve", version::REEVE.to_owned()),
    ])
}

fn consul(agent: &Agent) -> Section {
    let Some(raft) = &agent.raft else {
        return section([
            ("acl", "disabled".to_owned()),
            ("known_servers", agent.router.servers().len().to_string()),
            ("server", "false".to_owned()),
        ]);
    };
    let leader = raft.leader().map(|server| server.address.to_string()).unwrap_or_default();
    section([
        ("acl", "disabled".to_owned()),
        ("bootstrap", agent.config().bootstrap.to_string()),
        ("known_datacenters", "1".to_owned()),
        ("leader", raft.is_leader().to_string()),
        ("leader_addr", leader),
        ("server", "true".to_owned()),
    ])
}

fn runtime() -> Section {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let load = crate::lane::load();
    section([
        ("arch", architecture().to_owned()),
        ("cpu_count", cpus.to_string()),
        ("goroutines", load.tasks.to_string()),
        ("max_procs", load.threads.to_string()),
        ("os", std::env::consts::OS.to_owned()),
        ("version", concat!("rust", env!("CARGO_PKG_RUST_VERSION")).to_owned()),
    ])
}

/// Names the machine's architecture as Go does.
const fn architecture() -> &'static str {
    match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => "amd64",
        b"aarch64" => "arm64",
        b"x86" => "386",
        _ => std::env::consts::ARCH,
    }
}

fn serf(gossip: &Gossip) -> Section {
    let stats = gossip.stats();
    let mut pairs = section([
        ("coordinate_resets", stats.place_resets.to_string()),
        ("encrypted", stats.drops.is_some().to_string()),
        ("event_queue", stats.event_queue.to_string()),
        ("event_time", stats.event_time.to_string()),
        ("failed", stats.failed.to_string()),
        ("health_score", stats.health_score.to_string()),
        ("intent_queue", stats.intent_queue.to_string()),
        ("left", stats.left.to_string()),
        ("member_time", stats.member_time.to_string()),
        ("members", stats.members.to_string()),
        ("query_queue", "0".to_owned()),
        ("query_time", "1".to_owned()),
    ]);
    if let Some(drops) = stats.drops {
        pairs.extend(section([
            ("dropped_forged", drops.forged.to_string()),
            ("dropped_malformed", drops.malformed.to_string()),
            ("dropped_plaintext", drops.plaintext.to_string()),
            ("dropped_replayed", drops.replayed.to_string()),
            ("dropped_unknown_key", drops.unknown_key.to_string()),
        ]));
    }
    pairs
}
