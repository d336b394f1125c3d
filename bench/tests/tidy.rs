//! The house style as a test over the source: what can be seen mechanically, fails here.
//!
//! ```text
//! size    columns, production lines of a file, code lines of a function
//! words   unfinished or vague matter, commented-out code, sleeping tests, pairs of flags
//! arrows  which module of agent-linux may name which; who alone may name a dependency
//! purity  modules that may not name the runtime, a clock, a socket or a file
//! tree    the names at the top, the papers of each crate
//! ```

#[path = "tidy/source.rs"]
#[allow(unreachable_pub, reason = "shared by inclusion")]
mod source;

use source::{Source, is_test, line_of, walk, words};
use std::path::{Path, PathBuf};

const COLUMNS_MAX: usize = 100;
/// Production lines of a file; the tests at its foot do not count.
const FILE_LINES_MAX: usize = 500;
/// What no file may pass, whatever `LONG_FILES` says.
const FILE_LINES_HARD_MAX: usize = 800;
/// Lines of a function's body that hold code, as clippy's `too_many_lines` counts them.
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer than `FILE_LINES_MAX`, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Tests that may sleep, each with its reason.
const SLEEPERS: &[(&str, &str)] =
    &[("agent-linux/tests/support/", "the one place that polls a condition until its deadline")];

/// Words of the text, comments included, and what to do instead.
const BANNED_TEXT: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "fix it, or write down the limit where a reader needs it"),
    (concat!("X", "XX"), "fix it, or write down the limit where a reader needs it"),
    (concat!("TO", "DO"), "do it, or open an issue"),
    (concat!("HA", "CK"), "say why it has to be so"),
];

/// Pieces of code, and what to do instead.
const BANNED_CODE: &[(&str, &str)] = &[
    ("todo!", "write it"),
    ("unimplemented!", "write it, or make the case impossible in types"),
    ("dbg!", "use tracing, or an assertion"),
    ("mod utils", "name the module after its subject"),
    ("mod util", "name the module after its subject"),
    ("mod helpers", "name the module after its subject"),
    ("mod helper", "name the module after its subject"),
    ("mod misc", "name the module after its subject"),
    ("mod common", "name the module after its subject"),
    ("Box<dyn Any", "make an enum"),
    ("static mut", "hand the value down"),
    ("#[ignore", "let the test skip itself with a printed reason"),
];

/// Modules of agent-linux and the modules they may name; `agent` alone may name all.
const ARROWS: &[(&str, &[&str])] = &[
    ("acl", &[]),
    ("agent", &["*"]),
    ("archive", &[]),
    ("check", &["config", "tls", "version"]),
    ("cli", &["archive", "config", "tls", "version", "watch"]),
    ("config", &["version"]),
    ("dns", &["config", "endpoint", "lane", "metrics", "version"]),
    ("endpoint", &["acl", "archive", "config", "metrics", "raft", "rpc", "store", "version"]),
    ("gossip", &["config", "lane", "metrics", "version"]),
    ("http", &["config", "endpoint", "lane", "metrics", "tls", "ui", "version"]),
    ("lane", &[]),
    ("leader", &["config", "endpoint", "gossip", "metrics", "raft", "rpc", "store", "version"]),
    ("log", &["config"]),
    ("main", &["cli"]),
    ("memory", &[]),
    ("metrics", &[]),
    ("raft", &["lane", "metrics", "rpc", "version"]),
    ("rpc", &["endpoint", "lane", "metrics", "raft", "tls", "version"]),
    ("store", &["metrics"]),
    ("tls", &["config"]),
    ("ui", &[]),
    ("version", &[]),
    ("watch", &["config"]),
];

/// Single files that may name more than their module.
const FILE_ARROWS: &[(&str, &[&str])] = &[
    // The one verb that starts things.
    ("agent-linux/src/cli/agent.rs", &["agent", "lane", "log"]),
    // The state machine is handed to raft where it is made.
    ("agent-linux/src/store/snapshot.rs", &["raft"]),
    ("agent-linux/src/raft/machine.rs", &["store"]),
];

