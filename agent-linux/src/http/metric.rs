//! `/v1/agent/metrics`: what this process counts and measures, as JSON or for Prometheus.

use super::reply::{Page, Refusal};
use super::route::{Act, Call, Intake};
use super::view::Nothing;
use crate::endpoint::agent::{Op, Reply};
use crate::metrics::{self, Counter, Gauge, INTERVAL, Sample, Summary};
use agent_core::time::GoTime;
use hyper::{Method, StatusCode};
use serde::{Serialize, Serializer};
use std::fmt::Write;

pub(super) const METRICS: Act = Act::Tell { intake: Intake::Nothing, parse, render };

/// Quantiles of a sample that Prometheus is told, as Consul's.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Names the sample of a route as Consul does: `/v1/kv/` for `GET` is `http.GET.v1.kv._`.
pub(super) fn sample_of(method: &Method, path: &str) -> &'static Sample {
    let mut name = format!("http.{method}{}", path.replace('*', "_").replace('/', "."));
    if name.ends_with('.') {
        name.push('_');
    }
    metrics::make_sample(name)
}

/// A number; whole ones are written without a point, as Go does.
struct Figure(f64);

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as i64;
        if whole as f64 == self.0 {
            serializer.serialize_i64(whole)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// A value as it stands.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GaugeView {
    name: String,
    value: Figure,
    labels: Nothing,
}

/// What an interval brought.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SummaryView {
    name: String,
    count: u64,
    rate: Figure,
    sum: Figure,
    min: Figure,
    max: Figure,
    mean: Figure,
    stddev: Figure,
    labels: Nothing,
}

/// All values in the shape of go-metrics.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricsView {
    timestamp: String,
    gauges: Vec<GaugeView>,
    points: [(); 0],
    counters: Vec<SummaryView>,
    samples: Vec<SummaryView>,
}

/// Tells whether Prometheus asks.
fn is_prometheus(call: &Call<'_>) -> bool {
    let accept = call.headers.get("accept").unwrap_or("");
    call.params.get("format") == "prometheus" || accept.contains("application/openmetrics-text")
}

/// Asks for the values as they stand.
fn parse(call: &Call<'_>, _: Vec<u8>) -> Result<Op, Refusal> {
    if is_prometheus(call) && !call.settings.prometheus {
        let text = "Prometheus is not enabled since its retention time is not positive";
        return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, text: text.into() });
    }
    Ok(Op::Measure)
}

/// Shows everything.
fn render(call: &Call<'_>, reply: Reply) -> Page {
    let Reply::Gauges(gauges) = reply else { return Page::unexpected() };
    if is_prometheus(call) {
        let mut page = Page::text(StatusCode::OK, prometheus(call, &gauges));
        page.kind = "text/plain; version=0.0.4; charset=utf-8";
        return page;
    }
    let naming = &call.settings.metrics;
    let gauge = |gauge: &Gauge| {
        let name = naming.gauge(gauge.name)?;
        Some(GaugeView { name, value: Figure(gauge.value), labels: Nothing {} })
    };
    let has_interval = metrics::has_interval();
    let counter = |counter: &&Counter| {
        let count = counter.recent(has_interval);
        let sum = count as f64;
        let summary = Summary { count, sum, min: 1.0, max: 1.0, deviation: 0.0 };
        summary_view(naming.plain(counter.name())?, summary)
    };
    let sample =
        |sample: &Sample| summary_view(naming.plain(sample.name())?, sample.recent(has_interval));
    let now = metrics::unix_seconds();
    let mut view = MetricsView {
        timestamp: GoTime(now - now % INTERVAL.as_secs()).to_string(),
        gauges: gauges.iter().filter_map(gauge).collect(),
        points: [],
        counters: metrics::counters().iter().filter_map(counter).collect(),
        samples: metrics::samples().into_iter().filter_map(sample).collect(),
    };
    view.gauges.sort_by(|a, b| a.name.cmp(&b.name));
    view.counters.sort_by(|a, b| a.name.cmp(&b.name));
    view.samples.sort_by(|a, b| a.name.cmp(&b.name));
    Page::json(call, &view)
}

/// Shows what an interval brought, unless that is nothing.
fn summary_view(name: String, summary: Summary) -> Option<SummaryView> {
    (summary.count > 0).then(|| SummaryView {
        name,
        count: summary.count,
        rate: Figure(summary.sum / INTERVAL.as_secs_f64()),
        sum: Figure(summary.sum),
        min: Figure(summary.min),
        max: Figure(summary.max),
        mean: Figure(summary.mean()),
        stddev: Figure(summary.deviation),
        labels: Nothing {},
    })
}

/// Writes the values in Prometheus's [text format], by name.
///
/// [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/
fn prometheus(call: &Call<'_>, gauges: &[Gauge]) -> String {
    let naming = &call.settings.metrics;
    let mut families: Vec<String> = Vec::new();
    let mut add = |name: Option<String>, kind: &str, values: &dyn Fn(&str) -> String| {
        if let Some(name) = name {
            let name = name.replace([' ', '.', '=', '-', '/'], "_");
            let values = values(&name);
            families.push(format!("# HELP {name} {name}\n# TYPE {name} {kind}\n{values}"));
        }
    };
    for gauge in gauges {
        add(naming.gauge(gauge.name), "gauge", &|name| format!("{name} {}\n", gauge.value));
    }
    for (name, kind, value) in metrics::prometheus_process() {
        add(Some(name.to_owned()), kind, &|name| format!("{name} {value}\n"));
    }
    for counter in metrics::counters().iter().filter(|counter| counter.total() > 0) {
        let value = counter.total();
        add(naming.plain(counter.name()), "counter", &|name| format!("{name} {value}\n"));
    }
    for sample in metrics::samples() {
        let (count, sum) = sample.total();
        if count == 0 {
            continue;
        }
        add(naming.plain(sample.name()), "summary", &|name| {
            let mut out = String::new();
            for part in QUANTILES {
                let value = sample.quantile(part);
                let _ = writeln!(out, "{name}{{quantile=\"{part}\"}} {value}");
            }
            let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {count}");
            out
        });
    }
    families.sort();
    families.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_named_as_consul_names_them() {
        assert_eq!(sample_of(&Method::GET, "/v1/kv/").name(), "http.GET.v1.kv._");
        assert_eq!(sample_of(&Method::PUT, "/v1/a").name(), "http.PUT.v1.a");
    }
}
