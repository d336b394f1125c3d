//! Answers in a form that two runs, or two programs, can be compared in: what differs between
//! any two runs is masked, JSON has a line for each value.

use super::PATIENCE;
use super::cluster::Agent;
use super::http::Response;
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use regex_lite::Regex;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};

pub const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

/// What differs between two runs of one program.
const MASKS: &[(&str, &str)] = &[
    (UUID, "<uuid>"),
    (r"(?m)^(\w+ +)[0-9a-f]{8}( +<)", "$1<id>$2"),
    (r#"("(?:Create|Modify|Lock)?Index": ?)[1-9]\d*"#, "$1<n>"),
    (r#"("(?:LTime|LastIndex|LastTerm)": ?)[1-9]\d*"#, "$1<n>"),
    (r"(?m)^((?:Create|Modify|Lock)Index +)[1-9]\d*", "$1<n>"),
    (r"(?m)^(x-consul-(?:index|lastcontact): ?)\d+", "$1<n>"),
    (r"(?m)^(x-consul-contenthash: ?)\w+", "$1<hash>"),
    (r"(?m)^(age: ?)\d+", "$1<n>"),
    (r#"("ContentHash": ?")\w+"#, "$1<hash>\""),
    (r#"("LastContact": ?"?)\d[^",}]*"#, "$1<t>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"(modify index |snapshot to index )[1-9]\d*", "$1<n>"),
    (r"(\.unverified\.tmp)\d+", "$1<n>"),
    (r"(?m)^(ID +)\d+-\d+-\d+", "$1<id>"),
    (r"(?m)^((?:Size|Term|Index) +)\d+", "$1<n>"),
    (r"hostmaster.consul. \d+ ", "hostmaster.consul. <n> "),
    (r"rtt: [0-9.]+ ms", "rtt: <n> ms"),
];

/// Masks what differs between two runs of one program, addresses apart.
pub fn mask(text: &str) -> String {
    let mut text = text.to_string();
    for (from, to) in MASKS {
        text = pattern(from).replace_all(&text, *to).into_owned();
    }
    let mut text = text.trim_end().to_string();
    text.push('\n');
    text
}

pub fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// Status, headers in their order of names, body. Lengths, dates and what is packed are left out.
pub fn page(answer: &Response) -> String {
    let mut lines = vec![];
    for (name, value) in &answer.headers {
        if !["date", "content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            lines.push(format!("{name}: {value}\n"));
        }
    }
    lines.sort();
    let packed = answer.header("content-type") == Some("application/x-gzip");
    let body = if packed { "<packed>".to_owned() } else { unfold(&answer.text()) };
    format!("{}\n{}\n{body}", answer.status, lines.concat())
}

/// Breaks long JSON after each comma between its values, so that a difference is a line.
pub fn unfold(text: &str) -> String {
    if text.len() < 100 || !text.starts_with(['[', '{']) {
        return text.to_string();
    }
    let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
    for one in text.chars() {
        out.push(one);
        match one {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => out.push('\n'),
            _ => {}
        }
        escaped = one == '\\' && !escaped;
    }
    out
}

/// The answer to a DNS question; records of a section in the order of their text. With `room`, the
/// question says by EDNS how many bytes an answer may have.
pub fn look_up(agent: &Agent, question: &str, room: Option<u16>) -> String {
    let answer = ask_dns(agent, question, room, Ipv4Addr::LOCALHOST);
    let flag = |name: &str, set: bool| if set { format!(" {name}") } else { String::new() };
    let told = &answer.metadata;
    let mut out = format!("{:?}", told.response_code);
    out += &flag("aa", told.authoritative);
    out += &flag("ra", told.recursion_available);
    out += &flag("tc", told.truncation);
    for (section, records) in [
        ("answer", &answer.answers),
        ("authority", &answer.authorities),
        ("additional", &answer.additionals),
    ] {
        let mut lines: Vec<String> =
            records.iter().map(|record| format!("\n{section}: {record}")).collect();
        lines.sort();
        out += &lines.concat();
    }
    out
}

/// Asks a DNS question from an own address of the machine.
pub fn ask_dns(agent: &Agent, question: &str, room: Option<u16>, from: Ipv4Addr) -> Message {
    let (name, kind) = question.split_once(' ').expect("a name and a type");
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.")).expect("a name");
    let kind: RecordType = kind.parse().expect("a type");
    message.add_query(Query::query(name, kind));
    let socket = UdpSocket::bind((from, 0)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    if let Some(bytes) = room {
        let mut edns = Edns::new();
        edns.set_max_payload(bytes);
        message.set_edns(edns);
    }
    let packet = message.to_vec().expect("a packet");
    socket.send_to(&packet, (agent.address, 8600)).expect("sent");
    let mut packet = [0; 65_535];
    let length = socket.recv(&mut packet).expect("an answer");
    Message::from_vec(&packet[..length]).expect("a DNS answer")
}

/// The lines that only one side has.
pub fn lines(wanted: &str, got: &str) -> String {
    let mut out = String::new();
    for line in wanted.lines().filter(|line| !got.lines().any(|other| other == *line)) {
        let _ = writeln!(out, "- {line}");
    }
    for line in got.lines().filter(|line| !wanted.lines().any(|other| other == *line)) {
        let _ = writeln!(out, "+ {line}");
    }
    if out.is_empty() { format!("order or repetition:\n{wanted}\n{got}") } else { out }
}
