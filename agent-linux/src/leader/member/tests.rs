//! The catalog follows the pool.

use super::*;
use crate::gossip::Meta;
use agent_core::model::Stamp;
use agent_core::model::autopilot::Configuration;
use std::net::SocketAddr;

const OWN: u64 = 1;

/// A catalog that takes the commands which it is told.
#[derive(Default)]
struct Shown {
    nodes: BTreeMap<String, NodeServices>,
    health: BTreeMap<String, Arc<Check>>,
}

impl Catalog for View<Shown> {
    fn node(&self, name: &str) -> Option<NodeServices> {
        self.0.nodes.get(name).cloned()
    }

    fn health(&self, name: &str) -> Option<Arc<Check>> {
        self.0.health.get(name).cloned()
    }

    fn with_health(&self) -> Vec<String> {
        self.0.health.keys().cloned().collect()
    }
}

impl View<Shown> {
    fn take(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Register(wanted) => {
                    let name = wanted.node.name.clone();
                    let mut services: Vec<Arc<Service>> =
                        self.0.nodes.get(&name).map(|n| n.services.clone()).unwrap_or_default();
                    if let Some(mut service) = wanted.service {
                        service.stamp = Stamp { create: 7, modify: 7 };
                        services = vec![Arc::new(service)];
                    }
                    let node = NodeServices { node: Arc::new(wanted.node), services };
                    self.0.nodes.insert(name.clone(), node);
                    for check in wanted.checks {
                        self.0.health.insert(name.clone(), Arc::new(check));
                    }
                }
                Command::Deregister(unwanted) => {
                    self.0.nodes.remove(&unwanted.node);
                    self.0.health.remove(&unwanted.node);
                }
                Command::Kv(_)
                | Command::Session(_)
                | Command::Autopilot(_)
                | Command::Prepared(_)
                | Command::Coordinate(_)
                | Command::Snapshot(_)
                | Command::Txn(_) => {
                    panic!("unexpected {command:?}")
                }
            }
        }
    }

    fn reconcile(&mut self, members: &[Member], before: Option<&[Member]>) -> usize {
        let settings = Settings {
            datacenter: "dc1".into(),
            autopilot: Configuration {
                cleanup_dead_servers: true,
                min_quorum: 0,
                ..Configuration::default()
            },
            coordinate_period: Duration::from_secs(5),
        };
        let commands = self.differences(members, before, OWN, &settings);
        let count = commands.len();
        self.take(commands);
        count
    }

    fn status(&self, name: &str) -> Option<Status> {
        self.0.health.get(name).map(|check| check.status)
    }
}

fn member(n: u8, role: Role, status: MemberStatus) -> Member {
    let meta = Meta {
        role,
        rpc_port: 8300,
        wan_port: 8302,
        raft_id: u64::from(n),
        ..Meta::client(&format!("a{n}"), "dc1", [n; 16], "1.8.7:")
    };
    let addr = SocketAddr::from(([127, 0, 0, n], 8301));
    Member { name: meta.name.clone(), addr, status, meta }
}

#[test]
fn the_catalog_follows_members_through_life_and_death() {
    use MemberStatus::{Alive, Failed, Left};
    let mut view = View(Shown::default());
    let with = |status| [member(1, Role::Server, Alive), member(2, Role::Client, status)];
    assert_eq!(view.reconcile(&with(Alive), None), 2);
    assert_eq!(view.status("a2"), Some(Status::Passing));
    assert_eq!(view.reconcile(&with(Alive), None), 0);
    assert_eq!(view.reconcile(&with(Failed), Some(&with(Alive))), 1);
    assert_eq!(view.status("a2"), Some(Status::Critical));
    assert_eq!(view.reconcile(&with(Failed), None), 0);
    assert_eq!(view.reconcile(&with(Alive), Some(&with(Failed))), 1);
    assert_eq!(view.reconcile(&with(Left), Some(&with(Alive))), 1);
    assert_eq!(view.status("a2"), None);
    assert_eq!(view.reconcile(&with(Left), None), 0);
    // Whom the leader never saw alive gets no node by failing.
    assert_eq!(view.reconcile(&with(Failed), None), 0);
}

