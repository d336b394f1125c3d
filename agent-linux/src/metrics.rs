//! What this process truly knows of itself.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the seconds since 1970, 0 for a clock before that.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Measures the process, under names like Consul's; what cannot be read is left out.
pub fn process() -> Vec<(&'static str, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
    let values = [
        ("consul.runtime.alloc_bytes", field("VmRSS:").map(|kib| kib * 1024)),
        ("consul.runtime.open_files", files),
        ("consul.runtime.sys_bytes", field("VmSize:").map(|kib| kib * 1024)),
        ("consul.runtime.threads", field("Threads:")),
    ];
    values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
