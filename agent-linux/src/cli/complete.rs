//! Completion in a shell: the shell asks the program itself, with the line so far in `COMP_LINE`,
//! and the answer comes from the same tables that parse and explain flags.
//!
//! - `candidates`: what may follow, one word a line
//! - `install`, `uninstall`: the line in a shell's start-up file that makes it ask
//!
//! Sources: <https://www.gnu.org/software/bash/manual/html_node/Programmable-Completion.html> (zsh
//! has the same by `bashcompinit`), <https://fishshell.com/docs/current/cmds/complete.html>.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::flag::{Flag, Takes};
use super::{Failure, PROGRAM, Process, VERBS, below, client, failure, starts_with};
use crate::config::os_text;

/// Variable with the line so far: set, it asks for candidates.
pub(super) const LINE: &str = "COMP_LINE";
/// Variable with the cursor's place in the line, in bytes.
const POINT: &str = "COMP_POINT";

/// Words that stand in place of a verb.
const GLOBAL: &[&str] =
    &["-autocomplete-install", "-autocomplete-uninstall", "-help", "-version", "--help"];

/// Start-up files of bash, of which the first that is there counts.
const BASH_FILES: &[&str] = &[".bashrc", ".bash_profile", ".bash_login", ".profile"];

/// Bytes of a start-up file: one that is longer is left alone.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Answers a shell: candidates for the word under the cursor, one a line.
pub(super) fn answer(line: &str, process: &mut Process<'_>) {
    let point = (process.env)(POINT).and_then(|point| point.parse().ok());
    let line = point.and_then(|point: usize| line.get(..point)).unwrap_or(line);
    for candidate in candidates(line) {
        // A shell that does not listen needs no candidates.
        let _ = writeln!(process.output, "{candidate}");
    }
}

