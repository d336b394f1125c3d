//! Text to expression, with the error texts of Consul's grammar.
//!
//! A failed alternative notes what it expected and where; the message names what was expected at
//! the furthest place that any alternative reached, as generated parsers of such grammars do. Some
//! mistakes have words of their own: all of those that are met are told instead, a line for each.

use super::literal::{SYNTAX, unescape};
use std::collections::BTreeSet;

/// Deepest nesting of parentheses and `not`.
const DEPTH_MAX: u32 = 64;

/// A parsed expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expression {
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Match { selector: Vec<String>, operator: Operator, value: Option<String> },
}

/// How a value is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
    NotMatches,
}

impl Operator {
    /// Consul's name for the operator.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Equal => "Equal",
            Self::NotEqual => "Not Equal",
            Self::In => "In",
            Self::NotIn => "Not In",
            Self::IsEmpty => "Is Empty",
            Self::IsNotEmpty => "Is Not Empty",
            Self::Matches => "Matches",
            Self::NotMatches => "Not Matches",
        }
    }

    /// Whether it holds for a key that a map does not have. Consul lets patterns hold, too.
    pub(super) fn fits_absent(self) -> bool {
        self.is_negative() || self == Self::Matches
    }

    /// Whether it holds where its opposite does not.
    pub(super) fn is_negative(self) -> bool {
        match self {
            Self::NotEqual | Self::NotIn | Self::IsNotEmpty | Self::NotMatches => true,
            Self::Equal | Self::In | Self::IsEmpty | Self::Matches => false,
        }
    }
}

/// Parses an expression.
///
/// # Errors
///
/// The text of what is wrong, with its place.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser::new(text);
    let parsed = parser.whole();
    if !parser.mistakes.is_empty() {
        return Err(parser.mistakes.join("\n"));
    }
    parsed.ok_or_else(|| parser.complaint())
}

