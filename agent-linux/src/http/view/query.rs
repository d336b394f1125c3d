//! A prepared query.

use super::{filled, listed};
use agent_core::model::Map;
use agent_core::model::query::{PreparedQuery, Target};
use serde::Serialize;

/// A prepared query as `/v1/query` shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueryView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    session: &'a str,
    token: &'a str,
    template: TemplateView<'a>,
    service: TargetView<'a>,
    #[serde(rename = "DNS")]
    dns: DnsView<'a>,
    create_index: u64,
    modify_index: u64,
}

/// How it depends on the name that is asked for.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TemplateView<'a> {
    #[serde(rename = "Type")]
    kind: &'a str,
    regexp: &'a str,
    remove_empty_tags: bool,
}

/// What it finds.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TargetView<'a> {
    service: &'a str,
    failover: FailoverView<'a>,
    only_passing: bool,
    #[serde(rename = "IgnoreCheckIDs")]
    ignore_check_ids: Option<&'a [String]>,
    near: &'a str,
    tags: Option<&'a [String]>,
    node_meta: Option<&'a Map>,
    service_meta: Option<&'a Map>,
    connect: bool,
}

/// Where else it looks.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FailoverView<'a> {
    nearest_n: i64,
    datacenters: Option<&'a [String]>,
}

/// How it is answered in DNS.
#[derive(Serialize)]
pub(crate) struct DnsView<'a> {
    /// Lifetime of the records.
    #[serde(rename = "TTL")]
    pub(crate) ttl: &'a str,
}

impl<'a> From<&'a PreparedQuery> for QueryView<'a> {
    fn from(query: &'a PreparedQuery) -> Self {
        Self {
            id: &query.id,
            name: &query.name,
            session: &query.session,
            token: &query.token,
            template: TemplateView {
                kind: &query.template.kind,
                regexp: &query.template.regexp,
                remove_empty_tags: query.template.remove_empty_tags,
            },
            service: TargetView::from(&query.service),
            dns: DnsView { ttl: &query.dns_ttl },
            create_index: query.stamp.create,
            modify_index: query.stamp.modify,
        }
    }
}

impl<'a> From<&'a Target> for TargetView<'a> {
    fn from(target: &'a Target) -> Self {
        Self {
            service: &target.service,
            failover: FailoverView {
                nearest_n: target.failover.nearest,
                datacenters: listed(&target.failover.datacenters),
            },
            only_passing: target.only_passing,
            ignore_check_ids: listed(&target.ignore_check_ids),
            near: &target.near,
            tags: listed(&target.tags),
            node_meta: filled(&target.node_meta),
            service_meta: filled(&target.service_meta),
            connect: target.connect,
        }
    }
}