/// Dependencies that a part of the tree hides: name, and the paths that may name it.
const HIDDEN: &[(&str, &[&str])] = &[
    ("openraft", &["agent-linux/src/raft/"]),
    ("sled", &["agent-linux/src/raft/log/facts", "bench/"]),
    ("aes_gcm", &["agent-core/src/gossip/seal/key"]),
    ("foca", &["agent-core/src/gossip/pool", "agent-core/src/gossip/codec"]),
    ("smoltcp", &["agent-arm/"]),
    ("hyper", &["agent-linux/src/http/", "agent-linux/src/check/", "bench/"]),
];

/// Paths that must stay pure.
const PURE: &[&str] = &[
    "agent-linux/src/store/",
    "agent-linux/src/acl/",
    "agent-linux/src/http/",
    "agent-linux/src/dns/name.rs",
    "agent-linux/src/dns/answer.rs",
];
/// Files of these that may name something outside all the same, each with its reason.
const IMPURE: &[(&str, &[&str])] = &[
    // Where HTTP meets its sockets.
    ("agent-linux/src/http/mod.rs", &["tokio", "TcpListener", "UnixListener"]),
    ("agent-linux/src/http/server.rs", OUTSIDE),
    ("agent-linux/src/http/connection.rs", OUTSIDE),
    ("agent-linux/src/http/emit.rs", &["SystemTime"]),
    ("agent-linux/src/http/script.rs", &["tokio"]),
    ("agent-linux/src/http/talk.rs", OUTSIDE),
    ("agent-linux/src/http/wire.rs", OUTSIDE),
    // A commit rings the bells of waiting tasks.
    ("agent-linux/src/store/watch.rs", &["tokio"]),
    // The lock delay runs by the leader's clock and never enters the log.
    ("agent-linux/src/store/delay.rs", &["Instant"]),
    ("agent-linux/src/store/mod.rs", &["Instant"]),
    ("agent-linux/src/acl/resolve.rs", &["tokio", "Instant"]),
];
/// What a pure module may not name.
const OUTSIDE: &[&str] = &[
    "tokio",
    "Instant",
    "SystemTime",
    "std::fs",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
];

const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "cross.toml",
    "agent-core",
    "agent-linux",
    "agent-arm",
    "bench",
    ".cargo",
    ".ci",
    ".github",
    ".clippy.toml",
    ".rustfmt.toml",
    ".deny.toml",
    ".gitignore",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench has a parent").to_path_buf()
}

fn sources() -> Vec<Source> {
    let found = walk(&root());
    assert!(found.len() > 10, "tidy sees the sources");
    found
}

/// Fails with every finding at once.
fn report(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn excused(list: &[(&str, &str)], path: &str) -> bool {
    list.iter().any(|(start, _)| path.starts_with(start))
}

#[test]
fn lines_fit_the_columns() {
    let mut findings = Vec::new();
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !is_link(line) {
                findings.push(format!("{}:{}: {columns} columns", source.path, at + 1));
            }
            if line.ends_with(char::is_whitespace) || line.contains('\t') {
                findings.push(format!("{}:{}: tab or blank at the end", source.path, at + 1));
            }
        }
    }
    report(findings);
}

/// A comment that is one address cannot be cut.
fn is_link(line: &str) -> bool {
    let mut words = line.trim_start().trim_start_matches(['/', '!']).split_whitespace();
    words.next().is_some_and(|word| word.contains("://")) && words.next().is_none()
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    for source in sources() {
        let (lines, path) = (source.production, &source.path);
        let soft = if excused(LONG_FILES, path) { FILE_LINES_HARD_MAX } else { FILE_LINES_MAX };
        if lines > soft {
            findings.push(format!("{path}: {lines} production lines; split it by subject"));
        }
    }
    report(findings);
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for source in sources() {
        for function in source.functions() {
            if function.length > FUNCTION_LINES_MAX {
                let (path, line, name) = (&source.path, function.line, &function.name);
                findings.push(format!("{path}:{line}: {name} has {} lines", function.length));
            }
        }
    }
    report(findings);
}

