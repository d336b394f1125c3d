//! The command line: one verb (family) a file, all of them in [`VERBS`].
//!
//! - `flag`: Go's flags, parsed and explained from one table · `column`: tables
//! - `client`: HTTP to an agent; all that a verb sees of the cluster
//! - `complete`: completion in shells, from the same tables
//! - `agent` starts the agent, `entrypoint` is the container's first process
//! - the rest: one verb or family each, with the output and the exit codes of Consul 1.8
//!
//! Source: <https://developer.hashicorp.com/consul/commands>.

mod agent;
mod autopilot;
mod catalog;
mod client;
mod column;
mod complete;
mod debug;
mod entrypoint;
mod event;
mod exec;
mod flag;
mod force_leave;
mod info;
mod join;
mod keygen;
mod keyring;
mod kv;
mod leave;
mod lock;
mod maint;
mod members;
mod monitor;
mod operator;
mod reload;
mod rtt;
mod services;
mod snapshot;
mod tls;
mod validate;
mod version;
mod watch;

use std::io::{Read, Write};

use client::{Client, Settings};
use flag::{Flag, Given};

/// Name of the program, in its usage texts.
const PROGRAM: &str = "reeve";

/// Exit code of a fault.
const EXIT_FAULT: u8 = 1;
/// Exit code of a verb that is not known.
const EXIT_UNKNOWN: u8 = 127;

/// One verb of the command line.
trait Verb: Sync {
    /// Tells what the verb is called and takes.
    fn spec(&self) -> &'static Spec;

    /// Lists the verb's flags, without those of its [`Api`].
    fn flags(&self) -> Vec<Flag> {
        self.spec().flags.to_vec()
    }

    /// Tells what a fault in the flags is said with once more, below the usage text, if it is.
    fn misparsed(&self) -> Option<&'static str> {
        None
    }

    /// Does it.
    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure>;
}

/// What a verb is called and takes.
struct Spec {
    /// Words that select it: `kv get`.
    path: &'static str,
    /// One line for the list of verbs.
    summary: &'static str,
    /// What follows `Usage: reeve` and the verb, and the text below it.
    help: &'static str,
    /// Which flags it shares with other verbs.
    api: Api,
    /// Its own flags, by name.
    flags: &'static [Flag],
}

/// Whom a verb speaks to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    /// Nobody.
    None,
    /// The agent.
    Agent,
    /// The servers, through the agent.
    Servers,
}

/// All verbs, by name.
const VERBS: &[&dyn Verb] = &[
    &agent::Agent,
    &catalog::Datacenters,
    &catalog::Nodes,
    &catalog::Services,
    &debug::Debug,
    &event::Event,
    &exec::Exec,
    &force_leave::ForceLeave,
    &info::Info,
    &join::Join,
    &keygen::Keygen,
    &keyring::Keyring,
    &kv::Delete,
    &kv::Export,
    &kv::Get,
    &kv::Import,
    &kv::Put,
    &leave::Leave,
    &lock::Lock,
    &maint::Maint,
    &members::Members,
    &monitor::Monitor,
    &autopilot::GetConfig,
    &autopilot::SetConfig,
    &operator::ListPeers,
    &operator::RemovePeer,
    &reload::Reload,
    &rtt::Rtt,
    &services::Deregister,
    &services::Register,
    &snapshot::Inspect,
    &snapshot::Restore,
    &snapshot::Save,
    &tls::CreateAuthority,
    &tls::CreateCertificate,
    &validate::Validate,
    &version::Version,
    &watch::Watch,
];

