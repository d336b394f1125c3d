//! A session.

use super::Each;
use agent_core::model::session::{Behavior, Session};
use serde::Serialize;

/// A session as `/v1/session/` shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SessionView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    node: &'a str,
    lock_delay: u64,
    behavior: &'static str,
    #[serde(rename = "TTL")]
    ttl: &'a str,
    node_checks: &'a [String],
    service_checks: Option<ServiceChecks<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    checks: &'a [String],
    create_index: u64,
    modify_index: u64,
}

/// The service checks that a session is bound to.
type ServiceChecks<'a> = Each<'a, String, fn(&'a String) -> ServiceCheckView<'a>>;

/// A service check that a session is bound to.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceCheckView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    namespace: &'static str,
}

/// Shows a service check by its id.
fn service_check(id: &String) -> ServiceCheckView<'_> {
    ServiceCheckView { id, namespace: "" }
}

impl<'a> From<&'a Session> for SessionView<'a> {
    fn from(session: &'a Session) -> Self {
        let service_checks = &session.service_checks;
        Self {
            id: &session.id,
            name: &session.name,
            node: &session.node,
            lock_delay: session.lock_delay_ns,
            behavior: match session.behavior {
                Behavior::Release => "release",
                Behavior::Delete => "delete",
            },
            ttl: &session.ttl,
            node_checks: &session.node_checks,
            service_checks: (!service_checks.is_empty())
                .then_some(Each::of(service_checks, service_check as fn(&'a String) -> _)),
            checks: &session.checks,
            create_index: session.stamp.create,
            modify_index: session.stamp.modify,
        }
    }
}