#[test]
fn who_comes_back_under_another_id_takes_its_name_over() {
    use MemberStatus::Alive;
    let mut view = View(Shown::default());
    let mut wiped = member(2, Role::Client, Alive);
    assert_eq!(view.reconcile(&[wiped.clone()], None), 1);
    wiped.meta.node_id = [9; 16];
    assert_eq!(view.reconcile(&[wiped.clone()], None), 2);
    assert_eq!(view.status("a2"), Some(Status::Passing));
    assert_eq!(view.reconcile(&[wiped], None), 0);
}

#[test]
fn members_that_the_pool_forgot_lose_their_node() {
    use MemberStatus::{Alive, Failed};
    let all = [member(1, Role::Server, Alive), member(2, Role::Client, Alive)];
    let mut view = View(Shown::default());
    view.reconcile(&all, None);
    assert_eq!(view.reconcile(&all[..1], Some(&all)), 1);
    assert_eq!(view.status("a2"), None);
    let mut view = View(Shown::default());
    view.reconcile(&all, None);
    let own_left = [member(1, Role::Server, MemberStatus::Left)];
    view.reconcile(&own_left, Some(&all[..1]));
    assert_eq!(view.status("a1"), Some(Status::Passing));
    assert_eq!(view.reconcile(&[member(1, Role::Server, Failed)], None), 1);
}

#[test]
fn who_is_not_in_the_pool_yet_keeps_its_node_for_a_while() {
    let all = [1, 2, 3].map(|n| member(n, Role::Client, MemberStatus::Alive));
    let mut view = View(Shown::default());
    view.reconcile(&all, None);
    let start = Instant::now();
    let mut strangers = Strangers::default();
    // A leader that just started knows itself alone.
    assert_eq!(view.reconcile(&all[..1], None), 0);
    assert!(strangers.judge(view.unknown(&all[..1]), start).is_empty());
    // One comes back in time, the other does not.
    let soon = start + STRANGER_TIME / 2;
    assert!(strangers.judge(view.unknown(&all[..2]), soon).is_empty());
    assert_eq!(strangers.judge(view.unknown(&all[..1]), start + STRANGER_TIME), ["a3"]);
}

#[test]
fn a_server_has_the_service_that_consuls_tools_read() {
    let service = server_service(&member(1, Role::Server, MemberStatus::Alive)).unwrap();
    let meta: Vec<String> = service.meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        meta.join(" "),
        "non_voter=false raft_version=3 serf_protocol_current=2 serf_protocol_max=5 \
         serf_protocol_min=1 version=1.8.7"
    );
    assert_eq!((service.id.as_str(), service.port), ("consul", 8300));
    assert_eq!(server_service(&member(1, Role::Client, MemberStatus::Alive)), None);
}

#[test]
fn a_node_is_completed_by_its_agent_and_then_left_to_it() {
    let mut view = View(Shown::default());
    let mut members = [member(1, Role::Client, MemberStatus::Alive)];
    view.reconcile(&members, None);
    let node = view.0.nodes["a1"].node.clone();
    let tags: Vec<&str> = node.tagged_addresses.keys().map(String::as_str).collect();
    assert_eq!(tags, ["lan", "lan_ipv4", "wan", "wan_ipv4"]);
    assert_eq!(node.meta.get("consul-network-segment").map(String::as_str), Some(""));
    let mut own = Node::clone(&node);
    own.meta.insert("rack".into(), "7".into());
    view.0.nodes.get_mut("a1").unwrap().node = Arc::new(own);
    assert_eq!(view.reconcile(&members, None), 0);
    members[0].addr = "127.0.0.9:8301".parse().unwrap();
    assert_eq!(view.reconcile(&members, None), 1);
    assert_eq!(view.0.nodes["a1"].node.address, "127.0.0.9");
}
