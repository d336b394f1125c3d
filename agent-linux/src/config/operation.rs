//! From what was written to how the agent is operated: metrics.

use super::layer::Error;
use super::reader::Reader;
use super::resolve::host_name;
use super::runtime::Telemetry;

/// Reads metrics.
pub(super) fn telemetry(r: &Reader<'_>) -> Result<Telemetry, Error> {
    let t = Telemetry::default();
    let some = |key| r.some_text(key).map(str::to_owned);
    let host = match r.bool("telemetry.disable_hostname", false) {
        true => String::new(),
        false => host_name(),
    };
    Ok(Telemetry {
        host,
        prefix: some("telemetry.metrics_prefix").unwrap_or(t.prefix),
        filter: filter(r)?,
        filter_default: r.bool("telemetry.filter_default", t.filter_default),
        prometheus_retention_time: r
            .span("telemetry.prometheus_retention_time", t.prometheus_retention_time)?,
        statsd_address: some("telemetry.statsd_address"),
        statsite_address: some("telemetry.statsite_address"),
        dogstatsd_addr: some("telemetry.dogstatsd_addr"),
        dogstatsd_tags: r.texts("telemetry.dogstatsd_tags"),
    })
}

/// Reads rules like `+consul.raft` and `-consul.http`.
fn filter(r: &Reader<'_>) -> Result<Vec<(String, bool)>, Error> {
    let key = "telemetry.prefix_filter";
    let rule = |text: String| match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(start), _) => Ok((start.to_owned(), true)),
        (_, Some(start)) => Ok((start.to_owned(), false)),
        (None, None) => {
            let what = format!("Filter rule must begin with either '+' or '-': {text:?}");
            Err(r.fault(key, what))
        }
    };
    r.texts(key).into_iter().map(rule).collect()
}
