//! Conversations recorded with Consul 1.8.7, replayed: every answer must be equal after masking
//! what differs between two runs (ids, indexes, times, addresses).
//!
//! A conversation is a file in `tests/recorded`, held with one server (`server`) and one client
//! agent (`client`), new for each file:
//!
//! ```text
//! >>> client PUT /v1/kv/a              agent, method, path; or CLI, FAULT, DNS, FILTER or KEYS
//!                                      and what they are about
//! hello                                the body; {x*3} stands for xxx
//! <<<                                  what Consul answers
//! === index of a missing key           instead: what Reeve answers, for a reason in README's table
//! ```
//!
//! A step may end in ` -> name`, which keeps the answer's first UUID, or else its first modify
//! index, or else its content hash, for later steps as `{name}`, or in ` ~ text`: it is asked
//! again until the answer has this text in it. `{tmp}` is a folder; a body `@name` is a file there,
//! and `answer.snap` there is the last answer that was packed.
//!
//! `REEVE_UNDER_TEST=consul REEVE_RECORD=1` writes Consul's answers down anew.

mod support;

use regex_lite::Captures;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use support::answer::{UUID, lines, look_up, mask, page, pattern};
use support::cluster::{Agent, Cluster};
use support::{Folder, PATIENCE, eventually};

/// One question with the answers on file.
struct Step {
    agent: String,
    ask: String,
    /// Named for later steps: the first UUID of the answer, its first modify index or its hash.
    keep: Option<String>,
    /// Asked again until the answer holds this.
    until: Option<String>,
    body: String,
    consul: String,
    /// Reason and answer, where Reeve differs on purpose.
    reeve: Option<(String, String)>,
}

impl Step {
    fn parse(text: &str) -> Step {
        let (head, rest) = text.split_once('\n').expect("a step has lines");
        let (head, until) = match head.split_once(" ~ ") {
            Some((head, until)) => (head, Some(until.to_string())),
            None => (head, None),
        };
        let (head, keep) = match head.split_once(" -> ") {
            Some((head, keep)) => (head, Some(keep.to_string())),
            None => (head, None),
        };
        let (agent, ask) = head.split_once(' ').expect("an agent and a question");
        let (agent, ask) = (agent.to_string(), ask.to_string());
        let (body, answers) = rest.split_once("<<<\n").unwrap_or((rest, ""));
        let (consul, reeve) = match answers.split_once("=== ") {
            Some((consul, reeve)) => (consul, Some(reeve.split_once('\n').expect("a reason"))),
            None => (answers, None),
        };
        let reeve = reeve.map(|(reason, answer)| (reason.to_string(), answer.to_string()));
        let body = body.strip_suffix('\n').unwrap_or(body).to_string();
        Step { agent, ask, keep, until, body, consul: consul.to_string(), reeve }
    }

    fn write(&self, out: &mut String) {
        let _ = write!(out, ">>> {} {}", self.agent, self.ask);
        let mark = |mark: &str, word: &Option<String>| {
            word.as_ref().map(|word| format!(" {mark} {word}")).unwrap_or_default()
        };
        let _ = writeln!(out, "{}{}", mark("->", &self.keep), mark("~", &self.until));
        if !self.body.is_empty() {
            let _ = writeln!(out, "{}", self.body);
        }
        let _ = write!(out, "<<<\n{}", self.consul);
        if let Some((reason, answer)) = &self.reeve {
            let _ = write!(out, "=== {reason}\n{answer}");
        }
    }
}

/// Two agents and what has been learned from their answers.
struct Talk {
    cluster: Cluster,
    names: HashMap<String, String>,
    folder: Folder,
}

impl Talk {
    fn begin() -> Talk {
        let mut cluster = Cluster::loopback();
        let server = ["-server", "-bootstrap-expect=1", "-hcl=enable_script_checks=true"];
        let first = cluster.add("server", &server).address;
        cluster.start(0);
        cluster.until_http(0);
        cluster.add("client", &["-hcl=enable_script_checks=true", &format!("-join={first}")]);
        cluster.start(1);
        cluster.until_http(1);
        cluster.until_leader();
        let client = &cluster.agents[1];
        eventually(PATIENCE, "both agents are in the catalog, with all they tell", || {
            let answer = support::cluster::get(client, "/v1/catalog/nodes")?.text();
            let told = answer.matches("consul-network-segment").count();
            if told == cluster.agents.len() { Ok(()) } else { Err(answer) }
        });
        Talk { cluster, names: HashMap::new(), folder: Folder::new("talk") }
    }

