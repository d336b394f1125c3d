//! Flags as Go's `flag` package takes them: `-x`, `--x`, `-x=v`, `-x v`, up to the first word that
//! is no flag. Written here because no crate knows single-dash long names and this stop.
//!
//! Source: <https://pkg.go.dev/flag#hdr-Command_line_flag_syntax>.

use crate::config::go_bool;
use agent_core::time::parse_go;
use std::collections::BTreeMap;
use std::num::IntErrorKind;
use std::time::Duration;

/// One flag of a verb.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    /// Name without dashes.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) takes: Takes,
    /// Whether a value that it does not take is refused with the reason, as by Consul's own types
    /// of flags; Go's say "parse error".
    pub(super) reasoned: bool,
    /// What it does, one paragraph.
    pub(super) doc: &'static str,
}

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takes {
    /// Nothing, or `=true` and the like.
    Switch,
    /// A whole number that is not negative.
    Count,
    /// A whole number.
    Whole,
    /// A Go duration.
    Span,
    /// Any text; carries the name of the text in help.
    Text(&'static str),
    /// A name and a value, `=` between them.
    Pair,
}

impl Flag {
    /// Makes a flag that refuses a value with the reason.
    pub(super) const fn reasoned(mut self) -> Self {
        self.reasoned = true;
        self
    }
}

/// Makes a switch.
pub(super) const fn switch(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes: Takes::Switch, reasoned: false, doc }
}

/// Makes a flag with a text.
pub(super) const fn text(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes: Takes::Text("string"), reasoned: false, doc }
}

/// Makes a flag with a text that may be given several times.
pub(super) const fn texts(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes: Takes::Text("value"), reasoned: false, doc }
}

/// Makes a flag with a number.
pub(super) const fn count(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes: Takes::Count, reasoned: false, doc }
}

/// Makes a flag with a whole number, which may be negative.
pub(super) const fn whole(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes: Takes::Whole, reasoned: false, doc }
}

/// Makes a flag with a duration.
pub(super) const fn span(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes: Takes::Span, reasoned: false, doc }
}

/// Makes a flag with a name and a value, `=` between them, that may be given several times.
pub(super) const fn pairs(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, takes: Takes::Pair, reasoned: true, doc }
}

/// Flags that choose the nodes that an event reaches.
pub(super) const FILTERS: [Flag; 3] = [
    text("node", "Regular expression for names of nodes; others do not hear of it."),
    text("service", "Regular expression for ids of services; nodes without one do not hear of it."),
    text("tag", "Regular expression for a tag of such a service; needs -service."),
];

/// Flags as they were given, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Given(Vec<(&'static str, String)>);

impl Given {
    /// Tells whether a switch is on; the last word on it counts.
    pub(super) fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// Finds the last text given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).last()
    }

    /// Lists the texts given.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| *given == name).map(|(_, text)| text.as_str())
    }

    /// Lists the pairs given, in the order of their names; the last value of a name counts.
    pub(super) fn pairs(&self, name: &str) -> BTreeMap<&str, &str> {
        self.texts(name).filter_map(|pair| pair.split_once('=')).collect()
    }

    /// Finds the last number given.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Finds the last whole number given.
    pub(super) fn whole(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// Finds the last duration given, in nanoseconds.
    pub(super) fn nanos(&self, name: &str) -> Option<i64> {
        parse_go(self.text(name)?).ok()
    }

    /// Finds the last duration given; a negative one is none at all.
    pub(super) fn span(&self, name: &str) -> Option<Duration> {
        self.nanos(name).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }

    /// Lists everything given.
    pub(super) fn all(&self) -> &[(&'static str, String)] {
        &self.0
    }
}

/// What a verb's arguments ask for.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Its help.
    Help,
    /// To run it: flags and the words after them.
    Run(Given, Vec<String>),
}

/// Tells whether a word asks for help.
pub(super) fn is_help(word: &str) -> bool {
    matches!(word, "-h" | "-help" | "--help" | "--h")
}

