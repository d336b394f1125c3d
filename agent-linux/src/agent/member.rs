//! Members of the pool in the words of Serf and of consensus.

use crate::agent::bootstrap::Candidate;
use crate::endpoint::agent::MemberView;
use crate::gossip::{Member, MemberStatus};
use crate::raft::Server;
use agent_core::gossip::{Meta, Role};
use agent_core::model::status;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use uuid::Uuid;

/// Serf's number for a status.
const fn serf_status(status: MemberStatus) -> u8 {
    match status {
        MemberStatus::Alive => 1,
        MemberStatus::Leaving => 2,
        MemberStatus::Left => 3,
        MemberStatus::Failed => 4,
    }
}

/// Shows a member as Serf's JSON does.
pub(super) fn view(member: &Member) -> MemberView {
    MemberView {
        name: member.name.clone(),
        addr: member.addr,
        tags: tags(&member.meta),
        status: serf_status(member.status),
    }
}

/// Shows a member of the pool that spans datacentres, where nobody need be told of its port.
pub(super) fn view_across(member: &Member) -> MemberView {
    let mut view = view(member);
    view.tags.remove("wan_join_port");
    view
}

/// Spells a member's metadata as Serf's tags, which Consul's users and tools read.
fn tags(meta: &Meta) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let mut put = |name: &str, value: String| tags.insert(name.to_owned(), value);
    put("acls", "0".to_owned());
    put("build", meta.build.clone());
    put("dc", meta.dc.clone());
    put("id", Uuid::from_bytes(meta.node_id).to_string());
    put("segment", String::new());
    put("vsn", meta.protocol.to_string());
    put("vsn_min", "2".to_owned());
    put("vsn_max", "3".to_owned());
    match meta.role {
        Role::Client => {
            put("role", "node".to_owned());
        }
        Role::Server => {
            put("role", "consul".to_owned());
            put("port", meta.rpc_port.to_string());
            put("wan_join_port", meta.wan_port.to_string());
            put("raft_vsn", "3".to_owned());
            put("ft_fs", "1".to_owned());
            if meta.expect != 0 {
                put("expect", meta.expect.to_string());
            }
            if meta.bootstrap {
                put("bootstrap", "1".to_owned());
            }
            if meta.non_voter {
                put("nonvoter", "1".to_owned());
            }
        }
    }
    for (name, value) in &meta.tags {
        put(name, value.clone());
    }
    tags
}

/// Lists the members for an agent that sees a part of them.
pub(super) fn roll(members: &[Member]) -> Vec<status::Member> {
    let row = |member: &Member| status::Member {
        name: member.name.clone(),
        address: member.addr.to_string(),
        tags: tags(&member.meta),
        status: serf_status(member.status),
    };
    members.iter().map(row).collect()
}

/// Shows a member that a server told of; nothing for an address that is none.
pub(super) fn told(member: status::Member) -> Option<MemberView> {
    let status::Member { name, address, tags, status } = member;
    Some(MemberView { name, addr: address.parse().ok()?, tags, status })
}

/// Tells a server's place in consensus, `None` for clients.
pub(super) fn server(member: &Member) -> Option<Server> {
    (member.meta.role == Role::Server && member.meta.raft_id != 0).then(|| Server {
        id: member.meta.raft_id,
        node_id: Uuid::from_bytes(member.meta.node_id).to_string(),
        name: member.name.clone(),
        address: SocketAddr::new(member.addr.ip(), member.meta.rpc_port),
    })
}

/// Tells what bootstrapping needs to know of the living servers of a datacentre.
pub(super) fn candidates(members: &[Member], datacenter: &str) -> Vec<Candidate> {
    alive(members, datacenter)
        .filter_map(|member| {
            Some(Candidate {
                server: server(member)?,
                expect: u32::from(member.meta.expect),
                bootstrap: member.meta.bootstrap,
                voter: !member.meta.non_voter,
            })
        })
        .collect()
}

/// Lists where the living servers of a datacentre take RPC.
pub(super) fn rpc_addresses(members: &[Member], datacenter: &str) -> Vec<SocketAddr> {
    alive(members, datacenter).filter_map(server).map(|server| server.address).collect()
}

/// Lists where the living servers of the LAN pool take WAN gossip, those that the WAN pool lacks.
pub(super) fn missing_in_wan(lan: &[Member], wan: &[Member]) -> Vec<SocketAddr> {
    let known = |member: &Member| {
        wan.iter().any(|other| {
            other.meta.node_id == member.meta.node_id && other.status == MemberStatus::Alive
        })
    };
    lan.iter()
        .filter(|member| member.status == MemberStatus::Alive && member.meta.wan_port != 0)
        .filter(|member| !known(member))
        .map(|member| SocketAddr::new(member.addr.ip(), member.meta.wan_port))
        .collect()
}

/// Picks the living members of a datacentre.
fn alive<'a>(members: &'a [Member], datacenter: &str) -> impl Iterator<Item = &'a Member> {
    members
        .iter()
        .filter(move |member| member.status == MemberStatus::Alive && member.meta.dc == datacenter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(role: Role, status: MemberStatus) -> Member {
        let meta = Meta {
            role,
            rpc_port: 8300,
            wan_port: 8302,
            expect: 3,
            raft_id: 9,
            ..Meta::client("agent128", "dc1", [7; 16], "1.8.3:")
        };
        Member { name: meta.name.clone(), addr: "127.0.0.11:8301".parse().unwrap(), status, meta }
    }

    #[test]
    fn across_datacentres_the_port_of_that_pool_is_not_told() {
        let server = member(Role::Server, MemberStatus::Alive);
        let (here, across) = (view(&server).tags, view_across(&server).tags);
        let missing: Vec<_> = here.keys().filter(|name| !across.contains_key(*name)).collect();
        assert_eq!(missing, ["wan_join_port"]);
    }

    #[test]
    fn a_servers_tags_are_serfs() {
        let tags = view(&member(Role::Server, MemberStatus::Alive)).tags;
        let text: Vec<String> =
            tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            text.join(","),
            "acls=0,build=1.8.3:,dc=dc1,expect=3,ft_fs=1,\
             id=07070707-0707-0707-0707-070707070707,port=8300,raft_vsn=3,role=consul,segment=,\
             vsn=2,vsn_max=3,vsn_min=2,wan_join_port=8302"
        );
    }

    #[test]
    fn only_living_servers_of_the_datacentre_take_rpc() {
        let members = [
            member(Role::Server, MemberStatus::Alive),
            member(Role::Server, MemberStatus::Failed),
            member(Role::Client, MemberStatus::Alive),
        ];
        assert_eq!(rpc_addresses(&members, "dc1"), ["127.0.0.11:8300".parse().unwrap()]);
        assert!(rpc_addresses(&members, "dc2").is_empty());
        assert_eq!(candidates(&members, "dc1").len(), 1);
    }
}
