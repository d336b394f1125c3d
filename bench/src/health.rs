//! Health of a service with 10 and 100 instances.

use crate::Order;
use crate::client::Http;
use crate::picture::{Picture, Role};
use crate::report::Report;
use crate::work::{Ask, Work, measure};
use std::time::{Duration, Instant};

/// How long instances may take to be seen.
const SEEN: Duration = Duration::from_secs(60);

/// Measures every agent of the order.
///
/// # Errors
///
/// Of [`measure`].
pub(crate) fn run(order: &Order) -> Result<Report, String> {
    let mut works = Vec::new();
    let sizes = order.sizes(&[10, 100]);
    for instances in &sizes {
        for rest in ["", "&stale", "&cached"] {
            let roles: &[Role] = match rest {
                "&cached" => &[Role::Client],
                _ => &[Role::Leader, Role::Client],
            };
            works.push(Work {
                name: format!("health{}, {instances} instances", rest.replace('&', " ")),
                ask: Ask::Path(format!("/v1/health/service/web{instances}?passing{rest}")),
                roles,
                connections: vec![64],
            });
        }
    }
    let prepare = |picture: &Picture| {
        sizes
            .iter()
            .try_for_each(|instances| serve(picture, &format!("web{instances}"), *instances))
    };
    measure(order, "health", &works, &prepare)
}

/// Registers instances of a service in the catalog, on a node of their own, and waits until the
/// client sees them all.
///
/// # Errors
///
/// If one is refused or they are not seen in time.
pub(crate) fn serve(picture: &Picture, name: &str, instances: usize) -> Result<(), String> {
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