    fn agent(&self, name: &str) -> &Agent {
        let found = self.cluster.agents.iter().find(|agent| agent.name == name);
        found.unwrap_or_else(|| panic!("no agent {name}"))
    }

    /// Puts kept names, addresses and repetitions into a text.
    fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{tmp}", &self.folder.path().display().to_string());
        for (name, value) in &self.names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        for agent in &self.cluster.agents {
            text = text.replace(&format!("{{{}}}", agent.name), &agent.address.to_string());
        }
        pattern(r"\{(.)\*(\d+)\}")
            .replace_all(&text, |found: &Captures<'_>| {
                found[1].repeat(found[2].parse().expect("a number"))
            })
            .into_owned()
    }

    /// Asks a step's question; answers what came, as it came.
    fn ask(&self, step: &Step) -> String {
        let agent = self.agent(&step.agent);
        let (ask, body) = (self.fill(&step.ask), self.fill(&step.body));
        match ask.split_once(' ').expect("a method and what it is about") {
            ("CLI", line) => run_verb(agent, line, &body),
            ("FAULT", line) => fail_verb(agent, line),
            ("KEYS", path) => keys(agent, path),
            ("DNS", question) => look_up(agent, question, None),
            ("FILTER", question) => sift(agent, question),
            (method, path) => {
                let file = body.strip_prefix('@').map(|name| self.folder.path().join(name));
                let body = match file {
                    Some(file) => std::fs::read(file).expect("a file"),
                    None => body.into_bytes(),
                };
                let answer = agent.http().request(method, path, &body);
                if answer.header("content-type") == Some("application/x-gzip") {
                    let file = self.folder.path().join("answer.snap");
                    std::fs::write(file, &answer.body).expect("a file");
                }
                page(&answer)
            }
        }
    }

    /// Asks a question until it is answered as it should be.
    fn settle(&mut self, step: &Step) -> String {
        let what = format!("{} {}", step.agent, step.ask);
        let until = step.until.as_deref().unwrap_or_default();
        let answer = eventually(PATIENCE, &what, || {
            let answer = self.ask(step);
            if answer.contains(until) { Ok(answer) } else { Err(answer) }
        });
        if let Some(name) = &step.keep {
            let kept = kept_of(&answer).unwrap_or_else(|| panic!("{what}: {answer}"));
            self.names.insert(name.clone(), kept);
        }
        self.mask(&answer)
    }

    fn mask(&self, text: &str) -> String {
        let mut text = text.replace(&self.folder.path().display().to_string(), "<tmp>");
        for (name, id) in self.names.iter().filter(|(_, id)| pattern(UUID).is_match(id)) {
            text = text.replace(id, &format!("<{name}>"));
        }
        for agent in &self.cluster.agents {
            let address = agent.address.to_string();
            text = text.replace(&address, &format!("<{}>", agent.name));
            let reversed: Vec<&str> = address.rsplit('.').collect();
            text = text.replace(&reversed.join("."), &format!("<{} reversed>", agent.name));
        }
        mask(&text)
    }
}

/// What a step keeps of its answer.
fn kept_of(answer: &str) -> Option<String> {
    if let Some(id) = pattern(UUID).find(answer) {
        return Some(id.as_str().to_string());
    }
    let index = pattern(r#""ModifyIndex": ?(\d+)"#).captures(answer);
    let hash = || pattern(r"(?m)^x-consul-contenthash: (\w+)").captures(answer);
    index.or_else(hash).map(|found| found[1].to_string())
}

/// Status and rows that meet an expression, or why there are none.
fn sift(agent: &Agent, question: &str) -> String {
    let (path, expression) = question.split_once(' ').expect("a path and an expression");
    let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = agent.http().get(&format!("/v1/{path}?filter={encoded}"));
    let found = match serde_json::from_str(&answer.text()) {
        Ok(rows) => names(&rows).join(" "),
        Err(_) => answer.text(),
    };
    format!("{} {found}", answer.status)
}

/// What the rows of an answer are called: by their node and id, or by their key.
fn names(rows: &Value) -> Vec<String> {
    match rows {
        Value::Array(rows) => rows.iter().map(name).collect(),
        Value::Object(found) => match found.get("Services") {
            Some(services) => names(services),
            None => found.keys().cloned().collect(),
        },
        other => vec![other.to_string()],
    }
}

fn name(row: &Value) -> String {
    let node = [&row["Node"]["Node"], &row["Node"]].into_iter().find_map(Value::as_str);
    let id = [&row["Service"]["ID"], &row["CheckID"], &row["ServiceID"]];
    let own = if node.is_none() { row["ID"].as_str() } else { None };
    let id = id.into_iter().find_map(Value::as_str).or(own);
    [node, id].into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// Exit code, output and errors of a verb; columns are as wide as their widest cell, so that
/// their blanks count as two.
fn run_verb(agent: &Agent, line: &str, input: &str) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = agent.cli_fed(&arguments, input.as_bytes());
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        pattern(r"(?m)(\S)  +").replace_all(&text, "$1  ").into_owned()
    };
    let code = output.status.code().unwrap_or(-1);
    format!("exit {code}\n{}{}", text(&output.stdout), text(&output.stderr))
}

