//! What the system tells of this process.

use super::Gauge;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the gauge of resident memory.
const RESIDENT: &str = "runtime.alloc_bytes";
/// Ticks a second in `/proc`: the same on every Linux, whatever its kernel's own clock.
const TICKS: f64 = 100.0;

/// Tells the seconds since 1970, 0 for a clock before that.
pub fn unix_seconds() -> u64 {
    unix_millis() / 1000
}

/// Tells the milliseconds since 1970, 0 for a clock before that.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Measures the process; what cannot be read is left out. Memory is that of the whole process:
/// `alloc_bytes` what is resident, `sys_bytes` what is mapped. There is no collector of garbage, so
/// nothing tells of one.
pub fn process() -> Vec<Gauge> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
    let values = [
        (RESIDENT, field("VmRSS:").map(|kib| kib * 1024)),
        ("runtime.open_files", files),
        ("runtime.sys_bytes", field("VmSize:").map(|kib| kib * 1024)),
        ("runtime.threads", field("Threads:")),
    ];
    let gauge = |(name, value): (_, Option<u64>)| Some(Gauge::new(name, value? as f64));
    values.into_iter().filter_map(gauge).collect()
}

/// The same for Prometheus, under the names that its own libraries give: with their kind.
pub fn prometheus_process() -> Vec<(&'static str, &'static str, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // Counted from the third field of proc(5).
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = uptime.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let started = |since_boot: f64| Some(now - uptime? + since_boot / TICKS);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    let resident = process().iter().find(|gauge| gauge.name == RESIDENT).map(|gauge| gauge.value);
    let values = [
        (
            "process_cpu_seconds_total",
            "counter",
            Some((field(14), field(15))).and_then(|(user, system)| Some((user? + system?) / TICKS)),
        ),
        ("process_max_fds", "gauge", limit.map(|limit| limit as f64)),
        ("process_open_fds", "gauge", files),
        ("process_resident_memory_bytes", "gauge", resident),
        ("process_start_time_seconds", "gauge", field(22).and_then(started)),
        ("process_virtual_memory_bytes", "gauge", field(23)),
    ];
    values.into_iter().filter_map(|(name, kind, value)| Some((name, kind, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_and_threads() {
        let gauges = process();
        for name in ["runtime.sys_bytes", "runtime.threads"] {
            let found = gauges.iter().find(|gauge| gauge.name == name);
            assert!(found.is_some_and(|gauge| gauge.value > 0.0), "{name}: {gauges:?}");
        }
    }
}
