//! Registrations at a client agent, which brings each to the servers.

use crate::Order;
use crate::picture::Role;
use crate::report::Report;
use crate::work::{Ask, Work, measure};

/// Services that are registered in turn, each time on another port, unless told.
const SERVICES: usize = 64;

/// Measures every agent of the order.
///
/// # Errors
///
/// Of [`measure`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let work = |services| Work {
        name: "agent/service/register",
        size: Some((services, "services")),
        ask: Ask::Register(services),
        roles: &[Role::Client],
        connections: vec![1, 16],
    };
    let works: Vec<Work> = order.sizes(&[SERVICES]).into_iter().map(work).collect();
    measure(order, "register", &works, &|_, _| Ok(()))
}