/// Parses a verb's arguments; a fault is told in Go's words.
pub(super) fn parse(flags: &[Flag], args: &[String]) -> Result<Parsed, String> {
    let mut given = Vec::new();
    let mut rest = args.iter();
    loop {
        let left = rest.as_slice();
        let Some(word) = rest.next() else { return Ok(Parsed::Run(Given(given), Vec::new())) };
        if word == "--" {
            return Ok(Parsed::Run(Given(given), rest.cloned().collect()));
        }
        if !word.starts_with('-') || word == "-" {
            return Ok(Parsed::Run(Given(given), left.to_vec()));
        }
        if is_help(word) {
            return Ok(Parsed::Help);
        }
        let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
        if bare.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {word}"));
        }
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = match (flag.takes, value) {
            (Takes::Switch, None) => "true".to_owned(),
            (Takes::Switch, Some(value)) => match go_bool(&value) {
                Some(on) => on.to_string(),
                None => {
                    let why = refusal(flag, &value).unwrap_or_default();
                    return Err(format!("invalid boolean value {value:?} for -{name}: {why}"));
                }
            },
            (_, Some(value)) => value,
            (_, None) => match rest.next() {
                Some(value) => value.clone(),
                None => return Err(format!("flag needs an argument: -{name}")),
            },
        };
        if let Some(why) = refusal(flag, &value) {
            return Err(format!("invalid value {value:?} for flag -{name}: {why}"));
        }
        given.push((flag.name, value));
    }
}

/// Says why a flag does not take a value, in Go's words; nothing if it does.
fn refusal(flag: &Flag, value: &str) -> Option<String> {
    let (parser, fault) = match flag.takes {
        Takes::Text(_) => return None,
        Takes::Pair if value.contains('=') => return None,
        Takes::Pair => return Some(format!("Missing \"=\" value in argument: {value}")),
        Takes::Span if parse_go(value).is_ok() => return None,
        Takes::Span if flag.reasoned => return Some(format!("time: invalid duration {value:?}")),
        Takes::Span => return Some("parse error".to_owned()),
        Takes::Switch => ("ParseBool", go_bool(value).is_none().then_some(NOT_A_NUMBER)),
        Takes::Count => ("ParseUint", value.parse::<u64>().err().map(|why| numeric(why.kind()))),
        Takes::Whole => ("Atoi", value.parse::<i64>().err().map(|why| numeric(why.kind()))),
    };
    let fault = fault?;
    Some(match (flag.reasoned, fault) {
        (true, fault) => format!("strconv.{parser}: parsing {value:?}: {fault}"),
        (false, NOT_A_NUMBER) => "parse error".to_owned(),
        (false, fault) => fault.to_owned(),
    })
}

/// What Go says of a text that is no value at all.
const NOT_A_NUMBER: &str = "invalid syntax";

/// Says what is wrong with a number.
fn numeric(kind: &IntErrorKind) -> &'static str {
    match kind {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => NOT_A_NUMBER,
    }
}

/// Names what a flag takes.
fn taken(flag: &Flag) -> &'static str {
    match flag.takes {
        Takes::Switch => "",
        Takes::Count => "uint",
        Takes::Whole => "int",
        Takes::Span => "duration",
        Takes::Text(name) => name,
        Takes::Pair => "key=value",
    }
}

/// Explains flags as `-help` does.
pub(super) fn options(flags: &[Flag]) -> String {
    /// Columns of the text, its margin included.
    const WIDTH: usize = 72;
    let mut out = String::new();
    for flag in flags {
        let value = match taken(flag) {
            "" => String::new(),
            name => format!("=<{name}>"),
        };
        out += &format!("\n  -{}{value}\n", flag.name);
        let mut line = "    ".to_owned();
        for word in flag.doc.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                out += &line;
                out.push('\n');
                line = "    ".to_owned();
            }
            line.push(' ');
            line += word;
        }
        out += &line;
        out.push('\n');
    }
    out
}