/// A word that only leads to other verbs: its path, its summary, its help.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("catalog", "Interact with the catalog", catalog::HELP),
    ("kv", "Interact with the key-value store", kv::HELP),
    ("operator", "Provides cluster-level tools for operators", operator::HELP),
    ("operator autopilot", "Provides tools for modifying Autopilot configuration", autopilot::HELP),
    ("operator raft", "Shows and repairs the Raft configuration", operator::RAFT_HELP),
    ("services", "Interact with services", services::HELP),
    ("snapshot", "Saves, restores and inspects snapshots of Consul server state", snapshot::HELP),
    ("tls", "Builtin helpers for creating CAs and certificates", tls::HELP),
    ("tls ca", "Helpers for CAs", tls::CA_HELP),
    ("tls cert", "Helpers for certificates", tls::CERT_HELP),
];

/// A verb as it was called.
struct Call<'a> {
    /// Flags given.
    given: Given,
    /// Words after the flags.
    args: Vec<String>,
    /// Usage text, for verbs that show it with a fault.
    help: String,
    /// The process around it.
    process: &'a mut Process<'a>,
}

/// What a verb may touch of the process.
struct Process<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    input: &'a mut dyn Read,
    output: &'a mut dyn Write,
    errors: &'a mut dyn Write,
}

/// Why a verb failed: what to say, if anything, and the exit code.
#[derive(Debug)]
struct Failure {
    text: String,
    code: u8,
}

/// Makes a failure with the usual exit code.
fn failure(text: impl Into<String>) -> Failure {
    Failure { text: text.into(), code: EXIT_FAULT }
}

impl Call<'_> {
    /// Prints a line.
    fn say(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.write(text.as_ref().as_bytes())?;
        self.write(b"\n")
    }

    /// Prints bytes as they are.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let wrote = self.process.output.write_all(bytes);
        wrote.map_err(|_| Failure { text: String::new(), code: EXIT_FAULT })
    }

    /// Prints a line about a fault, and goes on.
    fn complain(&mut self, text: &str) {
        // Nothing is left to tell that errors cannot be told.
        let _ = writeln!(self.process.errors, "{text}");
    }

    /// Makes the client that flags and environment ask for.
    fn client(&self) -> Result<Client, Failure> {
        let settings = Settings::read(&self.given, self.process.env);
        settings
            .and_then(Client::new)
            .map_err(|error| failure(format!("Error connecting to Consul agent: {error}")))
    }

    /// Makes a failure that shows the usage text below it.
    fn misused(&self, text: &str) -> Failure {
        failure(format!("{text}\n\n{}", self.help.trim_end()))
    }

    /// Reads the filters that `event` and `exec` share: which nodes are meant.
    fn filters(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let given = |name| self.given.text(name).unwrap_or_default();
        for filter in flag::FILTERS {
            let name = filter.name;
            regex_lite::Regex::new(given(name)).map_err(|error| {
                failure(format!("Failed to compile {name} filter regexp: {error}"))
            })?;
        }
        if !given("tag").is_empty() && given("service").is_empty() {
            return Err(failure("Cannot provide tag filter without service filter."));
        }
        let filters = flag::FILTERS.iter().map(|filter| (filter.name, given(filter.name)));
        let filters = filters.filter(|(_, text)| !text.is_empty());
        Ok(filters.map(|(name, text)| (name, text.to_owned())).collect())
    }

    /// Refuses words after the flags.
    fn no_args(&self) -> Result<(), Failure> {
        match self.args.len() {
            0 => Ok(()),
            got => Err(failure(format!("Too many arguments (expected 0, got {got})"))),
        }
    }

    /// Reads data given as a word: itself, `@file`, or `-` for standard input.
    fn data(&mut self, word: &str) -> Result<Vec<u8>, Failure> {
        if let Some(path) = word.strip_prefix('@') {
            return std::fs::read(path).map_err(|error| {
                let why = crate::config::os_text(&error);
                failure(format!("Error! Failed to read file: open {path}: {why}"))
            });
        }
        if word != "-" {
            return Ok(word.as_bytes().to_vec());
        }
        let mut bytes = Vec::new();
        let read = self.process.input.read_to_end(&mut bytes);
        read.map_err(|e| failure(format!("Error! Failed to read stdin: {e}")))?;
        Ok(bytes)
    }
}

