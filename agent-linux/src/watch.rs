//! Watches: which question is asked again and again, and what is news in the answers. Pure; the
//! verb `watch` asks by HTTP, the agent's own watches ask in process.
//!
//! A result is what Consul's own client would hand on: the answer in compact JSON, of a key its
//! row, of events those that are new.

use crate::config::watch::{Query, Subject};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time before a failed question is asked again, times the square of the failures in a row.
const RETRY: Duration = Duration::from_secs(5);
/// Longest such time.
const RETRY_MAX: Duration = Duration::from_secs(180);

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// News: its index and its JSON.
    Show {
        /// What `CONSUL_INDEX` tells.
        index: u64,
        /// The result.
        result: String,
    },
    /// Nothing new; ask again.
    Again,
    /// The question failed; ask again after a while.
    Retry {
        /// After how long.
        after: Duration,
        /// Why.
        why: String,
    },
}

/// One watch, as far as it has come.
#[derive(Debug)]
pub struct Plan {
    query: Query,
    /// The index to block on, 0 at first.
    index: u64,
    /// The hash to block on, where there is one in place of an index; empty at first.
    hash: String,
    last: Option<String>,
    failures: u32,
}

/// A row of the key/value store in the order of Consul's client.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    key: String,
    create_index: u64,
    modify_index: u64,
    lock_index: u64,
    flags: u64,
    value: Option<String>,
    #[serde(default)]
    session: String,
}

/// An event, as the agent shows it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    payload: Option<String>,
    node_filter: String,
    service_filter: String,
    tag_filter: String,
    version: u64,
    #[serde(rename = "LTime")]
    time: u64,
}

impl Plan {
    /// Starts a watch.
    pub const fn new(query: Query) -> Self {
        Self { query, index: 0, hash: String::new(), last: None, failures: 0 }
    }

    /// Tells the watch's type.
    pub const fn kind(&self) -> &'static str {
        self.query.subject.kind()
    }

    /// Tells the path to ask, not escaped.
    pub fn path(&self) -> String {
        match &self.query.subject {
            Subject::Key(key) | Subject::KeyPrefix(key) => format!("/v1/kv/{key}"),
            Subject::Services => "/v1/catalog/services".to_owned(),
            Subject::Nodes => "/v1/catalog/nodes".to_owned(),
            Subject::Service { name, .. } => format!("/v1/health/service/{name}"),
            Subject::ChecksOf(service) => format!("/v1/health/checks/{service}"),
            Subject::ChecksIn(state) => format!("/v1/health/state/{state}"),
            Subject::Event(_) => "/v1/event/list".to_owned(),
            Subject::AgentService(id) => format!("/v1/agent/service/{id}"),
            Subject::ConnectRoots => "/v1/agent/connect/ca/roots".to_owned(),
            Subject::ConnectLeaf(service) => format!("/v1/agent/connect/ca/leaf/{service}"),
        }
    }

    /// Lists the parameters of the next question.
    pub fn params(&self) -> Vec<(&'static str, String)> {
        let query = &self.query;
        let mut params = Vec::new();
        match &query.subject {
            Subject::KeyPrefix(_) => params.push(("recurse", String::new())),
            Subject::Service { tags, passing_only, .. } => {
                params.extend(tags.iter().map(|tag| ("tag", tag.clone())));
                if *passing_only {
                    params.push(("passing", "1".to_owned()));
                }
            }
            Subject::Event(name) => params.push(("name", name.clone())),
            Subject::Key(_)
            | Subject::Services
            | Subject::Nodes
            | Subject::ChecksOf(_)
            | Subject::ChecksIn(_)
            | Subject::AgentService(_)
            | Subject::ConnectRoots
            | Subject::ConnectLeaf(_) => {}
        }
        for (name, value) in [("dc", &query.datacenter), ("token", &query.token)] {
            if !value.is_empty() {
                params.push((name, value.clone()));
            }
        }
        if query.stale {
            params.push(("stale", String::new()));
        }
        if self.index > 0 {
            params.push(("index", self.index.to_string()));
        }
        if !self.hash.is_empty() {
            params.push(("hash", self.hash.clone()));
        }
        params
    }

    /// Takes an answer: its status, its index and its body.
    pub fn handle_answer(&mut self, code: u16, index: u64, body: &[u8]) -> Step {
        let body = String::from_utf8_lossy(body);
        let is_kv = matches!(self.query.subject, Subject::Key(_) | Subject::KeyPrefix(_));
        let result = match code {
            200 => self.result(&body),
            404 if is_kv => Some("null".to_owned()),
            _ => return self.handle_failure(format!("Unexpected response code: {code} ({body})")),
        };
        let Some(result) = result else {
            return self.handle_failure("the answer is not what was asked for".to_owned());
        };
        self.failures = 0;
        if matches!(self.query.subject, Subject::AgentService(_)) {
            return self.compare(result);
        }
        let index = index.max(1);
        if index == self.index {
            return Step::Again;
        }
        let events = matches!(self.query.subject, Subject::Event(_));
        // An index that went backwards means another history; those of events have no order.
        self.index = if index < self.index && !events { 0 } else { index };
        let known = match events {
            true => self.last.is_some() && result == "[]",
            false => self.last.as_ref() == Some(&result),
        };
        if known {
            return Step::Again;
        }
        self.last = Some(if events { String::new() } else { result.clone() });
        Step::Show { index, result }
    }

    /// Takes a result that is news by its hash; as Consul's, it has no index.
    fn compare(&mut self, result: String) -> Step {
        self.hash = hash_of(&result).unwrap_or_default();
        if self.last.as_ref() == Some(&result) {
            return Step::Again;
        }
        self.last = Some(result.clone());
        Step::Show { index: 0, result }
    }

    /// Takes the news that the question got no answer.
    pub fn handle_failure(&mut self, why: String) -> Step {
        self.failures = self.failures.saturating_add(1);
        let after = RETRY.saturating_mul(self.failures.saturating_mul(self.failures));
        // Whoever answers next may have another history; an event is known by its id.
        if !matches!(self.query.subject, Subject::Event(_)) {
            self.index = 0;
        }
        self.hash.clear();
        Step::Retry { after: after.min(RETRY_MAX), why }
    }

    /// Makes a result of a good answer's body.
    fn result(&self, body: &str) -> Option<String> {
        match &self.query.subject {
            Subject::Key(_) => {
                let rows: Vec<Row> = serde_json::from_str(body).ok()?;
                serde_json::to_string(rows.first()?).ok()
            }
            Subject::KeyPrefix(_) => {
                let rows: Vec<Row> = serde_json::from_str(body).ok()?;
                serde_json::to_string(&rows).ok()
            }
            Subject::Event(_) => {
                let mut events: Vec<Event> = serde_json::from_str(body).ok()?;
                let seen = events.iter().position(|event| index_of(&event.id) == Some(self.index));
                events.drain(..seen.map_or(0, |at| at + 1));
                serde_json::to_string(&events).ok()
            }
            Subject::Services
            | Subject::Nodes
            | Subject::Service { .. }
            | Subject::ChecksOf(_)
            | Subject::ChecksIn(_)
            | Subject::ConnectRoots
            | Subject::ConnectLeaf(_) => Some(shaped(body, Shape::Compact)),
            // Without a hash to block on it would be asked again and again.
            Subject::AgentService(_) => hash_of(body).map(|_| shaped(body, Shape::Compact)),
        }
    }
}

