//! A check.

use super::{is_false, listed};
use agent_core::model::check::{Check, Definition};
use agent_core::time::GoDuration;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// A check as the catalog, health and the agent show it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CheckView<'a, D> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    id: &'a str,
    name: &'a str,
    status: &'static str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: Option<&'a [String]>,
    #[serde(rename = "Type")]
    kind: &'a str,
    definition: D,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Check> for CheckView<'a, DefinitionView<'a>> {
    fn from(check: &'a Check) -> Self {
        Self {
            node: &check.node,
            id: &check.id,
            name: &check.name,
            status: check.status.as_str(),
            notes: &check.notes,
            output: &check.output,
            service_id: &check.service_id,
            service_name: &check.service_name,
            service_tags: Some(&check.service_tags),
            kind: &check.kind,
            definition: DefinitionView::from(&check.definition),
            create_index: check.stamp.create,
            modify_index: check.stamp.modify,
        }
    }
}

impl<'a> CheckView<'a, DefinitionView<'a>> {
    /// A check as `/v1/query/` shows it.
    pub(crate) fn of_query(check: &'a Check) -> Self {
        Self { service_tags: listed(&check.service_tags), ..Self::from(check) }
    }

    /// A check as `/v1/txn` shows it: tags or `null`.
    pub(crate) fn of_txn(check: &'a Check) -> Self {
        let tags = &check.service_tags;
        Self { service_tags: (!tags.is_empty()).then_some(tags), ..Self::from(check) }
    }
}

impl<'a> CheckView<'a, BlankDefinition> {
    /// A check as `/v1/agent/health/` shows it: without type and definition, tags or `null`.
    pub(crate) fn of_health(check: &'a Check) -> Self {
        let tags = &check.service_tags;
        Self {
            node: &check.node,
            id: &check.id,
            name: &check.name,
            status: check.status.as_str(),
            notes: &check.notes,
            output: &check.output,
            service_id: &check.service_id,
            service_name: &check.service_name,
            service_tags: (!tags.is_empty()).then_some(tags),
            kind: "",
            definition: BLANK,
            create_index: 0,
            modify_index: 0,
        }
    }
}

/// How to run a check; what is empty is left out.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DefinitionView<'a> {
    #[serde(skip_serializing_if = "Span::is_none")]
    interval: Span,
    #[serde(skip_serializing_if = "Span::is_none")]
    timeout: Span,
    #[serde(skip_serializing_if = "Span::is_none")]
    deregister_critical_service_after: Span,
    #[serde(rename = "HTTP", skip_serializing_if = "str::is_empty")]
    http: &'a str,
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_false")]
    tls_skip_verify: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: &'a BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    body: &'a str,
    #[serde(rename = "TCP", skip_serializing_if = "str::is_empty")]
    tcp: &'a str,
}

impl<'a> From<&'a Definition> for DefinitionView<'a> {
    fn from(definition: &'a Definition) -> Self {
        Self {
            interval: Span(definition.interval_ns),
            timeout: Span(definition.timeout_ns),
            deregister_critical_service_after: Span(
                definition.deregister_critical_service_after_ns,
            ),
            http: &definition.http,
            tls_skip_verify: definition.tls_skip_verify,
            header: &definition.header,
            method: &definition.method,
            body: &definition.body,
            tcp: &definition.tcp,
        }
    }
}

/// Nanoseconds, written as Go writes durations.
struct Span(i64);

impl Span {
    /// Tells whether there is nothing to write.
    fn is_none(&self) -> bool {
        self.0 == 0
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&GoDuration(self.0))
    }
}

/// An empty definition with all its fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BlankDefinition {
    interval: &'static str,
    timeout: &'static str,
    deregister_critical_service_after: &'static str,
    #[serde(rename = "HTTP")]
    http: &'static str,
    header: Option<&'static str>,
    method: &'static str,
    body: &'static str,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP")]
    tcp: &'static str,
}

/// The one such definition.
const BLANK: BlankDefinition = BlankDefinition {
    interval: "0s",
    timeout: "0s",
    deregister_critical_service_after: "0s",
    http: "",
    header: None,
    method: "",
    body: "",
    tls_skip_verify: false,
    tcp: "",
};