#[test]
fn no_function_takes_a_pair_of_flags() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !is_test(&source.path)) {
        for function in source.functions() {
            let flags = function.parameters.matches(": bool").count();
            if function.line <= source.production && flags > 1 {
                let (path, line, name) = (&source.path, function.line, &function.name);
                findings.push(format!("{path}:{line}: {name} takes {flags} bools; name an enum"));
            }
        }
    }
    report(findings);
}

#[test]
fn banned_words_stay_out() {
    let mut findings = Vec::new();
    for source in sources() {
        let mut find = |text: &str, list: &[(&str, &str)]| {
            for (word, instead) in list {
                let mut end = usize::MAX;
                let whole = word.ends_with(|c: char| c.is_alphanumeric());
                for (at, _) in text.match_indices(word) {
                    let after = text[at + word.len()..].chars().next().unwrap_or(' ');
                    // `&'static mut` is a lifetime and a fine thing to hand down.
                    let lifetime = text[..at].ends_with('\'');
                    if at != end
                        && !lifetime
                        && !(whole && (after.is_alphanumeric() || after == '_'))
                    {
                        let line = line_of(text, at);
                        findings.push(format!("{}:{line}: `{word}`: {instead}", source.path));
                    }
                    end = at + word.len();
                }
            }
        };
        find(&source.text, BANNED_TEXT);
        find(&source.code, BANNED_CODE);
    }
    report(findings);
}

#[test]
fn no_code_is_commented_out() {
    let starts = ["let ", "fn ", "pub ", "use ", "mod ", "if ", "for ", "return ", "match "];
    let mut findings = Vec::new();
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
            let comment = comment.trim();
            let looks = starts.iter().any(|start| comment.starts_with(start));
            if looks && comment.ends_with([';', '{']) {
                findings.push(format!("{}:{}: commented-out code", source.path, at + 1));
            }
        }
    }
    report(findings);
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let mut findings = Vec::new();
    for source in sources() {
        if excused(SLEEPERS, &source.path) {
            continue;
        }
        let from = if is_test(&source.path) { 0 } else { source.production };
        for (at, line) in source.code.lines().enumerate().skip(from) {
            if words(line, "sleep").any(|at| line[at..].starts_with("sleep(")) {
                findings.push(format!("{}:{}: a test that sleeps", source.path, at + 1));
            }
        }
    }
    report(findings);
}

#[test]
fn every_module_opens_with_its_documentation() {
    let mut findings = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//!") && !source.path.ends_with("/tests.rs") {
            findings.push(format!("{}: no module documentation", source.path));
        }
    }
    report(findings);
}

/// Modules of the crate that a stretch of code names: `crate::x`, `use crate::{x, y::z}`, and
/// `super::x` where that reaches the crate's root.
fn named(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let supers = "super::".repeat(depth);
    for prefix in ["crate::", supers.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before == ':' || before == '$' || before.is_alphanumeric() || prefix.is_empty() {
                continue;
            }
            for name in heads(&code[at + prefix.len()..]) {
                found.push((line_of(code, at), name));
            }
        }
    }
    found
}