/// Finds the hash of a service of the agent.
fn hash_of(body: &str) -> Option<String> {
    let found: serde_json::Value = serde_json::from_str(body).ok()?;
    found["ContentHash"].as_str().filter(|hash| !hash.is_empty()).map(str::to_owned)
}

/// Tells the index that a list of events has when this one is its last.
fn index_of(id: &str) -> Option<u64> {
    let (high, low) = uuid::Uuid::parse_str(id).ok()?.as_u64_pair();
    Some(high ^ low)
}

/// How JSON is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Without blanks.
    Compact,
    /// With a line for each value, four blanks a level, as Consul prints it.
    Indented,
}

/// Lays JSON out anew, its fields in the order in which they are.
pub fn shaped(json: &str, shape: Shape) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = json.chars().filter(|c| *c != '\r').peekable();
    let line = |out: &mut String, depth: usize| {
        if shape == Shape::Indented {
            out.push('\n');
            out.extend(std::iter::repeat_n("    ", depth));
        }
    };
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            ' ' | '\n' | '\t' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' if shape == Shape::Indented => out.push_str(": "),
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(subject: Subject) -> Plan {
        let (datacenter, token) = (String::new(), String::new());
        Plan::new(Query { subject, datacenter, token, stale: false })
    }

    fn shown(step: Step) -> (u64, String) {
        match step {
            Step::Show { index, result } => (index, result),
            other => panic!("nothing is shown: {other:?}"),
        }
    }

    #[test]
    fn only_another_result_is_news() {
        let mut plan = plan(Subject::Nodes);
        assert_eq!(plan.params(), []);
        assert_eq!(shown(plan.handle_answer(200, 7, b"[ {\"a\": 1} ]\n")).1, "[{\"a\":1}]");
        assert_eq!(plan.params(), [("index", "7".to_owned())]);
        assert_eq!(plan.handle_answer(200, 7, b"[]"), Step::Again, "time was up");
        assert_eq!(plan.handle_answer(200, 9, b"[{\"a\":1}]"), Step::Again, "the same");
        assert_eq!(shown(plan.handle_answer(200, 12, b"[]")), (12, "[]".to_owned()));
        assert_eq!(plan.handle_answer(200, 3, b"[]"), Step::Again, "another history");
        assert_eq!(plan.params(), [], "asked anew");
    }

    #[test]
    fn failures_are_asked_again_more_and_more_seldom() {
        let mut plan = plan(Subject::Key("a b".into()));
        assert_eq!(plan.path(), "/v1/kv/a b");
        let mut after = Vec::new();
        for _ in 0..7 {
            match plan.handle_answer(500, 0, b"No cluster leader") {
                Step::Retry { after: time, why } => {
                    assert_eq!(why, "Unexpected response code: 500 (No cluster leader)");
                    after.push(time.as_secs());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(after, [5, 20, 45, 80, 125, 180, 180]);
        assert_eq!(shown(plan.handle_answer(404, 1, b"")).1, "null");
        let row = concat!(
            r#"[{"LockIndex":0,"Key":"a b","Flags":0,"Value":"eA==","#,
            r#""CreateIndex":3,"ModifyIndex":4}]"#
        );
        let want = concat!(
            r#"{"Key":"a b","CreateIndex":3,"ModifyIndex":4,"LockIndex":0,"#,
            r#""Flags":0,"Value":"eA==","Session":""}"#
        );
        assert_eq!(shown(plan.handle_answer(200, 4, row.as_bytes())), (4, want.to_owned()));
    }

    #[test]
    fn a_service_of_the_agent_is_news_by_its_hash() {
        let mut plan = plan(Subject::AgentService("web".into()));
        assert_eq!(plan.path(), "/v1/agent/service/web");
        let body = |hash: &str| format!("{{\"ID\":\"web\",\"ContentHash\":\"{hash}\"}}");
        let answer = body("a");
        assert_eq!(shown(plan.handle_answer(200, 0, answer.as_bytes())), (0, answer.clone()));
        assert_eq!(plan.params(), [("hash", "a".to_owned())]);
        assert_eq!(plan.handle_answer(200, 0, answer.as_bytes()), Step::Again, "time was up");
        assert_eq!(shown(plan.handle_answer(200, 0, body("b").as_bytes())), (0, body("b")));
        let gone = plan.handle_answer(404, 0, b"unknown service ID: web");
        assert!(matches!(gone, Step::Retry { .. }), "{gone:?}");
        assert_eq!(plan.params(), []);
        let strange = plan.handle_answer(200, 0, b"{}");
        assert!(matches!(strange, Step::Retry { .. }), "{strange:?}");
    }

    #[test]
    fn every_event_is_news_once() {
        let event = |id: u8| {
            let id = format!("{id:08x}-0000-0000-0000-000000000000");
            let event = format!(
                concat!(
                    r#"{{"ID":"{id}","Name":"n","Payload":null,"NodeFilter":"","#,
                    r#""ServiceFilter":"","TagFilter":"","Version":1,"LTime":2}}"#
                ),
                id = id
            );
            (index_of(&id).unwrap(), event)
        };
        let list = |ids: &[u8]| {
            let events: Vec<String> = ids.iter().map(|id| event(*id).1).collect();
            format!("[{}]", events.join(","))
        };
        let mut plan = plan(Subject::Event("n".into()));
        assert_eq!(shown(plan.handle_answer(200, 1, b"[]")).1, "[]");
        let (index, _) = event(9);
        let answer = list(&[8, 9]);
        assert_eq!(shown(plan.handle_answer(200, index, answer.as_bytes())), (index, answer));
        let (index, _) = event(2);
        let answer = list(&[8, 9, 3, 2]);
        assert_eq!(shown(plan.handle_answer(200, index, answer.as_bytes())).1, list(&[3, 2]));
        assert_eq!(plan.params().last(), Some(&("index", index.to_string())));
        assert_eq!(plan.handle_answer(200, 1, b"[]"), Step::Again, "the agent started anew");
    }

    #[test]
    fn json_is_laid_out_as_consul_prints_it() {
        let compact = r#"{"a":[],"b":{"c":["x: {\"y\", 2}"]},"d":null}"#;
        let indented = [
            "{",
            "    \"a\": [],",
            "    \"b\": {",
            "        \"c\": [",
            "            \"x: {\\\"y\\\", 2}\"",
            "        ]",
            "    },",
            "    \"d\": null",
            "}",
        ]
        .join("\n");
        assert_eq!(shaped(compact, Shape::Indented), indented);
        assert_eq!(shaped(&indented, Shape::Compact), compact);
        assert_eq!(shaped("{ \n }", Shape::Indented), "{}");
    }
}
