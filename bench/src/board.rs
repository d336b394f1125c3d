//! What boards run: file and idle memory of a static client and of `reeve-device`, held against
//! their ceilings.

use crate::Order;
use crate::client::Http;
use crate::picture::{Picture, Role, loopback};
use crate::process::Sample;
use crate::report::Figures;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the device may take to be registered.
const START: Duration = Duration::from_secs(60);

/// Time before memory is read, unless told: a client gives back what its start needed within 70 s.
const SETTLE_SECS: u64 = 80;

/// Time that resident memory then has to be under its ceiling: how much of a file is mapped is the
/// kernel's affair, and a client gives its pages back once a minute.
const PATIENCE: Duration = Duration::from_secs(75);

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(3);

/// What a program may be and hold at most.
pub(crate) struct Ceiling {
    pub(crate) file_kib: f64,
    rss_kib: f64,
    /// Memory that only it has: what is not a page of its file.
    anon_kib: f64,
}

/// A client agent, static with musl.
pub(crate) const CLIENT: Ceiling = Ceiling { file_kib: 8192.0, rss_kib: 2048.0, anon_kib: 1024.0 };

/// The part of a client's code that lies together because an idle one runs it, and how large it
/// has to be: half of what it was when `agent-linux/idle/trace` last wrote the list. Below that the
/// list names functions that are gone, and is to be written anew.
const PLACED: &str = ".text.idle";
const PLACED_MIN_KIB: f64 = 290.0;

/// The floor of such a program, static with musl, is 350 KiB and 360 KiB.
pub(crate) const DEVICE: Ceiling = Ceiling { file_kib: 700.0, rss_kib: 800.0, anon_kib: 256.0 };

/// Measures the client and the device of each agent of the order: `reeve-device` lies beside it,
/// unless the order names one, which then is measured alone.
///
/// # Errors
///
/// If they do not come up, or if one is over its ceiling; the table is in the text then.
pub(crate) fn measure(order: &Order) -> Result<Figures, String> {
    let columns = [
        "file KiB",
        "file max",
        "RSS KiB",
        "RSS max",
        "own KiB",
        "own max",
        "threads",
        "placed KiB",
        "placed min",
    ];
    let mut figures = Figures::new(&["folder", "program"], &columns);
    let mut over = false;
    for binary in &order.agents {
        let picture = Picture::start(binary, None)?;
        let beside = binary.with_file_name("reeve-device");
        let device = Device::start(order.device.as_deref().unwrap_or(&beside), &picture)?;
        sleep(Duration::from_secs(order.settle.unwrap_or(SETTLE_SECS)));
        let client = ("client", binary, picture.one(Role::Client).pid(), CLIENT);
        let small = ("device", &device.binary, device.child.id(), DEVICE);
        let rows = if order.device.is_some() { vec![small] } else { vec![client, small] };
        for (program, path, pid, ceiling) in rows {
            let folder = path.parent().unwrap_or(Path::new("."));
            let bytes = std::fs::read(path).map_err(|error| format!("{path:?}: {error}"))?;
            let (file_kib, sample) = ((bytes.len() as f64 / 1024.0).ceil(), idle(pid, &ceiling));
            let placed_kib = section(&bytes, PLACED).unwrap_or(0) as f64 / 1024.0;
            let placed_min = if program == "client" { PLACED_MIN_KIB } else { 0.0 };
            let (rss_kib, anon_kib) = (sample.rss_kib as f64, sample.anon_kib as f64);
            let Ceiling { file_kib: file_max, rss_kib: rss_max, anon_kib: anon_max } = ceiling;
            over |= file_kib > file_max || rss_kib > rss_max || anon_kib > anon_max;
            over |= placed_kib < placed_min;
            let threads = sample.threads as f64;
            let numbers = vec![
                file_kib, file_max, rss_kib, rss_max, anon_kib, anon_max, threads, placed_kib,
                placed_min,
            ];
            figures.push(vec![folder.display().to_string(), program.into()], numbers);
        }
    }
    match over {
        false => Ok(figures),
        true => Err(format!("over a ceiling, or too little placed together\n{}", figures.text())),
    }
}

/// Reads an idle process until it is under its ceiling, for [`PATIENCE`] at most.
fn idle(pid: u32, ceiling: &Ceiling) -> Sample {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sample = Sample::of(pid);
        let is_over =
            sample.rss_kib as f64 > ceiling.rss_kib || sample.anon_kib as f64 > ceiling.anon_kib;
        if !is_over || Instant::now() >= deadline {
            return sample;
        }
        sleep(PERIOD);
    }
}