/// First names of a path, or of each path of a braced group.
fn heads(rest: &str) -> Vec<String> {
    let ident = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![ident(rest)] };
    let (mut depth, mut start, mut names) = (0usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(ident(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(ident(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn modules_name_only_those_below_them() {
    let modules: Vec<&str> = ARROWS.iter().map(|(module, _)| *module).collect();
    let mut findings = Vec::new();
    for source in sources() {
        let Some(inner) = source.path.strip_prefix("agent-linux/src/") else { continue };
        let module = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            findings.push(format!("{}: module {module} is not in the design", source.path));
            continue;
        };
        let more = FILE_ARROWS.iter().find(|(path, _)| *path == source.path);
        let more = more.map_or(&[][..], |(_, more)| more);
        let depth = inner.split('/').count() - usize::from(inner.ends_with("/mod.rs"));
        for (line, name) in named(&source.production_code(), depth) {
            let other = name != module && modules.contains(&name.as_str());
            let may = |list: &[&str]| list.contains(&"*") || list.contains(&name.as_str());
            if other && !may(allowed) && !may(more) {
                findings.push(format!("{}:{line}: {module} names {name}", source.path));
            }
        }
    }
    report(findings);
}

#[test]
fn dependencies_hide_behind_their_module() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !is_test(&source.path)) {
        let code = source.production_code();
        for (name, paths) in HIDDEN {
            if paths.iter().any(|path| source.path.starts_with(path)) {
                continue;
            }
            let at = words(&code, name).find(|at| code[at + name.len()..].starts_with("::"));
            if let Some(at) = at {
                findings.push(format!("{}:{}: names {name}", source.path, line_of(&code, at)));
            }
        }
    }
    report(findings);
}

#[test]
fn pure_modules_name_nothing_outside() {
    let mut findings = Vec::new();
    for source in sources() {
        let pure = PURE.iter().any(|path| source.path.starts_with(path));
        if !pure {
            continue;
        }
        let excused = IMPURE.iter().find(|(path, _)| *path == source.path);
        let excused = excused.map_or(&[][..], |(_, names)| names);
        let code = source.production_code();
        for name in OUTSIDE.iter().filter(|name| !excused.contains(name)) {
            for at in words(&code, name) {
                findings.push(format!("{}:{}: names {name}", source.path, line_of(&code, at)));
            }
        }
    }
    report(findings);
}

#[test]
fn the_core_names_no_std_and_has_one_feature() {
    let mut findings = Vec::new();
    for source in sources() {
        if !source.path.starts_with("agent-core/src/") {
            continue;
        }
        let code = source.production_code();
        for at in words(&code, "std").filter(|at| code[at + 3..].starts_with("::")) {
            findings.push(format!("{}:{}: names std", source.path, line_of(&code, at)));
        }
        for name in ["tracing", "println!", "unsafe"] {
            let mut at =
                words(&code, name).filter(|at| !code[at + name.len()..].starts_with("_code"));
            if let Some(at) = at.next() {
                findings.push(format!("{}:{}: names {name}", source.path, line_of(&code, at)));
            }
        }
    }
    let manifest = std::fs::read_to_string(root().join("agent-core/Cargo.toml")).expect("there");
    let features = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next());
    let names = features.unwrap_or_default().lines().filter_map(|line| line.split_once(" = "));
    for (name, _) in names.filter(|(name, _)| !name.starts_with('#')) {
        if !["default", "alloc"].contains(&name) {
            findings.push(format!("agent-core/Cargo.toml: feature {name}"));
        }
    }
    report(findings);
}

#[test]
fn the_top_level_is_the_designs() {
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(root()).expect("the root is readable") {
        let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" && !TOP.contains(&name.as_str()) {
            findings.push(format!("{name}: the design does not know it"));
        }
    }
    for name in TOP.iter().filter(|name| !root().join(name).exists()) {
        findings.push(format!("{name} is missing"));
    }
    for member in ["agent-core", "agent-linux", "agent-arm", "bench"] {
        for paper in ["README.md", "CHANGELOG.md"] {
            if !root().join(member).join(paper).exists() {
                findings.push(format!("{member}/{paper} is missing"));
            }
        }
    }
    report(findings);
}

#[test]
fn the_reader_tells_code_from_comments_and_strings() {
    let text = "fn a(b: &'a str, c: [u8; 2]) -> char {\n    // fn x() {\n    '{'\n}\n\
                fn d() { \"{\\\"\"; r#\"}\"#; }\n#[cfg(test)]\nmod tests {\n}\n";
    let source = Source::new("x/src/y.rs".into(), text.into());
    let functions = source.functions();
    let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["a", "d"]);
    assert_eq!(functions[0].length, 1);
    assert_eq!(functions[1].line, 5);
    assert_eq!(source.production, 5);
    assert_eq!(heads("{a, b::{c, d}, e as f};"), ["a", "b", "e"]);
    let found: Vec<String> =
        named("use crate::raft; super::super::x; super::y;", 2).into_iter().map(|n| n.1).collect();
    assert_eq!(found, ["raft", "x"]);
}
