//! `members`: the pool as the agent sees it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::get;
use super::column::{LIST_GAP, layout, row};
use super::flag::{Flag, switch, text};
use super::{Api, Call, Failure, Spec, Verb, failure};

/// Lists members.
pub(super) struct Members;

/// Exit code if no member matches.
const EXIT_NONE: u8 = 2;
/// Segment that stands for all.
const ALL_SEGMENTS: &str = "_all";

const FLAGS: &[Flag] = &[
    switch("detailed", "Shows all tags of the members."),
    text("segment", "(Enterprise-only) Shows members of one segment only. Default: _all."),
    text("status", "Shows members only whose status matches this regular expression."),
    switch("wan", "Shows the WAN pool, if the agent is a server."),
];

const SPEC: Spec = Spec {
    path: "members",
    summary: "Lists the members of a cluster",
    help: " [options]

  Outputs the members of a running agent's pool.

      $ reeve members -status=failed
",
    api: Api::Agent,
    flags: FLAGS,
};

/// One row of `agent/members`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    addr: String,
    port: u16,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    status: u8,
}

impl Member {
    /// Names the status as Serf does.
    fn status(&self) -> &'static str {
        match self.status {
            0 => "none",
            1 => "alive",
            2 => "leaving",
            3 => "left",
            4 => "failed",
            _ => "unknown",
        }
    }

    /// Reads a tag, empty if there is none.
    fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    /// Gives the segment the name that people see.
    fn name_segment(&mut self) {
        let shown = match (self.tag("segment"), self.tag("role")) {
            ("" | ALL_SEGMENTS, "consul") => "<all>",
            ("", _) => "<default>",
            _ => return,
        };
        self.tags.insert("segment".to_owned(), shown.to_owned());
    }

    /// Writes address and port.
    fn address(&self) -> String {
        match self.addr.contains(':') {
            true => format!("[{}]:{}", self.addr, self.port),
            false => format!("{}:{}", self.addr, self.port),
        }
    }

    /// Lays the member out in one line of the usual list.
    fn standard(&self) -> Vec<String> {
        let kind = match self.tag("role") {
            "consul" => "server",
            "node" => "client",
            _ => "unknown",
        };
        let build = self.tag("build").split(':').next().unwrap_or_default();
        row([
            &self.name,
            &self.address(),
            self.status(),
            kind,
            if build.is_empty() { "< 0.3" } else { build },
            self.tag("vsn"),
            self.tag("dc"),
            self.tag("segment"),
        ])
    }

    /// Lays the member out with all its tags.
    fn detailed(&self) -> Vec<String> {
        let tags: Vec<String> = self.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        row([&self.name, &self.address(), self.status(), &tags.join(",")])
    }
}

impl Verb for Members {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let status = regex_lite::Regex::new(call.given.text("status").unwrap_or(".*"))
            .map_err(|error| failure(format!("Failed to compile status regexp: {error}")))?;
        let segment = call.given.text("segment").unwrap_or(ALL_SEGMENTS).to_owned();
        let mut request = get("/v1/agent/members").with("segment", segment);
        if call.given.on("wan") {
            request = request.with("wan", "1");
        }
        // A client is no member of the WAN pool and answers null.
        let members: Option<Vec<Member>> = call
            .client()?
            .json(request)
            .map_err(|error| failure(format!("Error retrieving members: {error}")))?;
        let mut members = members.unwrap_or_default();
        members.retain(|member| status.is_match(member.status()));
        if members.is_empty() {
            return Err(Failure { text: String::new(), code: EXIT_NONE });
        }
        members.iter_mut().for_each(Member::name_segment);
        members.sort_by(|a, b| (a.tag("segment"), &a.name).cmp(&(b.tag("segment"), &b.name)));
        let mut rows = Vec::new();
        if call.given.on("detailed") {
            rows.push(row(["Node", "Address", "Status", "Tags"]));
            rows.extend(members.iter().map(Member::detailed));
        } else {
            let header =
                ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"];
            rows.push(row(header));
            rows.extend(members.iter().map(Member::standard));
        }
        call.say(layout(&rows, LIST_GAP))
    }
}
