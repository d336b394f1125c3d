//! `/v1/agent/metrics`: what this process truly knows of itself, as JSON or for Prometheus.

use super::reply::Page;
use super::route::{Act, Call};
use crate::metrics;
use hyper::StatusCode;
use hyper::header::ACCEPT;
use serde::Serialize;
use std::fmt::Write;

pub(super) const METRICS: Act = Act::Say(render);

/// Consul's interval of aggregation, to whose start the timestamp is cut.
const INTERVAL_SECONDS: u64 = 10;

/// One measured value.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Gauge {
    name: &'static str,
    value: u64,
    labels: super::view::Nothing,
}

/// All values in the shape of go-metrics.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricsView {
    timestamp: String,
    gauges: Vec<Gauge>,
    points: [(); 0],
    counters: [(); 0],
    samples: [(); 0],
}

/// Shows the process's memory, threads and open files.
fn render(call: &Call<'_>) -> Page {
    let accept = call.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let openmetrics = accept.contains("application/openmetrics-text");
    if call.params.get("format") == "prometheus" || openmetrics {
        if !call.settings.prometheus {
            let text = "Prometheus is not enabled since its retention time is not positive";
            return Page::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        let mut page = Page::text(StatusCode::OK, prometheus());
        page.kind = "text/plain; version=0.0.4; charset=utf-8";
        return page;
    }
    let now = metrics::unix_seconds();
    let view = MetricsView {
        timestamp: utc(now - now % INTERVAL_SECONDS),
        gauges: gauges(),
        points: [],
        counters: [],
        samples: [],
    };
    Page::json(call, &view)
}

/// Takes the process's measures.
fn gauges() -> Vec<Gauge> {
    let gauge = |(name, value)| Gauge { name, value, labels: super::view::Nothing {} };
    metrics::process().into_iter().map(gauge).collect()
}

/// Writes the values in Prometheus's [text format].
///
/// [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/
fn prometheus() -> String {
    let mut out = String::new();
    for Gauge { name, value, .. } in gauges() {
        let name = name.replace('.', "_");
        writeln!(out, "# HELP {name} {name}\n# TYPE {name} gauge\n{name} {value}")
            .expect("a string takes any text");
    }
    out
}

/// Writes seconds since 1970 as go-metrics does: `2026-11-22 08:48:20 +0000 UTC`.
///
/// The date is civil-from-days: <https://howardhinnant.github.io/date_algorithms.html>.
fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_civil() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 +0000 UTC");
        assert_eq!(utc(1_795_337_300), "2026-11-22 08:48:20 +0000 UTC");
    }

    #[test]
    fn a_running_process_has_memory_and_threads() {
        let names: Vec<_> = gauges().iter().map(|gauge| gauge.name).collect();
        assert!(names.contains(&"consul.runtime.sys_bytes"), "{names:?}");
        assert!(prometheus().contains("# TYPE consul_runtime_threads gauge\n"));
    }
}
