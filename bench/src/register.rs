//! Registrations at a client agent, which brings each to the servers.

use crate::Order;
use crate::picture::Role;
use crate::report::Report;
use crate::work::{Ask, Work, measure};

/// Services that are registered in turn, each time on another port.
const SERVICES: usize = 64;

/// Measures every agent of the order.
///
/// # Errors
///
/// Of [`measure`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let work = Work {
        name: "agent/service/register".into(),
        ask: Ask::Register(SERVICES),
        roles: &[Role::Client],
        connections: vec![1, 16],
    };
    measure(order, "register", &[work], &|_| Ok(()))
}