/// Lists what the last word of a line may become; a line that ends in a blank has none yet.
fn candidates(line: &str) -> Vec<String> {
    let mut words: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let partial = match line.ends_with(|c: char| c.is_ascii_whitespace()) {
        true => "",
        false => words.pop().unwrap_or_default(),
    };
    let mut words = words.as_slice();
    if let ["help", rest @ ..] = words {
        words = rest;
    }
    let fitting = |all: Vec<String>| -> Vec<String> {
        all.into_iter().filter(|one| one.starts_with(partial)).collect()
    };
    if let Some(verb) = VERBS.iter().find(|verb| starts_with(words, verb.spec().path)) {
        let mut flags = verb.flags();
        flags.extend(client::flags(verb.spec().api));
        let given = &words[verb.spec().path.split(' ').count()..];
        if !partial.starts_with('-') || !takes_flag(&flags, given) {
            return Vec::new();
        }
        let dashes = if partial.starts_with("--") { "--" } else { "-" };
        let mut names: Vec<String> =
            flags.iter().map(|flag| format!("{dashes}{}", flag.name)).collect();
        names.push(format!("{dashes}help"));
        names.sort_unstable();
        return fitting(names);
    }
    if words.is_empty() && partial.starts_with('-') {
        return fitting(GLOBAL.iter().map(|&word| word.to_owned()).collect());
    }
    let below = below(&words.join(" "));
    fitting(below.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// Tells whether a flag may follow what was given of a verb: neither the value of another flag
/// nor, after a word that is none, anything but such words is wanted.
fn takes_flag(flags: &[Flag], given: &[&str]) -> bool {
    let mut given = given.iter();
    while let Some(word) = given.next() {
        if !word.starts_with('-') || matches!(*word, "-" | "--") {
            return false;
        }
        let name = word.trim_start_matches('-');
        let known = flags.iter().find(|flag| flag.name == name);
        let wants = known.is_some_and(|flag| flag.takes != Takes::Switch);
        if wants && given.next().is_none() {
            return false;
        }
    }
    true
}

/// A shell's start-up file and what stands in it for completion.
struct Startup {
    path: PathBuf,
    lines: String,
}

/// Makes every shell with a start-up file below the home directory ask.
///
/// # Errors
///
/// Each shell that could not be told, as Consul words it; the others are.
pub(super) fn install(env: &dyn Fn(&str) -> Option<String>) -> Result<(), Failure> {
    each(env, |startup| {
        let had = read(&startup.path)?;
        if had.contains(&startup.lines) {
            return Err(format!("already installed in {}", startup.path.display()));
        }
        let break_before = if had.is_empty() || had.ends_with('\n') { "" } else { "\n" };
        write(&startup.path, &format!("{had}{break_before}{}", startup.lines))
    })
}

/// Takes [`install`] back.
///
/// # Errors
///
/// As [`install`]; a shell that was not told is one.
pub(super) fn uninstall(env: &dyn Fn(&str) -> Option<String>) -> Result<(), Failure> {
    each(env, |startup| {
        let had = read(&startup.path)?;
        if !had.contains(&startup.lines) {
            return Err(format!("not installed in {}", startup.path.display()));
        }
        write(&startup.path, &had.replace(&startup.lines, ""))
    })
}

/// Does something with each start-up file and gathers what went wrong.
fn each(
    env: &dyn Fn(&str) -> Option<String>,
    change: impl Fn(&Startup) -> Result<(), String>,
) -> Result<(), Failure> {
    let startups = startups(env).map_err(fault_of)?;
    if startups.is_empty() {
        return Err(fault_of("Did not find any shells to install".to_owned()));
    }
    let faults: Vec<String> = startups.iter().filter_map(|one| change(one).err()).collect();
    if faults.is_empty() { Ok(()) } else { Err(fault_of(faults.join("\n\t* "))) }
}

/// Words faults, one a line, as Consul does.
fn fault_of(faults: String) -> Failure {
    let count = faults.lines().count();
    let noun = if count == 1 { "error" } else { "errors" };
    failure(format!("Error executing CLI: {count} {noun} occurred:\n\t* {faults}\n"))
}

/// Finds the start-up files below the home directory, and what belongs in each.
fn startups(env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Startup>, String> {
    let home = env("HOME").filter(|home| !home.is_empty()).ok_or("HOME is not set")?;
    let home = PathBuf::from(home);
    let program = std::env::current_exe().map_err(|error| os_text(&error))?;
    let program = program.to_str().filter(|path| is_plain(path)).ok_or_else(|| {
        format!("the path of the program needs quotes in a shell: {}", program.display())
    })?;
    let mut found = Vec::new();
    if let Some(path) = BASH_FILES.iter().map(|name| home.join(name)).find(|path| path.is_file()) {
        let lines = format!("complete -o default -C {program} {PROGRAM}\n");
        found.push(Startup { path, lines });
    }
    let path = home.join(".zshrc");
    if path.is_file() {
        // What bashcompinit builds upon, unless the user has set it up.
        let base = "(( $+functions[compdef] )) || { autoload -U compinit && compinit -i }";
        let begin = "autoload -U +X bashcompinit && bashcompinit";
        let lines = format!("{base}\n{begin}\ncomplete -o default -C {program} {PROGRAM}\n");
        found.push(Startup { path, lines });
    }
    let fish = home.join(".config/fish");
    if fish.is_dir() {
        let path = fish.join("completions").join(format!("{PROGRAM}.fish"));
        found.push(Startup { path, lines: fish_lines(program) });
    }
    Ok(found)
}

/// What fish is told: the line up to the cursor goes into the variable that bash sets, and files
/// are offered only where there is no candidate, as bash does by itself.
fn fish_lines(program: &str) -> String {
    format!(
        "function __complete_{PROGRAM}\n    set -lx {LINE} (commandline -cp)\n    \
         set -l found ({program})\n    if set -q found[1]\n        \
         printf '%s\\n' $found\n    else\n        \
         __fish_complete_path (commandline -ct)\n    end\nend\n\
         complete -c {PROGRAM} -f -a '(__complete_{PROGRAM})'\n"
    )
}

/// Tells whether shells take a path as one word without quotes.
fn is_plain(path: &str) -> bool {
    path.chars().all(|c| c.is_alphanumeric() || "/._-+@".contains(c))
}

/// Reads a start-up file; one that is not there is empty.
fn read(path: &Path) -> Result<String, String> {
    let fault = |error: &std::io::Error| format!("open {}: {}", path.display(), os_text(error));
    match fs::metadata(path) {
        Ok(data) if data.len() > FILE_BYTES_MAX => {
            Err(format!("{} is too long to be changed", path.display()))
        }
        Ok(_) => fs::read_to_string(path).map_err(|error| fault(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(fault(&error)),
    }
}

/// Puts a text in place of a file's, or removes a file that becomes empty and was made here. The
/// file keeps its place behind links and its mode, and is never seen half written.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("write {}: {}", path.display(), os_text(&error));
    if text.is_empty() && path.extension().is_some_and(|ending| ending == "fish") {
        return fs::remove_file(path).map_err(fault);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fault)?;
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = target.clone().into_os_string();
    name.push(format!(".{PROGRAM}"));
    let beside = PathBuf::from(name);
    fs::write(&beside, text).map_err(fault)?;
    if let Ok(data) = fs::metadata(&target) {
        fs::set_permissions(&beside, data.permissions()).map_err(fault)?;
    }
    fs::rename(&beside, &target).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_what_stands_below_them_are_completed() {
        assert_eq!(candidates("reeve mem"), ["members"]);
        assert_eq!(candidates("reeve kv "), ["delete", "export", "get", "import", "put"]);
        assert_eq!(candidates("reeve operator ra"), ["raft"]);
        assert_eq!(candidates("reeve operator raft l"), ["list-peers"]);
        assert_eq!(candidates("reeve help kv ex"), ["export"]);
        assert_eq!(candidates("reeve -v"), ["-version"]);
        let all = candidates("reeve ");
        assert!(all.is_sorted() && all.contains(&"agent".to_owned()), "{all:?}");
        for nothing in ["reeve frob ", "reeve kv frob ", "reeve members x", "reeve kv get a "] {
            assert_eq!(candidates(nothing), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn flags_are_completed_where_a_verb_takes_them() {
        assert_eq!(candidates("reeve members -det"), ["-detailed"]);
        assert_eq!(candidates("reeve members --det"), ["--detailed"]);
        assert_eq!(candidates("reeve members -wan -sta"), ["-status"]);
        assert_eq!(candidates("reeve kv get -recurse -sta"), ["-stale"]);
        assert_eq!(candidates("reeve kv get -separator=/ -k"), ["-keys"]);
        assert_eq!(candidates("reeve agent -bootstrap-e"), ["-bootstrap-expect"]);
        for nothing in ["reeve members -status -", "reeve kv get key -", "reeve keygen -- -"] {
            assert_eq!(candidates(nothing), [""; 0], "{nothing}");
        }
        for verb in VERBS {
            let all = candidates(&format!("reeve {} -", verb.spec().path));
            assert_eq!(all.len(), verb.flags().len() + client::flags(verb.spec().api).len() + 1);
        }
    }
}
