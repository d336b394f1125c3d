//! DNS over UDP: a service's instances, a node, a name that is not there.

use crate::Order;
use crate::client::{A, SRV};
use crate::health::serve;
use crate::picture::Role;
use crate::report::Report;
use crate::work::{Ask, Work, measure};

/// Measures every agent of the order.
///
/// # Errors
///
/// Of [`measure`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let sizes = order.sizes(&[10]);
    let mut works = Vec::new();
    let mut add = |name: String, ask| {
        let roles = &[Role::Leader, Role::Client];
        works.push(Work { name, ask, roles, connections: vec![16] });
    };
    for instances in &sizes {
        let name = format!("web{instances}.service.consul");
        add(format!("DNS SRV, {instances} instances"), Ask::Dns(name.clone(), SRV, 0));
        add(format!("DNS A, {instances} instances"), Ask::Dns(name, A, 0));
    }
    add("DNS node A".into(), Ask::Dns("client1.node.consul".into(), A, 0));
    add("DNS NXDOMAIN".into(), Ask::Dns("nobody.service.consul".into(), A, 3));
    measure(order, "dns", &works, &|picture| {
        sizes
            .iter()
            .try_for_each(|instances| serve(picture, &format!("web{instances}"), *instances))
    })
}
