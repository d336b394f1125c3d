//! Answers of Consul 1.8.3 that were recorded with curl, dig and its own command line on three
//! servers and a client, asked of the same picture again: each must be equal after masking ids,
//! times, indexes and addresses.
//!
//! `tests/golden/consul-1.8.3.txt` is the recording as it was made. It has a section for each
//! subject; in it, `### ` leads a request and `## ` a DNS question. What it leaves out is in
//! [`VERBS`] (the commands of its first section) and [`UNSAID`] (requests between those shown).
//! Lines of the section `blocking` without a request are not replayed: nobody knows what was asked.
//!
//! [`ON_PURPOSE`] lists what Reeve answers otherwise, each with its row of README's table;
//! [`CHANGED`] what Consul 1.8.7 itself answers otherwise, which Reeve then follows. An entry that
//! is no difference any more fails the test, as does one that was never asked.

mod support;

use regex_lite::Captures;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::answer::{lines, look_up, mask, page, pattern, unfold};
use support::cluster::{Agent, Cluster};
use support::http::Response;
use support::{PATIENCE, eventually};

const RECORDED: &str = include_str!("golden/consul-1.8.3.txt");

/// What Reeve answers otherwise on purpose: the question, and the row of README's table.
const ON_PURPOSE: &[(&str, &str)] = &[
    ("info", "version"),
    ("GET /v1/agent/self", "`agent/self`"),
    ("GET /v1/agent/metrics", "metrics"),
    ("GET /v1/agent/metrics?format=prometheus", "metrics"),
    ("GET /v1/config/service-defaults/zz", "configuration entries"),
    ("snapshot: meta.json", "snapshot files"),
];

/// What Consul 1.8.7 answers otherwise than 1.8.3, so that Reeve does, and how.
const CHANGED: &[(&str, &str)] = &[(
    "GET /v1/kv/a/b?raw",
    "no charset; sandbox and nosniff, as nobody may run what was written",
)];

/// Commands of the section `members` with the number of lines that were kept of their output.
const VERBS: &[(&str, &str, usize)] = &[
    ("agent131", "members", 5),
    ("agent131", "members -detailed", 3),
    ("agent131", "members -status=nope", 1),
    ("agent128", "members -wan", 4),
    ("agent131", "operator raft list-peers", 4),
    ("agent131", "info", 33),
    ("agent131", "version", 3),
    ("agent131", "catalog nodes", 5),
    ("agent131", "catalog services", 1),
    ("agent128", "catalog services", 1),
    ("agent131", "rtt agent128 agent131", 1),
    ("agent131", "kv put a/b hello", 1),
    ("agent131", "kv get -detailed a/b", 7),
    ("agent131", "kv get nope", 2),
    ("agent131", "kv delete nope", 1),
    ("agent131", "kv export a", 7),
];

/// Requests that the recording leaves out, before the request that needs them; what they create is
/// known from then on by the id of the recording.
const UNSAID: &[(&str, &str, &str, &str)] = &[
    ("GET /v1/kv/a/b?index=16&wait=5s", "DELETE /v1/kv/a/b", "", ""),
    (
        "GET /v1/session/info/ff168350-ea6c-6ad3-1592-8d3591faa5d0",
        "PUT /v1/session/create",
        r#"{"Name":"n1","TTL":"10s","LockDelay":"2s"}"#,
        "ff168350-ea6c-6ad3-1592-8d3591faa5d0",
    ),
    (
        "PUT /v1/kv/lk?acquire=6985e266-7c0c-6b03-6dc7-36f7cf779456",
        "PUT /v1/session/create",
        r#"{"TTL":"10s"}"#,
        "6985e266-7c0c-6b03-6dc7-36f7cf779456",
    ),
];

