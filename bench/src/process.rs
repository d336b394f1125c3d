//! What `/proc` says of one process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::sync::{Mutex, PoisonError};

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// CPU time of all its threads so far, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Resident, proportional and anonymous memory, in KiB.
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
    pub(crate) anon_kib: u64,
    pub(crate) threads: u64,
    pub(crate) files: u64,
    /// Bytes and packets through `eth0` of its namespace, received and sent; 0 without one.
    pub(crate) received: (u64, u64),
    pub(crate) sent: (u64, u64),
}

impl Sample {
    /// Reads it; what cannot be read is 0.
    pub(crate) fn of(pid: u32) -> Sample {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let memory = read("smaps_rollup").unwrap_or_default();
        let status = read("status").unwrap_or_default();
        let (received, sent) = traffic(&read("net/dev").unwrap_or_default());
        Sample {
            cpu_ns: cpu_ns(pid),
            rss_kib: field(&memory, "Rss:"),
            pss_kib: field(&memory, "Pss:"),
            anon_kib: field(&memory, "Anonymous:"),
            threads: field(&status, "Threads:"),
            files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |list| list.count() as u64),
            received,
            sent,
        }
    }
}

/// CPU time of threads as last read, by process and thread.
static SEEN: Mutex<BTreeMap<(u32, u64), BTreeMap<OsString, u64>>> = Mutex::new(BTreeMap::new());

/// CPU time so far: by the scheduler's own count, per thread. A thread that ended counts as it was
/// last read, so that what it did before a measurement is not taken off what is measured.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    // A later process with this number started at another time.
    let seen = seen.entry((pid, started(&stat))).or_default();
    for thread in threads.flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        if let Some(ns) = text.split_whitespace().next().and_then(|ns| ns.parse().ok()) {
            seen.insert(thread.file_name(), ns);
        }
    }
    seen.values().sum()
}

/// Tells when a process started, in ticks, from its `stat`: the 20th field behind its name.
fn started(stat: &str) -> u64 {
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn traffic(text: &str) -> ((u64, u64), (u64, u64)) {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let numbers: Vec<u64> =
        line.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let at = |at: usize| numbers.get(at).copied().unwrap_or(0);
    ((at(0), at(1)), (at(8), at(9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_did_counts_after_its_end() {
        let own = std::process::id();
        let (ready, done) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let read = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let end = std::time::Instant::now() + std::time::Duration::from_millis(200);
                while std::time::Instant::now() < end {}
                ready.wait();
                done.wait();
            });
            ready.wait();
            let read = cpu_ns(own);
            done.wait();
            worker.join().expect("ends");
            read
        });
        assert!(read > 0 && cpu_ns(own) >= read, "{read} ns before");
    }

    #[test]
    fn a_start_is_read_behind_a_name_of_any_kind() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(started(stat), 4711);
        assert_eq!(started(""), 0);
        let own = fs::read_to_string("/proc/self/stat").expect("there");
        assert!(started(&own) > 0, "{own}");
    }

    #[test]
    fn a_process_sees_itself() {
        let sample = Sample::of(std::process::id());
        assert!(sample.rss_kib > 100 && sample.threads >= 1 && sample.files >= 3, "{sample:?}");
    }

    #[test]
    fn traffic_is_read_from_eth0() {
        let text = "Inter-|\n    lo: 9 9 0 0 0 0 0 0 9 9\n  eth0: 100 2 0 0 0 0 0 0 300 4 0\n";
        assert_eq!(traffic(text), ((100, 2), (300, 4)));
        assert_eq!(traffic(""), ((0, 0), (0, 0)));
    }
}
