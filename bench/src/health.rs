//! Health of a service with 10 and 100 instances.

use crate::Order;
use crate::client::Http;
use crate::picture::{Picture, Role};
use crate::report::Report;
use crate::work::{Ask, Work, measure};
use std::time::{Duration, Instant};

/// What the sizes are of.
pub(crate) const INSTANCES: &str = "instances";

const BOTH: &[Role] = &[Role::Leader, Role::Client];

/// How long instances may take to be seen.
const SEEN: Duration = Duration::from_secs(60);

/// Measures every agent of the order.
///
/// # Errors
///
/// Of [`measure`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let mut works = Vec::new();
    for instances in order.sizes(&[10, 100]) {
        for (name, rest, roles) in [
            ("health", "", BOTH),
            ("health stale", "&stale", BOTH),
            ("health cached", "&cached", &[Role::Client]),
        ] {
            let ask = Ask::Path(format!("/v1/health/service/{}?passing{rest}", web(instances)));
            let size = Some((instances, INSTANCES));
            works.push(Work { name, size, ask, roles, connections: vec![64] });
        }
    }
    measure(order, "health", &works, &serve)
}

/// The service that has so many instances.
pub(crate) fn web(instances: usize) -> String {
    format!("web{instances}")
}

/// Registers instances of a service in the catalog, on a node of their own, and waits until the
/// client sees them all.
///
/// # Errors
///
/// If one is refused or they are not seen in time.
pub(crate) fn serve(picture: &Picture, instances: usize) -> Result<(), String> {
    let name = web(instances);
    let mut http = Http::new(picture.one(Role::Leader).http());
    for number in 0..instances {
        let (node, port) = (number % 10, 18_080 + number % 40_000);
        let body = format!(
            r#"{{"Node":"host{node}","Address":"10.1.0.{node}","Service":{{"Service":"{name}",
            "ID":"{name}-{number}","Port":{port},"Tags":["v1"]}},"Check":{{"CheckID":
            "{name}-{number}","Name":"{name}","Status":"passing","ServiceID":"{name}-{number}"}}}}"#
        );
        http.put("/v1/catalog/register", body.as_bytes())?;
    }
    let mut http = Http::new(picture.one(Role::Client).http());
    let deadline = Instant::now() + SEEN;
    loop {
        let list = http.get(&format!("/v1/health/service/{name}?passing"))?;
        let list: serde_json::Value =
            serde_json::from_slice(&list).map_err(|error| error.to_string())?;
        match list.as_array().map_or(0, Vec::len) {
            seen if seen == instances => return Ok(()),
            seen if Instant::now() > deadline => {
                return Err(format!("{seen} of {instances} instances of {name} seen"));
            }
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
