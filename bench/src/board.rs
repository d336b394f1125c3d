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

/// What a program may be and hold at most.
pub(crate) struct Ceiling {
    pub(crate) file_kib: f64,
    rss_kib: f64,
    /// Memory that only it has: what is not a page of its file.
    anon_kib: f64,
}

/// A client agent, static with musl. Its aim is 2048 KiB resident: see README.
pub(crate) const CLIENT: Ceiling = Ceiling { file_kib: 8192.0, rss_kib: 6144.0, anon_kib: 1024.0 };

/// The floor of such a program, static with musl, is 350 KiB and 360 KiB.
pub(crate) const DEVICE: Ceiling = Ceiling { file_kib: 700.0, rss_kib: 800.0, anon_kib: 256.0 };

/// Measures the client and the device of each agent of the order: `reeve-device` lies beside it,
/// unless the order names one, which then is measured alone.
///
/// # Errors
///
/// If they do not come up, or if one is over its ceiling; the table is in the text then.
pub(crate) fn measure(order: &Order) -> Result<Figures, String> {
    let columns = ["file KiB", "file max", "RSS KiB", "RSS max", "own KiB", "own max", "threads"];
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
            let bytes =
                std::fs::metadata(path).map_err(|error| format!("{path:?}: {error}"))?.len();
            let (file_kib, sample) = ((bytes as f64 / 1024.0).ceil(), Sample::of(pid));
            let (rss_kib, anon_kib) = (sample.rss_kib as f64, sample.anon_kib as f64);
            let Ceiling { file_kib: file_max, rss_kib: rss_max, anon_kib: anon_max } = ceiling;
            over |= file_kib > file_max || rss_kib > rss_max || anon_kib > anon_max;
            let threads = sample.threads as f64;
            let numbers = vec![file_kib, file_max, rss_kib, rss_max, anon_kib, anon_max, threads];
            figures.push(vec![folder.display().to_string(), program.into()], numbers);
        }
    }
    match over {
        false => Ok(figures),
        true => Err(format!("over a ceiling\n{}", figures.text())),
    }
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
