//! A node.

use super::filled;
use agent_core::model::Map;
use agent_core::model::node::Node;
use serde::Serialize;

/// A node as the catalog and health show it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: Option<&'a Map>,
    meta: Option<&'a Map>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Node> for NodeView<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: filled(&node.tagged_addresses),
            meta: filled(&node.meta),
            create_index: node.stamp.create,
            modify_index: node.stamp.modify,
        }
    }
}
