//! One board in QEMU.

use super::support::{Folder, PATIENCE, eventually};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A kind of board that has an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    Lm3s,
    Mps2,
}

impl Board {
    pub fn name(self) -> &'static str {
        match self {
            Board::Lm3s => "lm3s6965evb",
            Board::Mps2 => "mps2-an385",
        }
    }

    fn nic(self) -> &'static str {
        match self {
            Board::Lm3s => "stellaris",
            Board::Mps2 => "lan9118",
        }
    }
}

/// Answers the folder of the images; without it, prints why a test is skipped.
pub fn images(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("REEVE_FIRMWARE").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("{test}: skipped: REEVE_FIRMWARE names no images (agent-arm/firmware/check.sh)");
    }
    folder
}

/// Leaves the deepest stack of a board, in bytes, beside its image: for `bench size`.
pub fn keep_stack(board: Board, stack: u64) {
    let image = images("stack").expect("asked before").join(board.name());
    let file = image.with_file_name(format!("{}.stack", board.name()));
    let time = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    // That of an older image does not count.
    let before = std::fs::read_to_string(&file).ok().filter(|_| time(&file) >= time(&image));
    let before = before.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    std::fs::write(file, format!("{}\n", stack.max(before))).expect("written");
}

/// A board: it may be on or off, its console's text stays.
pub struct Instance {
    pub board: Board,
    pub name: String,
    image: PathBuf,
    netdev: String,
    mac: u8,
    arguments: Vec<String>,
    options: &'static [&'static str],
    folder: Folder,
    /// Bytes of the console before the last [`Instance::mark`].
    marked: usize,
    child: Option<Child>,
}

impl Instance {
    /// A board that is off. `netdev` is QEMU's option with the ID `net0`, `mac` the last byte of
    /// the hardware address.
    pub fn new(board: Board, name: &str, mac: u8, netdev: String, arguments: &[&str]) -> Instance {
        let image = images(name).expect("asked before").join(board.name());
        assert!(image.exists(), "{} is missing", image.display());
        let arguments = arguments.iter().map(|word| word.to_string()).collect();
        let (name, folder) = (name.to_string(), Folder::new(name));
        Instance {
            board,
            name,
            image,
            netdev,
            mac,
            arguments,
            options: &[],
            folder,
            marked: 0,
            child: None,
        }
    }

    /// A board that is alone in QEMU's user network, off.
    pub fn alone(board: Board, name: &str, arguments: &[&str]) -> Instance {
        Instance::new(board, name, 1, "user,id=net0".into(), arguments)
    }

    /// Lets it run faster than time from its next start on: each instruction takes 1024 ns, and
    /// sleep no time at all.
    pub fn fast_forward(&mut self) {
        self.options = &["-icount", "shift=10,sleep=off"];
    }

    /// Switches it on.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = std::fs::File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("log file");
        let words: String = self.arguments.iter().map(|word| format!(",arg={word}")).collect();
        let mut command = Command::new("qemu-system-arm");
        command.args(["-M", self.board.name(), "-display", "none", "-monitor", "none"]);
        command.args(self.options);
        command.args(["-serial", "none", "-netdev", &self.netdev, "-net"]);
        command.arg(format!(
            "nic,netdev=net0,model={},macaddr=52:54:00:12:00:{:02x}",
            self.board.nic(),
            self.mac
        ));
        command.arg("-semihosting-config");
        command.arg(format!("enable=on,target=native,arg=firmware{words}"));
        command.arg("-kernel").arg(&self.image).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log file")).stderr(log);
        self.child = Some(command.spawn().expect("qemu-system-arm starts"));
    }

    /// Switches it off at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until it ends by itself; answers its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let status = eventually(PATIENCE, "the instance ends", || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        status.code()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("console")
    }

    /// Everything on its console so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Remembers how far the console is, for [`Instance::until_new_console`].
    pub fn mark(&mut self) {
        self.marked = self.console().len();
    }

    /// Waits until the console has had a text.
    pub fn until_console(&self, text: &str) {
        self.until_console_from(0, text);
    }

    /// Waits until the console has had a text since the mark.
    pub fn until_new_console(&self, text: &str) {
        self.until_console_from(self.marked, text);
    }

    fn until_console_from(&self, from: usize, text: &str) {
        eventually(PATIENCE, &format!("{} says {text:?}", self.name), || {
            let console = self.console();
            if console[from..].contains(text) { Ok(()) } else { Err(console) }
        });
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let console = self.console();
            let skip = console.lines().count().saturating_sub(25);
            let tail: Vec<&str> = console.lines().skip(skip).collect();
            eprintln!("---- console of {}, its end\n{}", self.name, tail.join("\n"));
        }
    }
}