const BLANK: &str = "[ \\t\\r\\n]";
const LETTER: &str = "[a-zA-Z]";
const WORD: &str = "[a-zA-Z0-9_]";
const DIGIT: &str = "[0-9]";
const DIGIT_NOT_ZERO: &str = "[1-9]";

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    furthest: usize,
    expected: BTreeSet<String>,
    end_expected: bool,
    mistakes: Vec<String>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            furthest: 0,
            expected: BTreeSet::new(),
            end_expected: false,
            mistakes: Vec::new(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// `line:column (offset)` of a byte.
    fn place(&self, at: usize) -> String {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        format!("{line}:{column} ({at})")
    }

    fn complaint(&self) -> String {
        let mut expected: Vec<&str> = self.expected.iter().map(String::as_str).collect();
        if self.end_expected {
            expected.push("EOF");
        }
        let expected = match expected.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        };
        format!("{}: no match found, expected: {expected}", self.place(self.furthest))
    }

    /// Notes whether this is the furthest place so far that something failed at.
    fn reach(&mut self) -> bool {
        if self.at > self.furthest {
            self.furthest = self.at;
            self.expected.clear();
            self.end_expected = false;
        }
        self.at == self.furthest
    }

    fn miss(&mut self, expected: &str) {
        if self.reach() {
            self.expected.insert(expected.into());
        }
    }

    /// Notes a mistake that has words of its own, once. What `None` it answers fails a rule.
    fn blame<T>(&mut self, at: usize, rule: &str, why: &str) -> Option<T> {
        let mistake = format!("{}: rule {rule:?}: {why}", self.place(at));
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
        None
    }

    fn literal(&mut self, token: &str) -> Option<()> {
        if self.rest().starts_with(token) {
            self.at += token.len();
            return Some(());
        }
        self.miss(&format!("{token:?}"));
        None
    }

    /// Takes bytes of a class as long as they come; `None` if there was none.
    fn class(&mut self, name: &str, fits: fn(u8) -> bool) -> Option<()> {
        let len = self.rest().bytes().take_while(|&byte| fits(byte)).count();
        self.at += len;
        self.miss(name);
        (len > 0).then_some(())
    }

    /// Takes one byte of a class.
    fn one(&mut self, name: &str, fits: fn(&u8) -> bool) -> Option<()> {
        if self.rest().as_bytes().first().is_some_and(fits) {
            self.at += 1;
            return Some(());
        }
        self.miss(name);
        None
    }

    fn blank(&mut self) -> Option<()> {
        self.class(BLANK, |byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
    }

    /// Tries one alternative; puts the place back if it fails.
    fn attempt<T>(&mut self, rule: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = self.at;
        let found = rule(self);
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn whole(&mut self) -> Option<Expression> {
        self.blank();
        let expression = self.any()?;
        self.blank();
        if self.at == self.text.len() {
            return Some(expression);
        }
        if self.reach() {
            self.end_expected = true;
        }
        None
    }

    fn any(&mut self) -> Option<Expression> {
        let parts = self.joined("or", Self::all)?;
        Some(sole(parts).unwrap_or_else(Expression::Any))
    }

    fn all(&mut self) -> Option<Expression> {
        let parts = self.joined("and", Self::term)?;
        Some(sole(parts).unwrap_or_else(Expression::All))
    }

    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Option<Expression>,
    ) -> Option<Vec<Expression>> {
        let mut parts = vec![part(self)?];
        while let Some(next) = self.attempt(|p| {
            p.blank()?;
            p.literal(word)?;
            p.blank()?;
            part(p)
        }) {
            parts.push(next);
        }
        Some(parts)
    }

    fn term(&mut self) -> Option<Expression> {
        if self.depth == DEPTH_MAX {
            return self.blame(self.at, "grouping", "the expression is nested too deeply");
        }
        self.depth += 1;
        let found = self
            .attempt(|p| {
                p.literal("not")?;
                p.blank()?;
                Some(Expression::Not(Box::new(p.term()?)))
            })
            .or_else(|| self.attempt(Self::group))
            .or_else(|| self.attempt(Self::selector_first))
            .or_else(|| self.attempt(Self::value_first));
        self.depth -= 1;
        found
    }

    fn group(&mut self) -> Option<Expression> {
        self.literal("(")?;
        self.blank();
        let inner = self.any()?;
        self.blank();
        if self.literal(")").is_none() {
            return self.blame(self.at, "grouping", "Unmatched parentheses");
        }
        Some(inner)
    }

    /// `selector == value`, `selector is empty` and their like.
    fn selector_first(&mut self) -> Option<Expression> {
        let selector = self.selector()?;
        let found = self
            .attempt(|p| {
                let operator = p.operator_with_value()?;
                Some((operator, Some(p.value()?)))
            })
            .or_else(|| self.attempt(|p| Some((p.emptiness()?, None))));
        let (operator, value) = found?;
        Some(Expression::Match { selector, operator, value })
    }

    fn operator_with_value(&mut self) -> Option<Operator> {
        for (sign, operator) in [("==", Operator::Equal), ("!=", Operator::NotEqual)] {
            let found = self.attempt(|p| {
                p.blank();
                p.literal(sign)?;
                p.blank();
                Some(operator)
            });
            if found.is_some() {
                return found;
            }
        }
        self.attempt(|p| {
            p.blank()?;
            let negative = p.attempt(|p| p.literal("not").and_then(|()| p.blank())).is_some();
            let contains = p.attempt(|p| p.literal("contains")).is_some();
            if !contains {
                p.literal("matches")?;
            }
            p.blank()?;
            Some(match (contains, negative) {
                (true, false) => Operator::In,
                (true, true) => Operator::NotIn,
                (false, false) => Operator::Matches,
                (false, true) => Operator::NotMatches,
            })
        })
    }

    fn emptiness(&mut self) -> Option<Operator> {
        self.blank()?;
        self.literal("is")?;
        self.blank()?;
        let negative = self.attempt(|p| p.literal("not").and_then(|()| p.blank())).is_some();
        self.literal("empty")?;
        Some(if negative { Operator::IsNotEmpty } else { Operator::IsEmpty })
    }

    /// `value in selector` and its opposite.
    fn value_first(&mut self) -> Option<Expression> {
        let value = self.value()?;
        self.blank()?;
        let negative = self.attempt(|p| p.literal("not").and_then(|()| p.blank())).is_some();
        self.literal("in")?;
        self.blank()?;
        let operator = if negative { Operator::NotIn } else { Operator::In };
        Some(Expression::Match { selector: self.selector()?, operator, value: Some(value) })
    }

    fn selector(&mut self) -> Option<Vec<String>> {
        let mut names = vec![self.identifier()?];
        loop {
            let dotted = self.attempt(|p| p.literal(".").and_then(|()| p.identifier()));
            match dotted.or_else(|| self.attempt(Self::index)) {
                Some(name) => names.push(name),
                None => return Some(names),
            }
        }
    }

    /// `["name"]` after a selector.
    fn index(&mut self) -> Option<String> {
        self.literal("[")?;
        self.blank();
        let start = self.at;
        let Some(name) = self.attempt(Self::string) else {
            return self.blame(start, "index", "Invalid index");
        };
        self.blank();
        if self.literal("]").is_none() {
            return self.blame(self.at, "index", "Unclosed index expression");
        }
        Some(name)
    }

    fn identifier(&mut self) -> Option<String> {
        let start = self.at;
        self.one(LETTER, u8::is_ascii_alphabetic)?;
        self.class(WORD, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        Some(self.text[start..self.at].into())
    }

    fn value(&mut self) -> Option<String> {
        let start = self.at;
        self.attempt(|p| p.selector().map(|_| p.text[start..p.at].to_owned()))
            .or_else(|| self.attempt(Self::number))
            .or_else(|| self.attempt(Self::string))
    }

    fn number(&mut self) -> Option<String> {
        let start = self.at;
        self.attempt(|p| p.literal("-"));
        if self.attempt(|p| p.literal("0")).is_none() {
            self.one(DIGIT_NOT_ZERO, |byte| matches!(byte, b'1'..=b'9'))?;
            self.class(DIGIT, |byte| byte.is_ascii_digit());
        }
        self.attempt(|p| p.literal(".").and_then(|()| p.class(DIGIT, |b| b.is_ascii_digit())));
        let text = self.text[start..self.at].to_owned();
        if !matches!(
            self.rest().as_bytes().first(),
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b')')
        ) {
            return self.blame(self.at, "number", "Invalid number literal");
        }
        Some(text)
    }

    /// A quoted string: raw in back ticks, with Go's escapes in double quotes, never with a quote
    /// in it.
    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let raw = self.attempt(|p| p.literal("`")).is_some();
        if !raw {
            self.literal("\"")?;
        }
        let quote = if raw { '`' } else { '"' };
        let Some(len) = self.rest().find(quote) else {
            return self.blame(self.text.len(), "string", "Unterminated string literal");
        };
        let inner = &self.rest()[..len];
        self.at += len + 1;
        if raw {
            return Some(inner.into());
        }
        // A bad escape is blamed but ends nothing.
        Some(unescape(inner).unwrap_or_else(|| {
            self.blame::<()>(start, "string", SYNTAX);
            String::new()
        }))
    }
}

fn sole(mut parts: Vec<Expression>) -> Result<Expression, Vec<Expression>> {
    match parts.len() {
        1 => parts.pop().ok_or(parts),
        _ => Err(parts),
    }
}
