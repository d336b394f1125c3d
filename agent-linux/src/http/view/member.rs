//! A member of a gossip pool.

use crate::endpoint::agent::MemberView as Member;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A member as Serf's JSON shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MemberView<'a> {
    name: &'a str,
    addr: IpAddr,
    port: u16,
    tags: &'a BTreeMap<String, String>,
    status: u8,
    protocol_min: u8,
    protocol_max: u8,
    protocol_cur: u8,
    delegate_min: u8,
    delegate_max: u8,
    delegate_cur: u8,
}

impl<'a> From<&'a Member> for MemberView<'a> {
    fn from(member: &'a Member) -> Self {
        Self {
            name: &member.name,
            addr: member.addr.ip(),
            port: member.addr.port(),
            tags: &member.tags,
            status: member.status,
            protocol_min: 1,
            protocol_max: 5,
            protocol_cur: 2,
            delegate_min: 2,
            delegate_max: 5,
            delegate_cur: 4,
        }
    }
}