/// What may take a moment to be so: gossip, coordinates, anti-entropy, the lock's delay.
const SETTLES: &[&str] = &[
    "members",
    "members -detailed",
    "members -wan",
    "operator raft list-peers",
    "info",
    "catalog nodes",
    "rtt agent128 agent131",
    "GET /v1/health/service/consul?cached&passing",
    "GET /v1/health/service/web?pretty",
    "GET /v1/health/service/web?passing",
    "GET /v1/catalog/service/web",
    "GET /v1/query/q1/execute",
    "GET /v1/event/list (2)",
    "DNS web.service.consul A",
    "on the leader: GET /v1/operator/autopilot/health",
    "PUT /v1/kv/lk?acquire=6985e266-7c0c-6b03-6dc7-36f7cf779456 (2)",
];

/// The recording cut these answers off: its whole lines must be in the answer.
const CUT_OFF: &[&str] = &[
    "GET /v1/agent/metrics",
    "GET /v1/agent/metrics?format=prometheus",
    "GET /v1/coordinate/nodes",
];

/// Rows that come in any order.
const UNORDERED: &[&str] = &[
    "GET /v1/agent/members",
    "on the leader: GET /v1/operator/autopilot/health",
    "on the leader: GET /v1/operator/raft/configuration",
];

/// How long an answer may take to be as recorded.
const SETTLING: Duration = Duration::from_secs(30);

