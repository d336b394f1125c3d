//! The machine that the agent runs on, in the shape of `/v1/agent/host`.
//!
//! Read from `/proc`, `/sys` and `/etc` at each question. Keys are those of Consul's library, also
//! where Linux has nothing to say: those of other systems are 0.

use serde_json::{Map, Value, json};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Describes the machine; what cannot be read is left out.
pub(super) fn describe() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "Memory": memory(),
        "CPU": cpus(),
        "Host": host(now.as_secs()),
        "Disk": disk("/"),
        "CollectionTime": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        "Errors": null,
    })
}

/// Reads a small file; empty if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Tells a part of a whole in per cent.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Reads `/proc/meminfo` under the library's names, in bytes.
fn memory() -> Value {
    let text = read("/proc/meminfo");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    let mut out = Map::new();
    for (shown, name) in [
        ("highfree", "HighFree"),
        ("hightotal", "HighTotal"),
        ("lowfree", "LowFree"),
        ("lowtotal", "LowTotal"),
        ("hugepagesize", "Hugepagesize"),
        ("vmallocchunk", "VmallocChunk"),
        ("writebacktmp", "WritebackTmp"),
        ("total", "MemTotal"),
        ("available", "MemAvailable"),
        ("free", "MemFree"),
        ("active", "Active"),
        ("inactive", "Inactive"),
        ("buffers", "Buffers"),
        ("writeback", "Writeback"),
        ("dirty", "Dirty"),
        ("shared", "Shmem"),
        ("slab", "Slab"),
        ("sreclaimable", "SReclaimable"),
        ("sunreclaim", "SUnreclaim"),
        ("pagetables", "PageTables"),
        ("swapcached", "SwapCached"),
        ("commitlimit", "CommitLimit"),
        ("committedas", "Committed_AS"),
        ("swaptotal", "SwapTotal"),
        ("swapfree", "SwapFree"),
        ("mapped", "Mapped"),
        ("vmalloctotal", "VmallocTotal"),
        ("vmallocused", "VmallocUsed"),
    ] {
        out.insert(shown.to_owned(), json!(field(name)));
    }
    // Numbers of pages, not of bytes.
    for (shown, name) in
        [("hugepagesfree", "HugePages_Free"), ("hugepagestotal", "HugePages_Total")]
    {
        out.insert(shown.to_owned(), json!(field(name) / 1024));
    }
    // Of FreeBSD.
    for shown in ["laundry", "wired"] {
        out.insert(shown.to_owned(), json!(0));
    }
    let total = field("MemTotal");
    let cached = field("Cached") + field("SReclaimable");
    let used = total.saturating_sub(field("MemFree") + field("Buffers") + cached);
    out.insert("cached".to_owned(), json!(cached));
    out.insert("used".to_owned(), json!(used));
    out.insert("usedPercent".to_owned(), json!(percent(used, total)));
    Value::Object(out)
}