/// Runs the process' own arguments; answers its exit code.
pub fn run() -> u8 {
    let args: Vec<String> = std::env::args_os().skip(1).map(lossy).collect();
    let env = |name: &str| std::env::var(name).ok();
    let mut process = Process {
        env: &env,
        input: &mut std::io::stdin(),
        output: &mut std::io::stdout(),
        errors: &mut std::io::stderr(),
    };
    if let Some(line) = env(complete::LINE).filter(|line| !line.is_empty()) {
        complete::answer(&line, &mut process);
        return flush(&mut process);
    }
    if args.first().is_some_and(|first| first == entrypoint::VERB) {
        return match entrypoint::prepare(&args[1..], &env) {
            Ok(prepared) => dispatch(&prepared, &mut process),
            Err(text) => report(&mut process, &failure(text)),
        };
    }
    dispatch(&args, &mut process)
}

/// Turns an argument to text; what is not UTF-8 is marked.
fn lossy(arg: std::ffi::OsString) -> String {
    arg.to_string_lossy().into_owned()
}

/// Finds the verb and runs it.
fn dispatch<'a>(args: &[String], process: &'a mut Process<'a>) -> u8 {
    if matches!(args.first().map(String::as_str), Some("-v" | "-version" | "--version")) {
        return dispatch(&["version".to_owned()], process);
    }
    if matches!(args.first().map(String::as_str), Some("-h" | "-help" | "--help")) {
        return help(process, &overview(), Asked::Yes, 0);
    }
    if let [word] = args
        && let Some(change) = completion(word)
    {
        return match change(process.env) {
            Ok(()) => 0,
            Err(failed) => report(process, &failed),
        };
    }
    if let [first, rest @ ..] = args
        && first == "help"
    {
        return dispatch(&[rest, &["-help".to_owned()]].concat(), process);
    }
    let words = args.iter().take_while(|arg| !arg.starts_with('-')).map(String::as_str);
    let words: Vec<&str> = words.collect();
    let verb = VERBS.iter().find(|verb| starts_with(&words, verb.spec().path));
    if let Some(verb) = verb {
        let skip = verb.spec().path.split(' ').count();
        return run_verb(*verb, &args[skip..], process);
    }
    match FAMILIES.iter().rev().find(|(path, ..)| starts_with(&words, path)) {
        Some((path, _, text)) => {
            let text = format!("{text}\nSubcommands:\n{}", listing(path));
            match args.last().is_some_and(|last| flag::is_help(last)) {
                true => help(process, &text, Asked::Yes, 0),
                false => help(process, &text, Asked::No, EXIT_FAULT),
            }
        }
        None => help(process, &overview(), Asked::No, EXIT_UNKNOWN),
    }
}

/// What puts completion into shells' start-up files, or takes it out.
type Completion = fn(&dyn Fn(&str) -> Option<String>) -> Result<(), Failure>;

/// Finds what a word asks to be done about completion.
fn completion(word: &str) -> Option<Completion> {
    match word {
        "-autocomplete-install" | "--autocomplete-install" => Some(complete::install),
        "-autocomplete-uninstall" | "--autocomplete-uninstall" => Some(complete::uninstall),
        _ => None,
    }
}

/// Tells whether words begin with those of a path.
fn starts_with(words: &[&str], path: &str) -> bool {
    let path: Vec<&str> = path.split(' ').collect();
    words.starts_with(&path)
}

