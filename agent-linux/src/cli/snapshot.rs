//! `snapshot`: the state of the servers as a file.

use super::client::{get, put};
use super::column::{PAIR_GAP, layout, row};
use super::{Api, Call, Failure, Spec, Verb, failure};
use crate::archive::{self, Meta};
use crate::config::os_text;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

/// Help of the family.
pub(super) const HELP: &str = "Usage: reeve snapshot <subcommand> [options] [args]

  Saves, restores and inspects the state of the servers: keys and values, the
  catalog and sessions, all of one moment.

      $ reeve snapshot save backup.snap
      $ reeve snapshot inspect backup.snap
      $ reeve snapshot restore backup.snap
";

/// Saves the state.
pub(super) struct Save;
/// Restores it.
pub(super) struct Restore;
/// Tells what a file holds.
pub(super) struct Inspect;

const SAVE: Spec = Spec {
    path: "snapshot save",
    summary: "Saves snapshot of Consul server state",
    help: " [options] FILE

  Saves the state of the servers, of one moment, to a file. The file appears
  once all of it has been written and verified.

      $ reeve snapshot save backup.snap

  From any server, also when there is no leader:

      $ reeve snapshot save -stale backup.snap
",
    api: Api::Servers,
    flags: &[],
};

const RESTORE: Spec = Spec {
    path: "snapshot restore",
    summary: "Restores snapshot of Consul server state",
    help: " [options] FILE

  Replaces the state of the servers by that of a file: on all of them at once,
  or, if the file is damaged or the leader is lost, on none.

      $ reeve snapshot restore backup.snap
",
    api: Api::Servers,
    flags: &[],
};

const INSPECT: Spec = Spec {
    path: "snapshot inspect",
    summary: "Displays information about a Consul snapshot file",
    help: " [options] FILE

  Verifies a file and shows what it is of. No agent is asked.

      $ reeve snapshot inspect backup.snap
",
    api: Api::None,
    flags: &[],
};

impl Call<'_> {
    /// The one word after the flags.
    fn file(&self) -> Result<String, Failure> {
        match self.args.as_slice() {
            [file] => Ok(file.clone()),
            [] => Err(failure("Missing FILE argument")),
            more => Err(failure(format!("Too many arguments (expected 1, got {})", more.len()))),
        }
    }
}

/// Opens a file and verifies it.
fn verify(path: &Path) -> Result<Meta, String> {
    let file = open(path)?;
    archive::read(BufReader::new(file), &mut |_| Ok(()))
        .map_err(|error| format!("Error verifying snapshot: {error}"))
}

/// Opens a file to be read.
fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| {
        format!("Error opening snapshot file: open {}: {}", path.display(), os_text(&error))
    })
}

/// A file that goes away unless it is kept.
struct Unverified(PathBuf);

impl Unverified {
    /// Makes it beside the file that it may become.
    fn create(file: &str) -> Result<(Self, File), String> {
        let lot = RandomState::new().hash_one(0) % 1_000_000_000;
        let path = PathBuf::from(format!("{file}.unverified.tmp{lot:09}"));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(open) => Ok((Self(path), open)),
            Err(error) => Err(format!(
                "Error writing unverified snapshot file: open {}: {}",
                path.display(),
                os_text(&error)
            )),
        }
    }

    /// Gives it its name; the whole file is on disk then.
    fn keep(mut self, file: &str) -> Result<(), String> {
        let path = std::mem::take(&mut self.0);
        fs::rename(&path, file).map_err(|error| {
            self.0 = path;
            format!("Error renaming unverified snapshot file: {}", os_text(&error))
        })
    }
}

impl Drop for Unverified {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // What cannot be removed is named for what it is.
            let _ = fs::remove_file(&self.0);
        }
    }
}

impl Verb for Save {
    fn spec(&self) -> &'static Spec {
        &SAVE
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let file = call.file()?;
        let client = call.client()?;
        // The file is made once there is something to write, that is once a server agreed.
        let mut made: Option<Result<(Unverified, File), String>> = None;
        let mut wrote = Ok(());
        let mut write = |bytes: &[u8]| {
            let made = made.get_or_insert_with(|| Unverified::create(&file));
            let Ok((_, open)) = made else { return false };
            wrote = open.write_all(bytes);
            wrote.is_ok()
        };
        client
            .follow(get("/v1/snapshot"), &mut write)
            .map_err(|error| failure(format!("Error saving snapshot: {error}")))?;
        let made = made.unwrap_or_else(|| Err("Error saving snapshot: it is empty".to_owned()));
        let (unverified, open) = made.map_err(failure)?;
        wrote.and_then(|()| open.sync_all()).map_err(|error| {
            failure(format!("Error writing unverified snapshot file: {}", os_text(&error)))
        })?;
        let meta = verify(&unverified.0).map_err(failure)?;
        unverified.keep(&file).map_err(failure)?;
        call.say(format!("Saved and verified snapshot to index {}", meta.index))
    }
}

impl Verb for Restore {
    fn spec(&self) -> &'static Spec {
        &RESTORE
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let file = call.file()?;
        let client = call.client()?;
        let open = open(Path::new(&file)).map_err(failure)?;
        client
            .upload(put("/v1/snapshot", &[]), open)
            .map_err(|error| failure(format!("Error restoring snapshot: {error}")))?;
        call.say("Restored snapshot")
    }
}

impl Verb for Inspect {
    fn spec(&self) -> &'static Spec {
        &INSPECT
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let file = call.file()?;
        let Meta { version, id, index, term, size, .. } =
            verify(Path::new(&file)).map_err(failure)?;
        let line = |name: &str, value: String| row([name, value.as_str()]);
        let rows = [
            line("ID", id),
            line("Size", size.to_string()),
            line("Index", index.to_string()),
            line("Term", term.to_string()),
            line("Version", version.to_string()),
        ];
        call.say(layout(&rows, PAIR_GAP))?;
        call.say("")
    }
}