/// Answers the size in bytes of a section of a 64-bit little-endian ELF file; nothing if there is
/// no such section, or if it is no such file.
fn section(bytes: &[u8], name: &str) -> Option<u64> {
    let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..)?.get(..8)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..)?.get(..2)?.try_into().ok()?));
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry) = (usize::try_from(long(40)?).ok()?, usize::from(half(58)?));
    let (count, names) = (usize::from(half(60)?), usize::from(half(62)?));
    let header = |at: usize| table.checked_add(at * entry);
    let names = usize::try_from(long(header(names)?.checked_add(24)?)?).ok()?;
    (0..count).find_map(|at| {
        let header = header(at)?;
        let word = bytes.get(header..header.checked_add(4)?)?.try_into().ok()?;
        let from = names.checked_add(u32::from_le_bytes(word) as usize)?;
        let found = bytes.get(from..)?.strip_prefix(name.as_bytes())?.first() == Some(&0);
        if found { long(header + 32) } else { None }
    })
}

/// A device in a picture's pool; it ends with the value.
struct Device {
    binary: PathBuf,
    child: Child,
}

impl Device {
    /// Starts it with a service and a check, and waits until the catalog has them.
    fn start(binary: &Path, picture: &Picture) -> Result<Device, String> {
        let (address, folder) = (loopback()?, picture.folder().join("device"));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{folder:?}: {error}"))?;
        let join = picture.agents[0].address;
        let file = folder.join("device.hcl");
        std::fs::write(&file, configuration(address, join, &folder))
            .map_err(|error| format!("{file:?}: {error}"))?;
        // It must not outlive a bench that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args([binary, &file])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("setpriv: {error}"))?;
        let device = Device { binary: binary.to_path_buf(), child };
        let deadline = Instant::now() + START;
        let mut server = Http::new(picture.agents[0].http());
        loop {
            let found = server.get("/v1/health/service/pump")?;
            if String::from_utf8_lossy(&found).contains("\"flow\"") {
                return Ok(device);
            }
            if Instant::now() > deadline {
                return Err(format!("{binary:?} is not registered after {START:?}"));
            }
            sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(address: Ipv4Addr, join: Ipv4Addr, folder: &Path) -> String {
    format!(
        "node_name = \"device\"\nbind_addr = \"{address}\"\nretry_join = [\"{join}\"]\n\
         http_addr = \"{address}\"\ndata_dir = \"{}\"\n\
         service {{ name = \"pump\" port = 80 }}\n\
         check {{ id = \"flow\" service_id = \"pump\" tcp = \"{join}:8500\" }}\n",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a section `.text.idle` of 4096 bytes behind one whose name begins so.
    fn file() -> Vec<u8> {
        let (names, table) = (64_u64, 96_u64);
        let mut bytes = vec![0; 96 + 3 * 64];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"\x7fELF\x02\x01");
        put(40, &table.to_le_bytes());
        for (at, field) in [(58, 64_u16), (60, 3), (62, 0)] {
            put(at, &field.to_le_bytes());
        }
        put(64, b"\0.text.idler\0.text.idle\0");
        for (at, (name, offset, size)) in
            [(0_u32, names, 26_u64), (1, 0, 7), (13, 0, 4096)].into_iter().enumerate()
        {
            let header = 96 + at * 64;
            put(header, &name.to_le_bytes());
            put(header + 24, &offset.to_le_bytes());
            put(header + 32, &size.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_section_is_found_by_its_whole_name() {
        assert_eq!(section(&file(), PLACED), Some(4096));
        assert_eq!(section(&file(), ".text.idler"), Some(7));
        assert_eq!(section(&file(), ".text"), None);
    }

    #[test]
    fn what_is_cut_short_or_no_such_file_has_no_section() {
        let whole = file();
        for end in 0..whole.len() - 24 {
            assert_eq!(section(&whole[..end], PLACED), None, "{end} bytes");
        }
        let mut astray = whole;
        astray[40..48].copy_from_slice(&[0xff; 8]);
        assert_eq!(section(&astray, PLACED), None);
        assert_eq!(section(b"#!/bin/sh", PLACED), None);
    }
}