/// Paths of all values in a JSON answer; of a list, those of its first.
fn keys(agent: &Agent, path: &str) -> String {
    fn walk(value: &Value, path: &str, out: &mut String) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    walk(value, &format!("{path}.{name}"), out);
                }
            }
            Value::Array(rows) if rows.first().is_some_and(Value::is_object) => {
                walk(&rows[0], &format!("{path}[]"), out);
            }
            _ => {
                let _ = writeln!(out, "{path}");
            }
        }
    }
    let answer = agent.http().get(path);
    let mut out = format!("{}\n", answer.status);
    walk(&answer.json(), "", &mut out);
    out
}

/// Exit code of a verb, and what it says where; usage texts are each program's own.
fn fail_verb(agent: &Agent, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
    let output = agent.cli(&words);
    let mut out = format!("exit {}\n", output.status.code().unwrap_or(-1));
    for (stream, bytes) in [("out", &output.stdout), ("err", &output.stderr)] {
        let text = String::from_utf8_lossy(bytes);
        let text = pattern(r"(?m)^Usage:\n(?:  .*\n)+").replace_all(&text, "Usage:\n<flags>\n");
        let text = pattern(r"(?s)Usage: (?:consul|reeve) ([^\n]*)\n.*")
            .replace_all(&text, "Usage: <program> $1\n<help>\n");
        for line in text.lines() {
            let _ = writeln!(out, "{}", format!("{stream}: {line}").trim_end());
        }
    }
    out
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// Replays a file, or records it.
fn replay(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).expect("a recorded conversation");
    let (head, steps) = text.split_once(">>> ").expect("steps");
    let steps = steps.split("\n>>> ").map(|step| Step::parse(&format!("{step}\n")));
    let recording = std::env::var_os("REEVE_RECORD").is_some();
    let table = std::fs::read_to_string(folder().join("../../README.md")).expect("README");
    let mut talk = Talk::begin();
    let (mut out, mut wrong) = (head.to_string(), String::new());
    for mut step in steps {
        let answer = talk.settle(&step);
        if recording {
            step.consul = answer;
            step.write(&mut out);
            continue;
        }
        let wanted = match &step.reeve {
            Some((reason, answer)) => {
                assert!(table.contains(&format!("| {reason} |")), "{reason}: not in the table");
                assert_ne!(answer, &step.consul, "{reason}: no difference any more");
                answer
            }
            None => &step.consul,
        };
        if wanted.trim_end() != answer.trim_end() {
            let _ = writeln!(wrong, ">>> {} {}\n{}", step.agent, step.ask, lines(wanted, &answer));
        }
    }
    assert!(wrong.is_empty(), "answers that differ from Consul's:\n{wrong}");
    if recording {
        std::fs::write(&path, out).expect("recorded");
    }
}

/// One test for each conversation, and none forgotten.
macro_rules! conversations {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_recorded_conversation_is_replayed() {
            for entry in std::fs::read_dir(folder()).expect("recorded conversations") {
                let file = entry.expect("a file").file_name();
                let name = file.to_str().and_then(|name| name.strip_suffix(".txt"));
                let name = name.expect("a conversation");
                assert!([$(stringify!($name)),*].contains(&name), "{name} is not replayed");
            }
        }
    };
}

conversations!(
    agent cached catalog command coordinate dns event fault filter inside kv operator own query
    session snapshot txn
);
