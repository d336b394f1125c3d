//! An idle picture: what each agent holds and uses.

use crate::Order;
use crate::lab::Lab;
use crate::picture::Picture;
use crate::process::Sample;
use crate::report::Figures;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time before it is measured, unless told.
const SETTLE_SECS: u64 = 20;

/// Measures every agent of the order, one picture after the other.
///
/// # Errors
///
/// If a picture does not come up.
pub(crate) fn measure(order: &Order) -> Result<Figures, String> {
    let mut figures = Figures::new(
        &["agent", "role"],
        &[
            "binary MB",
            "RSS MB",
            "PSS MB",
            "anon MB",
            "threads",
            "fds",
            "CPU ms/s",
            "rx B/s",
            "tx B/s",
            "packets/s",
        ],
    );
    for binary in &order.agents {
        // A thread of its own: it moves into the lab's namespace and takes nothing else along.
        let rows = std::thread::scope(|scope| {
            scope.spawn(|| one(binary, order)).join().map_err(|_| "panicked".to_string())?
        });
        rows?.into_iter().for_each(|(labels, numbers)| figures.push(labels, numbers));
    }
    Ok(figures)
}

type Row = (Vec<String>, Vec<f64>);

fn one(binary: &Path, order: &Order) -> Result<Vec<Row>, String> {
    let name = binary.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or("an agent needs a path")?;
    let bytes = std::fs::metadata(binary).map_err(|error| format!("{binary:?}: {error}"))?.len();
    let lab = Lab::new().map_err(|why| eprintln!("no traffic figures: {why}")).ok();
    let counted = lab.is_some();
    let picture = Picture::start(binary, lab)?;
    let settle = order.settle.unwrap_or(SETTLE_SECS);
    eprintln!("{name}: up; settling {settle} s, measuring {:?}", order.span(60));
    sleep(Duration::from_secs(settle));
    let read =
        || -> Vec<Sample> { picture.agents.iter().map(|agent| Sample::of(agent.pid())).collect() };
    let (start, before) = (Instant::now(), read());
    sleep(order.span(60));
    let (seconds, after) = (start.elapsed().as_secs_f64(), read());
    let mut rows = Vec::new();
    for (agent, (before, after)) in picture.agents.iter().zip(before.iter().zip(&after)) {
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let traffic = |before: u64, after: u64| match counted {
            true => rate(before, after),
            false => f64::NAN,
        };
        let packets = |sample: &Sample| sample.received.1 + sample.sent.1;
        rows.push((
            vec![name.clone(), agent.role.name().into()],
            vec![
                bytes as f64 / 1e6,
                after.rss_kib as f64 / 1024.0,
                after.pss_kib as f64 / 1024.0,
                after.anon_kib as f64 / 1024.0,
                after.threads as f64,
                after.files as f64,
                rate(before.cpu_ns, after.cpu_ns) / 1e6,
                traffic(before.received.0, after.received.0),
                traffic(before.sent.0, after.sent.0),
                traffic(packets(before), packets(after)),
            ],
        ));
    }
    Ok(rows)
}
