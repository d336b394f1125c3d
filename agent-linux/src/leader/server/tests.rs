//! The raft configuration follows the pool.

use super::*;
use crate::gossip::Meta;
use agent_core::model::autopilot::Configuration;

const OWN: u64 = 1;

fn settings() -> Settings {
    Settings {
        datacenter: "dc1".into(),
        autopilot: Configuration {
            cleanup_dead_servers: true,
            min_quorum: 0,
            ..Configuration::default()
        },
        coordinate_period: Duration::from_secs(5),
    }
}

fn member(n: u8, raft_id: u64, status: MemberStatus) -> Member {
    let meta = Meta {
        role: Role::Server,
        rpc_port: 8300,
        wan_port: 8302,
        raft_id,
        ..Meta::client(&format!("s{n}"), "dc1", [n; 16], "1.8.7:")
    };
    let addr = SocketAddr::from(([127, 0, 0, n], 8301));
    Member { name: meta.name.clone(), addr, status, meta }
}

fn voter(n: u8, raft_id: u64) -> (Server, bool) {
    (server(&member(n, raft_id, MemberStatus::Alive)), true)
}

fn look(members: &[Member], configuration: &[(Server, bool)]) -> Vec<Step> {
    steps(&mut Memory::default(), members, configuration, OWN, &settings(), &BTreeSet::new())
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    use MemberStatus::{Alive, Failed};
    let members = [member(1, 1, Alive), member(2, 2, Alive), member(3, 3, Failed)];
    assert!(look(&members, &[voter(1, 1), voter(2, 2), voter(3, 3)]).is_empty());
    // Gossip does not know everybody yet: nobody is removed for that.
    assert!(look(&members[..1], &[voter(1, 1), voter(2, 2), voter(3, 3)]).is_empty());
}

#[test]
fn servers_come_and_leave_with_the_pool() {
    use MemberStatus::{Alive, Left};
    let members = [member(1, 1, Alive), member(2, 2, Left), member(3, 3, Alive)];
    let (two, three) = (voter(2, 2), voter(3, 3));
    let steps = look(&members, &[voter(1, 1), two.clone()]);
    assert_eq!(steps, [Step::Remove(two.0, "left"), Step::Add(three.0.clone())]);
    let moved = Server { name: "old".into(), ..three.0.clone() };
    let steps = look(&members[2..], &[voter(1, 1), (moved, true)]);
    assert_eq!(steps, [Step::Add(three.0)]);
}

#[test]
fn a_server_votes_once_it_has_been_healthy_for_long_enough() {
    use agent_core::model::autopilot::ServerHealth;
    let members = [member(1, 1, MemberStatus::Alive), member(2, 2, MemberStatus::Alive)];
    let new = voter(2, 2).0;
    let configuration = [voter(1, 1), (new.clone(), false)];
    let mut settings = settings();
    settings.autopilot.stabilization_ns = 10_000_000_000;
    let id = new.node_id.clone();
    let health = |healthy| Health {
        servers: vec![ServerHealth {
            id: id.clone(),
            healthy,
            stable_since: 100,
            ..ServerHealth::default()
        }],
        ..Health::default()
    };
    let at = |healthy, millis| {
        let stable = stable(&health(healthy), &settings, millis);
        steps(&mut Memory::default(), &members, &configuration, OWN, &settings, &stable)
    };
    assert!(at(true, 109_999).is_empty());
    assert!(at(false, 200_000).is_empty());
    assert_eq!(at(true, 110_000), [Step::Promote(new)]);
}

#[test]
fn a_wiped_server_loses_its_old_place_first() {
    use MemberStatus::Alive;
    let members = [member(1, 1, Alive), member(2, 22, Alive)];
    let steps = look(&members, &[voter(1, 1), voter(2, 2)]);
    assert_eq!(steps, [Step::Remove(voter(2, 2).0, "replaced"), Step::Add(voter(2, 22).0)]);
}

#[test]
fn a_server_that_the_pool_forgot_is_removed() {
    use MemberStatus::{Alive, Failed};
    let mut memory = Memory::default();
    let members = [member(1, 1, Alive), member(2, 2, Failed)];
    let configuration = [voter(1, 1), voter(2, 2)];
    let none = BTreeSet::new();
    assert!(steps(&mut memory, &members, &configuration, OWN, &settings(), &none).is_empty());
    let steps = steps(&mut memory, &members[..1], &configuration, OWN, &settings(), &none);
    assert_eq!(steps, [Step::Remove(voter(2, 2).0, "forgotten")]);
}

#[test]
fn dead_servers_go_only_when_another_joined_and_most_are_left() {
    use MemberStatus::{Alive, Failed};
    let members =
        [member(1, 1, Alive), member(2, 2, Alive), member(3, 3, Failed), member(4, 4, Alive)];
    let all = [voter(1, 1), voter(2, 2), voter(3, 3), voter(4, 4)];
    let joined = Memory { joined: true, ..Memory::default() };
    let removed = dead(&joined, &members, &all, &settings());
    assert_eq!(removed, [voter(3, 3).0]);
    assert!(dead(&Memory::default(), &members, &all, &settings()).is_empty());
    let mut floor = settings();
    floor.autopilot.min_quorum = 4;
    assert!(dead(&joined, &members, &all, &floor).is_empty());
    let mut off = settings();
    off.autopilot.cleanup_dead_servers = false;
    assert!(dead(&joined, &members, &all, &off).is_empty());
    let most = [member(1, 1, Alive), member(2, 2, Failed), member(3, 3, Failed)];
    assert!(dead(&joined, &most, &all[..3], &settings()).is_empty());
}