/// Explains flags as Go does below a fault.
pub(super) fn defaults(flags: &[Flag]) -> String {
    let mut out = String::new();
    for flag in flags {
        let value = match taken(flag) {
            "" => String::new(),
            name => format!(" {name}"),
        };
        out += &format!("  -{}{value}\n    \t{}\n", flag.name, flag.doc);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        switch("wan", "w"),
        text("name", "n"),
        count("index", "i"),
        whole("limit", "l"),
        span("wait", "t"),
        switch("stale", "s").reasoned(),
        count("lag", "g").reasoned(),
        span("silence", "e").reasoned(),
        pairs("meta", "m"),
    ];

    fn run(args: &[&str]) -> Result<(Given, Vec<String>), String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        match parse(FLAGS, &args)? {
            Parsed::Help => Err("help".to_owned()),
            Parsed::Run(given, rest) => Ok((given, rest)),
        }
    }

    #[test]
    fn one_dash_or_two_equals_or_space() {
        for args in [
            ["-name=x", "-wan", "a"].as_slice(),
            &["--name", "x", "--wan=true", "a"],
            &["-name", "y", "-name", "x", "-wan=1", "--", "a"],
        ] {
            let (given, rest) = run(args).unwrap();
            assert_eq!((given.text("name"), given.on("wan")), (Some("x"), true), "{args:?}");
            assert_eq!(rest, ["a"]);
        }
    }

    #[test]
    fn flags_end_at_the_first_word() {
        let (given, rest) = run(&["a", "-wan"]).unwrap();
        assert_eq!((given.on("wan"), rest.len()), (false, 2));
        assert_eq!(run(&["-"]).unwrap().1, ["-"]);
        assert_eq!(run(&["-name", "-wan"]).unwrap().0.text("name"), Some("-wan"));
    }

    #[test]
    fn pairs_are_merged_by_name() {
        let (given, _) = run(&["-meta=a=1", "-meta", "b=x=y", "-meta=a=2"]).unwrap();
        assert_eq!(given.pairs("meta"), BTreeMap::from([("a", "2"), ("b", "x=y")]));
    }

    #[test]
    fn numbers_and_durations_may_be_negative_where_go_takes_them() {
        let (given, _) = run(&["-limit=-1", "-wait=-1s"]).unwrap();
        assert_eq!((given.whole("limit"), given.nanos("wait")), (Some(-1), Some(-1_000_000_000)));
        assert_eq!(given.span("wait"), Some(Duration::ZERO));
        assert_eq!(run(&["-wait", "90s"]).unwrap().0.span("wait"), Some(Duration::from_secs(90)));
    }

    #[test]
    fn faults_are_told_in_gos_words() {
        for (args, want) in [
            (["-foo"].as_slice(), "flag provided but not defined: -foo"),
            (&["-name"], "flag needs an argument: -name"),
            (&["-wan=x"], "invalid boolean value \"x\" for -wan: parse error"),
            (&["-index=x"], "invalid value \"x\" for flag -index: parse error"),
            (&["-limit=x"], "invalid value \"x\" for flag -limit: parse error"),
            (&["-wait=x"], "invalid value \"x\" for flag -wait: parse error"),
            (
                &["-limit=9999999999999999999"],
                "invalid value \"9999999999999999999\" for flag -limit: value out of range",
            ),
            (
                &["-stale=x"],
                "invalid boolean value \"x\" for -stale: strconv.ParseBool: parsing \"x\": invalid \
                 syntax",
            ),
            (
                &["-lag=-1"],
                "invalid value \"-1\" for flag -lag: strconv.ParseUint: parsing \"-1\": invalid \
                 syntax",
            ),
            (
                &["-silence=x"],
                "invalid value \"x\" for flag -silence: time: invalid duration \"x\"",
            ),
            (
                &["-meta=x"],
                "invalid value \"x\" for flag -meta: Missing \"=\" value in argument: x",
            ),
            (&["---wan"], "bad flag syntax: ---wan"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["-wan", "--help"], "help"),
        ] {
            assert_eq!(run(args).unwrap_err(), want);
        }
    }
}