/// Reads `/proc/cpuinfo`; other architectures than x86 tell less there.
fn cpus() -> Vec<Value> {
    let text = read("/proc/cpuinfo");
    let mut cpus = Vec::new();
    for block in text.split("\n\n") {
        let field = |name: &str| {
            let pairs = block.lines().filter_map(|line| line.split_once(':'));
            let mut found = pairs.filter(|(key, _)| key.trim() == name);
            found.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let Ok(number) = field("processor").parse::<u32>() else { continue };
        let flags = field("flags");
        let flags: Vec<&str> = flags.split_whitespace().collect();
        cpus.push(json!({
            "cpu": number,
            "vendorId": field("vendor_id"),
            "family": field("cpu family"),
            "model": field("model"),
            "stepping": field("stepping").parse::<i64>().unwrap_or(0),
            "physicalId": field("physical id"),
            "coreId": field("core id"),
            "cores": 1,
            "modelName": field("model name"),
            "mhz": field("cpu MHz").parse::<f64>().unwrap_or(0.0),
            "cacheSize": cache_kib(&field("cache size")),
            "flags": flags,
            "microcode": field("microcode"),
        }));
    }
    cpus
}

/// Reads `512 KB`.
fn cache_kib(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Tells what the machine is made of, and whether it is a guest or has guests; empty for a machine
/// of metal.
fn virtualization() -> (&'static str, &'static str) {
    let (modules, cpus) = (read("/proc/modules"), read("/proc/cpuinfo"));
    let control_groups = read("/proc/self/cgroup");
    let is_loaded = |name: &str| modules.lines().any(|line| line.starts_with(name));
    let is_guest = cpus.lines().any(|line| {
        line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor")
    });
    match () {
        () if control_groups.contains("docker") => ("docker", "guest"),
        () if control_groups.contains("lxc") => ("lxc", "guest"),
        () if cpus.contains("QEMU Virtual CPU") || cpus.contains("Common KVM processor") => {
            ("kvm", "guest")
        }
        () if is_loaded("kvm ") => ("kvm", "host"),
        () if is_loaded("vboxguest ") => ("vbox", "guest"),
        () if is_loaded("vboxdrv ") => ("vbox", "host"),
        () if is_loaded("vmware_") || is_loaded("vmw_") => ("vmware", "guest"),
        () if is_guest => ("", "guest"),
        () => ("", ""),
    }
}

/// Tells the machine's id: that of the firmware if it may be read, else that of the installation,
/// else that of this boot.
fn machine_id() -> String {
    let firmware = read("/sys/class/dmi/id/product_uuid").trim().to_lowercase();
    if !firmware.is_empty() {
        return firmware;
    }
    match uuid::Uuid::try_parse(read("/etc/machine-id").trim()) {
        Ok(id) => id.to_string(),
        Err(_) => read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
    }
}

/// Tells system and kernel.
fn host(now: u64) -> Value {
    let uptime = read("/proc/uptime");
    let uptime = uptime.split('.').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let release = read("/etc/os-release");
    let field = |name: &str| {
        let mut pairs = release.lines().filter_map(|line| line.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.map(|(_, value)| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    let processes = fs::read_dir("/proc").map_or(0, |entries| {
        let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| is_process(name)).count()
    });
    let platform = field("ID");
    let debian = read("/etc/debian_version");
    let version = match platform.as_str() {
        "debian" if !debian.is_empty() => debian.trim().to_owned(),
        _ => field("VERSION_ID"),
    };
    let (system, role) = virtualization();
    json!({
        "hostname": read("/proc/sys/kernel/hostname").trim(),
        "uptime": uptime,
        "bootTime": now.saturating_sub(uptime),
        "procs": processes,
        "os": std::env::consts::OS,
        "platform": platform,
        "platformFamily": field("ID_LIKE").split(' ').next().filter(|id| !id.is_empty())
            .map_or_else(|| field("ID"), str::to_owned),
        "platformVersion": version,
        "kernelVersion": read("/proc/sys/kernel/osrelease").trim(),
        "kernelArch": std::env::consts::ARCH,
        "virtualizationSystem": system,
        "virtualizationRole": role,
        "hostid": machine_id(),
    })
}

/// Measures the file system of a path.
fn disk(path: &str) -> Value {
    let Ok(stat) = rustix::fs::statvfs(path) else { return Value::Null };
    let (total, free) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
    let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
    let inodes_used = stat.f_files - stat.f_ffree;
    let mounts = read("/proc/mounts");
    let mut kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == path).then(|| fields.next().map(str::to_owned))?
    });
    json!({
        "path": path,
        "fstype": kinds.next_back().unwrap_or_default(),
        "total": total,
        "free": free,
        "used": used,
        "usedPercent": percent(used, used + free),
        "inodesTotal": stat.f_files,
        "inodesUsed": inodes_used,
        "inodesFree": stat.f_ffree,
        "inodesUsedPercent": percent(inodes_used, stat.f_files),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_a_kernel_and_a_disk() {
        let host = describe();
        assert!(
            host["Memory"]["total"].as_u64().unwrap() > host["Memory"]["used"].as_u64().unwrap()
        );
        assert_eq!(host["Host"]["os"], "linux");
        assert!(!host["Host"]["kernelVersion"].as_str().unwrap().is_empty());
        assert!(host["Disk"]["total"].as_u64().unwrap() > 0);
        assert!(!host["CPU"].as_array().unwrap().is_empty());
        assert!(!host["Host"]["hostid"].as_str().unwrap().is_empty());
    }

    #[test]
    fn the_size_of_a_cache_is_read_where_it_is_told() {
        assert_eq!((cache_kib("512 KB"), cache_kib("")), (512, 0));
    }
}
