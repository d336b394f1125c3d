//! Devices (`reeve-device`) as processes: each with its address, data folder and log.

use super::http::Client;
use super::{Folder, PATIENCE, eventually, loopback};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Builds the device's command beside the servers' and answers its path.
pub fn device_command() -> PathBuf {
    let reeve = PathBuf::from(env!("CARGO_BIN_EXE_reeve"));
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "agent-arm", "--bin", "reeve-device"])
        .args(["--profile", profile])
        .status()
        .expect("cargo runs");
    assert!(built.success(), "reeve-device is built");
    reeve.with_file_name("reeve-device")
}

/// A device's process: it may be up or down, its data stays.
pub struct Device {
    pub address: Ipv4Addr,
    folder: Folder,
    /// The words that start it: its path, and an emulator's before it.
    program: Vec<String>,
    child: Option<Child>,
}

impl Device {
    /// Writes the configuration: a service `pump`, a check that reads a file, one with a TTL.
    pub fn new(name: &str, join: Ipv4Addr, more: &str) -> Device {
        let program = vec![device_command().display().to_string()];
        Device::run_by(program, name, join, more)
    }

    /// As [`Device::new`], with another program.
    pub fn run_by(program: Vec<String>, name: &str, join: Ipv4Addr, more: &str) -> Device {
        let (address, folder) = (loopback(), Folder::new(name));
        let at = folder.path().display();
        let text = format!(
            "node_name = \"{name}\"\nbind_addr = \"{address}\"\nretry_join = [\"{join}\"]\n\
             http_addr = \"{address}\"\ndata_dir = \"{at}\"\n\
             service {{ name = \"pump\" port = 80 tags = [\"wet\"] }}\n\
             check {{ id = \"flow\" service_id = \"pump\" interval = \"1s\"\n\
             gpio_file = \"{at}/pin\" }}\n\
             check {{ id = \"beat\" ttl = \"1h\" }}\n{more}\n"
        );
        std::fs::write(folder.path().join("device.hcl"), text).expect("written");
        std::fs::write(folder.path().join("pin"), "1\n").expect("written");
        let mut device = Device { address, folder, program, child: None };
        device.start();
        device
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("log file");
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        command.arg(self.folder.path().join("device.hcl")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log file")).stderr(log);
        self.child = Some(command.spawn().expect("the device starts"));
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn http(&self) -> Client {
        Client::new((self.address, 8500).into())
    }

    /// Where its configuration, data and log are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn set_pin(&self, text: &str) {
        std::fs::write(self.folder.path().join("pin"), text).expect("written");
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn until_logged(&self, text: &str) {
        eventually(PATIENCE, &format!("the console says {text:?}"), || {
            let log = self.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- device {}\n{}", self.address, self.log());
        }
    }
}
