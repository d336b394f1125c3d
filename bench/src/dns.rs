//! DNS over UDP: a service's instances, a node, a name that is not there.

use crate::Order;
use crate::client::{A, SRV};
use crate::health::{INSTANCES, serve, web};
use crate::picture::Role;
use crate::report::Report;
use crate::work::{Ask, Work, measure};

/// Measures every agent of the order.
///
/// # Errors
///
/// Of [`measure`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let mut works = Vec::new();
    let mut add = |name, size, ask| {
        let roles = &[Role::Leader, Role::Client];
        works.push(Work { name, size, ask, roles, connections: vec![16] });
    };
    for instances in order.sizes(&[10]) {
        let (name, size) =
            (format!("{}.service.consul", web(instances)), Some((instances, INSTANCES)));
        add("DNS SRV", size, Ask::Dns(name.clone(), SRV, 0));
        add("DNS A", size, Ask::Dns(name, A, 0));
    }
    add("DNS node A", None, Ask::Dns("client1.node.consul".into(), A, 0));
    add("DNS NXDOMAIN", None, Ask::Dns("nobody.service.consul".into(), A, 3));
    measure(order, "dns", &works, &serve)
}