/// Parses a verb's flags and runs it.
fn run_verb<'a>(verb: &dyn Verb, args: &[String], process: &'a mut Process<'a>) -> u8 {
    let spec = verb.spec();
    let mut own = verb.flags();
    let shared = client::flags(spec.api);
    let text = help_text(spec, &shared, &own);
    own.extend(shared);
    own.sort_by_key(|flag| flag.name);
    match flag::parse(&own, args) {
        Ok(flag::Parsed::Help) => help(process, &text, Asked::Yes, 0),
        Ok(flag::Parsed::Run(given, args)) => {
            let mut call = Call { given, args, help: text, process };
            match verb.run(&mut call) {
                Ok(()) => flush(call.process),
                Err(failed) => report(call.process, &failed),
            }
        }
        Err(what) => {
            let usage = flag::defaults(&own);
            let again = verb.misparsed().map(|before| format!("{before}{what}"));
            let text = format!("{what}\nUsage:\n{usage}{}", again.unwrap_or_default());
            report(process, &failure(text.trim_end()))
        }
    }
}

/// Words why a command did not start, as Go does.
fn not_started(command: &std::process::Command, error: &std::io::Error) -> String {
    let program = command.get_program().to_string_lossy();
    if error.kind() == std::io::ErrorKind::NotFound && !program.contains('/') {
        return format!("exec: \"{program}\": executable file not found in $PATH");
    }
    format!("fork/exec {program}: {}", crate::config::os_text(error))
}

/// Flushes what was printed; a closed pipe is a fault.
fn flush(process: &mut Process<'_>) -> u8 {
    if process.output.flush().is_ok() { 0 } else { EXIT_FAULT }
}

/// Prints why a verb failed.
fn report(process: &mut Process<'_>, failed: &Failure) -> u8 {
    let _ = process.output.flush();
    if !failed.text.is_empty() {
        let _ = writeln!(process.errors, "{}", failed.text);
    }
    failed.code
}

/// Whether the user asked for help, or is told for want of a verb.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}

/// Prints a help text where it belongs.
fn help(process: &mut Process<'_>, text: &str, asked: Asked, code: u8) -> u8 {
    let to: &mut dyn Write = match asked {
        Asked::Yes => process.output,
        Asked::No => process.errors,
    };
    let _ = writeln!(to, "{}", text.trim_end());
    code
}

/// Writes a verb's help.
fn help_text(spec: &Spec, shared: &[Flag], own: &[Flag]) -> String {
    let mut text = format!("Usage: {PROGRAM} {}{}", spec.path, spec.help);
    if !shared.is_empty() {
        text += &format!("\nHTTP API Options\n{}", flag::options(shared));
    }
    if !own.is_empty() {
        text += &format!("\nCommand Options\n{}", flag::options(own));
    }
    text
}

/// Writes the list of verbs.
fn overview() -> String {
    let usage = format!("Usage: {PROGRAM} [--version] [--help] <command> [<args>]");
    let verbs = listing("");
    let more = format!(
        "\"{PROGRAM} help <command>\" explains one. \"{PROGRAM} -autocomplete-install\" teaches \
         bash, zsh\nand fish to complete commands and flags, \"-autocomplete-uninstall\" undoes it."
    );
    format!("{usage}\n\nAvailable commands are:\n{verbs}\n{more}\n")
}

/// Finds what stands below a path, by name, with summaries.
fn below(path: &str) -> Vec<(&'static str, &'static str)> {
    let below = |candidate: &'static str| -> Option<&'static str> {
        let rest = match path {
            "" => candidate,
            path => candidate.strip_prefix(path)?.strip_prefix(' ')?,
        };
        (!rest.contains(' ')).then_some(rest)
    };
    let verbs = VERBS.iter().map(|verb| (verb.spec().path, verb.spec().summary));
    let families = FAMILIES.iter().map(|(path, summary, _)| (*path, *summary));
    let mut rows: Vec<_> =
        verbs.chain(families).filter_map(|(path, s)| Some((below(path)?, s))).collect();
    rows.sort_unstable();
    rows
}

/// Lists what stands below a path, with summaries.
fn listing(path: &str) -> String {
    let rows = below(path);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, summary)| format!("    {name:width$}    {summary}\n")).collect()
}

#[cfg(test)]
mod tests;