/// What differs between two runs and is not masked for all recordings.
const MASKS: &[(&str, &str)] = &[
    // The number of servers that a request passes depends on the one that was picked.
    (r"(rpc error making call: )+", "rpc error making call: "),
    (r"1\.8\.\d", "<version>"),
    (r#""raft_vsn":"\d""#, "<raft_vsn>"),
    (r#"(goroutines|cpu_count|max_procs)("?:"?| = )\d+"#, "$1$2<n>"),
    (r#"((?:event|member|query)_time)("?:"?| = )\d+"#, "$1$2<n>"),
    (r#"(version(?:":"| = ))(go|rust)[0-9.]+"#, "$1<language>"),
    (r#""DataDir":"[^"]+""#, r#""DataDir":<folder>"#),
    (r#""Value":[0-9.e+]+"#, r#""Value":<n>"#),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", "<time>"),
    (r#"("(?:Vec|Error|Adjustment|Height)":) ?\[?-?[0-9.e-]+"#, "$1<n>"),
    (r"\n-?[0-9.]+e?-?\d*[,\]]", "\n<n>,"),
    (r"(?m)^(-rw-------) \S+ +\d+ \S+ \S+", "$1"),
    (r"(?m)^[0-9a-f]{64}", "<hash>"),
    (r"(?m)^(ID +)\d+-\d+-\d+", "$1<id>"),
    (r"(?m)^((?:Size|Index|Term) +)\d+", "$1<n>"),
    (r#"("ID":")\d+-\d+-\d+"#, "$1<id>\""),
    (r#"("(?:Size|Term|ConfigurationIndex)":)\d+"#, "$1<n>"),
    (r#"("Peers":")[^"]+"#, "$1<peers>"),
];

/// The agents of the recording, by the last byte of their address.
const NAMES: [(&str, &str); 4] =
    [("11", "agent128"), ("12", "agent129"), ("13", "agent130"), ("14", "agent131")];

/// The picture, and what has been learned.
struct Replay {
    cluster: Cluster,
    /// Ids of the recording and of this run.
    ids: HashMap<String, String>,
    /// Differences by question, with the lines that differ.
    differing: BTreeMap<String, String>,
    asked: Vec<String>,
}

impl Replay {
    fn begin() -> Replay {
        let mut cluster = Cluster::loopback().picture_with(&[
            "-hcl=enable_script_checks=true",
            "-hcl=sync_coordinate_interval_min = \"1s\"",
            "-hcl=telemetry { prometheus_retention_time = \"60s\" }",
            // Consul's default: the first leader stays, however busy the machine is.
            "-hcl=performance { raft_multiplier = 5 }",
        ]);
        support::cluster::until_voters(&cluster.agents[0], 3);
        let leader = cluster.until_leader();
        assert_eq!(cluster.agents[leader].name, "agent128", "the first server leads");
        let cleared = cluster.agents[0].http().delete("/v1/kv/until-leader");
        assert_eq!(cleared.status, 200);
        let client = &cluster.agents[3];
        eventually(PATIENCE, "all agents are in the catalog, with all they tell", || {
            let answer = support::cluster::get(client, "/v1/catalog/nodes")?.text();
            let told = answer.matches("consul-network-segment").count();
            if told == cluster.agents.len() { Ok(()) } else { Err(answer) }
        });
        Replay { cluster, ids: HashMap::new(), differing: BTreeMap::new(), asked: Vec::new() }
    }

    fn agent(&self, name: &str) -> &Agent {
        let found = self.cluster.agents.iter().find(|agent| agent.name == name);
        found.unwrap_or_else(|| panic!("no agent {name}"))
    }

    /// Puts this run's ids into what was asked.
    fn fill(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_string(), |text, (then, now)| text.replace(then, now))
    }

    /// Masks an answer of this run.
    fn mask(&self, text: &str) -> String {
        let mut text = text.to_string();
        let mut agents: Vec<&Agent> = self.cluster.agents.iter().collect();
        // An address may be the beginning of another.
        agents.sort_by_key(|agent| std::cmp::Reverse(agent.address.to_string().len()));
        for agent in agents {
            let address = agent.address.to_string();
            let reversed: Vec<&str> = address.rsplit('.').collect();
            text = text.replace(&address, &format!("<{}>", agent.name));
            text = text.replace(&reversed.join("."), &format!("<{} reversed>", agent.name));
            text = text.replace(&hex(agent), &format!("<{} hex>", agent.name));
        }
        finish(&text)
    }

    /// Compares an answer with the recording; one that settles is asked for again.
    fn compare(&mut self, what: &str, recorded: &str, ask: impl Fn(&Replay) -> String) {
        let before = self.asked.iter().filter(|asked| asked.split(" (").next() == Some(what));
        let what = match before.count() {
            0 => what.to_string(),
            before => format!("{what} ({})", before + 1),
        };
        let what = what.as_str();
        self.asked.push(what.to_string());
        let listed = |list: &[(&str, &str)]| list.iter().any(|(name, _)| *name == what);
        let patient = SETTLES.contains(&what) && !listed(ON_PURPOSE) && !listed(CHANGED);
        let cut = CUT_OFF.contains(&what);
        let order = |text: String| match UNORDERED.contains(&what) {
            true => sort_rows(&text),
            false => text,
        };
        let mut wanted = masked_recording(recorded);
        if cut {
            wanted.truncate(wanted.trim_end().rfind('\n').unwrap_or(0));
        }
        let wanted = order(wanted);
        let equal = |got: &str| match cut {
            true => wanted.lines().all(|line| got.lines().any(|other| other == line)),
            false => got.trim_end() == wanted.trim_end(),
        };
        let deadline = Instant::now() + SETTLING;
        let mut got = order(self.mask(&ask(self)));
        while patient && !equal(&got) && Instant::now() < deadline {
            support::between();
            got = order(self.mask(&ask(self)));
        }
        if !equal(&got) {
            let seen = if cut { String::new() } else { got };
            self.differing.insert(what.to_string(), lines(&wanted, &seen));
        }
    }

    /// The section `members`: commands, whose output follows each other without a mark.
    fn verbs(&mut self, section: &str) {
        let mut rest = section.lines();
        for (agent, verb, count) in VERBS {
            let recorded: Vec<&str> =
                rest.by_ref().take(*count).map(|line| line.trim_end_matches('$')).collect();
            self.compare(verb, &squeeze(&recorded.join("\n")), |replay| {
                let words: Vec<&str> = verb.split(' ').collect();
                let output = replay.agent(agent).cli(&words);
                let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
                text += &String::from_utf8_lossy(&output.stderr);
                if let Some(code @ 1..) = output.status.code() {
                    let _ = writeln!(text, "rc={code}");
                }
                squeeze(&text.lines().take(*count).collect::<Vec<_>>().join("\n"))
            });
        }
        assert_eq!(rest.next(), None, "every line of the section belongs to a command");
    }

    /// A section of requests.
    fn requests(&mut self, section: &str) {
        // The answers that were cut off have the next request on their last line.
        let head = pattern(r"### ((?:-.*? )?)http://127\.0\.0\.(\d+):8500(/\S*)\n");
        let found: Vec<Captures<'_>> = head.captures_iter(section).collect();
        for (at, head) in found.iter().enumerate() {
            let start = head.get(0).expect("the whole").end();
            let end = found
                .get(at + 1)
                .map_or(section.len(), |next| next.get(0).expect("the whole").start());
            let (_, agent) = NAMES.iter().find(|(byte, _)| *byte == &head[2]).expect("an agent");
            self.request(agent, head[1].trim_start(), &head[3], &section[start..end]);
        }
    }

    /// Asks what the recording leaves out before a request, once.
    fn unsaid(&mut self, next: &str) {
        for (_, ask, body, id) in UNSAID.iter().filter(|(before, ..)| *before == next) {
            if self.ids.contains_key(*id) {
                continue;
            }
            let (method, path) = ask.split_once(' ').expect("a method and a path");
            let answer = self.agent("agent131").http().request(method, path, body.as_bytes());
            assert_eq!(answer.status, 200, "{ask}: {}", answer.text());
            if !id.is_empty() {
                let made = answer.json()["ID"].as_str().expect("an id").to_string();
                self.ids.insert(id.to_string(), made);
            }
        }
    }

    /// One request, as curl's arguments say it.
    fn request(&mut self, agent: &str, arguments: &str, path: &str, recorded: &str) {
        let (method, body) = curl(arguments);
        self.unsaid(&format!("{method} {path}"));
        // The leader was asked too, for the text without a prefix.
        let on = if agent == "agent131" { "" } else { "on the leader: " };
        let size = if body.len() > 1024 { " with much" } else { "" };
        let what = format!("{on}{method} {path}{size}");
        let whole = recorded.starts_with("HTTP/1.1 ");
        let recorded = match whole {
            true => whole_answer(recorded),
            false => bare_answer(recorded),
        };
        let body = body.into_bytes();
        self.compare(&what, &recorded, |replay| {
            let client = replay.agent(agent).http();
            let answer = client.request(&method, &replay.fill(path), &body);
            match whole {
                true => page(&answer),
                false => format!("{}\n{}", answer.status, unfold(answer.text().trim_end())),
            }
        });
    }

    /// The section `dns`: what dig printed, without comments that say nothing.
    fn questions(&mut self, section: &str) {
        // The service's TTL began some questions ago.
        let passed =
            self.agent("agent131").http().put("/v1/agent/check/pass/service:web?note=ok", "");
        assert_eq!(passed.status, 200);
        for part in section.split("## ").filter(|part| !part.trim().is_empty()) {
            let (question, printed) = part.split_once('\n').expect("lines");
            let (name, kind) = question.split_once(' ').unwrap_or((question, "A"));
            self.compare(&format!("DNS {name} {kind}"), &dug(printed), |replay| {
                let client = replay.agent("agent131");
                let mut name = name.replace("7f00000e", &hex(client));
                if name.ends_with("in-addr.arpa") {
                    let address = client.address.to_string();
                    let reversed: Vec<&str> = address.rsplit('.').collect();
                    name = format!("{}.in-addr.arpa", reversed.join("."));
                }
                let answer = look_up(client, &format!("{name} {kind}"), Some(4096));
                answer.replace('"', "").replace(" ra", "")
            });
        }
    }

    /// The section `snapshot`: the head of the answer, what the file holds, what `inspect` says.
    fn snapshot(&mut self, section: &str) {
        let (head, rest) = section.split_once("\n\n").expect("a head");
        let answer = self.agent("agent131").http().get("/v1/snapshot");
        let without_body = Response { body: Vec::new(), ..answer.clone() };
        let page = page(&without_body);
        self.compare("GET /v1/snapshot", &whole_answer(&format!("{head}\n\n")), |_| page.clone());
        let file = self.agent("agent131").folder().join("backup.snap");
        std::fs::write(&file, &answer.body).expect("a snapshot file");
        let tar = |words: &[&str]| {
            let mut tar = Command::new("tar");
            tar.arg(words[0]).arg(&file).args(&words[1..]).stderr(Stdio::null());
            String::from_utf8_lossy(&tar.output().expect("tar").stdout).into_owned()
        };
        let parts = [
            ("snapshot: list of files", "-rw", tar(&["-tvzf"])),
            ("snapshot: meta.json", "{", unfold(tar(&["-xzOf", "meta.json"]).trim_end())),
            ("snapshot: SHA256SUMS", "", tar(&["-xzOf", "SHA256SUMS"])),
        ];
        let mut rest = rest.lines().filter(|line| !line.is_empty()).peekable();
        for (what, start, got) in parts {
            let mut recorded = String::new();
            let is_part = |line: &&str| match start {
                "" => line.contains("  ") && !line.starts_with("ID"),
                start => line.starts_with(start),
            };
            while let Some(line) = rest.next_if(is_part) {
                recorded += &format!("{}\n", unfold(line));
            }
            self.compare(what, &recorded, |_| got.clone());
        }
        let recorded: Vec<&str> = rest.collect();
        let path = file.display().to_string();
        self.compare("snapshot inspect", &squeeze(&recorded.join("\n")), |replay| {
            let output = replay.agent("agent131").cli(&["snapshot", "inspect", &path]);
            squeeze(&String::from_utf8_lossy(&output.stdout))
        });
    }
}

/// An IPv4 address as `addr` names have it.
fn hex(agent: &Agent) -> String {
    agent.address.octets().map(|byte| format!("{byte:02x}")).concat()
}

/// Masks what was recorded.
fn masked_recording(text: &str) -> String {
    let mut text = text.to_string();
    for (byte, name) in NAMES {
        text = text.replace(&format!("127.0.0.{byte}"), &format!("<{name}>"));
        text = text.replace(&format!("{byte}.0.0.127"), &format!("<{name} reversed>"));
    }
    finish(&text.replace("7f00000e", "<agent131 hex>"))
}

/// Masks what differs between runs.
fn finish(text: &str) -> String {
    let text = mask(text);
    MASKS.iter().fold(text, |text, (from, to)| pattern(from).replace_all(&text, *to).into_owned())
}

/// Blanks between columns count as two.
fn squeeze(text: &str) -> String {
    let text = pattern(r"(?m)(\S)  +").replace_all(text, "$1  ").into_owned();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Method and body of curl's arguments.
fn curl(arguments: &str) -> (String, String) {
    let (method, rest) = match arguments.strip_prefix("-X ") {
        Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
        None if arguments.starts_with("-I") => ("HEAD", ""),
        None => ("GET", arguments),
    };
    let body = rest.split_once(' ').map_or("", |(_, body)| body.strip_suffix(' ').unwrap_or(body));
    let body = match body {
        "@big" => "x".repeat(524_289),
        "@big2" => "x".repeat(524_288),
        "@t65" => format!("[{}]", vec![r#"{"KV":{"Verb":"get","Key":"a"}}"#; 65].join(",")),
        body => body.to_string(),
    };
    (method.to_string(), body)
}

/// A recorded answer with its head.
fn whole_answer(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_string())).collect();
    let status = status.parse().expect("a status");
    page(&Response { status, headers, body: body.trim_end().as_bytes().to_vec() })
}

/// A recorded answer without its head: body, then status and time in brackets.
fn bare_answer(text: &str) -> String {
    let end = pattern(r"(?m)^\[(\d+) [0-9.]+s\]$");
    let text = text.split("curl: (23)").next().unwrap_or_default();
    let Some(found) = end.captures(text) else { return format!("200\n{}", unfold(text)) };
    let body = &text[..found.get(0).expect("the whole").start()];
    format!("{}\n{}", &found[1], unfold(body.trim_end()))
}

/// Brings the rows of a list into the order of their text.
fn sort_rows(text: &str) -> String {
    let Some((head, rest)) = text.split_once("[{") else { return text.to_string() };
    let (rows, tail) = rest.rsplit_once("}]").unwrap_or((rest, ""));
    let mut rows: Vec<&str> = rows.split("},\n{").collect();
    rows.sort_unstable();
    format!("{head}[{{{}}}]{tail}", rows.join("},\n{"))
}

/// What dig printed, as `look_up` says it.
fn dug(printed: &str) -> String {
    let (mut out, mut section, mut records) = (String::new(), "", Vec::new());
    for line in printed.lines() {
        if let Some(status) = line.split("status: ").nth(1) {
            out += match status.split(',').next() {
                Some("NOERROR") => "NoError",
                Some("NXDOMAIN") => "NXDomain",
                Some("SERVFAIL") => "ServFail",
                other => panic!("a status: {other:?}"),
            };
        } else if let Some(flags) = line.strip_prefix(";; flags: ") {
            let flags = flags.split(';').next().unwrap_or_default();
            out += if flags.contains("aa") { " aa" } else { "" };
            out += if flags.contains("tc") { " tc" } else { "" };
        } else if line.ends_with(" SECTION:") {
            section = line.split(' ').nth(1).unwrap_or_default();
        } else if !line.starts_with(';') && !line.is_empty() {
            let words: Vec<&str> = line.split_whitespace().collect();
            records.push((section.to_lowercase(), words.join(" ").replace('"', "")));
        }
    }
    for section in ["answer", "authority", "additional"] {
        let mut lines: Vec<&str> =
            records.iter().filter(|(of, _)| of == section).map(|(_, line)| &line[..]).collect();
        lines.sort_unstable();
        for line in lines {
            let _ = write!(out, "\n{section}: {line}");
        }
    }
    out
}

#[test]
fn recorded_answers_of_consul_are_given_again() {
    let mut replay = Replay::begin();
    for section in RECORDED.split("== ").filter(|section| !section.is_empty()) {
        let (name, text) = section.split_once('\n').expect("lines");
        match name {
            "members" => replay.verbs(text),
            "dns" => replay.questions(text),
            "snapshot" => replay.snapshot(text),
            _ => replay.requests(text),
        }
    }
    let table = include_str!("../README.md");
    let mut wrong = String::new();
    for (what, why) in ON_PURPOSE.iter().chain(CHANGED) {
        if !replay.asked.iter().any(|asked| asked == what) {
            let _ = writeln!(wrong, "{what}: listed, and never asked");
        } else if replay.differing.remove(*what).is_none() {
            let _ = writeln!(wrong, "{what}: no difference any more ({why})");
        }
    }
    for (what, row) in ON_PURPOSE {
        if !table.contains(&format!("| {row} |")) {
            let _ = writeln!(wrong, "{what}: no row {row} in README's table");
        }
    }
    for (what, difference) in &replay.differing {
        let _ = writeln!(wrong, "### {what}\n{difference}");
    }
    let asked = replay.asked.len();
    drop(replay);
    assert!(wrong.is_empty(), "of {asked} answers, some are not as expected:\n{wrong}");
}
